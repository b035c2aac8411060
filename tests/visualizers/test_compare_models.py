"""The visualizer compare_models."""

import numpy as np
import pandas as pd
import pytest
import qiime2
from q2_sample_classifier import PredictionsFormat

from q2_aam.visualizers.compare_models import compare_models


def as_format(values):
    view = PredictionsFormat()
    with view.open() as handle:
        values.to_csv(handle, sep='\t', index_label='id')
    return view


def compare(folder, study, second, **more):
    column = qiime2.NumericMetadataColumn if study.truth.dtype.kind == 'f' else qiime2.CategoricalMetadataColumn
    compare_models(
        str(folder), [as_format(study.predictions), as_format(second)], column(study.truth),
        metadata=qiime2.Metadata(study.metadata), groups=qiime2.CategoricalMetadataColumn(study.groups), **more,
    )  # fmt: skip
    return (folder / 'index.html').read_text('ascii')


def test_the_page_of_numbers_names_the_better_model_and_for_whom(tmp_path, numbers, specs):
    # without the errors of site skin
    better = numbers.predictions.where(numbers.metadata['site'] == 'gut', numbers.truth)
    text = compare(tmp_path, numbers, better, names=['first', 'second'])
    assert text.split('aam-verdict">')[1].startswith('second errs less than first: mean absolute error of age ')
    found = specs(tmp_path)
    assert list(found) == ['errors', 'differences', 'correlations', 'pairs', 'by-column']
    assert len(found['pairs']['spec']['datasets']['rows']) == 60
    columns = pd.read_csv(tmp_path / 'tables' / 'columns.tsv', sep='\t')
    assert columns['column'][0] == 'site' and columns['p_adjusted'][0] < 0.01


@pytest.mark.slow
def test_the_page_opens_in_a_browser(tmp_path, numbers, specs, browser):
    compare(tmp_path, numbers, numbers.predictions + 1)
    asked = browser(tmp_path, 'return document.querySelectorAll("svg.marks").length;')
    assert asked.faults == [] and asked.answer == len(specs(tmp_path)) == 5


def test_models_of_classes_that_are_not_clearly_different_are_called_so(tmp_path, classes, specs):
    random = np.random.default_rng(3)
    other = classes.truth.where(random.random(60) < (classes.predictions == classes.truth).mean(), 'gut')
    text = compare(tmp_path, classes, other.rename('site'))
    assert ' are not clearly different: share of wrong predictions of site ' in text
    assert list(specs(tmp_path)) == ['errors', 'differences', 'correlations', 'by-column']
