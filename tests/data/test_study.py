"""A study depends on what a table has, not on its order; the user is warned of what cannot be used as it is."""

import dataclasses
import functools
import re
import warnings

import biom
import h5py
import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.sequences import encode
from q2_aam.data.study import IDS, Study, build_study, load_study
from q2_aam.data.study_files import ARRAYS, MARKER
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
    assert not study.truncated.any()


def test_a_table_that_is_in_order_gives_no_warning(study_of):
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


def test_features_with_the_same_sequence_are_merged_with_their_counts_added_and_a_warning(table_of):
    table, sequences = table_of({'a': {'x': 1, 'y': 2, 'z': 5}, 'b': {'z': 4}}, {'x': 'ACG', 'y': 'TTT', 'z': 'ACG'})
    with pytest.warns(AAMWarning) as caught:
        study, _ = build_study(table, sequences)
    assert [str(one.message) for one in caught] == [
        'Features with the same sequence are merged and their counts added: 1 sequence under several feature IDs (e.g. '
        "'x' and 'z')."
    ]
    assert study.feature_ids == ['x', 'y']
    assert study.asvs.tolist() == [0, 1, 0]
    np.testing.assert_allclose(study.abundances, [0.75, 0.25, 1.0])


def test_sequences_under_several_ids_are_counted_once_each(table_of):
    ids = {'u': 'ACG', 'v': 'ACG', 'w': 'ACG', 'x': 'GGG', 'y': 'GGG', 'z': 'TTT'}
    with pytest.warns(AAMWarning, match=': 2 sequences under several feature IDs '):
        study, _ = build_study(*table_of({'a': dict.fromkeys(ids, 1)}, ids))
    np.testing.assert_allclose(study.abundances, [3 / 6, 2 / 6, 1 / 6])


def test_features_that_no_sample_holds_leave_no_trace(table_of, study_of):
    held = {sample: row | {'CCCCCCCCCC': 0, 'AAA': 0} for sample, row in SAMPLES.items()}
    table, sequences = table_of(held)
    next(iter(table.blocks())).eliminate_zeros()
    assert len(table.feature_ids) == 5
    assert_same(build_study(table, sequences)[0], study_of(SAMPLES))


def test_a_sample_without_reads_is_ignored_with_a_warning(table_of, study_of):
    with pytest.warns(AAMWarning) as caught:
        study, without_reads = build_study(*table_of({'z': {}} | SAMPLES | {'Y': {}}))
    assert [str(one.message) for one in caught] == ["Ignored: 2 samples without reads (e.g. 'Y')."]
    assert without_reads == ['Y', 'z']
    assert_same(study, study_of(SAMPLES))


def test_a_table_without_any_reads_is_refused(table_of):
    with pytest.raises(UserError) as error:
        build_study(*table_of({'a': {'ACG': 0}, 'b': {}}))
    assert str(error.value) == (
        'The feature table has no reads for any of the samples used; provide a table with counts above 0.'
    )


def test_too_long_sequences_are_truncated_with_a_warning_that_tells_their_share_of_reads(table_of):
    with pytest.warns(AAMWarning) as caught:
        study, _ = build_study(*table_of(SAMPLES), max_length=4)
    # 5 of the 22 reads are ACGTAC
    assert [str(one.message) for one in caught] == [
        'The model reads the first 4 nucleotides of a sequence: 1 sequence of up to 6 nucleotides is truncated, in '
        'ASVs with 22.7% of all reads.'
    ]
    assert study.codes.tolist() == [[1, 2, 3, 4], [3, 3, 3, 3], [4, 4, 0, 0]]
    assert study.lengths.tolist() == [4, 4, 2]
    assert study.truncated.tolist() == [True, False, False]
    assert study.longest == 4


def test_asvs_that_are_the_same_once_truncated_are_one_with_their_counts_added(table_of):
    ids = {'x': 'ACGTA', 'w': 'ACGTCCC', 'v': 'ACGT', 'u': 'TTTT', 't': 'TTTT', 's': 'GGGGG'}
    samples = {'b': {'x': 3, 'w': 1, 'u': 2, 't': 2}, 'a': {'v': 5, 'x': 5, 's': 0}}
    with pytest.warns(AAMWarning) as caught:
        study, _ = build_study(*table_of(samples, ids), max_length=4)
    assert study.feature_ids == ['v', 't']
    assert study.codes.tolist() == [[1, 2, 3, 4], [4, 4, 4, 4]]
    assert study.truncated.tolist() == [True, False]
    assert (study.offsets.tolist(), study.asvs.tolist()) == ([0, 1, 3], [0, 0, 1])
    assert study.abundances.tolist() == [1, 0.5, 0.5]
    number, share = study.truncated_share()
    assert (number.tolist(), share.tolist()) == ([1, 1], [1, 0.5])
    assert [str(one.message) for one in caught] == [
        'Features with the same sequence are merged and their counts added: 1 sequence under several feature IDs (e.g. '
        "'u' and 't').",
        'Features whose sequences are the same once truncated to 4 nucleotides are merged and their counts added: 1 '
        "truncated sequence under several feature IDs (e.g. 'v' and 'x').",
        'The model reads the first 4 nucleotides of a sequence: 2 sequences of up to 7 nucleotides are truncated, in '
        'ASVs with 77.8% of all reads.',
    ]


def test_a_longer_sequence_that_no_sample_has_truncates_nothing(table_of):
    ids = {'x': 'ACGT', 'y': 'ACGTCC'}
    with pytest.warns(AAMWarning, match='the same once truncated'):
        study, _ = build_study(*table_of({'a': {'x': 5, 'y': 0}, 'b': {'y': 2}}, ids), max_length=4, keep=['a'])
    assert study.feature_ids == ['x'] and not study.truncated.any()


