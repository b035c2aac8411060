"""An action hands its inputs to the library as files, series and one configuration, its results back as artifacts."""

import pathlib

import dill
import pandas as pd
import pytest
import qiime2
import skbio
from q2_types.tree import NewickFormat
from qiime2.plugins import sample_classifier

from q2_aam.actions import fit, predict, pretrain
from q2_aam.config import FitClassifierConfig, FitRegressorConfig, PredictClassesConfig, PredictConfig, PretrainConfig
from q2_aam.types import AAMModelDirectoryFormat, AAMTrainingHistoryDirectoryFormat


def view(artifact, name):
    """What the framework would hand over for an input of this name."""
    from q2_types.distance_matrix import LSMatFormat
    from q2_types.feature_data import DNAFASTAFormat
    from q2_types.feature_table import BIOMV210Format

    formats = {'table': BIOMV210Format, 'sequences': DNAFASTAFormat, 'distance_matrix': LSMatFormat}
    return artifact.view(formats[name])


@pytest.fixture
def views(small):
    return {
        'table': view(small.table, 'table'),
        'sequences': view(small.sequences, 'sequences'),
        'distance_matrix': view(small.distances, 'distance_matrix'),
    }


def test_pretrain_hands_over_paths_and_gives_folders(views, recorded):
    encoder, history = pretrain.pretrain(**views, epochs=3)
    (call,) = recorded
    table, folder, config = call.given
    assert table == str(views['table']) and folder == str(encoder)
    assert config == PretrainConfig.from_flat({'epochs': 3})
    assert pathlib.Path(call.sequences).read_text().startswith('>asv00\n')
    assert pathlib.Path(call.distance_matrix).read_text().startswith('\tS00\t')
    assert isinstance(encoder, AAMModelDirectoryFormat)
    assert isinstance(history, AAMTrainingHistoryDirectoryFormat)
    assert (history.path / 'history.tsv').read_text() == 'step\tepoch\tpart\tmetric\tvalue\n'


def test_pretrain_hands_over_a_phylogeny_as_the_path_of_its_newick_file(views, recorded, tmp_path):
    path = tmp_path / 'tree.nwk'
    path.write_text('((asv00:1,asv01:2):1,asv02:3);')
    tree = qiime2.Artifact.import_data('Phylogeny[Rooted]', str(path), view_type=NewickFormat)
    pretrain.pretrain(table=views['table'], phylogeny=tree.view(NewickFormat), unifrac='weighted_normalized')
    (call,) = recorded
    assert pathlib.Path(call.phylogeny).read_text() == '((asv00:1,asv01:2):1,asv02:3);'
    assert call.distance_matrix is None
    assert call.given[2].training.unifrac == 'weighted_normalized'


def test_a_phylogeny_without_a_root_is_refused_by_type(plugin, small, recorded):
    tree = qiime2.Artifact.import_data('Phylogeny[Unrooted]', skbio.TreeNode.read(['(a:1,b:1,c:1);']))
    with pytest.raises(TypeError, match=r"'phylogeny' requires an argument of type Phylogeny\[Rooted\]"):
        plugin.actions['pretrain'](table=small.table, phylogeny=tree)
    assert recorded == []


def test_optional_inputs_that_are_absent_are_handed_over_as_none(views, small, recorded):
    pretrain.pretrain(table=views['table'])
    fit.fit_regressor(table=views['table'], metadata=small.metadata.get_column('age'))
    predict.predict(table=views['table'], regressor='a folder')
    assert [call.sequences for call in recorded] == [None] * 3
    assert [call.distance_matrix for call in recorded[:2]] == [None] * 2
    assert recorded[0].phylogeny is None and recorded[1].encoder is None and recorded[1].groups is None


