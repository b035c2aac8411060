"""Usage examples of the pipelines that end with a page, on the small study of examples.py."""

from .examples import metadata_factory
from .examples_cross_validate import QUICK, _inputs

# The baselines are in the examples of cross-validate.
QUICKER = {**QUICK, 'folds': 2, 'baselines': False}


def evaluate_regressor_example(use):
    inputs = _inputs(use, 'age')
    sample_metadata = use.init_metadata('further_metadata', metadata_factory)

    predictions, details, metrics, evaluation = use.action(
        use.UsageAction(plugin_id='aam', action_id='evaluate_regressor'),
        use.UsageInputs(**inputs, sample_metadata=sample_metadata, **QUICKER),
        use.UsageOutputNames(predictions='predictions', details='details', metrics='metrics', evaluation='evaluation'),
    )

    predictions.assert_output_type('SampleData[RegressorPredictions]')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    metrics.assert_output_type('AAMMetrics')
    evaluation.assert_output_type('Visualization')
    evaluation.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Predictions of age</h1>$')


def evaluate_classifier_example(use):
    inputs = _inputs(use, 'stage')

    predictions, probabilities, details, metrics, evaluation = use.action(
        use.UsageAction(plugin_id='aam', action_id='evaluate_classifier'),
        use.UsageInputs(**inputs, **QUICKER),
        use.UsageOutputNames(
            predictions='predictions', probabilities='probabilities', details='details', metrics='metrics',
            evaluation='evaluation',
        ),
    )  # fmt: skip

    predictions.assert_output_type('SampleData[ClassifierPredictions]')
    probabilities.assert_output_type('SampleData[Probabilities]')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    metrics.assert_output_type('AAMMetrics')
    evaluation.assert_output_type('Visualization')
    evaluation.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Predictions of stage</h1>$')
