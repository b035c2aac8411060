"""Importance: what is left where an ASV or a clade is taken away, its sums and signs, and what a user can do wrong."""

import dataclasses
import re
import types
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam import bundle
from q2_aam.config import FeatureImportanceConfig
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.inputs import read_study
from q2_aam.data.taxonomy import Grouping, grouped
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference.explain import importance
from q2_aam.inference.explain_gradients import gradients
from q2_aam.inference.explain_removal import changes, predict_members, without
from q2_aam.inference.explain_tables import _most_changed
from q2_aam.inference.predict import outputs_of
from q2_aam.model.abundance_ensemble import AbundanceEnsemble
from q2_aam.model.linear_members import LinearMembers
from q2_aam.runtime.encode import StudyReader

CPU = torch.device('cpu')


def explained(tiny, folder, model, taxonomy=None, say=lambda line: None, covariates=None, scale_by=None, **options):
    files = tiny.write(folder / 'inputs')
    config = FeatureImportanceConfig.from_flat({'threads': 1, 'device': 'cpu', 'gradient_steps': 0} | options)
    return importance(files.table, model, config, files.sequences, taxonomy, say, covariates, scale_by)


def taxonomy_of(tiny):
    """Ten genera of three ASVs each in two families; the last genus has no name."""
    return pd.Series(
        {
            name: f'k__B; f__{place // 15}; g__{place // 3 if place < 27 else ""}'
            for place, name in enumerate(tiny.sequences)
        },
        name='Taxon',
    )


@pytest.fixture(scope='module')
def all_of(tiny_regressor, tmp_path_factory):
    """Importance in the tiny study, with its taxonomy."""
    from tests.conftest import make_tiny

    tiny = make_tiny()
    folder = tmp_path_factory.mktemp('importance')
    lines = []
    found = explained(tiny, folder, tiny_regressor.folder, taxonomy_of(tiny), lines.append, taxonomy_level=3)
    return types.SimpleNamespace(found=found, lines=lines)


@pytest.fixture
def opened(tiny, tiny_regressor, tmp_path):
    """The tiny study and a model that may be changed."""
    files = tiny.write(tmp_path / 'study')
    model = bundle.load(tiny_regressor.folder)
    reader = StudyReader(read_study(files.table, files.sequences)[0], make_augmentation(model.config.call.data))
    reader.remember(model.network)
    return types.SimpleNamespace(model=model, reader=reader, study=reader.study)


def without_features(tiny, features):
    """The same study without these features in its table."""
    tiny.counts = tiny.counts.drop(columns=list(features))
    return tiny


def test_the_effect_is_that_of_a_table_without_the_asv(tiny, predicted, tiny_regressor, all_of):
    whole, _ = predicted(tiny, tiny_regressor.folder)
    counts = tiny.counts.copy()
    for name in ('feature02', 'feature15'):
        tiny.counts = counts.drop(columns=name)
        left, _ = predicted(tiny, tiny_regressor.folder, name)
        change = (whole - left)[counts.index[counts[name] > 0]]
        row = all_of.found.details.loc[name]
        assert abs(row['effect']) > 1e-3 and row['effect'] == pytest.approx(change.mean(), abs=1e-4)
        assert row['effect_sd'] == pytest.approx(change.std(), abs=1e-4)
        assert row['samples'] == len(change) and row['share_of_samples'] == pytest.approx(len(change) / 24)
        assert row['importance'] == pytest.approx(change.abs().sum() / 24, abs=1e-4)


def test_a_clade_is_taken_away_as_a_whole(tiny, predicted, tiny_regressor, all_of):
    whole, _ = predicted(tiny, tiny_regressor.folder)
    genus = [f'feature{place:02d}' for place in (9, 10, 11)]
    held = tiny.counts[genus].sum(axis=1) > 0
    left, _ = predicted(without_features(tiny, genus), tiny_regressor.folder, 'left')
    change = (whole - left)[held[held].index]
    clades = all_of.found.clades.set_index('clade')
    row = clades.loc['k__B; f__0; g__3']
    assert row['effect'] == pytest.approx(change.mean(), abs=1e-4) and row['asvs'] == 3 and row['level'] == 3
    assert row['importance'] == pytest.approx(change.abs().sum() / 24, abs=1e-4)
    details = all_of.found.details
    assert (details.loc[genus, 'clade_effect'] == row['effect']).all()
    # its genus has no name: the family stands in its place
    assert details.loc['feature29', 'clade'] == 'k__B; f__1'
    assert 'k__B' not in clades.index, 'nothing would be left of any sample'


