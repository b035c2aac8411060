"""Extra targets, scaling by category and weights of samples: from metadata through a fit to predictions."""

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.bundle.card import CARD_FILE
from q2_aam.data.splits import TEST, TRAINING
from q2_aam.errors import AAMWarning, UserError

ALONE = {'abundance_ensemble': False, 'epochs': 2, 'learning_rate': 0.01}


def extra_of(tiny):
    """Two columns that follow the target, each in a unit of its own, one of them with gaps; and the target itself."""
    frame = pd.DataFrame({'weight': 3000 + 400 * tiny.target, 'late': -tiny.target, 'age': tiny.target})
    frame.iloc[::4, 1] = np.nan
    return frame.assign(site='here')


def sites_of(tiny):
    """A site for each subject, in turn."""
    return pd.Series(np.where(np.arange(24) % 4 < 2, 'north', 'south'), tiny.counts.index, name='site', dtype=object)


def test_extra_targets_are_learned_in_their_own_units_and_predicted_again(tiny, fitted, predicted):
    run = fitted(tiny, more={'extra_targets': extra_of(tiny)}, **ALONE | {'epochs': 12})
    details = run.details
    assert [name for name in details if 'extra_' in name] == [
        'extra_weight', 'extra_late', 'true_extra_weight', 'true_extra_late',
    ]  # fmt: skip
    learned = details['part'] == TRAINING
    # training samples have taught the network
    assert details.loc[learned, ['extra_weight', 'extra_late']].isna().all(axis=None)
    told = details[~learned]
    for name in ('weight', 'late'):
        known = told[told[f'true_extra_{name}'].notna()]
        error = (known[f'extra_{name}'] - known[f'true_extra_{name}']).abs().mean()
        assert error < known[f'true_extra_{name}'].std()
    # never below 0 where no value is
    assert (told['extra_weight'] >= 0).all() and (told['extra_late'] < 0).any()
    _, new = predicted(tiny, run.folder)
    tests = details.index[details['part'] == TEST]
    names = ['extra_weight', 'extra_late']
    np.testing.assert_allclose(new.loc[tests, names], told.loc[tests, names], rtol=1e-4)
    names = {row[3] for row in run.history.rows}
    assert {'loss_of_weight', 'loss_of_late', 'extra_target_loss', 'final_mae_of_weight', 'final_r2_of_late'} <= names
    last = run.history.last('training')
    assert last['loss'] == pytest.approx(last['target_loss'] + last['extra_target_loss'], rel=1e-4)
    assert any(line.startswith("Extra targets: 'weight', 'late', by the network alone.") for line in run.lines)
    final = run.history.last('test')
    weight, late = (
        f"'{name}' {final[f'final_mae_of_{name}']:.3g} (r2 {final[f'final_r2_of_{name}']:.2f})"
        for name in ('weight', 'late')
    )
    assert f'Extra targets of test samples, mean absolute error: {weight}, {late}.' in run.lines


def test_extra_targets_stay_in_a_bundle_that_is_saved_again(tiny, fitted, predicted, tmp_path):
    import json

    run = fitted(tiny, more={'extra_targets': extra_of(tiny)}, extra_target_weight=0.5, **ALONE)
    place = tmp_path / 'again'
    place.mkdir()
    bundle.save(place, bundle.load(run.folder), json.loads((run.folder / CARD_FILE).read_text()))
    config = bundle.read_config(place)
    assert config == bundle.read_config(run.folder) and [one.name for one in config.extra_targets] == ['weight', 'late']
    assert config.heads['extra_targets'].outputs == 2
    assert predicted(tiny, place, 'one')[1].equals(predicted(tiny, run.folder, 'two')[1])


def test_a_class_may_have_extra_targets_too(tiny, classified, predicted_classes):
    run = classified(tiny, more={'extra_targets': extra_of(tiny)}, **ALONE)
    assert {'extra_weight', 'extra_age'} <= set(run.details)
    assert {'extra_weight', 'extra_age'} <= set(predicted_classes(tiny, run.folder)[2])


def test_values_of_test_samples_teach_nothing(tiny, fitted):
    extra = extra_of(tiny)
    run = fitted(tiny, more={'extra_targets': extra}, **ALONE)
    tests = run.details.index[run.details['part'] == TEST]
    extra.loc[tests, 'weight'] = 1e9
    again = fitted(tiny, 'again', more={'extra_targets': extra}, **ALONE)
    assert again.predictions.equals(run.predictions)
    assert again.details['extra_weight'].equals(run.details['extra_weight'])


