"""Usage examples of the searches, on the small study of examples.py."""

from .examples import SHORT_TRAINING, SMALL_MODEL, metadata_factory, sequences_factory, table_factory

# with a form of its own, which is then not searched, and nothing that takes time
QUICK = {
    **SMALL_MODEL,
    **SHORT_TRAINING,
    'abundance_ensemble': False,
    'trials': 2,
    'search_parameters': ['learning_rate', 'asv_dropout'],
}


def tune_regressor_example(use):
    settings, metrics = _tune(use, 'tune_regressor', 'age')
    settings.assert_has_line_matching(path='settings.json', expression=r'^ "kind": "regressor",$')
    metrics.assert_has_line_matching(path='metrics.tsv', expression=r'^tuned\tdefault\t.*\tmae_difference\t.*$')


def tune_classifier_example(use):
    settings, metrics = _tune(use, 'tune_classifier', 'stage')
    settings.assert_has_line_matching(path='settings.json', expression=r'^ "kind": "classifier",$')
    metrics.assert_has_line_matching(path='metrics.tsv', expression=r'^trial_1\t.*\tinner_.*$')


def _tune(use, action, target):
    metadata = use.init_metadata('sample_metadata', metadata_factory)
    settings, metrics = use.action(
        use.UsageAction(plugin_id='aam', action_id=action),
        use.UsageInputs(
            table=use.init_artifact('table', table_factory),
            sequences=use.init_artifact('sequences', sequences_factory),
            metadata=use.get_metadata_column(target, target, metadata),
            groups=use.get_metadata_column('subject', 'subject', metadata),
            **QUICK,
        ),
        use.UsageOutputNames(settings='settings', metrics='metrics'),
    )
    settings.assert_output_type('AAMSettings')
    metrics.assert_output_type('AAMMetrics')
    metrics.assert_has_line_matching(path='metrics.tsv', expression=r'^tuned\tdefault\t.*\tverdict\t.*$')
    return settings, metrics
