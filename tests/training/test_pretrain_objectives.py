"""Pretraining on several objectives, up to the best epoch: what is learned, kept, named and resumed."""

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.errors import UserError
from q2_aam.training.pretrain import measures_of, pretrain


@pytest.fixture
def learned(tmp_path, tiny):
    """Pretrain on the tiny study: (name of a new folder, inputs, parameters) -> folder, history and lines."""
    files = tiny.write(tmp_path / 'inputs')

    def make(name, say=None, inputs=(), **options):
        from tests.conftest import TINY

        folder, lines = tmp_path / name, []
        folder.mkdir(exist_ok=True)
        config = PretrainConfig.from_flat(TINY | {'validation_fraction': 0.25} | options)
        history = pretrain(files.table, folder, config, files.sequences, say=say or lines.append, **dict(inputs))
        return folder, history, lines

    return make


@pytest.fixture
def taxonomy(tiny):
    return pd.Series({name: f'k__B; g__G{i // 10}' for i, name in enumerate(tiny.sequences)}, name='Taxon')


@pytest.fixture
def richness(tiny):
    return (tiny.counts > 0).sum(axis=1).astype(float).rename('richness')


def test_all_objectives_are_learned_at_once_by_their_weights_and_left_out_of_the_encoder(learned, taxonomy, richness):
    inputs = {'taxonomy': taxonomy, 'alpha_diversity': [richness]}
    options = {'taxonomy_level': 2, 'taxonomy_weight': 0.5, 'alpha_diversity_weight': 2.0}
    folder, history, lines = learned('all', inputs=inputs, **options)
    for part in ('training', 'validation'):
        last = history.last(part)
        parts = last['nucleotide_loss'] + 0.5 * last['taxonomy_loss'] + 2 * last['alpha_diversity_loss']
        assert last['loss'] == pytest.approx(parts, rel=1e-5)
    assert 'Taxonomy: 3 clades at level 2 (e.g. G0), of 30 of 30 ASVs.' in lines
    assert 'Alpha diversity: richness.' in lines
    assert {plot for plot, *_ in history.points} == {'richness'}
    assert bundle.read_config(folder).heads == {}


def test_clades_that_sequences_tell_are_learned(learned, tiny, taxonomy):
    """Sequences of a clade begin alike: the loss falls below that of guessing."""
    for i, name in enumerate(list(tiny.sequences)):
        tiny.sequences[name] = 'ACGTTGCA'[i // 10 :: 3] * 4 + tiny.sequences[name][12:]
    options = {'taxonomy_level': 2, 'nucleotide_weight': 0.0, 'epochs': 12, 'learning_rate': 0.01}
    _, history, _ = learned('clades', inputs={'taxonomy': taxonomy}, **options)
    assert history.last('training')['taxonomy_loss'] < 0.7


def test_the_masked_loss_does_not_collapse(learned):
    """Letters drawn at random cannot be guessed from others: a loss near 0 would mean that they are seen."""
    _, history, _ = learned('spans', mask_strategy='span', nucleotides_per_token=1, epochs=4, mask_noise=0.1)
    assert min(history.series('training', 'nucleotide_loss')) > 0.8


def test_the_best_epoch_is_kept_and_training_stops_early(learned):
    options = {'epochs': 12, 'learning_rate': 0.05, 'max_steps': 0}
    folder, history, lines = learned('patient', patience=2, **options)
    losses = history.series('validation', 'loss')
    (best,) = history.series('validation', 'best_epoch')
    assert np.argmin(losses) + 1 == best and len(losses) == best + 2 < 12
    assert f'Stopped after epoch {len(losses)}: no better loss in 2 epochs.' in lines
    last, whole, _ = learned('whole', patience=0, **options)
    assert len(whole.series('validation', 'loss')) == 12 and whole.series('validation', 'best_epoch') == []
    weights = [(one / bundle.MODEL_FILE).read_bytes() for one in (folder, last)]
    assert weights[0] != weights[1]


def test_held_out_samples_are_named_in_the_history(learned, tiny):
    _, history, _ = learned('held')
    held = [row[3] for row in history.rows if row[2] == 'held_out']
    assert len(held) == 6 and set(held) <= set(tiny.counts.index) and held == sorted(held)
    _, none, _ = learned('none', validation_fraction=0.0)
    assert [row for row in none.rows if row[2] in ('held_out', 'validation')] == []


def test_an_interrupted_run_with_every_objective_ends_as_one_that_was_not(learned, taxonomy, richness, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.checkpoint.SECONDS_BETWEEN', 0.0)
    inputs = {'taxonomy': taxonomy, 'alpha_diversity': [richness]}
    options = {'taxonomy_level': 2, 'epochs': 4, 'ema_decay': 0.9, 'schedule': 'plateau', 'mask_strategy': 'hybrid'}
    whole, history, _ = learned('whole', inputs=inputs, **options)

    def interrupt(line):
        if line.startswith('epoch 3/4'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned('killed', say=interrupt, inputs=inputs, **options)
    resumed, again, lines = learned('killed', inputs=inputs, **options)
    assert any(line.startswith('Resumed after') for line in lines)
    assert (whole / bundle.MODEL_FILE).read_bytes() == (resumed / bundle.MODEL_FILE).read_bytes()
    assert history.rows == again.rows


def test_other_labels_are_another_run(learned, richness):
    first, *_ = learned('first', inputs={'alpha_diversity': [richness]})
    other, *_ = learned('other', inputs={'alpha_diversity': [richness[::-1].set_axis(richness.index)]})
    assert (first / bundle.MODEL_FILE).read_bytes() != (other / bundle.MODEL_FILE).read_bytes()


def test_two_alpha_diversities_of_one_name_are_refused(richness):
    assert measures_of([]) is None
    assert list(measures_of([richness, richness.rename('other')])) == ['richness', 'other']
    with pytest.raises(UserError) as error:
        measures_of([richness, richness])
    assert str(error.value) == (
        "Alpha diversities must differ in name, but two are 'richness'; give each of them once."
    )


def test_a_plateau_needs_samples_that_tell_it(learned):
    with pytest.raises(UserError) as error:
        learned('flat', schedule='plateau', validation_fraction=0.0)
    assert str(error.value) == (
        'Parameter schedule is plateau, which needs 2 held-out samples or more; raise validation_fraction, or choose '
        'another schedule.'
    )