def test_extra_targets_without_two_values_are_left_out_or_refused(tiny, fitted):
    same = pd.DataFrame({'weight': tiny.target, 'same': 1.0})
    with pytest.warns(AAMWarning, match="^Extra targets that are not learned: 'same'; the training samples have no "):
        fitted(tiny, more={'extra_targets': same}, **ALONE)
    with pytest.raises(UserError) as error:
        fitted(tiny, 'none', more={'extra_targets': same[['same']]}, **ALONE)
    assert str(error.value) == (
        "Extra targets that are not learned: 'same'; the training samples have no two values of them, so that there "
        'is none; give others, or no extra targets.'
    )
    with pytest.raises(UserError) as error:
        fitted(tiny, 'others', more={'extra_targets': same.add_prefix('x').rename(index='q{}'.format)}, **ALONE)
    assert str(error.value) == (
        f"The labelled samples and the extra targets share no sample IDs (e.g. '{tiny.counts.index[0]}' in the feature "
        f"table, 'q{tiny.counts.index[0]}' in the extra targets); use the same IDs in both."
    )
    with pytest.raises(UserError) as error:
        fitted(tiny, 'log', more={'extra_targets': -same}, extra_target_scaling='sqrt', **ALONE)
    assert str(error.value).startswith("Parameter extra_target_scaling is sqrt, but extra target 'weight' is -")


def test_an_extra_target_that_is_the_target_is_warned_of(tiny, fitted):
    extra = pd.DataFrame({'days': 30 * tiny.target, 'other': np.arange(24.0) % 5}, tiny.counts.index)
    with pytest.warns(AAMWarning) as warned:
        fitted(tiny, more={'extra_targets': extra}, **ALONE | {'epochs': 1})
    sentence = (
        "1 extra target has the values of the target 'age' in nearly all samples ('days'), and can teach nothing more; "
        'leave such columns out.'
    )
    assert sentence in [str(one.message) for one in warned]


def test_a_target_is_scaled_by_category(tiny, fitted, predicted):
    sites = sites_of(tiny)
    tiny.target = 1000 * (sites == 'south') + tiny.target
    options = {'target_scaling': 'standard', 'epochs': 3, 'learning_rate': 0.003}
    plain = fitted(tiny, abundance_ensemble=False, **options)
    run = fitted(tiny, 'scaled', more={'scale_by': sites}, abundance_ensemble=False, **options)
    errors = [(one.predictions - tiny.target[one.predictions.index]).abs().mean() for one in (plain, run)]
    assert errors[1] < errors[0] / 20
    by_category = bundle.read_config(run.folder).target.by_category
    assert (by_category.name, by_category.categories) == ('site', ('north', 'south'))
    assert np.diff(by_category.centers) == pytest.approx([1000], abs=5) and max(by_category.scales) < 10
    # intervals follow the scale of the category
    assert (run.details['upper_bound'] - run.details['lower_bound']).dropna().max() < 100
    _, details = predicted(tiny, run.folder, scale_by=sites)
    tests = run.details.index[run.details['part'] == TEST]
    columns = ['prediction', 'lower_bound', 'upper_bound']
    np.testing.assert_allclose(details.loc[tests, columns], run.details.loc[tests, columns], rtol=1e-4)


def test_the_ensemble_learns_within_categories_too(tiny, fitted, predicted):
    sites = sites_of(tiny)
    tiny.target = 1000 * (sites == 'south') + tiny.target
    run = fitted(tiny, more={'scale_by': sites}, target_scaling='standard')
    assert (run.predictions - tiny.target[run.predictions.index]).abs().max() < 20
    _, details = predicted(tiny, run.folder, scale_by=sites)
    tests = run.details.index[run.details['part'] == TEST]
    np.testing.assert_allclose(details.loc[tests, 'upper_bound'], run.details.loc[tests, 'upper_bound'], rtol=1e-4)


@pytest.fixture
def scaled(tiny, fitted):
    return fitted(tiny, more={'scale_by': sites_of(tiny)}, learnable_scale=True, category_weights='balanced', **ALONE)


def test_an_unseen_category_has_the_scaling_of_all_and_is_counted(tiny, scaled, predicted):
    sites, said = sites_of(tiny), []
    sites.iloc[[3, 4]] = 'west'
    sites.iloc[5] = None
    changed, _ = predicted(tiny, scaled.folder, scale_by=sites, say=said.append)
    assert (
        "Scaling: that of all samples for 3 samples whose category of 'site' is unknown (not learned: 'west')." in said
    )
    same, _ = predicted(tiny, scaled.folder, 'same', scale_by=sites_of(tiny))
    assert list(np.flatnonzero(changed != same)) == [3, 4, 5]


