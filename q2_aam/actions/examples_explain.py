"""Usage examples of feature_importance and visualize_attention, with a tiny model and the small study of the others."""

from .examples import N_ASVS, regressor_factory, sequences_factory, table_factory


def taxonomy_factory():
    """The taxonomy of the small study's ASVs: each of its two communities is a genus."""
    import pandas as pd
    import qiime2

    names = [f'asv{number:02}' for number in range(N_ASVS)]
    genus = ['Juvenilia', 'Senectilia']
    taxa = [f'k__Bacteria; p__Firmicutes; g__{genus[number >= N_ASVS // 2]}' for number in range(N_ASVS)]
    frame = pd.DataFrame({'Taxon': taxa, 'Confidence': '1.0'}, pd.Index(names, name='Feature ID'))
    return qiime2.Artifact.import_data('FeatureData[Taxonomy]', frame)


def feature_importance_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    taxonomy = use.init_artifact('taxonomy', taxonomy_factory)
    model = use.init_artifact('regressor', regressor_factory)

    importance, importance_details = use.action(
        use.UsageAction(plugin_id='aam', action_id='feature_importance'),
        use.UsageInputs(
            table=table, sequences=sequences, taxonomy=taxonomy, model=model, gradient_steps=4, device='cpu', threads=1
        ),
        use.UsageOutputNames(importance='importance', importance_details='importance_details'),
    )

    importance.assert_output_type('FeatureData[Importance]')
    importance.assert_has_line_matching(path='importance.tsv', expression=r'^asv\d\d\t\d.*$')
    importance_details.assert_output_type('FeatureData[AAMImportanceDetails]')
    importance_details.assert_has_line_matching(path='details.tsv', expression=r'^asv\d\d\t\d\S*\t-?\d.*$')
    importance_details.assert_has_line_matching(path='clades.tsv', expression=r'^3\tk__Bacteria; .*$')


def visualize_attention_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    model = use.init_artifact('regressor', regressor_factory)

    (attention,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='visualize_attention'),
        use.UsageInputs(
            table=table, sequences=sequences, model=model, sample_ids=['S03', 'S11'], feature_ids=['asv00'],
            device='cpu', threads=1,
        ),
        use.UsageOutputNames(visualization='attention'),
    )  # fmt: skip

    attention.assert_output_type('Visualization')
    attention.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Attention for age</h1>$')
