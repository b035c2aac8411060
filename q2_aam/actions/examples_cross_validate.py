"""Usage examples of the cross-validations, on the small study of examples.py."""

from .examples import (
    SHORT_TRAINING,
    SMALL_MODEL,
    distances_factory,
    metadata_factory,
    sequences_factory,
    table_factory,
)

QUICK = {**SMALL_MODEL, **SHORT_TRAINING, 'folds': 3}


def _inputs(use, target):
    metadata = use.init_metadata('sample_metadata', metadata_factory)
    return {
        'table': use.init_artifact('table', table_factory),
        'sequences': use.init_artifact('sequences', sequences_factory),
        'metadata': use.get_metadata_column(target, target, metadata),
        'groups': use.get_metadata_column('subject', 'subject', metadata),
    }


def cross_validate_example(use):
    inputs = _inputs(use, 'age')
    distance_matrix = use.init_artifact('distance_matrix', distances_factory)

    predictions, details, metrics = use.action(
        use.UsageAction(plugin_id='aam', action_id='cross_validate'),
        use.UsageInputs(**inputs, distance_matrix=distance_matrix, **QUICK),
        use.UsageOutputNames(predictions='predictions', details='details', metrics='metrics'),
    )

    predictions.assert_output_type('SampleData[RegressorPredictions]')
    predictions.assert_has_line_matching(path='predictions.tsv', expression=r'^S00\t-?\d.*$')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    metrics.assert_output_type('AAMMetrics')
    metrics.assert_has_line_matching(path='metrics.tsv', expression=r'^AAM\trandom_forest\t.*\tmae_difference\t.*$')
    metrics.assert_has_line_matching(path='metrics.tsv', expression=r'^.*\tverdict\t.*$')


def cross_validate_classifier_example(use):
    inputs = _inputs(use, 'stage')

    predictions, probabilities, details, metrics = use.action(
        use.UsageAction(plugin_id='aam', action_id='cross_validate_classifier'),
        use.UsageInputs(**inputs, **QUICK),
        use.UsageOutputNames(
            predictions='predictions', probabilities='probabilities', details='details', metrics='metrics'
        ),
    )

    predictions.assert_output_type('SampleData[ClassifierPredictions]')
    predictions.assert_has_line_matching(path='predictions.tsv', expression=r'^S00\t(old|young)$')
    probabilities.assert_output_type('SampleData[Probabilities]')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    metrics.assert_output_type('AAMMetrics')
    metrics.assert_has_line_matching(path='metrics.tsv', expression=r'^.*\tbalanced_error_rate_difference\t.*$')
