"""What bad input gets from a call of the library: one sentence with an example, and no folder left behind."""

import hashlib
import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam.errors import AAMWarning, UserError
from q2_aam.objectives import Regression


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
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            # so low that even two groups are enough for intervals
            run = fitted(tiny, coverage=0.5, **options)
        return run, list(dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, AAMWarning)))

    return warn


def test_hashed_ids_without_sequences(tiny, refusal):
    tiny.sequences = {name: hashlib.md5(name.encode()).hexdigest() for name in tiny.sequences}
    assert refusal(hashed=False) == (
        f"The feature IDs of the table are not sequences (e.g. '{tiny.sequences['feature00']}'); provide the "
        'representative sequences of the features as the input "sequences".'
    )


def test_sequences_missing_for_some_features(tiny, refusal):
    for name in ('feature04', 'feature17'):
        del tiny.sequences[name]
    assert refusal() == (
        "The input sequences lack 2 of the 30 features in the table (e.g. 'feature04'); provide their sequences, or "
        'filter the table to features that have one.'
    )


def test_table_and_metadata_without_a_sample_in_common(tiny, refusal):
    tiny.target = tiny.target.rename('12802.{}'.format)
    assert refusal() == (
        "The feature table and the metadata share no sample IDs (e.g. 'sample-of-visit-00' in the table, "
        "'12802.sample-of-visit-00' in the metadata); use the same IDs in both."
    )


def test_table_and_metadata_with_some_samples_in_common_and_missing_values(tiny, warned):
    tiny.target = pd.concat([tiny.target.iloc[2:], pd.Series({'elsewhere': 3.0})]).rename('age')
    tiny.target.iloc[0] = np.nan
    run, messages = warned(groups=False)
    assert messages == [
        "Ignored: 1 sample without a value of 'age'; 2 samples of the feature table absent from the metadata (e.g. "
        "'sample-of-visit-00'); 1 sample of the metadata absent from the feature table (e.g. 'elsewhere')."
    ]
    assert list(run.details.index) == list(tiny.counts.index[3:])


def test_a_constant_target(tiny, refusal):
    tiny.target[:] = 4.5
    assert refusal() == (
        "Metadata column 'age' has only the value 4.5 (24 labelled samples); choose a column whose values differ."
    )


def test_a_target_without_any_value(tiny, refusal):
    tiny.target[:] = np.nan
    assert refusal() == (
        "Metadata column 'age' has no value for any sample of the feature table; choose another column."
    )


def test_fewer_groups_than_three_splits_need(tiny, refusal):
    tiny.groups[:] = ['one'] * 12 + ['two'] * 12
    assert refusal() == (
        'Training needs at least 3 groups, one for each split (training, validation, test), and 2 training samples, '
        'but has only 24 labelled samples in 2 groups; label more samples or define smaller groups.'
    )


def test_fewer_samples_than_three_splits_need(tiny, refusal):
    tiny.target = tiny.target.iloc[:3]
    assert refusal(groups=False) == (
        'Training needs at least 3 groups, one for each split (training, validation, test), and 2 training samples, '
        'but has only 3 labelled samples in 3 groups; label more samples or define smaller groups.'
    )


def test_a_labelled_sample_without_group(tiny, refusal):
    tiny.groups.iloc[5] = None
    assert refusal() == (
        "Metadata column 'subject' (groups) has no value for 1 labelled sample (e.g. 'sample-of-visit-05'); assign "
        'every labelled sample to a group.'
    )


def test_a_sample_without_reads(tiny, warned):
    tiny.counts.iloc[6] = 0
    run, messages = warned()
    assert messages == ["Ignored: 1 sample without reads (e.g. 'sample-of-visit-06')."]
    assert len(run.details) == 23 and 'sample-of-visit-06' not in run.details.index


def test_an_empty_table(tiny, refusal):
    tiny.counts[:] = 0
    assert refusal() == 'The feature table is empty: all counts are 0; provide a table with counts above 0.'


def test_a_sequence_under_two_ids_is_merged(tiny, warned, fitted):
    before = fitted(tiny, 'before', coverage=0.5)
    tiny.counts['twin'] = tiny.counts['feature11'] // 2
    tiny.counts['feature11'] -= tiny.counts['twin']
    tiny.sequences['twin'] = tiny.sequences['feature11']
    run, messages = warned()
    assert messages == [
        'Features with the same sequence are merged and their counts added: 1 sequence under several feature IDs '
        "(e.g. 'feature11' and 'twin')."
    ]
    assert run.details.equals(before.details)


def test_a_sequence_longer_than_the_model_reads(tiny, warned):
    long = [name for name, sequence in tiny.sequences.items() if len(sequence) > 50]
    share = tiny.counts[long].to_numpy().sum() / tiny.counts.to_numpy().sum()
    run, messages = warned(max_sequence_length=50)
    assert messages == [
        f'The model reads the first 50 nucleotides of a sequence: {len(long)} sequences of up to '
        f'{max(map(len, tiny.sequences.values()))} nucleotides are truncated, in ASVs with {share:.1%} of all reads.'
    ]
    assert list(run.details['asvs_truncated']) == list((tiny.counts[long] > 0).sum(axis=1))


def test_a_matrix_of_other_samples(tiny, refusal):
    tiny.distances = tiny.distances.rename(index='x{}'.format, columns='x{}'.format)
    assert refusal(matrix=True) == (
        'The distance matrix must contain at least two training samples of the feature table, but has 0 (e.g. '
        "'sample-of-visit-00' in the table, 'xsample-of-visit-00' in the matrix); provide a matrix of the samples in "
        'the table.'
    )


def test_a_matrix_that_lacks_some_samples(tiny, warned):
    kept = tiny.distances.index[:-1]
    tiny.distances = tiny.distances.loc[kept, kept]
    _, messages = warned(matrix=True)
    assert messages == [
        "The distance matrix lacks 1 sample of the table (e.g. 'sample-of-visit-23'); they are used without distances."
    ]


def test_a_matrix_with_a_hole(tiny, refusal):
    tiny.distances.iloc[2, 7] = np.nan
    assert refusal(matrix=True) == (
        "Distances must be finite: the distance matrix has nan between 'sample-of-visit-02' and 'sample-of-visit-07'; "
        'provide a distance for every pair of samples.'
    )


def test_a_learning_rate_at_which_training_breaks_down(refusal, monkeypatch):
    losses = []

    def loss(self, outputs, *true):
        losses.append(outputs.square().mean() * (float('inf') if len(losses) == 2 else 1))
        return losses[-1]

    monkeypatch.setattr(Regression, 'outputs_loss', loss)
    assert refusal() == 'The loss is inf in step 3; lower learning_rate.'
