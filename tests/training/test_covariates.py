"""Covariates through a fit: an effect that the community says nothing of is recovered on groups that are left out."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from q2_aam import bundle
from q2_aam.errors import AAMWarning, UserError
from q2_aam.model.covariates import FUSIONS
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR
from q2_aam.training.ensemble import fit_ensemble
from tests.conftest import run_fit
from tests.facilities import make_facilities

DEFAULT = bundle.CALLS[bundle.REGRESSOR]().covariates.covariate_fusion
ALONE = {'abundance_ensemble': False, 'epochs': 15, 'learning_rate': 0.01, 'batch_size': 16, 'patience': 15}
QUICK = {'max_steps': 3}


@pytest.fixture(scope='module')
def facilities():
    return make_facilities()


@pytest.fixture(scope='module')
def error_without(facilities, tmp_path_factory):
    """The error of the network that knows nothing of facilities, on test samples of groups that are left out."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp('without')
        patch.setenv('AAM_WORK_DIR', str(place / 'work'))
        return error_of(facilities, run_fit(facilities[0], place, target_scaling='standard', **ALONE))


def error_of(facilities, run):
    tested = run.details['part'] == 'test'
    assert not set(facilities[0].groups[tested]) & set(facilities[0].groups[~tested])
    return (run.predictions - facilities[0].target[run.predictions.index]).abs().mean()


def recovered(facilities, fitted, error_without, fusion):
    tiny, covariates = facilities
    run = fitted(tiny, covariates=covariates, covariate_fusion=fusion, target_scaling='standard', **ALONE)
    return error_of(facilities, run) < error_without / 2


def test_the_network_recovers_an_effect_of_the_facility(facilities, fitted, error_without):
    assert recovered(facilities, fitted, error_without, DEFAULT)


@pytest.mark.slow
@pytest.mark.parametrize('fusion', sorted(set(FUSIONS) - {DEFAULT}))
def test_every_fusion_recovers_an_effect_of_the_facility(facilities, fitted, error_without, fusion):
    assert recovered(facilities, fitted, error_without, fusion)


@pytest.fixture
def prepared(facilities, make_run, tmp_path):
    """Prepare a fit of facilities: options -> PreparedFit."""
    from q2_aam.objectives import Inputs
    from q2_aam.training.prepare import prepare_fit

    def prepare(covariates=facilities[1], run=None, **options):
        tiny = facilities[0]
        config = bundle.CALLS[bundle.REGRESSOR].from_flat(
            {'threads': 1, 'device': 'cpu', 'target_scaling': 'standard'} | options
        )
        files = tiny.write(tmp_path / f'inputs{len(list(tmp_path.iterdir()))}')
        inputs = Inputs(files.table, files.sequences, tiny.target, tiny.groups, covariates=covariates)
        return prepare_fit(bundle.REGRESSOR, inputs, config, run or make_run(3))

    return prepare


def test_every_kind_of_member_of_the_ensemble_reads_covariates(prepared, facilities, make_run, quick_members):
    covariates = facilities[1]
    without, given = (
        fit_ensemble(prepared(one), make_run(3, name=name)) for name, one in (('a', None), ('b', covariates))
    )
    assert set(given.by_kind) <= set(given.model.members) and {LINEAR, EXTRA_TREES} <= set(given.by_kind)
    for kind in (LINEAR, EXTRA_TREES):
        one, other = (np.abs(fitted.by_kind[kind][:, 0] - fitted.data.values).mean() for fitted in (without, given))
        assert other < one / 2, kind
    # how far a sample lies from those that are known is no matter of covariates
    for name in ('familiarity', 'vocabulary_coverage', 'share_of_reads_in_vocabulary'):
        assert np.array_equal(getattr(given.signs, name), getattr(without.signs, name))
    for name, array in without.domain.arrays().items():
        assert np.array_equal(given.domain.arrays()[name], array)


def test_leaves_of_trees_hold_five_samples_with_covariates_too(prepared, make_run, quick_members):
    ensemble = fit_ensemble(prepared(), make_run(3))
    data, trees = ensemble.data, ensemble.model.members[EXTRA_TREES]
    leaves = trees._leaves(data.features.toarray())
    each = len(trees.first) // trees.members
    for member in range(trees.members):
        for tree in range(member * each, (member + 1) * each):
            _, samples = np.unique(leaves[data.learned(member), tree], return_counts=True)
            assert samples.min() >= 5
    # and some of them are of one facility
    assert trees.asv.max() >= data.abundances.shape[1]


def test_thinned_samples_keep_their_covariates(prepared, make_run, quick_members):
    ensemble = fit_ensemble(prepared(), make_run(3))
    asvs, before = ensemble.data.abundances.shape[1], ensemble.data.features.toarray()
    outputs, _ = next(ensemble.thinned(np.random.default_rng(0)))
    assert outputs.shape == ensemble.outputs.shape
    assert np.array_equal(ensemble.data.features.toarray(), before) and before.shape[1] == asvs + 4 + 2


