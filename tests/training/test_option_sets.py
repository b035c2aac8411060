"""Any options that agree with each other train, give finite losses, and predict the same once saved and loaded."""

import shutil

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.bundle.card import CARD_FILE
from q2_aam.config import FitClassifierConfig, FitRegressorConfig, PretrainConfig
from q2_aam.training.pretrain import pretrain
from tests.conftest import TINY, make_tiny, run_fit, run_fit_classifier, run_predict, run_predict_classes

KINDS = {'pretrain': PretrainConfig, 'regressor': FitRegressorConfig, 'classifier': FitClassifierConfig}
# Values of options that are numbers or lists; of others, any word is drawn. What is not here keeps its value.
VALUES = {
    'max_asvs_per_sample': (0.0, 0.5, 0.9, 4.0),
    'validation_fraction': (0.2, 0.4),
    'test_fraction': (0.0, 0.2),
    'nucleotides_per_token': (1, 7),
    'width': (8, 24),
    'attention_heads': (1, 2),
    'mlp_ratio': (1, 3),
    'memberships': (8, 20),
    'asv_layers': (1, 2),
    'sample_layers': (1, 2),
    'max_sequence_length': ('auto', 32),
    'max_steps': (0, 3),
    'batch_size': (4, 24),
    'accumulation_steps': (1, 2, 3),
    'momentum': (0.0, 0.5),
    'learning_rate': ('auto', 'find', 0.001),
    'warmup_fraction': (0.0, 1.0),
    'restarts': (1, 3),
    'plateau_factor': (0.1, 0.9),
    'plateau_patience': (1, 2),
    'weight_decay': (0.0, 0.5),
    'ema_decay': (0.0, 0.5, 0.99),
    'gradient_clip': (0.0, 0.1),
    'rarefaction_depth': (0, 200),
    'rarefaction_range': (1.0, 4.0),
    'asv_dropout': (0.0, 0.5),
    'nucleotide_noise': (0.0, 0.1),
    'max_shift': (0, 4),
    'max_trim': (0, 9),
    'nucleotide_weight': (0.5, 2.0),
    'mask_ratio': (0.05, 0.6),
    'mask_noise': (0.0, 0.1, 0.5),
    'masked_asv_ratio': ('auto', 0.3),
    'abundance_weight': (0.0, 0.5),
    'masked_abundance_ratio': (0.05, 0.5, 0.95),
    'extra_target_weight': (0.0, 0.5),
    'distance_weight': (0.0, 2.0),
    'taxonomy_weight': (0.0, 1.0),
    'taxonomy_level': (1, 2),
    'alpha_diversity_weight': (0.0, 1.0),
    'patience': (1, 5),
    'head_layers': (0, 1, 3),
    'head_dropout': (0.0, 0.5),
    'over_penalty': (0.5, 4.0),
    'under_penalty': (0.5, 4.0),
    'quantiles': ((0.5,), (0.1, 0.9), (0.05, 0.3, 0.31)),
    'output_range': ((0.0, 12.0), (-5.0, 100.0)),
    'coverage': (0.5, 0.8),
    'weights_of_classes': (('10 weeks=1', 'mid way=0', 'später=7.5'),),
    'label_smoothing': (0.0, 0.2),
    'random_seed': (1, 2, 3),
}
# What an option is drawn together with.
WITH = {
    'quantiles': {'loss': 'quantile'},
    'over_penalty': {'loss': 'asymmetric'},
    'under_penalty': {'loss': 'asymmetric'},
    'output_range': {'output_activation': 'sigmoid'},
    'restarts': {'schedule': 'cosine_restarts'},
    'plateau_factor': {'schedule': 'plateau'},
    'plateau_patience': {'schedule': 'plateau'},
    'momentum': {'optimizer': 'sgd'},
    'weights_of_classes': {'class_weights': 'given'},
}
# Groups of what changes what is learned; and options of them that need what is not at hand, a phylogeny or an encoder.
GROUPS = ('data', 'model', 'training')
LEFT_OUT = ('unifrac', 'faith_pd_weight', 'freeze', 'encoder_learning_rate_ratio', 'random_forest', 'epochs')
# Changed at a time: of all at once hardly any would agree.
CHANGED = 12


def random_options(kind, seed):
    """Return options of a call, some of them changed at random, that agree with each other."""
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    options = [opt for opt in KINDS[kind].options() if opt.group in GROUPS and opt.name not in LEFT_OUT]
    while True:
        drawn = {}
        for place in random.permutation(len(options))[:CHANGED]:
            opt = options[place]
            values = VALUES.get(opt.name) or opt.choices or ((True, False) if opt.kind is bool else ())
            if values:
                drawn[opt.name] = values[random.integers(len(values))]
                drawn |= WITH.get(opt.name, {})
        try:
            KINDS[kind].from_flat(TINY | drawn)
        except ValueError:
            # they contradict each other
            continue
        if not contradicts_inputs(drawn):
            return drawn


