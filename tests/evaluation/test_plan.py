"""Faults that are planted in a study are found, each by its name, and nothing is found in the study without them."""

import dataclasses
import threading
import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam.actions.messages import warnings_given, warnings_to_user
from q2_aam.data.sequences import encode, reverse_complement
from q2_aam.errors import AAMWarning
from q2_aam.evaluation import plan_study
from q2_aam.evaluation.plan import ERROR, NOTE, TITLES, WARNING, Finding, as_frame, from_message, verdict
from q2_aam.evaluation.plan_study import Given, look
from q2_aam.runtime.heard import noting
from tests.evaluation.planned import LENGTH, hashed, make_sequences, make_study


@pytest.fixture
def study():
    return make_study()


@pytest.fixture
def found(tmp_path):
    """Look at a study: (study, other inputs) -> {fault: Finding}, what is only good to know included."""

    def run(study, **more):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        given = {'target': study.target, 'groups': study.groups, 'batches': study.batches} | more
        looked = look(Given(*study.write(folder), **given), noting)
        return {one.fault: one for one in looked.findings}

    return run


def renamed(study, names):
    """The study with other names of its samples, in every input."""
    by_name = dict(zip(study.counts.index, names))
    return dataclasses.replace(
        study, counts=study.counts.rename(index=by_name), target=study.target.rename(index=by_name),
        groups=study.groups.rename(index=by_name), batches=study.batches.rename(index=by_name),
    )  # fmt: skip


def resequenced(study, sequences):
    """The study with other sequences, by which features are named."""
    names = hashed(sequences)
    return dataclasses.replace(
        study, counts=study.counts.set_axis(names, axis=1), sequences=dict(zip(names, sequences))
    )


def distances(study, names=None):
    present = study.counts.to_numpy() > 0
    both = (present[:, None] & present).sum(-1)
    either = (present[:, None] | present).sum(-1)
    names = study.counts.index if names is None else names
    return pd.DataFrame(1 - both / either, names, names)


def test_nothing_is_found_in_a_clean_study(study, found, tmp_path):
    distances(study).to_csv(tmp_path / 'distances.tsv', sep='\t')
    assert found(study, distance_matrix=tmp_path / 'distances.tsv') == {}
    assert found(study, target=study.stages) == {}
    assert verdict([])[0] == 'Nothing was found that speaks against training on these data.'


def test_sample_ids_that_do_not_match_are_told_with_how_they_would(study, found):
    other = study.target.rename(index=lambda name: f'run1.{name.upper()}')
    one = found(study, target=other, groups=None, batches=None)['sample_ids']
    assert one.severity == ERROR and 'share no sample ID' in one.what
    assert one.what.endswith("80 IDs would match but for case, punctuation, or something before or after: 'run1.ID000' "
                             "is 'id000' in the table.")  # fmt: skip
    some = study.target.rename(index=dict.fromkeys(study.target.index[:2], 'x') | {study.target.index[0]: 'ID-777'})
    some = some[~some.index.duplicated()]
    counts = study.counts.rename(index={study.counts.index[0]: 'id777'})
    one = found(dataclasses.replace(study, counts=counts), target=some, groups=None)['sample_ids']
    assert one.severity == WARNING and "'ID-777' is 'id777' in the table" in one.what


def test_samples_lost_from_the_table_are_told(study, found):
    counts = study.counts.iloc[:55]
    one = found(dataclasses.replace(study, counts=counts))['sample_ids']
    assert one.severity == WARNING and one.what.startswith('25 of 80 labelled samples are not in the feature table')


def test_sequences_under_the_ids_of_others_are_found_by_their_hashes(study, found):
    names = list(study.sequences)
    swapped = dict(study.sequences)
    swapped[names[0]], swapped[names[1]] = swapped[names[1]], swapped[names[0]]
    one = found(dataclasses.replace(study, sequences=swapped))['hashes']
    assert one.severity == ERROR and one.what.startswith('2 features of 60 have the sequence of another feature')
    trimmed = {name: sequence[:100] for name, sequence in study.sequences.items()}
    assert found(dataclasses.replace(study, sequences=trimmed))['hashes'].severity == NOTE
    some = study.sequences | {names[0]: study.sequences[names[0]][:-1] + 'A'}
    some[names[0]] = some[names[0]] if some[names[0]] != study.sequences[names[0]] else some[names[0]][:-1] + 'C'
    assert found(dataclasses.replace(study, sequences=some))['hashes'].severity == WARNING


