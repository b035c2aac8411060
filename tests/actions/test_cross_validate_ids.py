"""Cross-validation works with any ids that QIIME 2 metadata take, also those that biom-format cannot read back."""

import pytest
import qiime2

from q2_aam.actions.examples_cross_validate import QUICK


@pytest.mark.filterwarnings('ignore::FutureWarning:biom')
def test_samples_whose_ids_are_not_ascii_are_predicted(plugin, small):
    names = {name: f'{name} für 試料' for name in small.metadata.ids}
    table = small.table.view(pytest.importorskip('biom').Table)
    table.update_ids(names)
    metadata = qiime2.Metadata(small.metadata.to_dataframe().rename(index=names))
    _, details, metrics = plugin.pipelines['cross_validate'](
        table=qiime2.Artifact.import_data('FeatureTable[Frequency]', table),
        metadata=metadata.get_column('age'),
        sequences=small.sequences,
        groups=metadata.get_column('subject'),
        **QUICK,
    )
    assert sorted(details.view(qiime2.Metadata).ids) == sorted(names.values())
    assert metrics.view(qiime2.Metadata).id_count


def test_the_samples_of_a_fold_are_a_table_of_the_same_type(plugin, small):
    ids = qiime2.Metadata(small.metadata.to_dataframe().iloc[:3])
    (filtered,) = plugin.methods['_filter_samples'](small.table, metadata=ids)
    assert str(filtered.type) == 'FeatureTable[Frequency]'
    assert list(filtered.view(pytest.importorskip('biom').Table).ids()) == list(ids.ids)