@pytest.fixture(scope='module')
def with_covariates(facilities, tmp_path_factory):
    """A quick fit that every test may read and none may change."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp('with')
        patch.setenv('AAM_WORK_DIR', str(place / 'work'))
        tiny, covariates = facilities
        covariates = covariates.assign(subject=tiny.groups, age=tiny.target, note=list(tiny.counts.index))
        covariates.loc[covariates.index[:2], 'visit'] = np.nan
        with pytest.warns(AAMWarning, match="^Covariates that are not used: 'note'; the training samples have no two"):
            return run_fit(tiny, place, covariates=covariates, covariate_dropout=0.3, **QUICK), covariates


def weights_of(run):
    return (run.folder / bundle.MODEL_FILE).read_bytes()


def test_same_seed_same_model_whatever_the_order_of_samples_and_columns(facilities, fitted, with_covariates):
    first, covariates = with_covariates
    order = np.random.default_rng(1).permutation(len(covariates))
    shuffled = covariates.iloc[order][['visit', 'facility']]
    again = fitted(facilities[0], covariates=shuffled, covariate_dropout=0.3, **QUICK)
    assert weights_of(again) == weights_of(first)


def test_dropped_covariates_are_part_of_the_chance(facilities, fitted, with_covariates):
    first, covariates = with_covariates
    again = fitted(facilities[0], covariates=covariates[['facility', 'visit']], covariate_dropout=0.0, **QUICK)
    one, other = (load_file(run.folder / bundle.MODEL_FILE) for run in (first, again))
    for name in ('covariates.category', 'ensemble.first.weight'):
        assert not np.array_equal(one[name], other[name])


def test_test_samples_teach_no_category_and_no_mean(facilities, fitted, with_covariates):
    first, covariates = with_covariates
    tested = first.details.index[first.details['part'] == 'test']
    changed = covariates[['facility', 'visit']].copy()
    changed.loc[tested, 'facility'], changed.loc[tested, 'visit'] = 'another', 1e9
    again = fitted(facilities[0], covariates=changed, covariate_dropout=0.3, **QUICK)
    assert bundle.read_config(first.folder).covariates == bundle.read_config(again.folder).covariates
    assert weights_of(again) == weights_of(first)


def test_what_is_read_is_said_and_in_the_bundle_without_a_sample(facilities, with_covariates):
    tiny, (run, _) = facilities[0], with_covariates
    assert "Covariates: 'facility' (3 categories), 'visit' (numeric)." in run.lines
    assert "Covariates that are unknown, as the model was trained for: 'visit' (2 samples)." in run.lines
    text = (run.folder / bundle.CONFIG_FILE).read_text()
    columns = json.loads(text)['covariates']
    assert columns['categorical'][0]['categories'] == ['north', 'south', 'west']
    assert not any(name in text for name in [*tiny.counts.index, *set(tiny.groups)])


def test_columns_are_chosen_by_name(facilities, fitted):
    tiny, covariates = facilities
    run = fitted(tiny, covariates=covariates, covariate_columns=['visit'], abundance_ensemble=False, **QUICK)
    assert bundle.read_config(run.folder).covariates.names == ['visit']


def test_a_covariate_that_is_the_target_is_warned_of_before_training(facilities, fitted):
    tiny, covariates = facilities
    with pytest.warns(AAMWarning) as warned:
        fitted(tiny, covariates=covariates.assign(months=tiny.target * 12), abundance_ensemble=False, **QUICK)
    assert [str(one.message) for one in warned if 'values of the target' in str(one.message)] == [
        "1 covariate has the values of the target 'age' in nearly all samples ('months'): a model learns to copy what "
        'nobody will know of new samples; leave such columns out with covariate_columns.'
    ]


def test_covariates_that_say_nothing_are_refused_before_training(facilities, fitted):
    tiny, covariates = facilities
    with pytest.raises(UserError, match='so that there is no covariate to learn from; give others, or none.$'):
        fitted(tiny, covariates=covariates.assign(facility='north')[['facility']])


def test_covariates_of_other_samples_are_refused_before_training(facilities, fitted):
    tiny, covariates = facilities
    with pytest.raises(UserError) as error:
        fitted(tiny, covariates=covariates.rename(index=lambda name: f'x{name}'))
    assert str(error.value) == (
        "The feature table and the covariates share no sample IDs (e.g. 'sample000' in the table, 'xsample000' in the "
        'covariates); use the same IDs in both.'
    )


def test_a_random_forest_beside_the_fit_gets_the_same_covariates(facilities, fitted):
    tiny, covariates = facilities
    options = {'random_forest': True, 'max_steps': 1, 'abundance_ensemble': False}
    errors = [
        fitted(tiny, name, covariates=one, **options).history.last('test')['final_random_forest_mae']
        for name, one in (('without', None), ('given', covariates))
    ]
    assert errors[1] < errors[0] / 2


def test_a_network_that_starts_from_an_encoder_learns_covariates(facilities, fitted, pretrained):
    tiny, covariates = facilities
    encoder = pretrained(tiny, matrix=False, max_steps=1).folder
    run = fitted(tiny, encoder=encoder, covariates=covariates, freeze='encoder', abundance_ensemble=False, **QUICK)
    before, after = (load_file(folder / bundle.MODEL_FILE) for folder in (encoder, run.folder))
    kept = [name for name in before if name.startswith('sample_encoder.')]
    assert kept and all(np.array_equal(before[name], after[name]) for name in kept)
    assert any(name.startswith('covariates.') for name in after)
