"""The files of a call become a study: with a FASTA or with ids that are sequences, all samples or some."""

import dataclasses

import biom
import h5py
import numpy as np
import pytest

from q2_aam.data.inputs import FOLDER, read_study
from q2_aam.data.study_files import MARKER
from q2_aam.errors import AAMWarning, UserError

COUNTS = [[5, 0, 1], [0, 4, 4], [2, 0, 0]]


@pytest.fixture
def write(tmp_path):
    def table(feature_ids, name='table.biom'):
        path = tmp_path / name
        with h5py.File(path, 'w') as file:
            biom.Table(np.array(COUNTS).T, feature_ids, ['s2', 's0', 's1']).to_hdf5(file, 'test')
        return path

    return table


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / 'sequences.fasta'
    path.write_text('>f2\nTTT\n>f0 first\nacg\n>f1\nGGGNN\n>unused\nCCCCCCCCC\n')
    return path


def test_a_fasta_and_ids_that_are_sequences_give_the_same_study(write, fasta):
    one, without_one = read_study(write(['f0', 'f1', 'f2']), fasta)
    two, without_two = read_study(write(['ACG', 'GGGNN', 'TTT'], 'sequences.biom'))
    assert one.sample_ids == two.sample_ids == ['s0', 's1', 's2']
    assert without_one == without_two == []
    assert one.codes.tolist() == two.codes.tolist() == [[1, 2, 3, 0, 0], [3, 3, 3, 5, 5], [4, 4, 4, 0, 0]]
    assert one.asvs.tolist() == two.asvs.tolist() == [1, 2, 0, 0, 2]
    assert one.reads.tolist() == two.reads.tolist() == [8, 2, 6]


def test_only_kept_samples_and_their_asvs_are_in_the_study(write, fasta):
    asked = []

    def keep(ids):
        asked.extend(ids)
        return ['s1', 's2']

    study, _ = read_study(write(['f0', 'f1', 'f2']), fasta, keep=keep)
    assert asked == ['s2', 's0', 's1']
    assert study.sample_ids == ['s1', 's2']
    assert study.codes.tolist() == [[1, 2, 3], [4, 4, 4]]
    assert study.reads.tolist() == [2, 6]


def test_the_maximum_length_is_handed_on(write, fasta):
    with pytest.warns(AAMWarning, match='^The model reads the first 4 .* 1 sequence .* 25.0% of all reads.$'):
        study, _ = read_study(write(['f0', 'f1', 'f2']), fasta, max_length=4)
    assert study.longest == 4 and study.truncated.tolist() == [False, True, False]


HASHES = ['d41d8cd98f00b204e9800998ecf8427e', 'f1', 'f2']


@pytest.mark.parametrize('ids, named', [(HASHES, None), (['f0', 'f1', 'f2'], False)])
def test_hashed_ids_without_sequences_are_refused_and_so_are_names_by_a_model_of_sequences(ids, named, write):
    with pytest.raises(UserError, match='^The feature IDs of the table are not sequences '):
        read_study(write(ids), named=named)


def test_features_with_names_and_no_sequences_are_read_by_their_names(write, tmp_path):
    study, _ = read_study(write(['f0', 'f1', 'f2']), max_length=4, harmonize=lambda table, of: 1 / 0)
    assert study.named and sorted(study.feature_ids) == ['f0', 'f1', 'f2'] and not study.truncated.any()
    other, _ = read_study(write(['f2', 'f0', 'f1'], 'other.biom'), folder=tmp_path)
    assert other.named and set(other.keys.tolist()) == set(study.keys.tolist())
    again, _ = read_study(write(['f2', 'f0', 'f1'], 'other.biom'), folder=tmp_path)
    assert again.named and again.feature_ids == other.feature_ids


def test_a_model_of_names_refuses_sequences_given_or_as_ids(write, fasta):
    with pytest.raises(UserError) as error:
        read_study(write(['f0', 'f1', 'f2']), fasta, named=True)
    assert str(error.value) == (
        'The model knows features by their names, because it was trained without sequences, but sequences are given; '
        'leave them out, or give a model that was trained with sequences.'
    )
    ids = ['ACGT' * 20, 'AAAC' * 20, 'GGGT' * 20]
    with pytest.raises(UserError) as error:
        read_study(write(ids), named=True)
    assert str(error.value).startswith(
        'The model knows features by their names, because it was trained without sequences, but the features of the '
        "table are sequences (e.g. 'ACGT"
    )


def test_a_finished_study_in_the_folder_is_taken_instead_of_the_sequences_and_counts(write, fasta, tmp_path):
    path = write(['f0', 'f1', 'f2'])
    asked = []

    def keep(ids):
        asked.append(ids)
        return ['s2', 's1']

    first, _ = read_study(path, fasta, keep, folder=tmp_path)
    fasta.unlink()
    again, without_reads = read_study(path, fasta, keep, folder=tmp_path)
    # who is kept is asked again, because that may warn the user
    assert len(asked) == 2
    assert again.sample_ids == first.sample_ids == ['s1', 's2'] and without_reads == []
    np.testing.assert_array_equal(again.abundances, first.abundances)


def test_what_was_warned_of_sequences_is_warned_of_again_where_the_study_is_read_back(write, tmp_path):
    path = write(['ACGT' * 10, 'NNW' * 10, 'TAG'])
    said = []
    for _ in range(2):
        with pytest.warns(AAMWarning) as caught:
            read_study(path, folder=tmp_path)
        said.append([str(one.message).split('(e.g.')[0] for one in caught])
    assert said[0] == said[1]
    assert said[0] == [
        '1 feature ID of the table is read as sequences of fewer than 20 nucleotides ',
        'Most letters of some sequences are ambiguous codes such as N, of which a model reads nothing: those of 1 of 3 '
        'features ',
    ]


def test_a_study_that_was_not_finished_is_made_anew(write, fasta, tmp_path):
    path = write(['f0', 'f1', 'f2'])
    first, _ = read_study(path, fasta, folder=tmp_path)
    (tmp_path / FOLDER / MARKER).unlink()
    (tmp_path / FOLDER / 'asvs.npy').write_bytes(b'half')
    again, _ = read_study(path, fasta, folder=tmp_path)
    assert again.asvs.tolist() == first.asvs.tolist() == [1, 2, 0, 0, 2]


def test_a_table_and_its_sequences_are_read_as_they_are_harmonized(write, fasta):
    given = []

    def harmonize(table, sequences):
        given.extend([table.feature_ids, sequences])

        def blocks():
            return (counts[:, ::-1] for counts in table.blocks())

        return dataclasses.replace(table, blocks=blocks), [one[::-1] for one in sequences]

    study, _ = read_study(write(['f0', 'f1', 'f2']), fasta, harmonize=harmonize)
    assert given == [['f0', 'f1', 'f2'], ['ACG', 'GGGNN', 'TTT']]
    assert study.codes.tolist() == [[3, 2, 1, 0, 0], [5, 5, 3, 3, 3], [4, 4, 4, 0, 0]]
