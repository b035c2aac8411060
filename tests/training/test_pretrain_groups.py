"""Pretraining on samples of several groups, such as studies: balanced batches, the same bytes for the same seed."""

import itertools

import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.errors import UserError
from q2_aam.runtime import checkpoint
from q2_aam.training import loop
from q2_aam.training.pretrain import balanced_batches


def bytes_of(run):
    return (run.folder / bundle.MODEL_FILE).read_bytes()


def test_batches_are_of_few_groups_whatever_their_number_of_samples():
    members = [np.arange(0, 100), np.arange(100, 103), *(np.arange(i, i + 30) for i in range(200, 410, 30))]
    drawn = list(itertools.islice(balanced_batches(members, 16, np.random.default_rng(1)), 2000))
    group = np.full(500, -1)
    for number, rows in enumerate(members):
        group[rows] = number
    held = np.zeros(len(members))
    for rows in drawn:
        numbers, sizes = np.unique(group[rows], return_counts=True)
        # a group of 3 samples gives them all
        assert len(numbers) == 4 and set(sizes) <= {3, 4} and len(set(rows)) == len(rows)
        assert dict(zip(numbers, sizes)).get(1, 3) == 3
        held[numbers] += 1
    assert held / len(drawn) == pytest.approx(np.full(len(members), 4 / len(members)), abs=0.04)


def test_groups_are_learned_from_in_balanced_batches_and_the_same_bytes_come_of_the_same_seed(tiny, pretrained):
    groups = tiny.groups.rename('study')
    one, same = (pretrained(tiny, name, groups=groups) for name in ('one', 'same'))
    assert bytes_of(one) == bytes_of(same) != bytes_of(pretrained(tiny, 'none'))
    assert any(line.startswith('Batches: of 4 of 1') and line.endswith('drawn evenly.') for line in one.lines)
    assert len(one.history.series('validation', 'distance_r2')) == 2


def test_a_run_with_groups_that_was_killed_is_resumed_and_gives_the_same_model(tiny, pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    call = {'files': tiny.write(tmp_path / 'inputs'), 'groups': tiny.groups, 'epochs': 2, 'batch_size': 6}
    done = []

    def killed(*_):
        done.append(1)
        if len(done) > 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, 'draw_bar', killed)
        pretrained(tiny, 'interrupted', **call)
    resumed = pretrained(tiny, 'resumed', **call)
    assert 'Resumed after 2 of 8 steps.' in resumed.lines
    assert bytes_of(resumed) == bytes_of(pretrained(tiny, 'complete', **call))


def test_a_sample_without_a_group_is_named(tiny, pretrained):
    groups = tiny.groups.drop('sample-of-visit-05')
    with pytest.raises(UserError) as error:
        pretrained(tiny, groups=groups, validation_fraction=0.0)
    assert str(error.value) == (
        "The groups lack 1 sample of the table (e.g. 'sample-of-visit-05'); give a group for each sample."
    )
