"""The pipelines leave each site out once, after the folds, and the last step tells of it."""

import types

import numpy as np
import pandas as pd
import pytest
import qiime2

from q2_aam.actions import cross_validate as pipelines
from q2_aam.actions import cross_validate_steps as steps
from q2_aam.errors import UserError
from q2_aam.evaluation.out_of_fold import OURS


class Context:
    """A context whose actions only record what they are given; their results are opaque, as in parallel runs."""

    def __init__(self):
        self.calls = []

    def get_action(self, plugin, action):
        def act(*given, **more):
            self.calls.append(types.SimpleNamespace(name=action, given=given, **more))
            outputs = {'fit_regressor': 4, 'fit_classifier': 5, '_collate_numbers': 3}
            return tuple(f'{action} {len(self.calls)} {number}' for number in range(outputs.get(action, 1)))

        return act

    def of(self, name):
        return [call for call in self.calls if call.name == name]


@pytest.fixture
def run(small):
    """Run a pipeline with sites, a Series by sample: (column, sites) -> the context."""

    def run(sites, column='age', **more):
        context = Context()
        function = pipelines.cross_validate if column == 'age' else pipelines.cross_validate_classifier
        function(
            context, table=small.table, metadata=small.metadata.get_column(column),
            groups=small.metadata.get_column('subject'), sites=sites, folds=3, random_seed=5, width=16, threads=1,
            **more,
        )  # fmt: skip
        return context

    return run


@pytest.fixture
def subjects(small):
    return small.metadata.get_column('subject').to_series()


def sites_of(subjects, names):
    """Return a column by which subjects, in order, are at these sites in turn."""
    number = np.unique(subjects, return_inverse=True)[1]
    values = pd.Series(np.array(names, dtype=object)[number % len(names)], subjects.index, name='site')
    return qiime2.CategoricalMetadataColumn(values.rename_axis('id'))


def ids_of(call):
    return set(call.metadata.ids)


def test_no_sample_and_no_group_of_a_site_reaches_the_fit_that_it_tests(run, subjects):
    column = sites_of(subjects, ['a', 'b'])
    context = run(column)
    filtered, fits = context.of('_filter_samples'), context.of('fit_regressor')
    assert len(fits) == 3 + 2 and len(filtered) == 10 and len({call.random_seed for call in fits}) == 5
    sites = column.to_series()
    for number, name in enumerate(['a', 'b']):
        training, test = map(ids_of, filtered[6 + 2 * number : 8 + 2 * number])
        assert ids_of(fits[3 + number]) == training and test == set(sites.index[sites == name])
        assert not set(subjects[list(training)]) & set(subjects[list(test)])
        assert fits[3 + number].test_fraction == 0.0
    (collate,) = context.of('_collate_numbers')
    assert collate.sites == ['a', 'b'] and collate.folds == 3
    assert len(collate.fold_details) == len(collate.baselines) == len(collate.histories) == 5


def test_folds_are_the_same_with_sites_and_without(run, subjects):
    with_sites, without = run(sites_of(subjects, ['a', 'b'])), run(None)
    one, two = with_sites.of('_filter_samples'), without.of('_filter_samples')
    assert [ids_of(call) for call in one[:6]] == [ids_of(call) for call in two] and len(two) == 6
    seeds = [[call.random_seed for call in context.of('fit_regressor')[:3]] for context in (with_sites, without)]
    assert seeds[0] == seeds[1] and without.of('_collate_numbers')[0].sites is None


