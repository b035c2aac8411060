"""A study depends on what a table holds and not on how it is ordered; what cannot be used as it is, is said."""

import dataclasses
import functools
import warnings

import biom
import h5py
import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.sequences import encode
from q2_aam.data.study import ARRAYS, IDS, MARKER, Study, build_study, load_study
from q2_aam.data.table import read_table
from q2_aam.errors import AAMWarning, UserError

SAMPLES = {
    'b': {'GGGG': 1, 'ACGTAC': 3},
    'a': {'ACGTAC': 2, 'TT': 5, 'GGGG': 3},
    'c': {'TT': 8},
}


def assert_same(one, two):
    for name in IDS:
        assert getattr(one, name) == getattr(two, name), name
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(two, name).dtype, name


def shuffled_blocks(table, rows, columns):
    (counts,) = table.blocks()
    return [counts[rows][:, columns]]


def test_samples_and_sequences_are_sorted_and_aligned(study_of):
    study = study_of(SAMPLES)
    assert study.sample_ids == ['a', 'b', 'c']
    assert study.feature_ids == ['ACGTAC', 'GGGG', 'TT']
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
            blocks=functools.partial(shuffled_blocks, table, rows, columns),
        )
        assert_same(build_study(shuffled, [sequences[i] for i in columns])[0], expected)


def test_the_table_itself_is_left_as_it_was(table_of):
    table, sequences = table_of(SAMPLES, {'GGGG': 'ACGTAC'})
    (counts,) = table.blocks()
    before = counts.toarray()
    with pytest.warns(AAMWarning):
        first = build_study(table, sequences)[0]
    np.testing.assert_array_equal(counts.toarray(), before)
    with pytest.warns(AAMWarning):
        assert_same(build_study(table, sequences)[0], first)


def test_a_sequence_under_two_ids_is_merged_with_its_counts_added_and_said(table_of):
    table, sequences = table_of({'a': {'x': 1, 'y': 2, 'z': 5}, 'b': {'z': 4}}, {'x': 'ACG', 'y': 'TTT', 'z': 'ACG'})
    with pytest.warns(AAMWarning) as said:
        study, _ = build_study(table, sequences)
    assert [str(one.message) for one in said] == [
        'Features of the same sequence are merged and their counts added: 1 sequence under two feature ids or more '
        '(e.g. x and z).'
    ]
    assert study.feature_ids == ['x', 'y']
    assert study.asvs.tolist() == [0, 1, 0]
    np.testing.assert_allclose(study.abundances, [0.75, 0.25, 1.0])


def test_sequences_under_several_ids_are_counted_once_each(table_of):
    ids = {'u': 'ACG', 'v': 'ACG', 'w': 'ACG', 'x': 'GGG', 'y': 'GGG', 'z': 'TTT'}
    with pytest.warns(AAMWarning, match=': 2 sequences under two feature ids or more '):
        study, _ = build_study(*table_of({'a': dict.fromkeys(ids, 1)}, ids))
    np.testing.assert_allclose(study.abundances, [3 / 6, 2 / 6, 1 / 6])


def test_features_that_no_sample_holds_leave_no_trace(table_of, study_of):
    held = {sample: row | {'CCCCCCCCCC': 0, 'AAA': 0} for sample, row in SAMPLES.items()}
    table, sequences = table_of(held)
    next(iter(table.blocks())).eliminate_zeros()
    assert len(table.feature_ids) == 5
    assert_same(build_study(table, sequences)[0], study_of(SAMPLES))


def test_a_sample_without_reads_is_left_out_and_said(table_of, study_of):
    with pytest.warns(AAMWarning) as said:
        study, without_reads = build_study(*table_of({'z': {}} | SAMPLES | {'Y': {}}))
    assert [str(one.message) for one in said] == ['Left out: 2 samples of the table without any reads (e.g. Y).']
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
        'The model reads the first 4 nucleotides of a sequence and longer ones are cut there: 1 sequence of up to 6 '
        'nucleotides, which touches 22.7% of all reads.'
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


