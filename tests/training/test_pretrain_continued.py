"""Pretraining that goes on from an encoder: with its weights and form, and with a word on what is kept of it."""

import json
import re

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.runtime import checkpoint
from q2_aam.runtime.content import hash_files
from q2_aam.training import loop
from q2_aam.training.continued import SAMPLES, made_of, partial_correlation
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
        r'Kept of the initial encoder: distances between embeddings of \d+ sequences, which stand for what it '
        r'learned from, correlate with those of before at r = 1\.000\. An untrained network has 0\.\d{3}; with its '
        r'part taken out \(partial correlation\), r is 1\.000\.',
        line,
    )
    numbers = history.last('run')
    # some of the figure needs no training, and that is the same whatever was learned
    floor = numbers['kept_in_untrained_network']
    assert 0 < floor < 1 and f'An untrained network has {floor:.3f};' in line
    assert numbers['kept_distances_r2'] == pytest.approx(1, abs=1e-3) and numbers['kept_distances_mae'] < 1e-3
    assert any(
        line.startswith('Kept of its distances: between 64 samples that are made of these sequences, distances are ')
        and line.endswith('from those of before on average, R2 = 1.000 (1: unchanged, 0: no better than their mean).')
        for line in lines
    )
    _, changed, _ = go_on('far', learning_rate=0.05)
    other = changed.last('run')
    assert kept(changed) < 0.99 and other['kept_in_untrained_network'] == pytest.approx(floor)
    assert other['kept_beyond_untrained_network'] < kept(changed) and other['kept_distances_r2'] < 0.99


def test_a_figure_that_an_untrained_network_has_too_is_nothing_that_was_kept():
    assert partial_correlation(0.9, 0.9, 1.0) == 0
    assert partial_correlation(0.81, 0.9, 0.9) == pytest.approx(0, abs=1e-12)
    assert partial_correlation(1.0, 0.8, 0.8) == pytest.approx(1)
    generator = np.random.default_rng(1)
    floor, one, other = generator.normal(size=(3, 500))
    one, other = one + 2 * floor, other + one + floor
    r = np.corrcoef([one, other, floor])
    rest = [values - np.polyval(np.polyfit(floor, values, 1), floor) for values in (one, other)]
    assert partial_correlation(r[0, 1], r[0, 2], r[1, 2]) == pytest.approx(np.corrcoef(rest)[0, 1])


def test_samples_that_are_made_of_sequences_are_near_and_far_and_always_the_same():
    codes = np.random.default_rng(1).integers(1, 5, size=(300, 20), dtype=np.uint8)
    study, again = (made_of(codes, np.random.default_rng(2)) for _ in range(2))
    assert len(study) == SAMPLES and np.array_equal(study.asvs, again.asvs)
    assert study.richness.min() >= 1 and study.richness.max() > 5 * study.richness.min()
    shares = np.add.reduceat(study.abundances, study.offsets[:-1])
    np.testing.assert_allclose(shares, 1, rtol=1e-5)
    held = [set(study.asvs[start:stop]) for start, stop in zip(study.offsets, study.offsets[1:])]
    shared = [len(held[i] & held[j]) / len(held[i] | held[j]) for i in range(SAMPLES) for j in range(i)]
    assert min(shared) == 0 and max(shared) > 0.2


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