def test_sites_that_cannot_be_left_out_are_refused_before_anything_is_fitted(run, subjects):
    with pytest.raises(UserError, match='^Leaving out sites needs labelled samples of 2 sites or more, but there is 1'):
        run(sites_of(subjects, ['a']))
    with pytest.raises(UserError, match="^Where site 'a' is left out, "):
        values = pd.Series(['a', 'b'] * (len(subjects) // 2), subjects.index, name='site', dtype=object)
        run(qiime2.CategoricalMetadataColumn(values.rename_axis('id')))


def test_another_column_of_sites_is_another_call(run, subjects, monkeypatch):
    seen = []
    monkeypatch.setattr(pipelines, 'seed_of_pipeline', lambda call, config, hashes, seed: seen.append(hashes) or 5)
    for names in (['a', 'b'], ['b', 'a'], ['a', 'b']):
        run(sites_of(subjects, names))
    run(None)
    assert seen[0] == seen[2] != seen[1] and 'sites' in seen[0] and 'sites' not in seen[3]


@pytest.fixture
def numbers():
    """Details and baselines of two folds of four samples, then of two sites, and their metadata."""
    true = pd.Series([1.0, 2, 3, 4], pd.Index(['a', 'b', 'c', 'd'], name='id'), name='age')
    details, baselines = [], []
    for shift, names, flag in ((1, 'ac', 'ok'), (1, 'bd', 'ok'), (5, 'ab', 'ok'), (7, 'cd', 'unlike_training')):
        index = pd.Index(list(names), name='id')
        more = {'part': 'new', 'prediction': true[index] + shift, 'true': np.nan, 'reads_used': 10.0, 'flag': flag}
        details.append(pd.DataFrame(more, index))
        baselines.append(pd.DataFrame({'part': 'new', 'prediction': np.nan, 'ridge': true[index] + 2}, index))
    return types.SimpleNamespace(true=qiime2.NumericMetadataColumn(true), details=details, baselines=baselines)


def test_the_last_step_tells_of_folds_as_ever_and_of_sites_beside_them(numbers, capsys):
    folds = numbers.details[:2], numbers.baselines[:2]
    before = steps._collate_numbers(folds[0], numbers.true, 2, 1, None, folds[1])
    predictions, details, metrics = steps._collate_numbers(
        numbers.details, numbers.true, 2, 1, None, numbers.baselines, sites=['Graz', 'Ulm']
    )
    assert predictions.equals(before[0]) and details.equals(before[1])
    sentence = (
        'On sites left out (2 of them, 4 samples), AAM has a mean absolute error of 6 (best baseline, ridge: 2), and '
        "50% of the samples are flagged; in ordinary folds AAM has 1, and on the site where it does worst, 'Ulm', 7."
    )
    assert metrics.loc[0, 'note'] == f'{before[2].loc[0, "note"]} {sentence}'
    assert capsys.readouterr().out.splitlines()[-1] == metrics.loc[0, 'note']
    others = metrics['fold'].str.startswith('site')
    pd.testing.assert_frame_equal(metrics[~others].iloc[1:], before[2].iloc[1:])
    mae = metrics[others & (metrics['metric'] == 'mae') & (metrics['method'] == OURS)]
    assert dict(zip(mae['fold'], mae['value'])) == {'sites': 6, 'site: Graz': 5, 'site: Ulm': 7}
    artifact = qiime2.Artifact.import_data('AAMMetrics', metrics)
    assert artifact.view(qiime2.Metadata).id_count == len(metrics)
    # without baselines, too
    *_, metrics = steps._collate_numbers(numbers.details, numbers.true, 2, 1, sites=['Graz', 'Ulm'])
    assert 'AAM has a mean absolute error of 6, and 50% of the samples are flagged' in metrics.loc[0, 'note']


def test_the_last_step_of_classes_does_so_too():
    true = pd.Series(['x', 'y', 'x', 'y'], pd.Index(list('abcd'), name='id'), name='stage')
    details = []
    for names, right in (('ac', 0.9), ('bd', 0.9), ('ab', 0.8), ('cd', 0.2)):
        index = pd.Index(list(names), name='id')
        share = np.where(true[index] == 'x', right, 1 - right)
        more = {'part': 'new', 'prediction': 'x', 'true': None, 'probability_x': share, 'probability_y': 1 - share}
        details.append(pd.DataFrame({**more, 'flag': 'ok'}, index))
    *_, metrics = steps._collate_classes(details, qiime2.CategoricalMetadataColumn(true), 2, 1, sites=['Graz', 'Ulm'])
    assert metrics.loc[0, 'note'].endswith(
        'On sites left out (2 of them, 4 samples), AAM has a balanced accuracy of 0.5, and 0% of the samples are '
        "flagged; in ordinary folds AAM has 1, and on the site where it does worst, 'Ulm', 0."
    )
