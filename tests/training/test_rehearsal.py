"""A rehearsal derives what a fit derives, keeps nothing, and tells what a fit costs."""

import time

import pytest

from q2_aam import bundle
from q2_aam.config import FitClassifierConfig, FitRegressorConfig, PretrainConfig
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.errors import UserError
from q2_aam.objectives import Inputs
from q2_aam.training.rehearsal import rehearse_fit, rehearse_pretraining

QUICK = {'threads': 1, 'device': 'cpu', 'width': 16, 'memberships': 16, 'sample_layers': 1}


@pytest.fixture
def inputs(tiny, tmp_path):
    study = tiny.repeated(3)
    files = study.write(tmp_path / 'inputs')
    return Inputs(files.table, files.sequences, study.target, study.groups, distance_matrix=files.distance_matrix)


def stages(inputs):
    names = (inputs.target > 6).map({True: 'old', False: 'young'}).rename('stage')
    return Inputs(inputs.table, inputs.sequences, names, inputs.groups)


def test_a_rehearsal_tells_what_auto_becomes_and_how_samples_are_split(inputs, work_dir):
    rehearsal = rehearse_fit(bundle.REGRESSOR, inputs, FitRegressorConfig.from_flat(QUICK))
    derived = rehearsal.derived.set_index('parameter')['value']
    assert derived['epochs'].isdecimal() and derived['freeze'] == 'none' and 'width' not in derived
    assert sum(rehearsal.parts.values()) == 72 and set(rehearsal.parts) == {TRAINING, VALIDATION, TEST}
    # nothing is kept
    assert not work_dir.exists() or not list(work_dir.iterdir())


def test_costs_are_times_of_steps_that_were_made(inputs):
    began = time.monotonic()
    costs = rehearse_fit(bundle.REGRESSOR, inputs, FitRegressorConfig.from_flat(QUICK)).costs
    took = time.monotonic() - began
    steps = costs.steps.set_index('part')
    assert list(steps.index) == [
        'read the inputs, choose parameters', 'linear members', 'trees', 'steps of perceptrons',
        'steps of the network', 'validations',
    ]  # fmt: skip
    assert (steps['seconds'] == steps['times'] * steps['each']).all() and (steps['each'] > 0).all()
    assert steps['each'].max() < took and 0 < costs.least < costs.most
    assert steps['times']['trees'] == 500 and 0.05 < costs.memory_gb < 100 and 'cpu' in costs.device.lower()


def test_the_learning_curve_falls_where_more_samples_help(inputs):
    errors = rehearse_fit(bundle.REGRESSOR, inputs, FitRegressorConfig.from_flat(QUICK)).curve.errors
    assert [name for name in errors if isinstance(name, int)] == [2, 1]
    # copies of samples have the errors of these: groups, and not samples, are dealt
    assert errors[1].mean() < 0.5 * errors['guess'].mean()
    assert errors[1].mean() < errors[2].mean() * 1.1 and errors['group'].nunique() == 12


def test_classes_have_errors_that_weigh_all_classes_alike(inputs):
    curve = rehearse_fit(bundle.CLASSIFIER, stages(inputs), FitClassifierConfig.from_flat(QUICK)).curve
    assert curve.errors['guess'].mean() == pytest.approx(0.5)
    assert curve.errors[1].mean() < 0.2
    assert curve.linear > 0 and curve.trees > 0


def test_pretraining_is_rehearsed_without_a_target(inputs):
    config = PretrainConfig.from_flat(QUICK)
    rehearsal = rehearse_pretraining(Inputs(inputs.table, inputs.sequences), config)
    assert rehearsal.curve is None and rehearsal.costs.least == rehearsal.costs.most
    assert 'masked_asv_ratio' in set(rehearsal.derived['parameter'])


def test_what_a_fit_refuses_a_rehearsal_refuses(inputs):
    constant = Inputs(inputs.table, inputs.sequences, inputs.target * 0, inputs.groups)
    with pytest.raises(UserError, match='has only the value 0'):
        rehearse_fit(bundle.REGRESSOR, constant, FitRegressorConfig.from_flat(QUICK))


def test_a_rehearsal_says_the_same_each_time(inputs):
    one, other = (rehearse_fit(bundle.REGRESSOR, inputs, FitRegressorConfig.from_flat(QUICK)) for _ in range(2))
    assert one.curve.errors.equals(other.curve.errors) and one.derived.equals(other.derived)
