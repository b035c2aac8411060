"""Every page in a browser: nothing fails, all figures are drawn, it can be used, and fits screens of three widths."""

import importlib.util
import pathlib

import pytest
import qiime2
from q2_sample_classifier import PredictionsFormat, ProbabilitiesFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format

from q2_aam.actions.plan import plan
from q2_aam.config import VisualizeAttentionConfig
from q2_aam.inference.explain_samples import attention
from q2_aam.types import (
    AAMImportanceDetailsDirectoryFormat,
    AAMModelDirectoryFormat,
    AAMTrainingHistoryDirectoryFormat,
)
from q2_aam.visualizers.attention_page import blocks_of, title_of
from q2_aam.visualizers.compare_models import compare_models
from q2_aam.visualizers.evaluate import evaluate
from q2_aam.visualizers.importance import visualize_importance
from q2_aam.visualizers.importance_examples import importance
from q2_aam.visualizers.page import write_page
from q2_aam.visualizers.summarize_training import summarize_training
from tests.evaluation.planned import make_study

# The last is the narrowest window that Chromium opens without a device to imitate.
WIDTHS = (1280, 768, 500)
# What a person does: put the pointer on a mark, choose in every menu, sort every table, turn to dark, copy a command.
USE = """
  const marks = () => document.querySelectorAll('svg.marks path, svg.marks rect').length;
  const found = { marks: marks(), figures: document.querySelectorAll('.aam-figure svg.marks').length };
  found.tip = '';
  // lines and bands tell nothing, points and bars do
  for (const mark of [...document.querySelectorAll('svg.marks path[aria-roledescription]')].slice(0, 40)) {
    const box = mark.getBoundingClientRect();
    const where = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true, view: window };
    for (const kind of ['pointerover', 'pointermove']) mark.dispatchEvent(new PointerEvent(kind, where));
    await rest(20);
    found.tip = document.querySelector('#vg-tooltip-element.visible')?.textContent ?? '';
    if (found.tip) break;
  }
  found.chosen = 0;
  for (const choice of document.querySelectorAll('.aam-choice')) {
    const drawn = choice.closest('.aam-figure').querySelector('.aam-chart');
    choice.selectedIndex = choice.options.length - 1;
    choice.dispatchEvent(new Event('change'));
    await rest(300);
    found.chosen += drawn.querySelectorAll('svg.marks').length;
  }
  found.menus = document.querySelectorAll('.aam-choice').length;
  found.sorted = [...document.querySelectorAll('.aam-table')].map((table) => {
    const button = table.querySelector('.aam-sort');
    button.click();
    const text = (cell) => cell.dataset.sort ?? cell.textContent;
    const texts = [...table.querySelectorAll('tbody tr')].map((row) => text(row.cells[0]));
    const numbers = button.closest('th').classList.contains('aam-number');
    const known = texts.filter((text) => text !== '');
    const follows = (one, other) => (numbers ? +one <= +other : one.localeCompare(other) <= 0);
    return known.every((text, row) => !row || follows(known[row - 1], text));
  });
  document.getElementById('aam-theme').click();
  document.querySelector('.aam-copy')?.click();
  await rest(100);
  found.wide = document.documentElement.scrollWidth - innerWidth;
  found.inner = innerWidth;
  return found;
"""
# Each theme is looked at: colours on dark differ from those on light.
AUDIT = """
  const found = [];
  for (const theme of ['light', 'dark']) {
    document.documentElement.dataset.theme = theme;
    const { violations } = await axe.run('#aam', { resultTypes: ['violations'] });
    for (const one of violations) {
      if (!['serious', 'critical'].includes(one.impact)) continue;
      found.push(`${theme}: ${one.id}: ${one.nodes[0].html} ${one.nodes[0].failureSummary}`);
    }
  }
  return found;
"""


def text_format(kind, values):
    view = kind()
    with view.open() as handle:
        values.to_csv(handle, sep='\t', index_label='id')
    return view


def evaluate_page(folder, study, more=None):
    column = qiime2.NumericMetadataColumn if study.truth.dtype.kind == 'f' else qiime2.CategoricalMetadataColumn
    evaluate(
        str(folder), text_format(PredictionsFormat, study.predictions), study.details, **(more or {}),
        truth=column(study.truth), metadata=qiime2.Metadata(study.metadata),
        groups=qiime2.CategoricalMetadataColumn(study.groups),
    )  # fmt: skip


