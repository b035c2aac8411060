"""The visualizer `evaluate`: how good predictions are, for which samples, and why not for others."""

import pandas as pd
import qiime2
from q2_sample_classifier import (
    ClassifierPredictions,
    PredictionsFormat,
    Probabilities,
    ProbabilitiesFormat,
    RegressorPredictions,
)
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, Float, Metadata, MetadataColumn, Numeric, Range

from q2_aam.config import FitRegressorConfig
from q2_aam.types import AAMMetrics, AAMPredictionDetails

from .citations import cite
from .examples import evaluate_example

(COVERAGE,) = (opt for opt in FitRegressorConfig.options() if opt.name == 'coverage')


def evaluate(
    output_dir: str,
    predictions: PredictionsFormat,
    details: pd.DataFrame = None,
    probabilities: ProbabilitiesFormat = None,
    metrics: pd.DataFrame = None,
    truth: qiime2.MetadataColumn = None,
    metadata: qiime2.Metadata = None,
    groups: qiime2.MetadataColumn = None,
    coverage: float = COVERAGE.default,  # type: ignore[assignment]
) -> None:
    # QIIME 2 loads this file to run any action of any plugin
    from q2_aam.evaluation.evaluated import evaluated

    from .evaluate_classes import blocks_of_classes
    from .evaluate_numbers import blocks_of_numbers
    from .page import write_page

    seen = evaluated(
        text_of(predictions).iloc[:, 0],
        None if truth is None else truth.to_series(),
        details,
        None if probabilities is None else text_of(probabilities).astype(float),
        None if metadata is None else metadata.to_dataframe(),
        None if groups is None else groups.to_series(),
    )
    blocks = blocks_of_classes(seen, metrics) if seen.classes else blocks_of_numbers(seen, metrics, coverage)
    write_page(output_dir, f'Predictions of {seen.target}', blocks)


def text_of(file_format):
    """Return the cells as text: a class named 01 is not 1."""
    with file_format.open() as handle:
        return pd.read_csv(handle, sep='\t', dtype=str, keep_default_na=False, na_values=[''], index_col=0)


def register(plugin):
    """Register the visualizer with the plugin object."""
    plugin.visualizers.register_function(
        function=evaluate,
        inputs={
            'predictions': SampleData[RegressorPredictions | ClassifierPredictions],
            'details': SampleData[AAMPredictionDetails],
            'probabilities': SampleData[Probabilities],
            'metrics': AAMMetrics,
        },
        parameters={
            'truth': MetadataColumn[Numeric | Categorical],
            'metadata': Metadata,
            'groups': MetadataColumn[Numeric | Categorical],
            'coverage': Float % Range(COVERAGE.low, COVERAGE.high, inclusive_end=True),
        },
        input_descriptions={
            'predictions': 'Predictions to evaluate: of cross-validate, fit-regressor, predict and their counterparts '
            'for classes, or of q2-sample-classifier.',
            'details': 'Details that came with the predictions: intervals, folds, baselines and applicability. Samples '
            'that trained the model are then left out.',
            'probabilities': 'Probabilities of classes that came with the predictions; not needed where details have '
            'them.',
            'metrics': 'Metrics of cross-validate or cross-validate-classifier, with the verdict and the baselines.',
        },
        parameter_descriptions={
            'truth': 'Metadata column with the true values. Not needed where details have them.',
            'metadata': 'Further columns, by which errors are explained and points coloured.',
            'groups': 'Metadata column with the group of each sample (such as a subject or a site). Intervals then '
            'respect that samples of one group are alike.',
            'coverage': 'Share of true values that the prediction intervals were made to contain.',
        },
        name='Evaluate predictions',
        description='Show how good predictions are, in one page: a verdict with its interval, predicted against true '
        'values, calibration, the comparison with baselines, errors by any metadata column, which columns explain the '
        'errors (ranked, tested, corrected for their number), and the worst samples with their applicability. For '
        'classes: confusion matrix, ROC and precision-recall curves, and reliability. Every figure can be saved as SVG '
        'or PNG, every table as TSV.',
        citations=cite('hesterberg2015', 'benjamini1995', 'satyanarayan2017', 'vanderplas2018'),
        examples={'evaluate_predictions_of_a_number': evaluate_example},
    )
