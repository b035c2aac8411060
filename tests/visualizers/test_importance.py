"""The visualizer visualize_importance, on importance that is known."""

import dataclasses

import biom
import numpy as np
import pandas as pd
import pytest
from q2_sample_classifier import PredictionsFormat

from q2_aam.errors import UserError
from q2_aam.types import AAMImportanceDetailsDirectoryFormat
from q2_aam.visualizers.importance import visualize_importance
from q2_aam.visualizers.importance_charts import unique_labels
from q2_aam.visualizers.importance_examples import importance

PAYLOAD = '</script><script>window.attacked = true</script>'
FIGURES = ['asvs', 'clades', 'abundance', 'heatmap']


def page(folder, found, **more):
    """Make the page in `folder`; return its text."""
    details = AAMImportanceDetailsDirectoryFormat()
    found.save(str(details))
    visualize_importance(str(folder), details, **more)
    return (folder / 'index.html').read_text('ascii')


def rows_of(spec, variant=None):
    """The rows of a figure, as {column: values} by the titles that the pointer shows."""
    data = spec['spec']['datasets']['rows']
    if variant is not None:
        data = {tuple(path): value for path, value in spec['variants'][variant]['patches']}[('datasets', 'rows')]
    return pd.DataFrame(data)


def as_format(values):
    view = PredictionsFormat()
    with view.open() as handle:
        values.to_csv(handle, sep='\t', index_label='id')
    return view


def table_of(found):
    """Counts of the samples in importance details, and two more."""
    shares = found.samples.pivot_table(index='id', columns='sample', values='share_of_reads')
    shares['S98'], shares['S99'] = 1 / 6, [1, 0, 0, 0, 0, 0]
    return biom.Table((shares * 1000).to_numpy(), list(shares.index), list(shares.columns))


def test_the_page_begins_with_what_predictions_depend_on_most(tmp_path, specs):
    text = page(tmp_path, importance())
    # with max_asvs, others were not
    assert 'of the importance of all that were taken away' in text
    assert text.split('aam-verdict">')[1].startswith(
        'Predictions of age depend most on Juvenilia (asv0): taking it away changes them by 2 on average over samples'
        '; it lowers the prediction, in 10 samples that have it, by 2.'
    )
    assert 'at the level genus (mean effect in brackets): Juvenilia (-2.5), Senectilia (+2)' in text
    assert 'Importance tells what this model looks at, not what causes the target.' in text
    found = specs(tmp_path)
    assert list(found) == FIGURES
    bars = rows_of(found['asvs'])
    # label, value, lower, upper
    assert list(bars['c0'][:2]) == ['Juvenilia (asv0)', 'Juvenilia (asv1)'] and list(bars['c1'][:2]) == [-2.0, -1.2]
    assert list(bars['c2'][:2]) == [-2.3, -1.5]
    assert 'lowers' in set(bars.iloc[0]) and len(bars) == 6
    over_all = rows_of(found['asvs'], 1)
    np.testing.assert_allclose(over_all['c1'], importance().details['importance'] * np.sign(bars['c1'].to_numpy()))
    tables = {path.name: pd.read_csv(path, sep='\t') for path in (tmp_path / 'tables').iterdir()}
    assert set(tables) == {'asvs.tsv', 'clades.tsv', 'samples.tsv'}
    # what the page has no room for is in the file
    assert 'network_gradient' in tables['asvs.tsv'] and 'network_gradient' not in text


def test_an_effect_of_both_directions_is_called_unclear(tmp_path):
    found = importance()
    found.details['effect_sd'] = 30.0
    assert 'it neither clearly raises nor lowers the prediction' in page(tmp_path, found)


def test_each_of_the_first_asvs_is_drawn_against_predictions(tmp_path, specs):
    page(tmp_path, importance())
    abundance = specs(tmp_path)['abundance']
    assert [one['label'] for one in abundance['variants']][:2] == ['Juvenilia (asv0)', 'Juvenilia (asv1)']
    samples = importance().samples
    second = samples[samples['id'] == 'asv1']
    drawn = rows_of(abundance, 1)
    np.testing.assert_allclose(drawn['c1'], second['share_of_reads'], rtol=1e-4)
    np.testing.assert_allclose(drawn['c2'], second['prediction'], rtol=1e-4)
    heat = rows_of(specs(tmp_path)['heatmap'])
    assert len(heat) == 60
    order = specs(tmp_path)['heatmap']['spec']['encoding']['x']['sort']
    assert order == list(second.sort_values('prediction', kind='stable')['sample'])