def page_of_numbers(folder, request):
    evaluate_page(folder, request.getfixturevalue('numbers'))


def page_of_classes(folder, request):
    study = request.getfixturevalue('classes')
    evaluate_page(folder, study, {'probabilities': text_format(ProbabilitiesFormat, study.probabilities)})


def page_of_training(folder, request):
    fitted = request.getfixturevalue('tiny_regressor')
    history = AAMTrainingHistoryDirectoryFormat()
    fitted.history.save(str(history))
    summarize_training(str(folder), history, AAMModelDirectoryFormat(str(fitted.folder), mode='r'))


def page_of_models(folder, request):
    study = request.getfixturevalue('numbers')
    given = [text_format(PredictionsFormat, values) for values in (study.predictions, study.predictions + 1)]
    truth = qiime2.NumericMetadataColumn(study.truth)
    compare_models(
        str(folder), given, truth, metadata=qiime2.Metadata(study.metadata),
        groups=qiime2.CategoricalMetadataColumn(study.groups),
    )  # fmt: skip


def page_of_plan(folder, request):
    study = make_study()
    study.batches['run'] = (study.target > 12).map({True: 'one', False: 'two'})
    table, sequences = study.write(folder.parent / 'study')
    plan(
        str(folder), BIOMV210Format(str(table), mode='r'), DNAFASTAFormat(str(sequences), mode='r'),
        metadata=qiime2.NumericMetadataColumn(study.target), batches=qiime2.Metadata(study.batches), threads=1,
        device='cpu',
    )  # fmt: skip


def page_of_importance(folder, request):
    details = AAMImportanceDetailsDirectoryFormat()
    importance().save(str(details))
    visualize_importance(str(folder), details)


def page_of_attention(folder, request):
    fitted = request.getfixturevalue('tiny_regressor')
    config = VisualizeAttentionConfig.from_flat({'threads': 1, 'device': 'cpu'})
    found = attention(fitted.files.table, fitted.folder, config, fitted.files.sequences, say=lambda line: None)
    write_page(folder, title_of(found), blocks_of(found))


PAGES = {
    'evaluate-numbers': page_of_numbers,
    'evaluate-classes': page_of_classes,
    'summarize-training': page_of_training,
    'compare-models': page_of_models,
    'plan': page_of_plan,
    'visualize-importance': page_of_importance,
    'visualize-attention': page_of_attention,
}


@pytest.fixture
def axe():
    """The JavaScript of axe-core, without importing the package that carries it."""
    spec = importlib.util.find_spec('axe_core_python')
    if spec is None:
        pytest.skip('axe-core-python is not installed: whether everybody can use the page is not looked at')
    return (pathlib.Path(spec.submodule_search_locations[0]) / 'axe.min.js').read_text('utf-8')


@pytest.fixture
def made(request, tmp_path):
    """Make a page by its name; return its folder."""

    def make(name):
        folder = tmp_path / 'page'
        folder.mkdir()
        PAGES[name](folder, request)
        return folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize('name', PAGES)
def test_a_page_can_be_used_on_screens_of_three_widths(name, made, specs, browser):
    folder = made(name)
    figures = len(specs(folder))
    for width in WIDTHS:
        asked = browser(folder, USE, width)
        found = asked.answer
        assert asked.faults == []
        assert found['figures'] == figures > 0 and found['marks'] > 10 * figures
        assert found['tip'] and found['chosen'] == found['menus']
        assert found['sorted'] and all(found['sorted'])
        assert found['inner'] == width and found['wide'] <= 0


@pytest.mark.slow
@pytest.mark.parametrize('name', PAGES)
def test_a_page_has_no_serious_fault_of_accessibility(name, made, browser, axe):
    folder = made(name)
    (folder / 'axe.js').write_text(axe, encoding='utf-8')
    load = 'await new Promise((done) => { const one = document.createElement("script"); one.src = "axe.js"; '
    asked = browser(folder, load + 'one.onload = done; document.head.append(one); });' + AUDIT)
    assert asked.faults == [] and asked.answer == []
