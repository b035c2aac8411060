"""Members that take no steps: what scikit-learn says, to rounding, and nothing of the samples that are left out."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse
import scipy.special

from q2_aam.model.tree_members import LEAF, SMOOTHING
from q2_aam.training import members
from q2_aam.training.members import MemberData, deal, fit_extra_trees, fit_linear, quick_predictions

SAMPLES, ASVS = 60, 12


@pytest.fixture
def data_of():
    """Make MemberData of random logarithms: a number that two ASVs tell, or the classes of its thirds."""

    def make(classes=0, balanced=False, parts=4, samples=SAMPLES, asvs=ASVS, threads=1, values=None):
        random = np.random.default_rng(1)
        # few different numbers, so that many samples lie on one threshold
        dense = random.integers(1, 9, (samples, asvs)) * (random.random((samples, asvs)) < 0.6)
        abundances = scipy.sparse.csr_matrix(np.log1p(dense.astype(np.float32)))
        if values is None:
            values = np.log1p(dense[:, 0]) - np.log1p(dense[:, 1]) + 0.3 * random.normal(size=samples)
        if classes:
            values = np.minimum(classes * values.argsort().argsort() // samples, classes - 1)
        fold = np.arange(samples) % parts
        return MemberData(abundances, values, classes, balanced, fold, np.arange(parts) + 5, threads)

    return make


def same(one, two):
    one, two = one.arrays(), two.arrays()
    return one.keys() == two.keys() and all(one[name].tobytes() == two[name].tobytes() for name in one)


@pytest.mark.parametrize('penalty', [1e-4, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize(('samples', 'asvs'), [(60, 12), (30, 80)])
def test_linear_members_of_numbers_are_ridge_regressions(data_of, monkeypatch, penalty, samples, asvs):
    from sklearn.linear_model import Ridge

    monkeypatch.setattr(members, 'RIDGE_PENALTIES', np.array([penalty]))
    data = data_of(samples=samples, asvs=asvs)
    exact = data.abundances.toarray().astype(np.float64)
    outputs, alpha = fit_linear(data).outputs(data.abundances), penalty * np.square(exact).sum(axis=1).mean()
    for member in range(4):
        learned = data.learned(member)
        model = Ridge(alpha, solver='cholesky').fit(exact[learned], data.values[learned])
        np.testing.assert_allclose(outputs[member, :, 0], model.predict(exact), rtol=0, atol=2e-6)


def test_the_penalty_is_the_one_with_the_smallest_out_of_fold_error(data_of, monkeypatch):
    data = data_of(asvs=50)
    chosen = fit_linear(data)
    errors = []
    for penalty in members.RIDGE_PENALTIES:
        with monkeypatch.context() as patch:
            patch.setattr(members, 'RIDGE_PENALTIES', np.array([penalty]))
            one = fit_linear(data)
        outputs = data.out_of_fold(one.outputs(data.abundances))[:, 0]
        errors.append((np.square(outputs - data.values).mean(), np.allclose(one.weight, chosen.weight, atol=1e-6)))
    assert min(errors)[1] and sum(is_chosen for _, is_chosen in errors) == 1
    # neither end of the list
    assert 0 < [is_chosen for _, is_chosen in errors].index(True) < len(errors) - 1


@pytest.mark.parametrize('classes', [2, 3])
@pytest.mark.parametrize('balanced', [False, True])
@pytest.mark.parametrize(('samples', 'asvs'), [(60, 12), (30, 80)])
def test_linear_members_of_classes_are_logistic_regressions(data_of, monkeypatch, classes, balanced, samples, asvs):
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(members, 'LOGISTIC_C', (0.1,))
    # found exactly, so that the way there does not matter
    monkeypatch.setattr(members, 'LOGISTIC_TOLERANCE', 1e-10)
    data = data_of(classes, balanced, samples=samples, asvs=asvs)
    exact = data.abundances.toarray().astype(np.float64)
    outputs = fit_linear(data).outputs(data.abundances)
    for member in range(4):
        learned = data.learned(member)
        model = LogisticRegression(C=0.1, class_weight=data.class_weight, tol=1e-10, max_iter=10000)
        model.fit(exact[learned], data.values[learned])
        probabilities = scipy.special.softmax(outputs[member], axis=1)
        np.testing.assert_allclose(probabilities, model.predict_proba(exact), rtol=0, atol=1e-6)


def test_the_strength_is_the_one_with_the_smallest_out_of_fold_log_loss(data_of, monkeypatch):
    data = data_of(3)
    losses = {}
    for strength in members.LOGISTIC_C:
        with monkeypatch.context() as patch:
            patch.setattr(members, 'LOGISTIC_C', (strength,))
            one = fit_linear(data)
        losses[members._log_loss(data, one)] = one
    assert len(losses) == 3 and same(fit_linear(data), losses[min(losses)])


def test_a_class_that_a_member_has_never_seen_is_improbable_and_one_that_is_all_it_knows_certain(data_of):
    data = data_of(3)
    # the last class is that of one fold alone
    data.values[data.values == 2] = 1
    data.values[data.fold == 0] = 2
    fitted = fit_linear(data)
    outputs = fitted.outputs(data.abundances)
    assert (outputs[0, :, 2] == members.UNSEEN).all() and (outputs[0].argmax(axis=1) != 2).all()
    assert (outputs[1:, :, 2] != members.UNSEEN).all()
    data.values[data.fold != 0] = 1
    outputs = fit_linear(data).outputs(data.abundances)[0]
    assert (outputs == [members.UNSEEN, 0, members.UNSEEN]).all()


@pytest.mark.parametrize('balanced', [False, True])
@pytest.mark.parametrize('classes', [0, 2, 3])
def test_trees_are_those_of_scikit_learn(data_of, classes, balanced):
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    data = data_of(classes, balanced)
    outputs = fit_extra_trees(data, 80).outputs(data.abundances)
    assert outputs.shape == (4, SAMPLES, max(1, classes))
    for member in range(4):
        learned, settings = data.learned(member), {'n_estimators': 20, 'min_samples_leaf': 5}
        settings |= {'random_state': int(data.seeds[member]), 'max_features': 0.1 if classes else 1.0}
        if classes:
            model = ExtraTreesClassifier(class_weight=data.class_weight, **settings)
            model.fit(data.abundances[learned], data.values[learned])
            shares = (np.exp(outputs[member]) - SMOOTHING / classes) / (1 - SMOOTHING)
            np.testing.assert_allclose(shares, model.predict_proba(data.abundances), rtol=0, atol=1e-6)
        else:
            model = ExtraTreesRegressor(**settings).fit(data.abundances[learned], data.values[learned])
            np.testing.assert_allclose(outputs[member, :, 0], model.predict(data.abundances), rtol=0, atol=1e-6)


def test_samples_exactly_on_a_threshold_go_where_scikit_learn_sends_them(data_of):
    """Values at the thresholds themselves, next to them, and thresholds that float32 does not have."""
    from sklearn.tree import ExtraTreeRegressor

    data = data_of()
    tree = ExtraTreeRegressor(min_samples_leaf=5, random_state=3).fit(data.abundances, data.values)
    inner = tree.tree_.children_left >= 0
    # most thresholds lie between two numbers of float32
    assert (tree.tree_.threshold[inner].astype(np.float32) != tree.tree_.threshold[inner]).mean() > 0.5
    fitted = members._joined([members._arrays_of(tree.tree_, np.zeros(1, dtype=int), 1)], 1)
    rows = []
    for feature, threshold in zip(tree.tree_.feature[inner], tree.tree_.threshold[inner]):
        nearest = np.float32(threshold)
        for value in (np.nextafter(nearest, np.float32(0)), nearest, np.nextafter(nearest, np.float32(99))):
            row = data.abundances[0].toarray()[0]
            row[feature] = value
            rows.append(row)
    rows = scipy.sparse.csr_matrix(np.array(rows))
    np.testing.assert_allclose(fitted.outputs(rows)[0, :, 0], tree.predict(rows), rtol=0, atol=1e-6)


def leaves_of(fitted, data):
    """Return how many of the samples that a member learns from end in each leaf of its trees."""
    sizes = []
    for member in range(data.members):
        leaf_BT = fitted._leaves(data.abundances[data.learned(member)].toarray())
        each = len(fitted.first) // data.members
        own = slice(member * each, (member + 1) * each)
        sizes += [count for tree in leaf_BT.T[own] for count in np.unique(tree, return_counts=True)[1]]
    return np.array(sizes)


@pytest.mark.parametrize('classes', [0, 3])
@pytest.mark.parametrize('balanced', [False, True])
def test_no_leaf_is_of_fewer_than_five_samples_and_none_is_empty(data_of, classes, balanced):
    data = data_of(classes, balanced)
    fitted = fit_extra_trees(data, 40)
    sizes = leaves_of(fitted, data)
    assert sizes.min() == members.MIN_SAMPLES_LEAF == 5
    # every leaf is found by some samples
    assert len(sizes) == len(fitted.value) == (fitted.asv == LEAF).sum()


def test_members_of_fewer_samples_than_a_leaf_needs_have_no_trees(data_of):
    # the member that leaves out 5 of 9 learns from 4
    data = data_of(samples=9, parts=2)
    assert sorted(np.bincount(data.fold)) == [4, 5]
    assert fit_extra_trees(data, 4) is None
    assert fit_extra_trees(data_of(samples=10, parts=2), 4).value.shape == (4, 1)
    # what needs them does without
    predictions = quick_predictions(data.abundances, data.values, data.fold)
    assert predictions == pytest.approx(data.out_of_fold(fit_linear(data).outputs(data.abundances))[:, 0])


def test_leaves_grow_where_trees_of_many_samples_and_classes_would_take_too_much_room(data_of, monkeypatch):
    data = data_of(30, samples=600)
    settled = sum(array.nbytes for array in fit_extra_trees(data, 40).arrays().values())
    assert 2e5 < settled < 2e7
    monkeypatch.setattr(members, 'MAX_TREE_BYTES', 1e5)
    small = fit_extra_trees(data, 40)
    assert 2e4 < sum(array.nbytes for array in small.arrays().values()) < 1e5
    assert leaves_of(small, data).min() > 5


def test_trees_of_a_large_study_with_many_classes_stay_under_20_mb(monkeypatch):
    """The size of leaves is all that limits them: each is at least so large, and a tree has a leaf less inside."""
    from sklearn import ensemble

    asked = []

    class Stopped(Exception):
        pass

    def stop(**settings):
        asked.append(settings)
        raise Stopped

    monkeypatch.setattr(ensemble, 'ExtraTreesClassifier', stop)
    monkeypatch.setattr(ensemble, 'ExtraTreesRegressor', stop)
    for samples, classes in ((10**5, 1000), (10**5, 0), (5000, 300), (50, 2)):
        fold = np.arange(samples) % 5
        values = np.zeros(samples, dtype=int)
        data = MemberData(scipy.sparse.csr_matrix((samples, 3), dtype=np.float32), values, classes, False, fold, fold)
        with pytest.raises(Stopped):
            fit_extra_trees(data)
        settings = asked.pop()
        leaves = 5 * settings['n_estimators'] * max(1, (samples - samples // 5) // settings['min_samples_leaf'])
        # asv, threshold and right are 10 bytes a node, values 4
        assert leaves * (2 * 10 + 4 * max(1, classes)) <= 2e7
        assert settings['min_samples_leaf'] >= 5 and settings['n_estimators'] == (10 if samples == 10**5 else 100)


@pytest.mark.parametrize('classes', [0, 3])
@pytest.mark.parametrize('fit', [fit_linear, lambda data: fit_extra_trees(data, 40)], ids=['linear', 'trees'])
def test_a_member_knows_nothing_of_the_samples_of_its_own_fold(data_of, monkeypatch, fit, classes):
    # one penalty: which of several is best is asked of all samples
    monkeypatch.setattr(members, 'RIDGE_PENALTIES', np.array([0.1]))
    monkeypatch.setattr(members, 'LOGISTIC_C', (0.1,))
    data = data_of(classes)
    before = fit(data).outputs(data.abundances)
    own = data.fold == 2
    data.values[own] = (data.values[own] + 1) % 3 if classes else data.values[own] + 50
    after = fit(data).outputs(data.abundances)
    assert after[2].tobytes() == before[2].tobytes()
    assert all((after[member] != before[member]).any() for member in (0, 1, 3))


@pytest.mark.parametrize('classes', [0, 2, 3])
@pytest.mark.parametrize('fit', [fit_linear, lambda data: fit_extra_trees(data, 40)], ids=['linear', 'trees'])
def test_asvs_that_a_member_has_not_seen_do_not_change_what_it_says(data_of, fit, classes):
    for samples, asvs in ((60, 12), (30, 80)):
        data = data_of(classes, samples=samples, asvs=asvs)
        dense = data.abundances.toarray()
        dense[data.fold != 1, 5] = 0
        dense[:, 7] = 0
        data = MemberData(scipy.sparse.csr_matrix(dense), *(getattr(data, name) for name in (
            'values', 'classes', 'balanced', 'fold', 'seeds'
        )))  # fmt: skip
        fitted, more = fit(data), dense.copy()
        more[:, [5, 7]] = 9
        before, after = fitted.outputs(data.abundances), fitted.outputs(scipy.sparse.csr_matrix(more))
        # one ASV none of the others has seen; the other nobody has
        assert after[1].tobytes() == before[1].tobytes()
        only = dense.copy()
        only[:, 7] = 9
        assert fitted.outputs(scipy.sparse.csr_matrix(only)).tobytes() == before.tobytes()


@pytest.mark.parametrize('classes', [0, 3])
def test_the_number_of_threads_changes_nothing(data_of, classes):
    one, two = (data_of(classes, threads=threads) for threads in (1, 2))
    assert same(fit_extra_trees(one, 40), fit_extra_trees(two, 40)) and same(fit_linear(one), fit_linear(two))


def test_each_member_has_trees_of_its_own_seed(data_of):
    data = data_of()
    fitted = fit_extra_trees(data, 40)
    thresholds = [fitted.threshold[start : start + 3].tobytes() for start in fitted.first]
    assert len(fitted.first) == 40 and len(set(thresholds)) > 35
    # as many for each, though 41 are asked for
    assert len(fit_extra_trees(data, 41).first) == 44


def test_quick_predictions_are_the_mean_of_both_out_of_fold(data_of, monkeypatch):
    monkeypatch.setattr(members, 'QUICK_TREES', 40)
    data = data_of()
    predictions = quick_predictions(data.abundances, data.values, data.fold)
    assert np.corrcoef(predictions, data.values)[0, 1] > 0.7
    parts = [
        data.out_of_fold(part.outputs(data.abundances))[:, 0]
        for part in (fit_linear(data), fit_extra_trees(data_of_seeds(data, np.arange(4)), 40))
    ]
    assert predictions == pytest.approx(np.mean(parts, axis=0))


def data_of_seeds(data, seeds):
    return MemberData(data.abundances, data.values, 0, False, data.fold, seeds)


@pytest.mark.parametrize('fill', [0, 2.5])
@pytest.mark.parametrize('classes', [0, 3])
def test_samples_that_are_all_alike_or_empty_give_the_mean(data_of, classes, fill):
    data = data_of(classes)
    alike = scipy.sparse.csr_matrix(np.full((SAMPLES, ASVS), fill, dtype=np.float32))
    data = MemberData(alike, data.values, classes, False, data.fold, data.seeds)
    for fitted in (fit_linear(data), fit_extra_trees(data, 8)):
        outputs = fitted.outputs(alike)
        assert np.isfinite(outputs).all()
        if not classes:
            means = [data.values[data.learned(member)].mean() for member in range(4)]
            assert outputs[:, :, 0] == pytest.approx(np.repeat(means, SAMPLES).reshape(4, SAMPLES), abs=1e-5)


@pytest.mark.parametrize(
    ('groups', 'parts', 'sizes'), [(25, 10, [2] * 5 + [3] * 5), (10, 10, [1] * 10), (7, 10, [1] * 7), (2, 5, [1, 1])]
)
def test_complete_groups_are_dealt_evenly(groups, parts, sizes):
    names = np.array([f'g{i % groups}' for i in range(4 * groups)])
    part_N = deal(names, parts, np.random.default_rng(0))
    by_group = {name: set(part_N[names == name]) for name in names}
    assert all(len(parts_of_group) == 1 for parts_of_group in by_group.values())
    assert sorted(np.bincount([part for parts_of_group in by_group.values() for part in parts_of_group])) == sizes
    assert any(not np.array_equal(part_N, deal(names, parts, np.random.default_rng(seed))) for seed in range(1, 9))


def test_many_samples_are_fitted_by_steps_as_by_the_kernel(data_of, monkeypatch):
    data = data_of(samples=80)
    by_kernel = fit_linear(data)
    monkeypatch.setattr(members, 'RIDGE_PENALTIES', np.array([0.1]))
    one = fit_linear(data)
    monkeypatch.setattr(members, 'MAX_KERNEL_SAMPLES', 79)
    assert not same(one, by_kernel)
    np.testing.assert_allclose(fit_linear(data).outputs(data.abundances), one.outputs(data.abundances), atol=0.02)


def test_linear_members_of_too_many_classes_would_be_too_large(data_of, monkeypatch):
    data = data_of(3)
    assert fit_linear(data) is not None
    monkeypatch.setattr(members, 'MAX_LINEAR_BYTES', 4 * data.members * data.abundances.shape[1] * 3 - 1)
    assert fit_linear(data) is None


@pytest.mark.parametrize('kernel', [True, False])
def test_weights_count_as_in_scikit_learn(data_of, monkeypatch, kernel):
    from sklearn.linear_model import Ridge

    monkeypatch.setattr(members, 'RIDGE_PENALTIES', np.array([0.1]))
    if not kernel:
        monkeypatch.setattr(members, 'MAX_KERNEL_SAMPLES', SAMPLES // 2)
        monkeypatch.setattr(members, 'RIDGE_TOLERANCE', 1e-12)
    weights = np.random.default_rng(3).integers(0, 4, SAMPLES).astype(np.float64)
    data = dataclasses.replace(data_of(), weights=weights)
    exact = data.abundances.toarray().astype(np.float64)
    alphas = []
    ridge = members._ridge_by_kernel
    monkeypatch.setattr(members, '_ridge_by_kernel', lambda given: alphas.append(ridge(given)) or alphas[-1])
    outputs = fit_linear(data).outputs(data.abundances)
    for member in range(4):
        learned = data.learned(member)
        assert (weights[learned] > 0).all()
        model = Ridge(alphas[0][1], solver='cholesky')
        model.fit(exact[learned], data.values[learned], weights[learned] / weights[learned].mean())
        np.testing.assert_allclose(outputs[member, :, 0], model.predict(exact), rtol=0, atol=2e-5)


@pytest.mark.parametrize('classes', [0, 3])
def test_samples_of_weight_0_are_as_if_they_were_not_there(data_of, classes):
    weights = np.ones(SAMPLES)
    weights[::7] = 0
    data = dataclasses.replace(data_of(classes), weights=weights)
    values = data.values.copy()
    values[::7] = values[1::7][: len(values[::7])]
    # the penalty is chosen by all of them
    fits = [lambda one: members._logistic_members(one, 1.0)] if classes else []
    for fit in [*fits, lambda one: fit_extra_trees(one, 8)]:
        assert same(fit(data), fit(dataclasses.replace(data, values=values)))


def test_members_learn_from_samples_of_weight_0_where_there_are_no_others(data_of):
    weights = np.zeros(SAMPLES)
    weights[:1] = 1
    data = dataclasses.replace(data_of(), weights=weights)
    assert data.learned(1).tolist() == [0] and len(data.learned(0)) == 45
    assert np.isfinite(fit_linear(data).outputs(data.abundances)).all()