def test_with_table_and_predictions_all_their_samples_are_drawn(tmp_path, specs):
    found = importance()
    predictions = found.samples.drop_duplicates('sample').set_index('sample')['prediction'].rename('age')
    predictions['S99'] = 7.0
    page(tmp_path, found, table=table_of(found), predictions=as_format(predictions))
    drawn = rows_of(specs(tmp_path)['abundance'])
    # S98 has no prediction
    assert len(drawn) == 11
    last = drawn[drawn['c0'] == 'S99'].iloc[0]
    assert last['c1'] == 1.0 and last['c2'] == 7.0


def test_classes_are_shown_one_by_one(tmp_path, specs):
    found = importance()
    details = found.details.assign(**{'class': ['old', 'young'] * 3, 'effect_on_old': 0.25, 'effect_on_young': -0.25})
    text = page(tmp_path, dataclasses.replace(found, details=details))
    assert ' the probability of class old, in 10 samples' in text
    assert list(rows_of(specs(tmp_path)['asvs'])['c0'][:2]) == ['Juvenilia (asv0): old', 'Juvenilia (asv1): young']
    # of one class, its name says nothing new
    assert list(rows_of(specs(tmp_path)['asvs'], 2)['c0'][:2]) == ['Juvenilia (asv0)', 'Juvenilia (asv1)']
    assert [one['label'] for one in specs(tmp_path)['asvs']['variants']][2:] == [
        'effect on class old', 'effect on class young'
    ]  # fmt: skip
    assert specs(tmp_path)['abundance']['variants'][1]['label'].endswith(': young')


def test_without_taxonomy_and_single_samples_the_rest_is_shown(tmp_path, specs):
    found = importance()
    bare = found.details.drop(columns=['taxonomy', 'clade', 'clade_importance', 'clade_effect'])
    text = page(tmp_path, dataclasses.replace(found, details=bare, clades=found.clades[:0], samples=found.samples[:0]))
    assert list(specs(tmp_path)) == ['asvs'] and 'With a taxonomy, feature-importance also takes away' in text


@pytest.mark.parametrize(
    'more, message',
    [
        ({'predictions': pd.Series({'S0': 1.0}, name='age')}, 'The predictions can be shown only together with the'),
        ({'table': True}, 'The table can be shown only together with the predictions'),
        ({'table': True, 'predictions': pd.Series({'nobody': 1.0}, name='age')}, "share no sample .*'S0'.*'nobody'"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path, more, message):
    found = importance()
    given = {name: table_of(found) if name == 'table' else as_format(one) for name, one in more.items()}
    with pytest.raises(UserError, match=message):
        page(tmp_path, found, **given)


def test_a_table_without_the_asvs_is_said(tmp_path):
    found = importance()
    other = biom.Table(np.ones((1, 1)), ['elsewhere'], ['S0'])
    with pytest.raises(UserError, match=r"has none of the most important ASVs \(e.g. 'asv0'\)"):
        page(tmp_path, found, table=other, predictions=as_format(pd.Series({'S0': 1.0}, name='age')))


def test_asvs_of_one_name_are_told_apart():
    sequences = ['ACGT' * 30, 'ACGT' * 30 + 'A']
    assert unique_labels(['', ''], sequences) == ['ACGTACGTACGTACGTACGTAC… #1', 'ACGTACGTACGTACGTACGTAC… #2']
    assert unique_labels(['Blautia', ''], ['e2c3ff4f647112723741', 'short']) == ['Blautia (e2c3ff…)', 'short']


def test_text_of_the_taxonomy_is_escaped(tmp_path):
    found = importance()
    found.details['taxonomy'] = f'k__{PAYLOAD}'
    assert PAYLOAD not in page(tmp_path, found)


@pytest.mark.slow
def test_the_page_opens_in_a_browser_and_runs_no_text(tmp_path, browser):
    found = importance()
    found.details['taxonomy'] = [f'k__{PAYLOAD}', *found.details['taxonomy'][1:]]
    page(tmp_path, found)
    asked = browser(
        tmp_path,
        """const bars = () => document.querySelectorAll('#figure-asvs .mark-rect.role-mark path').length;
        const before = bars(), choice = document.querySelector('#figure-clades .aam-choice');
        return [before, document.querySelectorAll('svg.marks').length, window.attacked ?? false,
                document.querySelectorAll('#figure-heatmap .mark-rect.role-mark path').length];""",
    )
    assert asked.faults == [] and asked.answer == [6, 4, False, 60]