def test_features_without_a_sequence_are_an_error_and_the_rest_is_told_still(study, found):
    some = dict(list(study.sequences.items())[5:])
    all_found = found(dataclasses.replace(study, counts=study.counts.iloc[:50], sequences=some))
    assert all_found['sequences'].severity == ERROR and 'lack 5 of the 60 features' in all_found['sequences'].what
    assert all_found['sequences'].action.startswith('Provide their sequences')
    assert 'sample_ids' in all_found


def test_reads_in_reverse_complement_are_found(study, found):
    sequences = list(study.sequences.values())
    turned = [reverse_complement(one) if place % 3 == 0 else one for place, one in enumerate(sequences)]
    one = found(resequenced(study, turned))['orientation']
    assert one.severity == WARNING and 'in 20 ASVs' in one.what


def test_reads_of_a_run_that_begin_later_are_found(study, found):
    sequences = list(study.sequences.values())
    later = [one[10:] + 'A' * 10 for one in sequences]
    second = study.batches['run'] == 'two'
    counts = study.counts.to_numpy()
    both = np.hstack([counts * ~second.to_numpy()[:, None], counts * second.to_numpy()[:, None]])
    names = hashed([*sequences, *later])
    shifted = dataclasses.replace(
        study, counts=pd.DataFrame(both, study.counts.index, names), sequences=dict(zip(names, [*sequences, *later]))
    )
    one = found(shifted)['offset']
    assert one.severity == WARNING and '10 nucleotides' in one.what


def test_sequences_of_two_lengths_are_found(study, found):
    sequences = list(study.sequences.values())
    cut = [one[:80] if place % 4 == 0 else one for place, one in enumerate(sequences)]
    one = found(resequenced(study, cut))['lengths']
    assert one.severity == WARNING and 'in 15 ASVs' in one.what and '(80 to 120)' in one.what


def test_shallow_samples_are_found(study, found):
    counts = study.counts.copy()
    counts.iloc[:3] = np.floor(counts.iloc[:3] / 100)
    one = found(dataclasses.replace(study, counts=counts))['shallow']
    assert one.severity == WARNING and one.what.startswith('3 samples of 80 have fewer than 100 reads')


def test_samples_that_share_no_asvs_are_found(study, found):
    random = np.random.default_rng(1)
    counts = np.kron(np.eye(80), np.ones((1, 6))) * random.integers(100, 900, (80, 480))
    sequences = make_sequences(random, 480)
    alone = resequenced(dataclasses.replace(study, counts=pd.DataFrame(counts, study.counts.index)), sequences)
    one = found(alone)['private_asvs']
    assert one.severity == WARNING and '100 % of the reads of a sample are in ASVs that no other group has' in one.what


