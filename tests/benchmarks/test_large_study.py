"""The benchmark of a large study makes what it says, and runs whole when it is small."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from skbio import TreeNode

from q2_aam.data.inputs import read_study

SCRIPT = pathlib.Path(__file__).parent / 'large_study.py'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    spec = importlib.util.spec_from_file_location('large_study', SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp('made')
    return folder, script.make(folder, samples=1500, asvs=80, nonzeros=20_000, labelled=9, new=4)


@pytest.fixture(scope='module')
def study(made):
    return read_study(made[0] / 'table.biom', made[0] / 'sequences.fasta')[0]


def test_the_tables_hold_what_is_said_and_the_small_one_begins_the_large_one(made, study):
    folder, what = made
    assert what == f'1,500 samples, 80 ASVs, {len(study.asvs):,} non-zeros'
    assert (len(study), len(study.codes)) == (1500, 80)
    few, _ = read_study(folder / 'new.biom', folder / 'sequences.fasta')
    assert few.sample_ids == study.sample_ids[:4]
    assert few.reads.tolist() == study.reads[:4].tolist()
    assert len(pd.read_csv(folder / 'target.tsv', sep='\t', index_col='id')) == 9


def test_the_tree_has_the_asvs_as_tips_and_its_distances_are_those_of_the_sequences(made, study):
    tree = TreeNode.read(str(made[0] / 'tree.nwk'), format='newick')
    assert sorted(tip.name for tip in tree.tips()) == sorted(study.feature_ids)
    assert all(len(node.children) == 2 for node in tree.non_tips())
    between = tree.tip_tip_distances()
    between = between.filter(study.feature_ids).data
    differ = (study.codes[:, None] != study.codes).mean(-1)
    upper = np.triu_indices(80, 1)
    assert np.corrcoef(between[upper], differ[upper])[0, 1] > 0.8


@pytest.mark.slow
def test_a_small_one_runs_whole_and_passes():
    command = [sys.executable, SCRIPT, '--scale', '0.002', '--steps', '3', '--epochs', '1']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *lines, verdict = done.stdout.splitlines()
    assert first.split() == ['stage', 'seconds', 'peak', 'GiB']
    assert [line.split()[0] for line in lines] == ['make', 'prepare', 'pretrain', 'fit', 'predict']
    assert all(float(line.split()[1]) > 0 and 0.01 < float(line.split()[2]) < 6 for line in lines)
    assert verdict.startswith('PASS: highest peak ') and verdict.endswith(' GiB, limit 6 GiB.')
