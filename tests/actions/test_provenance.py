"""Predictions carry their whole chain: every action back to the imported table, with every parameter."""

import csv
import io
import json
import zipfile

import pytest
import yaml

from q2_aam.actions import examples
from q2_aam.config import FitRegressorConfig, PredictConfig, PretrainConfig

SMALL = {**examples.SMALL_MODEL, **examples.SHORT_TRAINING, 'batch_size': 4}


class ProvenanceLoader(yaml.SafeLoader):
    """Reads the framework's own tags (!ref, !cite, !metadata, ...) as what they hold."""

    # without what newer frameworks add to SafeLoader itself, which looks for files beside the one that is read
    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.startswith('tag:yaml.org')
    }


ProvenanceLoader.add_multi_constructor(
    '!',
    lambda loader, tag, node: loader.construct_object(
        type(node)('tag:yaml.org,2002:' + {'scalar': 'str', 'sequence': 'seq', 'mapping': 'map'}[node.id], node.value)
    ),
)


@pytest.fixture(scope='module')
def chain(plugin, small, tmp_path_factory):
    """Pretrain, fit and predict, with a drawn seed in each training; returns the artifacts by name."""
    drawn = {**SMALL, 'random_seed': 0}
    inputs = {'table': small.table, 'sequences': small.sequences}
    encoder, pretrained = plugin.actions['pretrain'](**inputs, distance_matrix=small.distances, **drawn)
    model, _, _, history = plugin.actions['fit_regressor'](
        **inputs,
        encoder=encoder,
        metadata=small.metadata.get_column('age'),
        groups=small.metadata.get_column('subject'),
        **{**drawn, 'learning_rate': 0.002},
    )
    predictions, _ = plugin.actions['predict'](**inputs, regressor=model, device='cpu', threads=1)
    path = predictions.save(str(tmp_path_factory.mktemp('chain') / 'predictions.qza'))
    return {
        'path': path,
        'encoder': encoder,
        'regressor': model,
        'pretrained': pretrained,
        'fitted': history,
        'predictions': predictions,
    }


@pytest.fixture(scope='module')
def actions(chain):
    """{uuid: action} of every artifact in the provenance of the predictions, read from the file itself."""
    root = str(chain['predictions'].uuid)
    by_uuid = {}
    with zipfile.ZipFile(chain['path']) as archive:
        for name in archive.namelist():
            if name.endswith('action/action.yaml'):
                parts = name.split('/')
                uuid = parts[parts.index('artifacts') + 1] if 'artifacts' in parts else root
                by_uuid[uuid] = yaml.load(archive.read(name), ProvenanceLoader)['action']
    return by_uuid


def flat(pairs):
    """QIIME 2 writes inputs and parameters as a list of one-entry mappings."""
    return {name: value for pair in pairs for name, value in pair.items()}


def test_predictions_lead_back_to_the_imported_table(chain, actions, small):
    predict = actions[str(chain['predictions'].uuid)]
    fit = actions[flat(predict['inputs'])['regressor']]
    pretrain = actions[flat(fit['inputs'])['encoder']]
    assert [action['action'] for action in (predict, fit, pretrain)] == ['predict', 'fit_regressor', 'pretrain']
    for action in (predict, fit, pretrain):
        assert flat(action['inputs'])['table'] == str(small.table.uuid)
        assert flat(action['inputs'])['sequences'] == str(small.sequences.uuid)
    assert flat(pretrain['inputs'])['distance_matrix'] == str(small.distances.uuid)
    assert actions[str(small.table.uuid)]['type'] == 'import'


# Parameters that are no field of a configuration.
MORE = {
    'fit_regressor': {'metadata', 'groups', 'covariates', 'split', 'extra_targets', 'scale_by', 'sample_weights'},
    'predict': {'covariates', 'scale_by'},
}


def test_every_parameter_of_every_action_is_recorded(chain, actions):
    given = {
        'pretrain': (PretrainConfig, chain['encoder'], {**SMALL, 'random_seed': 0}),
        'fit_regressor': (FitRegressorConfig, chain['regressor'], {**SMALL, 'random_seed': 0, 'learning_rate': 0.002}),
        'predict': (PredictConfig, chain['predictions'], {'device': 'cpu', 'threads': 1}),
    }
    for name, (call, artifact, values) in given.items():
        recorded = flat(actions[str(artifact.uuid)]['parameters'])
        # the framework has no empty lists
        expected = {
            opt.name: values.get(opt.name, opt.default if opt.default != () else None) for opt in call.options()
        }
        assert {key: value for key, value in recorded.items() if key in expected} == expected, name
        assert set(recorded) - set(expected) == MORE.get(name, set())


@pytest.mark.parametrize('model, history', [('encoder', 'pretrained'), ('regressor', 'fitted')])
def test_the_drawn_seed_is_in_the_card_and_in_the_history(chain, model, history, tmp_path):
    seed = json.loads(read(chain[model], 'card.json', tmp_path / 'model'))['seed']
    assert isinstance(seed, int) and seed > 0
    rows = csv.DictReader(io.StringIO(read(chain[history], 'history.tsv', tmp_path / 'history')), delimiter='\t')
    assert [float(row['value']) for row in rows if row['metric'] in ('seed', 'random_seed')] == [seed]


def test_the_methods_that_an_action_uses_are_cited(plugin):
    for name in ('pretrain', 'fit_regressor'):
        dois = {record.fields['doi'] for record in [*plugin.actions[name].citations, *plugin.citations]}
        assert {'10.48550/arXiv.1706.03762', '10.1128/AEM.71.12.8228-8235.2005'} <= dois
    assert all(doi.startswith('10.') for doi in dois)


def read(artifact, name, folder):
    """The text of one file of an artifact, exported as a user would."""
    artifact.export_data(str(folder))
    return (folder / name).read_text()