def test_each_category_may_learn_a_scale_and_an_offset(tiny, scaled):
    said = 'a number, categories weighted to count the same, scaled by 2 categories'
    assert any(said in line for line in scaled.lines)
    model = bundle.load(scaled.folder)
    head = model.network.heads['target']
    assert model.config.heads['target'].categories == 3 and len(head.output_scale) == len(head.output_offset) == 3
    # nothing is unknown in training
    assert head.output_scale[0] == 1 and head.output_offset[0] == 0
    assert (head.output_offset[1:] != 0).all()


def test_what_a_model_was_scaled_by_is_asked_for_by_name(tiny, scaled, predicted, tiny_regressor):
    with pytest.raises(UserError) as error:
        predicted(tiny, scaled.folder)
    assert str(error.value) == (
        "The model was trained with a target that is scaled by 'site' ('north', 'south'); give a metadata column of "
        'such categories as scale_by, and leave empty what is not known of a sample.'
    )
    with pytest.warns(AAMWarning, match='^The model was trained without scale_by, so that the column given changes'):
        predicted(tiny, tiny_regressor.folder, 'other', scale_by=sites_of(tiny))


@pytest.mark.parametrize(
    'options, given, sentence',
    [
        (
            {'target_scaling': 'none'},
            True,
            'Parameter target_scaling is none, so that nothing is scaled, but scale_by is given; choose another '
            'target_scaling, or leave scale_by out.',
        ),
        (
            {'output_activation': 'relu'},
            True,
            'Parameter output_activation is relu, whose bounds cannot be the same for all categories of scale_by once '
            'these are scaled; set it to none, or leave scale_by out.',
        ),
        (
            {'category_weights': 'balanced'},
            False,
            'Parameter category_weights is balanced, but no scale_by is given whose categories could be weighted; give '
            'it, or leave category_weights at none.',
        ),
    ],
)
def test_options_that_contradict_scaling_by_category_are_refused(tiny, fitted, options, given, sentence):
    with pytest.raises(UserError) as error:
        fitted(tiny, more={'scale_by': sites_of(tiny)} if given else None, **ALONE | options)
    assert str(error.value) == sentence


@pytest.mark.parametrize('alone', [True, False])
def test_samples_of_weight_0_teach_nothing(tiny, fitted, alone):
    # stopped by nothing and weighed by nothing that knows their labels
    options = {'abundance_ensemble': not alone, 'patience': 9, 'epochs': 2, 'target_scaling': 'none'}
    parts = pd.Series('training', tiny.counts.index, name='part', dtype=object)
    parts.iloc[[1, 6, 11, 16]], parts.iloc[[2, 9, 20]] = 'validation', 'test'
    wrong = [0, 5, 12]
    weights = pd.Series(1.0, tiny.counts.index, name='w')
    weights.iloc[wrong] = 0
    given = {'groups': False, 'split': parts, 'more': {'sample_weights': weights}, **options}
    run = fitted(tiny, **given)
    losses = run.history.series('training', 'loss')
    assert "Target: 'age', a number, samples weighted by 'w'." in run.lines
    tiny.target.iloc[wrong] += 5
    again = fitted(tiny, 'again', **given)
    assert again.history.series('training', 'loss') == losses
    if alone:
        assert again.predictions.equals(run.predictions)
        even = fitted(tiny, 'even', **given | {'more': None})
        assert even.history.series('training', 'loss') != losses


def test_an_extra_target_that_is_not_learned_is_said(tiny, fitted):
    with pytest.warns(AAMWarning) as warned:
        fitted(tiny, more={'extra_targets': extra_of(tiny)}, extra_target_weight=0.0, **ALONE | {'epochs': 1})
    assert (
        'Input extra_targets is given, but extra_target_weight is 0, so that the model learns nothing from it; raise '
        'it, or leave extra_targets out.'
    ) in [str(one.message) for one in warned]


def test_the_scaling_of_a_target_is_chosen_within_categories(tiny, fitted, monkeypatch):
    from q2_aam.objectives import regression

    seen = []
    monkeypatch.setattr(regression, 'choose_scaling', lambda *given: seen.append(given[-1]) or 'sqrt')
    run = fitted(tiny, more={'scale_by': sites_of(tiny)}, **ALONE | {'epochs': 1})
    assert seen[0].equals(sites_of(tiny)) and bundle.read_config(run.folder).target.sqrt


def test_the_forest_of_a_weighted_fit_is_said_to_have_the_weights(tiny, fitted):
    weights = pd.Series(np.linspace(0.5, 2, 24), tiny.counts.index, name='w')
    lines = [
        next(line for line in run.lines if line.startswith('Test samples: mae '))
        for run in (
            fitted(tiny, name, more=more, random_forest=True, **ALONE | {'epochs': 1})
            for name, more in (('one', {'sample_weights': weights}), ('two', None))
        )
    ]
    assert '; a random forest with the same weights: ' in lines[0] and '; a random forest: ' in lines[1]