def test_details_begin_with_the_most_important_and_agree_with_single_samples(all_of):
    details, samples = all_of.found.details, all_of.found.samples
    assert len(details) == 30 and details['importance'].is_monotonic_decreasing and (details['importance'] >= 0).all()
    assert (details['in_vocabulary'] == 1).all() and set(details['target']) == {'age'}
    assert len(samples) == 24 * 30
    present = samples[samples['share_of_reads'] > 0]
    assert (samples.loc[samples['share_of_reads'] == 0, 'effect'] == 0).all()
    means = present.groupby('id')['effect'].mean()
    pd.testing.assert_series_equal(means[details.index], details['effect'], check_names=False)
    assert samples.groupby('sample')['share_of_reads'].sum().to_numpy() == pytest.approx(1, abs=1e-5)
    assert all_of.lines[-1] == ('Importance: 30 ASVs, and 12 clades, each taken away from all samples that have it.')


def test_members_of_the_ensemble_together_predict_as_ever(opened):
    expected, _ = outputs_of(opened.model, opened.reader, CPU)
    found = predict_members(opened.model, opened.reader, CPU)
    target = opened.model.config.target
    np.testing.assert_allclose(found.blended[:, 0], target.predictions(expected), rtol=0, atol=1e-9)
    assert found.members.shape == (len(opened.model.ensemble.shares), 24, 1)


def test_a_network_without_a_say_is_not_asked(opened, monkeypatch):
    alone = dataclasses.replace(opened.model.config.blend, network=0.0, ensemble=1.0)
    model = dataclasses.replace(opened.model, config=dataclasses.replace(opened.model.config, blend=alone))
    expected, _ = outputs_of(model, opened.reader, CPU)
    monkeypatch.setattr(StudyReader, 'outputs', lambda *_: pytest.fail('the network was asked'))
    found = predict_members(model, opened.reader, CPU)
    np.testing.assert_allclose(found.blended[:, 0], model.config.target.predictions(expected), rtol=0, atol=1e-9)


def test_what_is_left_of_a_sample_makes_up_all_of_it(opened):
    codes = np.arange(30) // 10
    rows, groups = np.array([12, 12, 3]), np.array([0, 1, 0])
    left = without(opened.reader, rows, codes, groups).study
    assert left.sample_ids == [opened.study.sample_ids[row] for row in rows]
    for place, (row, group) in enumerate(zip(rows, groups)):
        before = slice(*opened.study.offsets[row : row + 2])
        after = slice(*left.offsets[place : place + 2])
        kept = codes[opened.study.asvs[before]] != group
        np.testing.assert_array_equal(left.asvs[after], opened.study.asvs[before][kept])
        shares = opened.study.abundances[before][kept]
        np.testing.assert_allclose(left.abundances[after], shares / shares.sum(), rtol=1e-6)
        assert left.reads[place] == pytest.approx(opened.study.reads[row] * shares.sum(), rel=1e-6)


@pytest.fixture
def linear(opened):
    """A model that is one linear member alone: what ASVs weigh is known, and no sample is rescaled by what is left."""
    size = len(opened.model.vocabulary)
    weight = np.linspace(-1, 1, size).astype(np.float32)
    members = LinearMembers(weight[None, :, None], np.zeros((1, 1), dtype=np.float32))
    ensemble = AbundanceEnsemble(
        {'linear': members}, {'linear': 1.0}, np.ones(1, dtype=np.float32), np.ones((1, size), dtype=np.uint8)
    )
    blend = dataclasses.replace(opened.model.config.blend, network=0.0, ensemble=1.0, members=1, kinds={'linear': 1.0})
    target = dataclasses.replace(opened.model.config.target, center=0.0, scale=1.0, lowest=None, sqrt=False)
    config = dataclasses.replace(opened.model.config, blend=blend, target=target)
    model = dataclasses.replace(opened.model, config=config, ensemble=ensemble)
    of_key = dict(zip(model.vocabulary.keys, weight))
    return model, np.array([of_key[key] for key in opened.study.keys])


