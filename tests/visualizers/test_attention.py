"""The page of visualize_attention, on a real model of the tiny study and on sequences that are known."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.config import VisualizeAttentionConfig
from q2_aam.inference.explain_samples import attention
from q2_aam.visualizers.attention_charts import PER_LINE, sequence
from q2_aam.visualizers.attention_page import blocks_of, title_of
from q2_aam.visualizers.page import write_page


@pytest.fixture(scope='module')
def found(tiny_regressor):
    """Attention in three samples of the tiny study, with one ASV's nucleotides and a taxonomy."""
    files = tiny_regressor.files
    taxonomy = pd.Series({f'feature{place:02d}': f'k__B; g__G{place % 3}' for place in range(30)})
    importance = pd.DataFrame({'importance': 1.0 / (1 + np.arange(30))}, taxonomy.index)
    config = VisualizeAttentionConfig.from_flat({'threads': 1, 'device': 'cpu', 'feature_ids': ['feature12']})
    given = files.table, tiny_regressor.folder, config, files.sequences, taxonomy, importance
    return attention(*given, say=lambda line: None)


def page(folder, found):
    write_page(folder, title_of(found), blocks_of(found))
    return (folder / 'index.html').read_text('ascii')


def test_the_page_says_that_attention_is_no_explanation_and_how_far_it_agrees(tmp_path, found, specs):
    text = page(tmp_path, found)
    mean = found.correlations['rollout_with_effect'].mean()
    verdict = text.split('aam-verdict">')[1]
    assert verdict.startswith('In 3 samples, what the network attends to is ')
    assert f'(mean Spearman correlation {mean:+.2f}); with the importance of these ASVs, it is ' in verdict
    assert f'({found.with_importance:+.2f}).' in verdict
    assert 'Attention is no explanation: it tells where the network looks, not what decides' in text
    figures = specs(tmp_path)
    assert list(figures) == ['heads', 'effects', 'sequence-1']
    assert [one['label'] for one in figures['heads']['variants']] == list(found.correlations['sample'])
    # shares of many ASVs are all 0.01 with two decimals, whatever their colours
    assert '"format": ".2r"' in json.dumps(figures['heads']['spec'])
    # of the first sample: each of its first 20 ASVs, by rollout and two heads
    drawn = pd.DataFrame(figures['heads']['spec']['datasets']['rows'])
    asvs = min(20, found.correlations['asvs'][0])
    assert len(drawn) == 3 * asvs and set(drawn['c1']) == {'rollout', '1.1', '1.2'}
    first = found.samples[found.samples['sample'] == found.correlations['sample'][0]]
    np.testing.assert_allclose(drawn.loc[drawn['c1'] == 'rollout', 'c2'].max(), first['rollout'].max(), rtol=1e-5)
    tables = {path.name: pd.read_csv(path, sep='\t') for path in (tmp_path / 'tables').iterdir()}
    assert set(tables) == {'correlations.tsv', 'samples.tsv', 'heads.tsv', 'nucleotides.tsv'}
    assert ''.join(tables['nucleotides.tsv']['nucleotide']) == found.sequences[0][2].letters


@pytest.mark.parametrize(
    ('share', 'said'),
    [
        (
            0.0,
            ' In this model the network has no share in predictions (0 %): the abundance ensemble alone makes them, ',
        ),
        (0.25, ' In this model the network has a share of 25 % in predictions, and the ensemble the rest.</p>'),
        (1.0, 'what feature-importance measures in many samples.</p>'),
    ],
)
def test_the_page_says_what_share_in_predictions_the_network_has(tmp_path, found, share, said):
    assert said in page(tmp_path, dataclasses.replace(found, network_share=share))


def test_the_share_of_the_network_is_that_of_the_blend(tiny_regressor, found):
    blend = bundle.read_config(str(tiny_regressor.folder)).blend
    assert found.network_share == (1.0 if blend is None else pytest.approx(blend.network / blend.network_alone))


def test_too_few_asvs_to_compare_is_said(tmp_path, found):
    none = found.correlations.assign(rollout_with_effect=np.nan)
    text = page(tmp_path, dataclasses.replace(found, correlations=none, with_importance=float('nan')))
    assert 'attention cannot be compared with effects: there are too few ASVs.' in text


def test_a_model_that_reads_no_sequences_has_a_page_without_nucleotides(tmp_path, found, specs):
    text = page(tmp_path, dataclasses.replace(found, sequences=[]))
    assert 'Nucleotides that matter' not in text and list(specs(tmp_path)) == ['heads', 'effects']
    assert 'nucleotides.tsv' not in {path.name for path in (tmp_path / 'tables').iterdir()}


def test_a_sequence_is_cut_into_lines_with_the_nearest_one_below():
    letters, nearest = 'ACGT' * 10, 'ACGT' * 9 + 'ACG-'
    nearest = 'C' + nearest[1:]
    effects = np.linspace(-1, 1, 40)
    rows = pd.DataFrame(sequence(letters, effects, nearest)['datasets']['rows'])
    assert list(dict.fromkeys(rows['c0'])) == ['1', '1 nearest', '31', '31 nearest']
    top, below = rows[rows['c0'] == '1'], rows[rows['c0'] == '1 nearest']
    assert ''.join(top['c2']) == letters[:PER_LINE] and ''.join(below['c2']) == 'C' + '·' * 29
    assert ''.join(rows[rows['c0'] == '31 nearest']['c2']) == '·' * 9 + '-'
    np.testing.assert_allclose(rows[rows['c0'] == '31']['c5'], effects[30:], rtol=1e-5)
    assert list(rows[rows['c0'] == '31']['c3']) == list(range(31, 41))
    alone = sequence(letters, effects)
    assert len(alone['datasets']['rows']) == 40 and alone['height'] < sequence(letters, effects, nearest)['height']


@pytest.mark.slow
def test_the_page_opens_in_a_browser(tmp_path, found, browser):
    page(tmp_path, found)
    asked = browser(
        tmp_path,
        """const choice = document.querySelector('#figure-heads .aam-choice');
        choice.value = 2;
        choice.dispatchEvent(new Event('change'));
        await rest(500);
        return [document.querySelectorAll('svg.marks').length,
                document.querySelectorAll('#figure-sequence-1 .mark-rect.role-mark path').length];""",
    )
    assert asked.faults == [] and asked.answer == [3, len(found.sequences[0][2].letters)]
