"""Every type of the plugin is known to QIIME 2 by its name, with its format and a description."""

from qiime2.sdk import PluginManager

CLASSES = {
    'AAMEncoder': 'AAMModelDirectoryFormat',
    'AAMRegressor': 'AAMModelDirectoryFormat',
    'AAMClassifier': 'AAMModelDirectoryFormat',
    'AAMTrainingHistory': 'AAMTrainingHistoryDirectoryFormat',
    'AAMMetrics': 'AAMMetricsDirectoryFormat',
    'AAMONNXModel': 'AAMONNXModelDirectoryFormat',
    'AAMSettings': 'AAMSettingsDirectoryFormat',
    'SampleData[AAMPredictionDetails]': 'AAMPredictionDetailsDirectoryFormat',
    'FeatureData[AAMImportanceDetails]': 'AAMImportanceDetailsDirectoryFormat',
}


def test_each_type_has_its_format_and_a_description():
    plugin = PluginManager().plugins['aam']
    formats = {name: record.format.__name__ for name, record in plugin.artifact_classes.items()}
    assert formats == CLASSES
    assert all(record.description.endswith('.') for record in plugin.artifact_classes.values())


def test_names_of_types_and_formats_carry_our_prefix():
    # they are global across all plugins
    plugin = PluginManager().plugins['aam']
    names = [*plugin.type_fragments, *plugin.formats]
    assert names and all(name.startswith('AAM') for name in names)
