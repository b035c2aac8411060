"""Options that are lists, columns or other kinds of tables, as QIIME 2 hands them over."""

import pandas as pd
import pytest
import qiime2

from q2_aam.runtime.history import HISTORY_FILE

FORM = {
    'width': 16, 'memberships': 16, 'asv_layers': 1, 'sample_layers': 1, 'attention_heads': 1, 'epochs': 2,
    'threads': 1, 'device': 'cpu', 'random_seed': 5,
}  # fmt: skip
QUICK = FORM | {'abundance_ensemble': False, 'random_forest': False}


@pytest.fixture
def age(small):
    return small.metadata.get_column('age')


def test_quantiles_come_as_a_list_and_leave_as_columns(plugin, small, age):
    fit = plugin.actions['fit_regressor']
    results = fit(
        table=small.table, metadata=age, sequences=small.sequences, loss='quantile', quantiles=[0.1, 0.5, 0.9], **QUICK
    )
    details = results.details.view(qiime2.Metadata).to_dataframe()
    quantiles = details[['quantile_0.1', 'quantile_0.5', 'quantile_0.9']]
    assert (quantiles.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    (predicted,) = plugin.actions['predict'](
        table=small.table, sequences=small.sequences, regressor=results.regressor, threads=1
    )[1:]
    assert list(quantiles) == [name for name in predicted.view(qiime2.Metadata).columns if name.startswith('quantile_')]


def test_a_split_column_says_which_samples_are_which_and_folds_too(plugin, small, age):
    ids = list(small.metadata.ids)
    parts = pd.Series(
        ['training'] * 10 + ['validation'] * 4 + ['test'] * 4 + ['none'] * 2, index=pd.Index(ids, name='id')
    )
    split = qiime2.CategoricalMetadataColumn(parts.rename('part'))
    results = plugin.actions['fit_regressor'](
        table=small.table, metadata=age, sequences=small.sequences, split=split, **QUICK
    )
    details = results.details.view(qiime2.Metadata).to_dataframe()
    assert details['part'].to_dict() == parts[:18].to_dict()
    assert list(results.predictions.view(pd.Series).index) == ids[14:18]


def test_cross_validation_takes_its_folds_from_a_column(plugin, small, age):
    ids = list(small.metadata.ids)
    folds = pd.Series(['b', 'a'] * 9 + [None] * 2, index=pd.Index(ids, name='id'), name='fold', dtype=object)
    split = qiime2.CategoricalMetadataColumn(folds)
    form = {name: value for name, value in QUICK.items() if name != 'random_forest'}
    pipeline = plugin.pipelines['cross_validate']
    results = pipeline(table=small.table, metadata=age, sequences=small.sequences, split=split, baselines=False, **form)
    details = results.details.view(qiime2.Metadata).to_dataframe()
    assert len(details) == 18
    assert details.groupby('fold').apply(lambda rows: set(folds[rows.index])).tolist() == [{'a'}, {'b'}]
    with pytest.raises(ValueError, match='^Folds are given as split, so that there are no others, but repeats is 2; '):
        pipeline(table=small.table, metadata=age, sequences=small.sequences, split=split, repeats=2, **form)


def test_pretraining_takes_a_taxonomy_and_several_alpha_diversities(plugin, small):
    sequences = small.sequences.view(pd.Series)
    taxa = pd.DataFrame(
        {'Taxon': [f'k__B; g__G{i % 3}' for i in range(len(sequences))]},
        index=pd.Index(sequences.index, name='Feature ID'),
    )
    counts = small.table.view(pd.DataFrame)
    richness = (counts > 0).sum(axis=1).astype(float)
    alpha = [
        qiime2.Artifact.import_data('SampleData[AlphaDiversity]', series.rename(name))
        for name, series in (('observed_features', richness), ('reads', counts.sum(axis=1)))
    ]
    results = plugin.actions['pretrain'](
        table=small.table, sequences=small.sequences, taxonomy_level=2, alpha_diversity=alpha,
        taxonomy=qiime2.Artifact.import_data('FeatureData[Taxonomy]', taxa), **FORM,
    )  # fmt: skip
    rows = pd.read_csv(next(results.history._archiver.data_dir.glob(HISTORY_FILE)), sep='\t')
    metrics = set(rows.loc[rows['part'] == 'validation', 'metric'])
    assert {'taxonomy_loss', 'observed_features_r2', 'reads_r2', 'alpha_diversity_loss'} <= metrics
    held = rows.loc[rows['part'] == 'held_out', 'metric']
    assert len(held) == 2 and set(held) <= set(counts.index)


def test_presence_and_absence_is_learned_and_predicted(plugin, small, age):
    present = (small.table.view(pd.DataFrame) > 0).astype(float)
    table = qiime2.Artifact.import_data('FeatureTable[PresenceAbsence]', present)
    results = plugin.actions['fit_regressor'](table=table, metadata=age, sequences=small.sequences, **QUICK)
    predicted = plugin.actions['predict'](
        table=table, sequences=small.sequences, regressor=results.regressor, threads=1
    )
    details = predicted.details.view(qiime2.Metadata).to_dataframe()
    assert details['reads_used'].to_dict() == present.sum(axis=1).to_dict()
    assert predicted.predictions.view(pd.Series).notna().all()
