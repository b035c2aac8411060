"""Training an encoder on many studies: what is taken of each, and the tree."""

import importlib
import io
import pathlib
import zipfile

import numpy as np
import pytest
import skbio

from q2_aam.data.sequences import read_fasta
from q2_aam.data.table import read_table
from q2_aam.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def train_encoder():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / 'recipe'))
        yield importlib.import_module('train_encoder')


@pytest.fixture
def studies(tiny, tmp_path):
    """Two studies of the same samples and sequences, as ../shared/data/studies has them."""
    files = tiny.write(tmp_path / 'inputs')
    for study in ('first', 'second'):
        folder = tmp_path / 'studies' / study
        folder.mkdir(parents=True)
        for name, path, inside in (
            ('table.qza', files.table, 'data/feature-table.biom'),
            ('rep-seqs.qza', files.sequences, 'data/dna-sequences.fasta'),
        ):
            with zipfile.ZipFile(folder / name, 'w') as file:
                file.write(path, f'uuid-of-{study}/{inside}')
    return sorted((tmp_path / 'studies').iterdir())


def rows_of(path):
    table = read_table(path)
    (counts,) = table.blocks()
    return table.sample_ids, table.feature_ids, counts


def test_of_each_study_some_samples_and_reads_are_taken_whatever_is_left_out(train_encoder, studies, tmp_path, tiny):
    out = tmp_path / 'out'
    out.mkdir()
    train_encoder.merge(studies, out, ['second'], 10, 20, 1)
    ids, features, counts = rows_of(out / 'table.biom')
    assert len(ids) == 10 and {name.split('.')[0] for name in ids} == {'first'}
    assert (np.asarray(counts.sum(axis=1)).ravel() == 20).all()
    left, other, _ = rows_of(out / 'left-out.biom')
    assert len(left) == 10 and {name.split('.')[0] for name in left} == {'second'}
    # the same sequence is one feature in all studies, and no sequence is written that none has
    sequences = read_fasta(out / 'sequences.fasta')
    assert set(sequences) == set(features) | set(other) and len(set(sequences.values())) == len(sequences)
    assert set(sequences.values()) <= set(tiny.sequences.values())
    again = tmp_path / 'again'
    again.mkdir()
    train_encoder.merge(studies, again, [], 10, 20, 1)
    both, _, all_counts = rows_of(again / 'table.biom')
    assert both == ids + left and all_counts[:10].sum() == counts.sum()
    assert sorted(all_counts[:10].data) == sorted(counts.data) and not (again / 'left-out.biom').exists()
    assert train_encoder.studies_of(again / 'table.biom').tolist() == ['first'] * 10 + ['second'] * 10


def test_columns_that_hardly_any_sequence_has_are_masked(train_encoder, tmp_path):
    rows = ['AC-GT'] * 99 + ['ACTGT']
    text = ''.join(f'>s{i}\n{row}\n' for i, row in enumerate(rows))
    (tmp_path / 'whole').write_text(text)
    train_encoder.mask(tmp_path / 'whole', tmp_path / 'masked')
    assert set(read_fasta(tmp_path / 'masked').values()) == {'ACGT'}


def test_a_tree_is_rooted_halfway_between_the_tips_that_are_farthest_apart(train_encoder):
    rooted = train_encoder.rooted_at_midpoint('(asv_1:1,asv_2:1,(asv_3:4,asv_4:1):1);')
    tree = skbio.TreeNode.read(io.StringIO(rooted), convert_underscores=False)
    far = {tip.name: tip.accumulate_to_ancestor(tree) for tip in tree.tips()}
    assert far['asv_3'] == pytest.approx(3) and far['asv_1'] == far['asv_2'] == pytest.approx(3)


def test_a_program_that_is_not_there_is_named(train_encoder, monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError) as error:
        train_encoder.program(train_encoder.FAST_TREE)
    assert str(error.value) == 'FastTree was not found; install it (apt-get install mafft fasttree).'
    (tmp_path / 'fasttree').touch()
    assert train_encoder.program(train_encoder.FAST_TREE) == 'fasttree'
