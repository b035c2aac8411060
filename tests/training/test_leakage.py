"""No byte of a model knows what test samples are labelled, weighted or scaled by; nor do weights choose an epoch."""

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.data.splits import TEST, TRAINING

QUICK = {'epochs': 2, 'learning_rate': 0.01, 'target_scaling': 'auto'}


def files_of(run):
    return [(run.folder / name).read_bytes() for name in (bundle.MODEL_FILE, bundle.CONFIG_FILE)]


def split_of(tiny):
    """Whole subjects, two samples each; four test samples."""
    parts = [*['training'] * 7, *['validation'] * 3, *['test'] * 2]
    return pd.Series(np.repeat(np.array(parts, dtype=object), 2), tiny.counts.index, name='split')


def beside(tiny):
    """Return covariates, and all else that may stand beside a target."""
    ids, number = tiny.counts.index, np.arange(24)
    covariates = pd.DataFrame({'diet': np.where(number % 3 < 2, 'milk', 'meat'), 'dose': number % 5 / 4}, ids)
    return covariates, {
        'scale_by': pd.Series(np.where(number % 4 < 2, 'north', 'south'), ids, name='site', dtype=object),
        'extra_targets': pd.DataFrame({'weight': 3000 + 400 * tiny.target, 'late': -tiny.target}),
        'sample_weights': pd.Series(np.linspace(0.5, 2, 24), ids, name='weights'),
    }


def changed(covariates, more, tests):
    """Return the same with other values of test samples, some of which occur nowhere else."""
    covariates, more = covariates.copy(), {name: value.copy() for name, value in more.items()}
    covariates.loc[tests, 'diet'] = ['meat', 'moss', 'milk', 'sand']
    covariates.loc[tests, 'dose'] = [1e12, -1e12, np.nan, 3]
    more['scale_by'].loc[tests] = ['south', 'west', 'north', 'elsewhere']
    more['extra_targets'].loc[tests, ['weight', 'late']] = [[-1e9, 1e9], [np.nan, 7], [-3, np.nan], [0, -1e12]]
    more['sample_weights'].loc[tests] = [0, 1e6, 3, 1e-3]
    return covariates, more


@pytest.mark.parametrize(
    'options',
    [
        {'category_weights': 'balanced', 'learnable_scale': True, 'select_by': 'loss'},
        pytest.param({'abundance_ensemble': False, 'target_scaling': 'minmax'}, marks=pytest.mark.slow),
    ],
)
def test_values_of_test_samples_change_no_byte_of_a_model(tiny, fitted, options):
    split, (covariates, more) = split_of(tiny), beside(tiny)
    one = fitted(tiny, 'one', split=split, covariates=covariates, more=more, **QUICK | options)
    tests = one.details.index[one.details['part'] == TEST]
    assert len(tests) == 4
    tiny.target = tiny.target.copy()
    tiny.target.loc[tests] = [1e9, -1e9, 0.0, 1e-9]
    covariates, more = changed(covariates, more, tests)
    other = fitted(tiny, 'other', split=split, covariates=covariates, more=more, **QUICK | options)
    assert files_of(one) == files_of(other)


@pytest.mark.parametrize('kind', ['regressor', pytest.param('classifier', marks=pytest.mark.slow)])
def test_weights_of_validation_samples_choose_no_epoch(tiny, fitted, classified, kind):
    learn = fitted if kind == 'regressor' else classified
    options = {'abundance_ensemble': False, 'select_by': 'loss', 'epochs': 4}
    if kind == 'regressor':
        options['target_scaling'] = 'standard'
    plain = learn(tiny, 'plain', learning_rate=0.03, **options)
    # their mean over training samples is 1, and all of these have the same
    weights = (plain.details['part'] == TRAINING).astype(float).rename('weights')
    weighted = learn(tiny, 'weighted', more={'sample_weights': weights}, learning_rate=0.03, **options)
    assert files_of(weighted) == files_of(plain)