@pytest.mark.parametrize(
    'change, fault, severity, words',
    [
        (lambda age: age * 0 + 3, 'target', ERROR, 'has only the value 3'),
        (lambda age: age.where(np.arange(80) < 10, 3.0), 'constant', WARNING, '70 of 80 labelled samples'),
        (lambda age: age.where(np.arange(80) > 3, -999.0), 'missing_words', WARNING, 'the value -999, where all'),
        (lambda age: age.where(np.arange(80) > 0, 24000.0), 'extreme', WARNING, 'the value 24000, where all'),
        (lambda age: np.exp(age / 3), 'skewed', NOTE, 'The target is skewed'),
        (lambda age: age.where(np.arange(80) < 30), 'missing', WARNING, '50 samples of the table have no value'),
        (lambda age: age.where(np.arange(80) < 30), 'few_labels', WARNING, 'Only 30 samples have a value'),
        (lambda age: 20200101.0 + np.arange(80) % 28, 'target', WARNING, 'dates written as numbers'),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_learned_as_they_are(study, found, change, fault, severity, words):
    target = pd.Series(change(study.target), study.target.index, name='age')
    one = found(study, target=target)[fault]
    assert one.severity == severity and words in one.what and one.where == 'column age'


def test_words_that_mean_missing_are_no_class(study, found):
    stages = study.stages.where(np.arange(80) > 11, 'not collected')
    one = found(study, target=stages)['target']
    assert one.severity == WARNING and "'not collected' (12 samples)" in one.what


def test_small_classes_and_classes_that_are_identifiers_are_found(study, found):
    one = found(study, target=study.stages.where(np.arange(80) > 3, 'rare'))['small_classes']
    assert one.severity == WARNING and "'rare' (4 samples of 2 groups)" in one.what
    named = pd.Series([f'visit {number // 4}' for number in range(80)], study.target.index, name='visit')
    assert 'identifiers' not in found(study, target=named)
    named = pd.Series([f'visit {number // 3}' for number in range(78)], study.target.index[:78], name='visit')
    assert 'has 26 classes' in found(study, target=named)['identifiers'].what


def test_numbers_as_classes_are_found(study, found):
    months = pd.Series((study.target // 2.4).astype(int).astype(str), name='month')
    assert found(study, target=months)['numbers'].severity == WARNING


def alike(study):
    """The study in which the two samples of a subject are alike: the same ASVs, and counts of another depth."""
    counts = study.counts.to_numpy().copy()
    random = np.random.default_rng(5)
    own = random.gamma(0.3, 1.0, (40, counts.shape[1])).repeat(2, axis=0)
    mixed = counts * own
    mixed = random.poisson(5000 * mixed / mixed.sum(axis=1, keepdims=True)).astype(float)
    return dataclasses.replace(study, counts=pd.DataFrame(mixed, study.counts.index, study.counts.columns))


def test_repeated_subjects_without_groups_are_found_by_a_column(study, found):
    batches = study.batches.assign(host=study.groups)
    one = found(alike(study), groups=None, batches=batches)['repeats']
    assert one.severity == WARNING and 'column host has 40 values for 80 samples' in one.what
    assert one.action == 'Give column host as groups.'
    # the same with groups that hold them together
    assert 'repeats' not in found(alike(study), batches=batches)


def test_repeated_subjects_without_groups_are_found_by_their_ids(study, found):
    named = renamed(alike(study), [f'P{number // 2}_visit{number % 2}' for number in range(80)])
    one = found(named, groups=None, batches=None)['repeats']
    assert 'the first 1 part of the sample ID has 40 values for 80 samples' in one.what
    assert one.action == 'Give a column of what the first 1 part of the sample ID stands for as groups.'
    # ids of that form whose samples are not alike
    named = renamed(study, [f'P{number // 2}_visit{number % 2}' for number in range(80)])
    assert 'repeats' not in found(named, groups=None, batches=None)


def test_copies_of_samples_in_different_groups_are_found(study, found):
    counts = study.counts.copy()
    counts.iloc[7] = 2 * counts.iloc[30]
    one = found(dataclasses.replace(study, counts=counts))['duplicates']
    names = sorted(counts.index[[7, 30]])
    assert one.severity == ERROR and f"'{names[0]}' and '{names[1]}'" in one.what


def test_a_run_that_goes_with_the_target_is_found(study, found):
    run = np.where(study.target > study.target.median(), 'one', 'two')
    one = found(study, batches=study.batches.assign(run=run))['confounding']
    assert one.severity == WARNING and one.where == 'column run' and 'it may be learned in place' in one.what
    one = found(study, target=study.stages, batches=study.batches.assign(run=study.stages))['confounding']
    assert 'chi-squared' in one.what and 'what tells one tells the other' in one.what


def test_read_depth_that_goes_with_the_target_is_found(study, found):
    counts = np.floor(study.counts.mul(study.target + 2, axis=0))
    one = found(dataclasses.replace(study, counts=counts))['confounding']
    assert one.where == 'read depth' and 'Spearman' in one.what


def test_groups_that_are_few_or_one_large_one_are_found(study, found):
    few = pd.Series(np.arange(80) % 4, study.target.index, name='cage').map(str)
    assert found(study, groups=few)['few_groups'].severity == WARNING
    large = study.groups.where(np.arange(80) < 30, 'P0')
    assert 'are of one group' in found(study, groups=large)['large_group'].what


def test_a_distance_matrix_of_other_samples_is_found(study, found, tmp_path):
    others = [f'other{number}' for number in range(80)]
    distances(study, others).to_csv(tmp_path / 'others.tsv', sep='\t')
    one = found(study, distance_matrix=tmp_path / 'others.tsv')['distance_matrix']
    assert one.severity == ERROR and 'has 0 samples of the feature table' in one.what
    shuffled = np.random.default_rng(1).permutation(study.counts.index)
    distances(study, shuffled).to_csv(tmp_path / 'shuffled.tsv', sep='\t')
    one = found(study, distance_matrix=tmp_path / 'shuffled.tsv')['distance_matrix']
    assert one.severity == WARNING and 'do not follow the table' in one.what


def test_what_an_encoder_cannot_read_is_found(study, found):
    from q2_aam.data.references import build_references

    def references(sequences):
        return build_references(*encode(sequences), np.random.default_rng(1))

    own = list(study.sequences.values())
    assert found(study, references=references(own), max_length=LENGTH) == {}
    assert 'reads 100 nucleotides' in found(study, references=references(own), max_length=100)['truncated'].what
    turned = [reverse_complement(one) for one in own]
    one = found(study, references=references(turned), max_length=LENGTH)['orientation']
    assert one.severity == ERROR and one.where == 'encoder'
    later = [one[8:] for one in own]
    one = found(study, references=references(later), max_length=LENGTH)['offset']
    assert one.where == 'encoder' and '8 nucleotides earlier' in one.what
    other = make_sequences(np.random.default_rng(99))
    assert found(study, references=references(other), max_length=LENGTH)['other_region'].severity == ERROR


def test_features_without_sequences_are_told_with_what_an_encoder_knows_of_them(study, tmp_path):
    from q2_aam.data.inputs import read_study
    from q2_aam.data.known_features import learn_features

    named = dataclasses.replace(
        study, counts=study.counts.set_axis([f'OTU{number}' for number in range(study.counts.shape[1])], axis=1)
    )
    table, fasta = named.write(tmp_path / 'named')
    given = Given(table, target=study.target, groups=study.groups, batches=study.batches)

    def found(**more):
        return {
            one.where: one
            for one in look(dataclasses.replace(given, **more), noting).findings
            if one.fault != 'few_near'
        }

    assert set(found()) == {'table'}
    assert found()['table'].severity == NOTE and "(e.g. 'OTU" in found()['table'].what
    read, _ = read_study(table)
    known = learn_features(read, np.arange(len(read)))
    assert set(found(max_length=16, known=known)) == {'table'}
    # an encoder of sequences, and the other way round
    assert found(max_length=LENGTH)['encoder'].what == (
        'The encoder reads sequences, but the features of the table have none.'
    )
    table, fasta = study.write(tmp_path / 'sequences')
    other = look(
        Given(table, fasta, target=study.target, groups=study.groups, max_length=16, known=known), noting
    ).findings
    assert [one.severity for one in other if one.fault == 'names'] == [ERROR]
    # a third of the reads is known
    few = learn_features(read, np.arange(len(read)))
    few = dataclasses.replace(few, ids=[f'X{name}' for name in few.ids])
    one = next(one for one in look(dataclasses.replace(given, max_length=16, known=few), noting).findings if
               one.fault == 'few_near')  # fmt: skip
    assert one.severity == ERROR and one.what.startswith('0% of the reads are in features that the encoder knows')


def test_every_fault_has_a_title_and_the_gravest_comes_first():
    findings = [Finding(severity, 'target', 'here', 'What.', 'Do.') for severity in (NOTE, WARNING, ERROR, WARNING)]
    assert list(as_frame(findings)['severity']) == [ERROR, WARNING, WARNING, NOTE]
    assert verdict(findings)[0] == 'Found 1 error and 2 warnings: the target.'
    assert all(title and not title.endswith('.') for title in TITLES.values())


def test_a_message_becomes_a_finding_whose_end_says_what_to_do():
    one = from_message(ERROR, 'target', 'column age', 'It is wrong; correct it, or leave it.')
    assert (one.what, one.action) == ('It is wrong.', 'Correct it, or leave it.')


def test_warnings_of_other_threads_are_none_of_a_plan_and_reach_their_user(study, tmp_path, monkeypatch):
    read, inside, warned, said = plan_study.sequences_of, threading.Event(), threading.Event(), []

    def slowly(*given):
        inside.set()
        assert warned.wait(20)
        warnings.warn('of the plan', AAMWarning)
        return read(*given)

    def run():
        with warnings_to_user():
            said.append(look(Given(*study.write(tmp_path / 'study'), target=study.target), noting))
            said.append(warnings_given())

    monkeypatch.setattr(plan_study, 'sequences_of', slowly)
    thread = threading.Thread(target=run)
    with warnings_to_user():
        thread.start()
        assert inside.wait(20)
        warnings.warn('of another', AAMWarning)
        warned.set()
        thread.join()
        assert warnings_given() == ['of another']
    looked, given = said
    assert [one.what for one in looked.findings if one.fault == 'sequences'] == ['of the plan'] and given == []