def contradicts_inputs(drawn):
    """Tell whether options contradict what they are used with: categories, distances, a depth."""
    by_category = drawn.get('category_weights') == 'balanced'
    unscaled = drawn.get('target_scaling') == 'none' or drawn.get('output_activation', 'none') != 'none'
    without_distances = drawn.get('distance_weight') == 0 and drawn.get('token_branches') == 'on'
    depth = drawn.get('abundance_as') == 'log_counts' and drawn.get('rarefaction_depth')
    return (by_category and unscaled) or without_distances or depth


def inputs_beside(kind, seed, options, tiny):
    """Return inputs of a fit beside the target: those that options need, and others at random."""
    random, ids = np.random.default_rng([seed, 9]), tiny.counts.index
    given = {}
    if random.random() < 0.5:
        extra = pd.DataFrame({'weight': 5 + 0.1 * np.arange(24), 'size': random.random(24)}, ids)
        given['extra_targets'] = extra.mask(random.random((24, 2)) < 0.2)
    if random.random() < 0.5:
        given['sample_weights'] = pd.Series(random.random(24), ids, name='weight')
    if kind == 'regressor' and options.get('category_weights') == 'balanced':
        given['scale_by'] = pd.Series([*'nnss'] * 6, ids, name='site')
    return given


def taxonomy_of(tiny):
    ranks = '; '.join(f'{letter}__{{0}}' for letter in 'kpcofg')
    return pd.Series({name: ranks.format(i // 8) for i, name in enumerate(tiny.sequences)}, name='Taxon')


def run_pretrain(tiny, place, **options):
    files, folder = tiny.write(place / 'inputs'), place / 'bundle'
    folder.mkdir()
    richness = (tiny.counts > 0).sum(axis=1).astype(float).rename('richness')
    history = pretrain(
        files.table, folder, PretrainConfig.from_flat(TINY | options), files.sequences, files.distance_matrix,
        say=lambda line: None, taxonomy=taxonomy_of(tiny), alpha_diversity=[richness],
    )  # fmt: skip
    return folder, history


def saved_again(folder, place):
    """Load a bundle, save it elsewhere and return where."""
    import json

    place.mkdir()
    bundle.save(place, bundle.load(folder), json.loads((folder / CARD_FILE).read_text()))
    return place


def check(kind, seed, tmp_path, monkeypatch):
    # a range test of few steps
    monkeypatch.setattr('q2_aam.training.steps.STEPS_TO_FIND', 8)
    tiny, options = make_tiny(), random_options(kind, seed)
    if kind == 'pretrain':
        folder, history = run_pretrain(tiny, tmp_path, **options)
    else:
        more = inputs_beside(kind, seed, options, tiny)
        run = (run_fit if kind == 'regressor' else run_fit_classifier)(tiny, tmp_path, more=more, **options)
        folder, history = run.folder, run.history
    losses = [row for row in history.rows if row[3].endswith('loss') and row[2] != 'range_test']
    assert losses and all(np.isfinite(row[4]) for row in losses), options
    again = saved_again(folder, tmp_path / 'again')
    assert (again / bundle.MODEL_FILE).read_bytes() == (folder / bundle.MODEL_FILE).read_bytes(), options
    assert bundle.read_config(again) == bundle.read_config(folder)
    if kind == 'pretrain':
        return
    predict = run_predict if kind == 'regressor' else run_predict_classes
    given = {'scale_by': more['scale_by']} if 'scale_by' in more else {}
    first, second = (predict(tiny, tmp_path / name, one, **given) for name, one in (('one', folder), ('two', again)))
    for one, other in zip(first, second):
        assert one.equals(other), options
    # what the fit said of samples that had no part in training is what the model predicts
    tests = run.details.index[run.details['part'] == 'test']
    assert (
        list(first[0].loc[tests]) == pytest.approx(list(run.predictions.loc[tests]), rel=1e-4, abs=1e-4)
        if (kind == 'regressor')
        else (first[0].loc[tests] == run.predictions.loc[tests]).all()
    )
    shutil.rmtree(again)


CASES = [(kind, seed) for seed in range(34) for kind in KINDS]


@pytest.mark.parametrize(('kind', 'seed'), CASES[:10])
def test_ten_random_sets_of_options(kind, seed, tmp_path, monkeypatch):
    check(kind, seed, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'seed'), CASES[10:])
def test_many_more_random_sets_of_options(kind, seed, tmp_path, monkeypatch):
    check(kind, seed, tmp_path, monkeypatch)


def test_every_option_is_changed_in_some_set_or_left_out_for_a_reason():
    named = {opt.name for call in KINDS.values() for opt in call.options() if opt.group in GROUPS}
    assert set(VALUES) <= named
    assert named - {name for kind, seed in CASES for name in random_options(kind, seed)} == set(LEFT_OUT)
