"""What bad input gets from a call of the library: one sentence with an example, and no folder left behind."""

import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam.errors import AAMWarning, UserError


@pytest.fixture
def refusal(tiny, fitted, work_dir):
    """Fit, which must be refused; return the sentence."""

    def refuse(**options):
        with warnings.catch_warnings(), pytest.raises(UserError) as error:
            warnings.simplefilter('ignore', AAMWarning)
            fitted(tiny, **options)
        assert list(work_dir.iterdir()) == []
        return str(error.value)

    return refuse


@pytest.fixture
def warned(tiny, fitted):
    """Fit, and return the run and what the user was warned of, once each."""

    def warn(**options):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            # so low that even two groups are enough for intervals
            run = fitted(tiny, coverage=0.5, **options)
        return run, list(dict.fromkeys(str(one.message) for one in said if issubclass(one.category, AAMWarning)))

    return warn


def test_hashed_ids_without_sequences(tiny, refusal):
    tiny.sequences = {name: name for name in tiny.sequences}
    assert refusal(hashed=False) == (
        "The feature ids of the table are not sequences (e.g. 'feature00'), so that the sequences must be given too: "
        'as the input named sequences, the representative sequences of these features.'
    )


def test_sequences_missing_for_some_features(tiny, refusal):
    for name in ('feature04', 'feature17'):
        del tiny.sequences[name]
    assert refusal() == (
        'The input sequences lack 2 features of the 30 in the table (e.g. feature04); give all sequences, or filter '
        'the table to the features that have one.'
    )


def test_table_and_metadata_without_a_sample_in_common(tiny, refusal):
    tiny.target = tiny.target.rename('12802.{}'.format)
    assert refusal() == (
        'The table and the metadata share no sample id: the table has "sample-of-visit-00" ..., the metadata has '
        '"12802.sample-of-visit-00" ...; use the same ids in both.'
    )


def test_table_and_metadata_with_some_samples_in_common_and_missing_values(tiny, warned):
    tiny.target = pd.concat([tiny.target.iloc[2:], pd.Series({'elsewhere': 3.0})]).rename('age')
    tiny.target.iloc[0] = np.nan
    run, said = warned(groups=False)
    assert said == [
        'Ignored: 1 sample without a value of "age"; 2 samples of the table absent from the metadata (e.g. '
        'sample-of-visit-00); 1 sample of the metadata absent from the table (e.g. elsewhere).'
    ]
    assert list(run.details.index) == list(tiny.counts.index[3:])


def test_a_constant_target(tiny, refusal):
    tiny.target[:] = 4.5
    assert refusal() == (
        'Metadata column "age" has only one value, 4.5, in 24 labelled samples; there is nothing to learn from it.'
    )


def test_a_target_without_any_value(tiny, refusal):
    tiny.target[:] = np.nan
    assert refusal() == 'Metadata column "age" has no value for any sample of the table; choose another.'


def test_fewer_groups_than_three_parts_need(tiny, refusal):
    tiny.groups[:] = ['one'] * 12 + ['two'] * 12
    assert refusal() == (
        'Training needs 3 parts (training, validation, test) of whole groups and at least 2 training samples, but the '
        'labelled samples are 24 samples in 2 groups; give more labelled samples, or groups that are smaller.'
    )


def test_fewer_samples_than_three_parts_need(tiny, refusal):
    tiny.target = tiny.target.iloc[:3]
    assert refusal(groups=False).startswith('Training needs 3 parts (training, validation, test) of whole groups ')


def test_a_labelled_sample_without_group(tiny, refusal):
    tiny.groups.iloc[5] = None
    assert refusal() == (
        'The groups column "subject" has no value for 1 labelled sample, e.g. sample-of-visit-05; give every labelled '
        'sample a group.'
    )


def test_a_sample_without_reads(tiny, warned):
    tiny.counts.iloc[6] = 0
    run, said = warned()
    assert said == ['Left out: 1 sample of the table without any reads (e.g. sample-of-visit-06).']
    assert len(run.details) == 23 and 'sample-of-visit-06' not in run.details.index


def test_an_empty_table(tiny, refusal):
    tiny.counts[:] = 0
    assert refusal() == 'The feature table is empty: all its counts are 0; give a table with counts above 0.'


def test_a_sequence_under_two_ids_is_merged(tiny, warned, fitted):
    before = fitted(tiny, 'before', coverage=0.5)
    tiny.counts['twin'] = tiny.counts['feature11'] // 2
    tiny.counts['feature11'] -= tiny.counts['twin']
    tiny.sequences['twin'] = tiny.sequences['feature11']
    run, said = warned()
    assert said == [
        'Features of the same sequence are merged and their counts added: 1 sequence under two feature ids or more '
        '(e.g. feature11 and twin).'
    ]
    assert run.details.equals(before.details)


def test_a_sequence_longer_than_the_model_reads(tiny, warned):
    long = [name for name, sequence in tiny.sequences.items() if len(sequence) > 50]
    share = tiny.counts[long].to_numpy().sum() / tiny.counts.to_numpy().sum()
    run, said = warned(max_sequence_length=50)
    assert said == [
        'The model reads the first 50 nucleotides of a sequence and longer ones are cut there: '
        f'{len(long)} sequences of up to {max(map(len, tiny.sequences.values()))} nucleotides, which touches '
        f'{share:.1%} of all reads.'
    ]
    assert list(run.details['asvs_cut']) == list((tiny.counts[long] > 0).sum(axis=1))


def test_a_matrix_of_other_samples(tiny, refusal):
    tiny.distances = tiny.distances.rename(index='x{}'.format, columns='x{}'.format)
    assert refusal(matrix=True) == (
        'The distance matrix has 0 training samples of the table (the table has "sample-of-visit-00" ..., the matrix '
        '"xsample-of-visit-00" ...), but pairs need two; give a matrix of the table\'s samples.'
    )


def test_a_matrix_that_lacks_some_samples(tiny, warned):
    kept = tiny.distances.index[:-1]
    tiny.distances = tiny.distances.loc[kept, kept]
    _, said = warned(matrix=True)
    assert said == [
        'The distance matrix lacks 1 sample of the table (e.g. sample-of-visit-23); such samples are used without '
        'distances.'
    ]


def test_a_matrix_with_a_hole(tiny, refusal):
    tiny.distances.iloc[2, 7] = np.nan
    assert refusal(matrix=True) == (
        'The distance matrix is nan between sample-of-visit-02 and sample-of-visit-07; every pair needs one.'
    )


def test_a_learning_rate_at_which_training_breaks_down(tiny, refusal):
    # without a bound on gradients numbers grow until they are none
    tiny.target *= 1e30
    assert refusal(target_scaling='none', loss='mse', gradient_clip=0.0) == (
        'The loss is inf in step 1; lower learning_rate.'
    )
