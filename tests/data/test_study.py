"""A study depends on what a table holds and not on how it is ordered; what cannot be used as it is, is said."""

import dataclasses
import warnings

import numpy as np
import pytest

from q2_aam.data.study import ARRAYS, Study, build_study
from q2_aam.errors import AAMWarning, UserError

SAMPLES = {
    'b': {'GGGG': 1, 'ACGTAC': 3},
    'a': {'ACGTAC': 2, 'TT': 5, 'GGGG': 3},
    'c': {'TT': 8},
}


def assert_same(one, two):
    assert one.sample_ids == two.sample_ids
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(two, name).dtype, name


def test_samples_and_sequences_are_sorted_and_aligned(study_of):
    study = study_of(SAMPLES)
    assert study.sample_ids == ['a', 'b', 'c']
    assert study.codes.tolist() == [[1, 2, 3, 4, 1, 2], [3, 3, 3, 3, 0, 0], [4, 4, 0, 0, 0, 0]]
    assert study.lengths.tolist() == [6, 4, 2]
    assert study.offsets.tolist() == [0, 3, 5, 6]
    assert study.asvs.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(study.abundances, [0.2, 0.3, 0.5, 0.75, 0.25, 1.0])
    assert study.reads.tolist() == [10, 4, 8]
    assert (len(study), study.longest, study.richness.tolist()) == (3, 6, [3, 2, 1])
    assert not study.cut.any()


def test_nothing_is_said_about_a_table_that_is_in_order(study_of):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        study_of(SAMPLES)


def test_the_order_of_samples_and_features_changes_no_array(table_of):
    table, sequences = table_of(SAMPLES)
    expected = build_study(table, sequences)[0]
    generator = np.random.default_rng(3)
    for _ in range(5):
        rows, columns = generator.permutation(3), generator.permutation(3)
        shuffled = dataclasses.replace(
            table,
            sample_ids=[table.sample_ids[i] for i in rows],
            feature_ids=[table.feature_ids[i] for i in columns],
            counts=table.counts[rows][:, columns],
        )
        assert_same(build_study(shuffled, [sequences[i] for i in columns])[0], expected)


def test_the_table_itself_is_left_as_it_was(table_of):
    table, sequences = table_of(SAMPLES, {'GGGG': 'ACGTAC'})
    before = table.counts.toarray()
    with pytest.warns(AAMWarning):
        first = build_study(table, sequences)[0]
    np.testing.assert_array_equal(table.counts.toarray(), before)
    with pytest.warns(AAMWarning):
        assert_same(build_study(table, sequences)[0], first)


def test_a_sequence_under_two_ids_is_merged_with_its_counts_added_and_said(table_of):
    table, sequences = table_of({'a': {'x': 1, 'y': 2, 'z': 5}, 'b': {'z': 4}}, {'x': 'ACG', 'y': 'TTT', 'z': 'ACG'})
    with pytest.warns(AAMWarning) as said:
        study, _ = build_study(table, sequences)
    assert [str(one.message) for one in said] == [
        '1 sequence of the table stand under two feature ids or more (e.g. x and z); they are merged and their counts '
        'added.'
    ]
    assert study.asvs.tolist() == [0, 1, 0]
    np.testing.assert_allclose(study.abundances, [0.75, 0.25, 1.0])


def test_sequences_under_several_ids_are_counted_once_each(table_of):
    ids = {'u': 'ACG', 'v': 'ACG', 'w': 'ACG', 'x': 'GGG', 'y': 'GGG', 'z': 'TTT'}
    with pytest.warns(AAMWarning, match='^2 sequences of the table stand under two feature ids or more '):
        study, _ = build_study(*table_of({'a': dict.fromkeys(ids, 1)}, ids))
    np.testing.assert_allclose(study.abundances, [3 / 6, 2 / 6, 1 / 6])


def test_features_that_no_sample_holds_leave_no_trace(table_of, study_of):
    held = {sample: row | {'CCCCCCCCCC': 0, 'AAA': 0} for sample, row in SAMPLES.items()}
    table, sequences = table_of(held)
    table.counts.eliminate_zeros()
    assert len(table.feature_ids) == 5
    assert_same(build_study(table, sequences)[0], study_of(SAMPLES))


def test_a_sample_without_reads_is_left_out_and_said(table_of, study_of):
    with pytest.warns(AAMWarning) as said:
        study, without_reads = build_study(*table_of({'z': {}} | SAMPLES | {'Y': {}}))
    assert [str(one.message) for one in said] == [
        '2 samples of the table (e.g. Y) without any reads cannot be read by a model and are left out.'
    ]
    assert without_reads == ['Y', 'z']
    assert_same(study, study_of(SAMPLES))


def test_a_table_without_any_reads_is_refused(table_of):
    with pytest.raises(UserError) as error:
        build_study(*table_of({'a': {'ACG': 0}, 'b': {}}))
    assert str(error.value) == 'No sample of the table has any reads; give a table with counts above 0.'


def test_too_long_sequences_are_read_from_their_start_and_said_with_their_share_of_reads(table_of):
    with pytest.warns(AAMWarning) as said:
        study, _ = build_study(*table_of(SAMPLES), max_length=4)
    # 5 of the 22 reads are ACGTAC
    assert [str(one.message) for one in said] == [
        '1 sequence (up to 6 nucleotides) are longer than the 4 nucleotides that the model reads; only their first 4 '
        'are used, which touches 22.7% of all reads.'
    ]
    assert study.codes.tolist() == [[1, 2, 3, 4], [3, 3, 3, 3], [4, 4, 0, 0]]
    assert study.lengths.tolist() == [4, 4, 2]
    assert study.cut.tolist() == [True, False, False]
    assert study.longest == 4


def test_each_sample_knows_its_cut_asvs_and_their_share_of_its_reads(table_of):
    with pytest.warns(AAMWarning):
        study, _ = build_study(*table_of(SAMPLES), max_length=3)
    number, share = study.cut_share()
    assert number.tolist() == [2, 2, 0]
    np.testing.assert_allclose(share, [0.5, 1.0, 0.0])


def test_without_a_limit_nothing_is_cut(study_of):
    number, share = study_of(SAMPLES, max_length=6).cut_share()
    assert number.tolist() == [0, 0, 0] and share.tolist() == [0, 0, 0]


def test_rows_are_found_by_sample_id(study_of):
    assert study_of(SAMPLES).rows_of(['c', 'a']).tolist() == [2, 0]


def test_relative_frequencies_and_counts_of_the_same_shares_differ_in_reads_only(study_of):
    counts = study_of({'a': {'ACG': 1, 'TTT': 3}})
    shares = study_of({'a': {'ACG': 0.25, 'TTT': 0.75}})
    np.testing.assert_array_equal(shares.abundances, counts.abundances)
    assert (counts.reads.tolist(), shares.reads.tolist()) == ([4], [1])


def test_abundances_sum_to_1_in_a_deep_sample(study_of):
    sequences = [f'{"".join("ACGT"[(i >> 2 * k) & 3] for k in range(6))}' for i in range(4096)]
    study = study_of({'deep': {sequence: 16_000 + i for i, sequence in enumerate(sequences)}})
    assert study.reads.tolist() == [sum(16_000 + i for i in range(4096))]
    np.testing.assert_allclose(study.abundances.sum(dtype=np.float64), 1, atol=1e-6)


def test_what_is_saved_is_loaded_the_same(study_of, tmp_path):
    study = study_of(SAMPLES | {'10249.C001.ä': {'TT': 1}})
    study.save(tmp_path)
    assert_same(Study.load(tmp_path), study)
