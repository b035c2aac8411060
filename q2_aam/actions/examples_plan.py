"""Usage example of plan, on the small study of examples.py."""

from .examples import metadata_factory, sequences_factory, table_factory


def plan_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    metadata = use.init_metadata('sample_metadata', metadata_factory)
    age = use.get_metadata_column('age', 'age', metadata)
    subject = use.get_metadata_column('subject', 'subject', metadata)

    (visualization,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='plan'),
        use.UsageInputs(table=table, sequences=sequences, metadata=age, groups=subject, device='cpu', threads=1),
        use.UsageOutputNames(visualization='plan'),
    )

    visualization.assert_output_type('Visualization')
    visualization.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Plan of a training</h1>$')
    visualization.assert_has_line_matching(path='tables/findings.tsv', expression=r'^warning\tfew_labels\t.*$')