def in_memory(counts, sample_ids, feature_ids, sequences, max_length=None):
    """The study by plain operations on the whole matrix (float32 [samples, features]): what blocks must agree with."""
    counts = scipy.sparse.csr_matrix(counts)
    distinct, column = np.unique(sequences, return_inverse=True)
    merged = scipy.sparse.csr_matrix(
        (counts.data, column[counts.indices], counts.indptr), shape=(len(sample_ids), len(distinct)), copy=True
    )
    merged.sum_duplicates()
    present = np.flatnonzero(np.bincount(merged.indices, minlength=len(distinct)))
    order = [i for i in np.argsort(sample_ids) if merged.indptr[i + 1] > merged.indptr[i]]
    merged = merged[:, present][order]
    merged.sort_indices()
    reads = np.asarray(merged.sum(axis=1, dtype=np.float64)).ravel()
    codes, lengths = encode([str(distinct[i]) for i in present])
    held = [(feature_ids[i], sequences[i]) for i in np.flatnonzero(np.diff(counts.tocsc().indptr))]
    return Study(
        sample_ids=[sample_ids[i] for i in order],
        feature_ids=[min(name for name, sequence in held if sequence == distinct[i]) for i in present],
        codes=codes[:, :max_length],
        lengths=np.minimum(lengths, max_length or 99),
        cut=lengths > (max_length or 99),
        offsets=merged.indptr.astype(np.int64),
        asvs=merged.indices.astype(np.int32),
        abundances=(merged.data / np.repeat(reads, np.diff(merged.indptr))).astype(np.float32),
        reads=reads,
    )


@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
@pytest.mark.parametrize('on_disk', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_blocks_of_any_size_give_the_arrays_of_the_whole_table_bit_for_bit(tmp_path, monkeypatch, seed, on_disk):
    monkeypatch.setattr('q2_aam.data.study.SEQUENCES', 7)
    generator = np.random.default_rng(seed)
    samples, features = 60, 45
    counts = generator.lognormal(0, 3, (samples, features)) * (generator.random((samples, features)) < 0.2)
    # samples without reads, features without reads, and sequences under several ids
    counts[generator.permutation(samples)[:7]] = 0
    counts[:, generator.permutation(features)[:9]] = 0
    sequences = [''.join(generator.choice(list('ACGTN'), size)) for size in generator.integers(3, 20, features)]
    sequences[-12:] = [sequences[i] for i in generator.integers(0, features - 12, 12)]
    sample_ids = [f's{i}' for i in generator.permutation(samples)]
    feature_ids = [f'f{i}' for i in generator.permutation(features)]
    path = tmp_path / 'table.biom'
    with h5py.File(path, 'w') as file:
        biom.Table(counts.T, feature_ids, sample_ids).to_hdf5(file, 'test')
    keep = sample_ids[::2] if seed % 2 else sample_ids
    max_length = 12 if seed % 3 else None
    rows = np.isin(sample_ids, keep)
    expected = in_memory(
        counts.astype(np.float32)[rows], np.array(sample_ids)[rows].tolist(), feature_ids, sequences, max_length
    )
    for block in (1, 40, 10_000):
        folder = tmp_path / f'{block}' if on_disk else None
        if on_disk:
            folder.mkdir()
        study, without_reads = build_study(read_table(path, block), sequences, max_length, keep, folder)
        assert_same(study, expected)
        assert sorted(without_reads + study.sample_ids) == sorted(keep)
        assert isinstance(study.asvs, np.memmap) == on_disk


def test_a_study_on_disk_is_that_in_memory_and_is_loaded_with_what_was_said(table_of, tmp_path):
    table, sequences = table_of(SAMPLES | {'10249.C001.ä': {'TT': 1}, 'none': {}})
    with pytest.warns(AAMWarning):
        expected, _ = build_study(table, sequences, 5)
    with pytest.warns(AAMWarning) as said:
        built, _ = build_study(table, sequences, 5, folder=tmp_path)
    with pytest.warns(AAMWarning) as said_again:
        loaded, without_reads = load_study(tmp_path)
    assert_same(built, expected)
    assert_same(loaded, expected)
    assert without_reads == ['none']
    assert [str(one.message) for one in said_again] == [str(one.message) for one in said]
    assert len(said) == 2


def test_a_study_that_was_not_finished_is_no_study(table_of, tmp_path):
    build_study(*table_of(SAMPLES), folder=tmp_path)
    (tmp_path / MARKER).unlink()
    assert load_study(tmp_path) is None


def test_a_folder_without_room_is_refused_before_anything_is_written(table_of, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.posix_fallocate', full)
    with pytest.raises(UserError) as error:
        build_study(*table_of(SAMPLES), folder=tmp_path)
    assert str(error.value) == (
        f'The folder for working files, {tmp_path}, cannot take 0.0 GB (No space left on device); make room, or set '
        'the environment variable AAM_WORK_DIR to a folder that can.'
    )


def test_cut_shares_are_the_same_in_blocks(table_of, monkeypatch):
    with pytest.warns(AAMWarning):
        study, _ = build_study(*table_of(SAMPLES), max_length=3)
    monkeypatch.setattr('q2_aam.data.study.BLOCK', 1)
    number, share = study.cut_share()
    assert number.tolist() == [2, 2, 0]
    np.testing.assert_allclose(share, [0.5, 1.0, 0.0])
