"""Pretraining that goes on from an encoder: with its weights and form, and with a word on what is kept of it."""

import json
import re

import pytest
import torch

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.runtime import checkpoint
from q2_aam.runtime.content import hash_files
from q2_aam.training import loop
from q2_aam.training.pretrain import pretrain

QUICK = {'epochs': 2, 'batch_size': 8, 'random_seed': 7, 'threads': 1, 'device': 'cpu'}
FORM = 'Parameter width is 32, but the encoder was made with 16; leave it at auto.'


@pytest.fixture
def go_on(tiny, tiny_encoder, tmp_path):
    """Go on from the tiny encoder: (name of a new folder, options) -> folder, history, lines."""
    files = tiny.write(tmp_path / 'inputs')

    def run(name, **options):
        folder, lines = tmp_path / name, []
        folder.mkdir()
        history = pretrain(
            files.table, folder, PretrainConfig.from_flat(QUICK | options), files.sequences, files.distance_matrix,
            say=lines.append, initial_encoder=tiny_encoder.folder,
        )  # fmt: skip
        return folder, history, lines

    return run


def kept(history):
    return history.last('run')['kept_of_initial_encoder']


def test_training_begins_with_the_weights_of_the_encoder_and_says_what_is_kept(go_on, tiny_encoder):
    folder, history, lines = go_on('still', learning_rate=1e-8)
    before, after = (bundle.load(place).network.state_dict() for place in (tiny_encoder.folder, folder))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert kept(history) == pytest.approx(1, abs=1e-4)
    (line,) = [line for line in lines if line.startswith('Kept of the initial encoder')]
    assert re.fullmatch(
        r'Kept of the initial encoder: distances between embeddings of \d+ sequences that stand for what it learned '
        r'from correlate with those of before at r = 1\.000\.',
        line,
    )
    _, changed, _ = go_on('far', learning_rate=0.05)
    assert kept(changed) < 0.99


def test_the_encoder_is_among_what_a_run_is_known_by(go_on, tiny_encoder):
    folder, *_ = go_on('known')
    card = json.loads((folder / bundle.CARD_FILE).read_text())
    assert card['input_sha256']['encoder'] == hash_files(encoder=tiny_encoder.folder)['encoder']


def test_another_form_is_refused(go_on):
    with pytest.raises(UserError, match=f'^{re.escape(FORM)}$'):
        go_on('other', width=32)


def test_a_run_that_was_killed_gives_the_same_model(go_on, monkeypatch):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    done = []

    def killed(*_):
        done.append(1)
        if len(done) > 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, 'draw_bar', killed)
        go_on('interrupted')
    resumed, _, lines = go_on('resumed')
    assert any(line.startswith('Resumed after 2 of') for line in lines)
    monkeypatch.setenv('AAM_WORK_DIR', str(resumed.parent / 'elsewhere'))
    complete, *_ = go_on('complete')
    assert (resumed / bundle.MODEL_FILE).read_bytes() == (complete / bundle.MODEL_FILE).read_bytes()