def test_effects_of_a_linear_model_are_known(opened, linear):
    model, weight_A = linear
    level = grouped(opened.study.feature_ids)
    whole = predict_members(model, opened.reader, CPU)
    limits = [np.ones(30, dtype=bool)]
    cells = changes(model, opened.reader, whole, [level], limits, np.arange(24), 100, CPU)[0]
    assert not np.isnan(cells.change).any()
    asv_of = np.argsort(level.codes)
    for row in (0, 12, 23):
        inside = slice(*opened.study.offsets[row : row + 2])
        asvs, shares = opened.study.asvs[inside], opened.study.abundances[inside].astype(float)
        assert whole.blended[row, 0] == pytest.approx(weight_A[asvs] @ np.log1p(1e4 * shares), abs=1e-4)
        for cell in np.flatnonzero(cells.rows == row):
            gone = asvs == asv_of[cells.groups[cell]]
            rest = np.where(gone, 0, shares) / shares[~gone].sum()
            known = weight_A[asvs] @ (np.log1p(1e4 * shares) - np.log1p(1e4 * rest))
            assert cells.change[cell, 0] == pytest.approx(known, abs=1e-3)
            assert cells.share[cell] == pytest.approx(shares[gone].sum(), rel=1e-6)


def test_groups_that_are_one_asv_in_a_sample_are_taken_away_once(opened, monkeypatch):
    from q2_aam.inference import explain_removal

    level = grouped(opened.study.feature_ids)
    # each ASV in a group of its own, and again in pairs
    pairs = Grouping([f'pair{number:02d}' for number in range(15)], level.codes // 2)
    asked = []
    real = explain_removal.without
    monkeypatch.setattr(
        explain_removal, 'without', lambda reader, rows, *more: asked.append(len(rows)) or real(reader, rows, *more)
    )
    whole = predict_members(opened.model, opened.reader, CPU)
    levels = [level, Grouping(level.names, level.codes), pairs]
    limits = [np.ones(len(one.names), dtype=bool) for one in levels]
    first, again, two = changes(opened.model, opened.reader, whole, levels, limits, np.arange(24), 100, CPU)
    np.testing.assert_array_equal(first.change, again.change)
    # pairs of which a sample has one ASV alone, too
    both = int((two.asvs == 2).sum())
    assert sum(asked) == len(first.rows) + both and both < len(two.rows)
    single = np.flatnonzero(two.asvs == 1)
    for cell in single[:10]:
        alike = (first.rows == two.rows[cell]) & (first.groups // 2 == two.groups[cell])
        assert two.change[cell, 0] == first.change[alike, 0]


def test_chunks_change_no_effect(opened, monkeypatch):
    from q2_aam.inference import explain_removal

    level = [grouped(opened.study.feature_ids)]
    whole = predict_members(opened.model, opened.reader, CPU)
    given = opened.model, opened.reader, whole, level, [np.ones(30, dtype=bool)], np.arange(24), 100, CPU
    together = changes(*given)[0]
    monkeypatch.setattr(explain_removal, 'MAX_NONZEROS', 1000)
    alone = changes(*given)[0]
    np.testing.assert_allclose(alone.change, together.change, rtol=0, atol=1e-4)
    np.testing.assert_allclose(alone.members, together.members, rtol=0, atol=1e-4)


def test_gradients_sum_to_what_abundances_change(opened):
    from q2_aam.model.sample_encoder import MIN_SHARE

    rows = np.arange(24)
    ((drawn, attributions),) = gradients(opened.model, opened.reader, rows, 24)
    whole = opened.reader.outputs(opened.model.network, 'target', rows)
    opened.study.abundances[:] = MIN_SHARE
    hardly = opened.reader.outputs(opened.model.network, 'target', rows)
    difference = (whole - hardly)[:, 0] * opened.model.config.target.scale
    total = np.add.reduceat(attributions, drawn.offsets[:-1])
    assert np.ptp(difference) > 0.01
    np.testing.assert_allclose(total, difference, rtol=0.02, atol=0.01 * np.abs(difference).max())


def test_classes_have_effects_of_their_own_that_sum_to_nothing(tiny, tiny_classifier, tmp_path):
    found = explained(tiny, tmp_path, tiny_classifier.folder, gradient_steps=2)
    details = found.details
    effects = details[[name for name in details if name.startswith('effect_on_')]]
    assert list(effects) == ['effect_on_10 weeks', 'effect_on_mid way', 'effect_on_später']
    np.testing.assert_allclose(effects.sum(axis=1), 0, atol=1e-6)
    chosen = [effects.loc[name, f'effect_on_{row["class"]}'] for name, row in details.iterrows()]
    np.testing.assert_allclose(details['effect'], chosen)
    assert (details['effect'].abs() == effects.abs().max(axis=1)).all()
    assert np.isfinite(details['network_gradient']).all() and (details['importance'] <= 1).all()
    first = found.samples[found.samples['id'] == details.index[0]]
    assert first['prediction'].between(0, 1).all()


def test_more_classes_than_columns_are_said(tiny, tiny_classifier, tmp_path, monkeypatch):
    monkeypatch.setattr('q2_aam.inference.explain.MAX_CLASSES', 1)
    monkeypatch.setattr('q2_aam.inference.explain_tables.MAX_CLASSES', 1)
    lines = []
    found = explained(tiny, tmp_path, tiny_classifier.folder, say=lines.append, gradient_steps=2)
    assert not any(name.startswith('effect_on_') for name in found.details)
    assert any('classes are not in the details: with more than 1 classes, only the one' in line for line in lines)


def test_of_two_classes_all_effects_are_of_the_first():
    effects = np.array([[0.2, -0.2], [-0.3, 0.3], [np.nan, np.nan]])
    assert list(_most_changed(effects)) == [0, 0, 0]
    three = np.array([[0.1, 0.2, -0.3], [0.4, -0.2, -0.2]])
    assert list(_most_changed(three)) == [2, 0]


def test_fewer_asvs_and_samples_are_said(tiny, tiny_regressor, tmp_path):
    lines = []
    more = {'max_asvs': 5, 'max_samples': 12, 'max_samples_per_asv': 3}
    found = explained(tiny, tmp_path, tiny_regressor.folder, say=lines.append, **more)
    assert len(found.details) == 5 and found.details['samples'].max() == 3 and found.samples['sample'].nunique() == 12
    assert lines[-1] == (
        'Importance: 5 ASVs of 30, those that make up most of the samples (max_asvs), each taken away from at most 3 '
        'samples (max_samples_per_asv) of 12 drawn from 24 (max_samples).'
    )
    (tmp_path / 'again').mkdir()
    explained(tiny, tmp_path / 'again', tiny_regressor.folder, say=lines.append, max_asvs=5, max_samples=12)
    assert lines[-1].endswith(', each taken away from all samples that have it, of 12 drawn from 24 (max_samples).')


def test_asvs_that_are_asked_for_are_those_that_are_told(tiny, tiny_regressor, tmp_path, all_of):
    asked = ['feature20', 'feature04']
    found = explained(tiny, tmp_path, tiny_regressor.folder, taxonomy_of(tiny), feature_ids=asked)
    assert set(found.details.index) == set(asked)
    for name in asked:
        assert found.details.loc[name, 'effect'] == pytest.approx(all_of.found.details.loc[name, 'effect'], abs=1e-4)
    assert set(found.clades['clade']) == {'k__B; f__0', 'k__B; f__1', 'k__B; f__0; g__1', 'k__B; f__1; g__6'}


def test_ids_that_the_table_lacks_are_named(tiny, tiny_regressor, tmp_path):
    with pytest.raises(UserError, match=r'for 1 feature ID that the table does not have with reads of its own \(e.g. '):
        explained(tiny, tmp_path, tiny_regressor.folder, feature_ids=['feature04', 'nowhere'])


def test_a_taxonomy_of_other_features_is_refused_and_one_of_some_is_said(tiny, tiny_regressor, tmp_path):
    other = pd.Series({'somewhere': 'k__B; g__A'})
    with pytest.raises(UserError, match=r"has none of the 30 ASVs of the table \(the table has e.g. 'feature\d\d', "):
        explained(tiny, tmp_path, tiny_regressor.folder, other)
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter('always')
        explained(tiny, tmp_path / 'some', tiny_regressor.folder, taxonomy_of(tiny).iloc[:20])
    (said,) = [str(one.message) for one in messages if issubclass(one.category, AAMWarning)]
    assert re.fullmatch(r"The taxonomy lacks 10 ASVs of 30 \(e.g. 'feature2\d'\), which belong to no clade.", said)


def test_a_table_of_other_sequences_is_refused(tiny, tiny_regressor, tmp_path):
    random = np.random.default_rng(1)
    tiny.sequences = {name: ''.join(random.choice(list('ACGT'), 50)) for name in tiny.sequences}
    with pytest.raises(UserError, match=r"The model knows nothing like the 30 ASVs of the table \(e.g. 'feature"):
        explained(tiny, tmp_path, tiny_regressor.folder)


def test_samples_of_a_single_asv_have_no_importance(tiny, tiny_regressor, tmp_path):
    tiny.counts.iloc[:, 1:] = 0.0
    tiny.counts.iloc[:, 0] = 5.0
    with pytest.raises(UserError, match='each has a single one; give samples with more ASVs'):
        explained(tiny, tmp_path, tiny_regressor.folder)


def test_an_encoder_has_nothing_to_explain(tiny, tiny_encoder, tmp_path):
    with pytest.raises(UserError, match='An encoder predicts nothing that could be explained'):
        explained(tiny, tmp_path, tiny_encoder.folder)


def test_importance_is_read_back_as_it_was_written(all_of, tmp_path):
    from q2_aam.data.importance import Importance

    all_of.found.save(tmp_path)
    again = Importance.load(tmp_path)
    pd.testing.assert_frame_equal(again.details, all_of.found.details, check_dtype=False)
    pd.testing.assert_frame_equal(again.clades, all_of.found.clades, check_dtype=False)
    pd.testing.assert_frame_equal(again.samples, all_of.found.samples, check_dtype=False)
    assert list(again.magnitudes) == ['importance']


def test_covariates_stay_as_they_are_where_an_asv_is_taken_away(facility_regressor, predicted, tmp_path):
    made, feature = facility_regressor, 'feature07'
    with pytest.raises(UserError, match='give metadata with such columns as covariates'):
        explained(made.tiny, tmp_path / 'none', made.folder)
    given = {'covariates': made.covariates}
    found = explained(made.tiny, tmp_path, made.folder, covariates=made.covariates, feature_ids=[feature])
    whole, _ = predicted(made.tiny, made.folder, 'whole', **given)
    counts = made.tiny.counts
    left, _ = predicted(
        dataclasses.replace(made.tiny, counts=counts.drop(columns=feature)), made.folder, 'left', **given
    )
    change = (whole - left)[counts.index[counts[feature] > 0]]
    assert abs(change.mean()) > 1e-3
    assert found.details.loc[feature, 'effect'] == pytest.approx(change.mean(), abs=1e-3)


@pytest.fixture(scope='module')
def by_site(tmp_path_factory):
    """A model whose target is scaled by site, with a scale of its head for each, and the sites."""
    from tests.conftest import make_tiny, run_fit

    tiny = make_tiny()
    sites = pd.Series(np.where(np.arange(24) % 4 < 2, 'north', 'south'), tiny.counts.index, name='site', dtype=object)
    # in the south, a month is a thousand times as much
    tiny.target = tiny.target.where(sites == 'north', 1000 * tiny.target)
    run = run_fit(
        tiny, tmp_path_factory.mktemp('by_site'), more={'scale_by': sites}, target_scaling='standard',
        learnable_scale=True, epochs=2, learning_rate=0.01,
    )  # fmt: skip
    return types.SimpleNamespace(folder=run.folder, sites=sites)


def test_effects_are_in_the_scaling_of_the_category_of_the_sample(tiny, by_site, predicted, tmp_path):
    found = explained(tiny, tmp_path / 'own', by_site.folder, scale_by=by_site.sites, gradient_steps=2)
    whole, _ = predicted(tiny, by_site.folder, scale_by=by_site.sites)
    tiny.counts = tiny.counts.drop(columns='feature02')
    left, _ = predicted(tiny, by_site.folder, 'left', scale_by=by_site.sites)
    samples = found.samples[found.samples['id'] == 'feature02'].set_index('sample')
    change = (whole - left)[samples.index]
    np.testing.assert_allclose(samples['effect'], change, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(samples['prediction'], whole[samples.index], rtol=1e-5)
    # a reader of all samples in one scaling would have them alike
    sizes = change.abs().groupby(by_site.sites).mean()
    assert sizes['south'] > 100 * sizes['north']


def test_gradients_of_a_category_are_in_its_scaling(tiny, by_site, tmp_path):
    files = tiny.write(tmp_path / 'study')
    model = bundle.load(by_site.folder)
    reader = StudyReader(read_study(files.table, files.sequences)[0], make_augmentation(model.config.call.data))
    reader.remember(model.network)
    sums = {}
    for number in (1, 2):
        codes = reader.given['target'] = np.full(len(reader.study), number)
        ((drawn, attributions),) = gradients(model, reader, np.arange(4), 20, codes)
        sums[number] = np.add.reduceat(attributions, drawn.offsets[:-1])
    heads = model.network.heads['target'].output_scale.detach().numpy()
    scales = model.config.target.by_category.scales
    np.testing.assert_allclose(sums[2] / sums[1], scales[1] * heads[2] / (scales[0] * heads[1]), rtol=1e-3)


def test_the_categories_of_a_model_are_asked_for(tiny, by_site, tmp_path):
    with pytest.raises(UserError, match="^The model was trained with a target that is scaled by 'site' "):
        explained(tiny, tmp_path, by_site.folder)