def test_fit_regressor_hands_over_target_and_groups_as_series(views, small, recorded):
    regressor, predictions, details, _ = fit.fit_regressor(
        **views,
        metadata=small.metadata.get_column('age'),
        groups=small.metadata.get_column('subject'),
        encoder='a folder',
        test_fraction=0.3,
    )
    (call,) = recorded
    table, target, folder, config = call.given
    assert (table, folder, call.encoder) == (str(views['table']), str(regressor), 'a folder')
    assert config == FitRegressorConfig.from_flat({'test_fraction': 0.3})
    assert target.name == 'age' and target.dtype == float and target.index[0] == 'S00'
    assert call.groups.loc['S03'] == 'P1'
    assert type(predictions) is pd.Series and type(details) is pd.DataFrame


def test_predict_reads_nothing_but_table_sequences_and_model(views, recorded):
    predictions, details = predict.predict(
        table=views['table'], sequences=views['sequences'], regressor='a folder', threads=2
    )
    (call,) = recorded
    assert call.given == (str(views['table']), 'a folder', PredictConfig.from_flat({'threads': 2}))
    assert list(predictions.index) == ['S00', 'S01']


def test_fit_classifier_hands_over_names_of_classes_and_gives_probabilities(views, small, recorded):
    classifier, predictions, probabilities, details, _ = fit.fit_classifier(
        **views,
        metadata=small.metadata.get_column('stage'),
        groups=small.metadata.get_column('subject'),
        encoder='a folder',
        class_weights='none',
    )
    (call,) = recorded
    table, target, folder, config = call.given
    assert (call.name, table, folder) == ('fit_classifier', str(views['table']), str(classifier))
    assert config == FitClassifierConfig.from_flat({'class_weights': 'none'})
    assert target.name == 'stage' and set(target) == {'young', 'old'} and call.groups.loc['S03'] == 'P1'
    assert (call.encoder, call.distance_matrix) == ('a folder', str(views['distance_matrix']))
    assert type(predictions) is pd.Series and type(details) is pd.DataFrame
    assert list(probabilities.columns) == ['x', 'y']


def test_predict_classes_reads_nothing_but_table_sequences_and_model(views, recorded):
    _, probabilities, _ = predict.predict_classes(
        table=views['table'], sequences=views['sequences'], classifier='a folder', harmonize='off'
    )
    (call,) = recorded
    assert call.name == 'predict_classes'
    assert call.given == (str(views['table']), 'a folder', PredictClassesConfig.from_flat({'harmonize': 'off'}))
    assert list(probabilities.index) == ['S00', 'S01']


@pytest.mark.parametrize(
    'values, names',
    [
        ([12802.0, 7.5, -3.0], ['12802', '7.5', '-3']),
        ([1e15, 0.0, 1.0], ['1000000000000000', '0', '1']),
        (['a', '7.0', 'b c'], ['a', '7.0', 'b c']),
    ],
)
def test_groups_become_text_and_whole_numbers_lose_their_point(values, names):
    index = pd.Index(['S1', 'S2', 'S3'], name='id')
    kind = qiime2.NumericMetadataColumn if isinstance(values[0], float) else qiime2.CategoricalMetadataColumn
    converted = fit.group_names(kind(pd.Series(values, index=index, name='subject')))
    assert converted.to_dict() == dict(zip(index, names))
    assert all(type(name) is str for name in converted)


def test_samples_without_a_group_are_left_out_of_the_groups():
    column = qiime2.NumericMetadataColumn(
        pd.Series([1.0, None], index=pd.Index(['S1', 'S2'], name='id'), name='subject')
    )
    assert fit.group_names(column).to_dict() == {'S1': '1'}


def test_a_target_that_is_no_number_is_refused_by_type(plugin, small, recorded):
    with pytest.raises(TypeError, match=r"'metadata' received .*MetadataColumn\[Numeric\]"):
        plugin.actions['fit_regressor'](table=small.table, metadata=small.metadata.get_column('subject'))
    assert recorded == []


def test_a_target_that_is_no_class_is_refused_by_type(plugin, small, recorded):
    with pytest.raises(TypeError, match=r"'metadata' received .*MetadataColumn\[Categorical\]"):
        plugin.actions['fit_classifier'](table=small.table, metadata=small.metadata.get_column('age'))
    assert recorded == []