def test_each_sample_knows_its_truncated_asvs_and_their_share_of_its_reads(table_of):
    with pytest.warns(AAMWarning):
        study, _ = build_study(*table_of(SAMPLES), max_length=3)
    number, share = study.truncated_share()
    assert number.tolist() == [2, 2, 0]
    np.testing.assert_allclose(share, [0.5, 1.0, 0.0])


def test_sequences_no_longer_than_the_limit_are_not_truncated(study_of):
    number, share = study_of(SAMPLES, max_length=6).truncated_share()
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
    truncated = [sequence[:max_length] for sequence in sequences]
    distinct, column = np.unique(truncated, return_inverse=True)
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
    occurring = np.flatnonzero(np.diff(counts.tocsc().indptr))
    names = {distinct[i]: [feature_ids[j] for j in occurring if truncated[j] == distinct[i]] for i in present}
    longer = {truncated[j] for j in occurring if sequences[j] != truncated[j]}
    return Study(
        sample_ids=[sample_ids[i] for i in order],
        feature_ids=[min(names[distinct[i]]) for i in present],
        codes=codes,
        lengths=lengths,
        truncated=np.array([distinct[i] in longer for i in present]),
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
    # samples without reads, features without reads, sequences under several ids, and some that are longer than others
    counts[generator.permutation(samples)[:7]] = 0
    counts[:, generator.permutation(features)[:9]] = 0
    sequences = [''.join(generator.choice(list('ACGTN'), size)) for size in generator.integers(3, 20, features)]
    sequences[-12:] = [sequences[i] for i in generator.integers(0, features - 12, 12)]
    sequences[:4] = [sequences[i] + 'A' for i in range(4, 8)]
    sample_ids = [f's{i}' for i in generator.permutation(samples)]
    feature_ids = [f'f{i}' for i in generator.permutation(features)]
    path = tmp_path / 'table.biom'
    with h5py.File(path, 'w') as file:
        biom.Table(counts.T, feature_ids, sample_ids).to_hdf5(file, 'test')
    keep = sample_ids[::2] if seed % 2 else sample_ids
    max_length = (None, 12, 5, 3)[seed]
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


def test_a_study_on_disk_is_that_in_memory_and_is_loaded_with_its_warnings(table_of, tmp_path):
    table, sequences = table_of(SAMPLES | {'10249.C001.ä': {'TT': 1}, 'none': {}})
    with pytest.warns(AAMWarning):
        expected, _ = build_study(table, sequences, 5)
    with pytest.warns(AAMWarning) as caught:
        built, _ = build_study(table, sequences, 5, folder=tmp_path)
    with pytest.warns(AAMWarning) as caught_again:
        loaded, without_reads = load_study(tmp_path)
    assert_same(built, expected)
    assert_same(loaded, expected)
    assert without_reads == ['none']
    assert [str(one.message) for one in caught_again] == [str(one.message) for one in caught]
    assert len(caught) == 2


def test_a_study_that_was_not_finished_is_no_study(table_of, tmp_path):
    build_study(*table_of(SAMPLES), folder=tmp_path)
    (tmp_path / MARKER).unlink()
    assert load_study(tmp_path) is None


@pytest.mark.parametrize('name', [MARKER, 'codes.npy', 'lengths.npy'])
def test_a_damaged_study_is_named_and_no_study(table_of, tmp_path, name):
    build_study(*table_of(SAMPLES), folder=tmp_path)
    (tmp_path / name).write_bytes(b'\x93NUMPY')
    with pytest.warns(
        AAMWarning, match=f'^The study in the run directory, {tmp_path}, is damaged .*; it is built again.$'
    ):
        assert load_study(tmp_path) is None
    expected, _ = build_study(*table_of(SAMPLES))
    assert_same(build_study(*table_of(SAMPLES), folder=tmp_path)[0], expected)


def test_a_folder_without_room_is_refused_before_anything_is_written(table_of, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.posix_fallocate', full)
    with pytest.raises(UserError) as error:
        build_study(*table_of(SAMPLES), folder=tmp_path)
    assert re.sub('[0-9]+ bytes', 'N bytes', str(error.value)) == (
        f'The run directory {tmp_path} has no room for another N bytes (No space left on device); free disk space, or '
        'set the environment variable AAM_WORK_DIR to a folder that has it.'
    )


def test_truncated_shares_are_the_same_in_blocks(table_of, monkeypatch):
    with pytest.warns(AAMWarning):
        study, _ = build_study(*table_of(SAMPLES), max_length=3)
    monkeypatch.setattr('q2_aam.data.study.BLOCK', 1)
    number, share = study.truncated_share()
    assert number.tolist() == [2, 2, 0]
    np.testing.assert_allclose(share, [0.5, 1.0, 0.0])


def test_a_sequence_beyond_any_model_is_refused_with_what_to_do(study_of):
    genome, other = 'ACGT' * 17500, 'ACGT' * 30
    with pytest.raises(UserError) as error:
        study_of({'s': {other: 3, genome: 1}, 't': {other + 'A': 1}})
    assert str(error.value) == (
        'A model reads at most 65,536 nucleotides of a sequence, but 1 sequence is longer (e.g. that of feature '
        f"'{genome[:75]}'..., 70,000); filter such features from the table, or set the parameter max_sequence_length, "
        'to which sequences are truncated (half of them have 121 nucleotides or less).'
    )
    with pytest.warns(AAMWarning, match='^The model reads the first 150 nucleotides '):
        assert study_of({'s': {other: 3, genome: 1}}, max_length=150).longest == 150


def test_a_long_sequence_that_does_not_occur_is_no_matter(study_of):
    assert study_of({'s': {'ACGT': 3, 'A' * 70000: 0}}).longest == 4