def test_a_classifier_is_refused_by_predict_and_a_regressor_by_predict_classes(plugin, small, recorded, tmp_path):
    fixture = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
    models = {
        kind: qiime2.Artifact.import_data(f'AAM{kind.title()}', str(fixture / kind))
        for kind in ('regressor', 'classifier')
    }
    with pytest.raises(TypeError, match="'regressor' requires an argument of type AAMRegressor"):
        plugin.actions['predict'](table=small.table, regressor=models['classifier'])
    with pytest.raises(TypeError, match="'classifier' requires an argument of type AAMClassifier"):
        plugin.actions['predict_classes'](table=small.table, classifier=models['regressor'])
    assert recorded == []


def test_a_model_of_the_wrong_type_is_refused_by_type(plugin, small, recorded):
    with pytest.raises(TypeError, match="'regressor' requires an argument of type AAMRegressor"):
        plugin.actions['predict'](table=small.table, regressor=small.table)
    with pytest.raises(TypeError, match="'encoder' requires an argument of type AAMEncoder"):
        plugin.actions['fit_regressor'](
            table=small.table, metadata=small.metadata.get_column('age'), encoder=small.sequences
        )
    assert recorded == []


@pytest.mark.parametrize(
    'lines',
    [
        '\ta\tb\na\t0\tnan\nb\tnan\t0\n',
        '\ta\tb\na\t0\tx\nb\tx\t0\n',
        '\ta\tb\na\t0\nb\t1\t0\n',
        '\ta\tb\na\t0\t1\n',
        '\ta\tb\na\t0\t1\nb\t.5\t0\n',
        '\ta\tb\na\t0\t1\nc\t1\t0\n',
    ],
    ids=['NaN', 'text', 'short row', 'missing row', 'not symmetric', 'other ids'],
)
def test_a_damaged_matrix_reaches_the_library_whose_sentence_is_better_than_the_frameworks(lines, tmp_path):
    from q2_types.distance_matrix import LSMatFormat

    path = tmp_path / 'matrix.tsv'
    path.write_text(lines)
    matrix = qiime2.Artifact.import_data('DistanceMatrix', str(path), view_type=LSMatFormat)
    assert pathlib.Path(str(matrix.view(LSMatFormat))).read_text() == lines


def test_an_action_can_travel_to_another_process(plugin):
    # the framework pickles actions by dill to run them in the background or in parallel
    for action in plugin.actions.values():
        again = dill.loads(dill.dumps(action))
        assert again.signature.parameters.keys() == action.signature.parameters.keys()


def test_predictions_work_in_the_scatterplot_of_sample_classifier(small, tmp_path):
    predictions = qiime2.Artifact.import_data(
        'SampleData[RegressorPredictions]', small.metadata.get_column('age').to_series().rename_axis('id')[:12]
    )
    page = sample_classifier.visualizers.scatterplot(
        predictions, small.metadata.get_column('age'), missing_samples='ignore'
    ).visualization
    page.export_data(str(tmp_path / 'page'))
    assert 'predictions.pdf' in {path.name for path in (tmp_path / 'page').iterdir()}


def test_classes_and_probabilities_work_in_the_confusion_matrix_of_sample_classifier(tmp_path):
    index = pd.Index([f'S{i}' for i in range(6)], name='id')
    # names that look like numbers, and words beyond ASCII
    truth = pd.Series(['2', '2', 'frühe Zeit', 'frühe Zeit', '10', '10'], index, name='stage')
    share = pd.DataFrame({name: 0.1 + 0.7 * (truth == name) for name in ('10', '2', 'frühe Zeit')})
    predictions = qiime2.Artifact.import_data('SampleData[ClassifierPredictions]', truth.iloc[[1, 0, 2, 3, 5, 4]])
    probabilities = qiime2.Artifact.import_data('SampleData[Probabilities]', share)
    page = sample_classifier.visualizers.confusion_matrix(
        predictions, qiime2.CategoricalMetadataColumn(truth), probabilities=probabilities
    ).visualization
    page.export_data(str(tmp_path / 'page'))
    assert {'predictions.pdf', 'roc_plot.pdf'} <= {path.name for path in (tmp_path / 'page').iterdir()}
