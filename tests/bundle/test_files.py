"""A bundle holds all that prediction needs and nothing else; what is damaged is refused in a sentence of its own."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from q2_aam import bundle
from q2_aam.data.batches import make_batch
from q2_aam.data.inputs import read_study
from q2_aam.data.references import References
from q2_aam.data.sequences import encode
from q2_aam.errors import UserError
from q2_aam.model.network import Network
from q2_aam.stats.conformal import calibrate

# every field of every group at a value that is not its default
ODD = {
    'validation_fraction': 0.3,
    'test_fraction': 0.1,
    'max_asvs_per_sample': 12,
    'asv_choice': 'random',
    'max_steps': 5,
    'rarefaction_depth': 500,
    'asv_dropout': 0.1,
    'nucleotide_noise': 0.01,
    'unifrac': 'weighted_normalized',
    'nucleotides_per_token': 5,
    'width': 24,
    'asv_layers': 1,
    'sample_layers': 2,
    'attention_heads': 3,
    'feed_forward_ratio': 3,
    'memberships': 20,
    'max_sequence_length': 48,
    'epochs': 3,
    'batch_size': 7,
    'learning_rate': 0.002,
    'warmup_fraction': 0.2,
    'weight_decay': 0.01,
    'gradient_clip': 0.5,
    'random_seed': 11,
    'mask_fraction': 0.2,
    'masked_asv_fraction': 0.5,
    'nucleotide_weight': 0.25,
    'distance_weight': 0.75,
    'patience': 2,
    'freeze': 'encoder',
    'encoder_learning_rate_ratio': 0.5,
    'profile_head': False,
    'random_forest': False,
    'loss': 'mae',
    'target_scaling': 'minmax',
    'coverage': 0.75,
    'class_weights': 'none',
    'device': 'cpu',
    'threads': 2,
    'max_memory_gb': 3.5,
    'precision': 'float32',
    'compile': True,
}
REFERENCES = References(encode(['ACGTAC', 'GGNTA'])[0], 3, 0.75, 0.25, 4, 7)
CARD = {
    'samples': {'training': 3},
    'asvs': 5,
    'amplicon_length': {'shortest': 40, 'median': 50.0, 'longest': 60},
    'input_sha256': {'table': '0' * 64},
    'target': None,
    'unit': None,
    'seed': 11,
    'device': 'cpu',
    'precision': 'float32',
    'versions': {'q2-aam': '0.1.0'},
    'wall_seconds': 1.5,
    'figures': {'validation': {'distance_r': float('nan')}},
}


@pytest.fixture
def encoder(tiny_encoder, tmp_path):
    """A copy of a sound encoder, to be damaged."""
    return shutil.copytree(tiny_encoder.folder, tmp_path / 'encoder')


@pytest.fixture
def regressor(tiny_regressor, tmp_path):
    """A copy of a sound regressor, to be damaged."""
    return shutil.copytree(tiny_regressor.folder, tmp_path / 'regressor')


@pytest.fixture
def classifier(tiny_classifier, tmp_path):
    """A copy of a sound classifier, to be damaged."""
    return shutil.copytree(tiny_classifier.folder, tmp_path / 'classifier')


def refusal(folder):
    with pytest.raises(ValueError) as error:
        bundle.check(folder)
    return str(error.value)


def change_json(path, change):
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def change_weights(folder, change):
    weights = load_file(folder / bundle.MODEL_FILE)
    change(weights)
    save_file(weights, folder / bundle.MODEL_FILE)


TARGETS = {
    bundle.ENCODER: None,
    bundle.REGRESSOR: bundle.Target(
        'age at visit', 3.25, 1.75, calibrate([0.125, -0.5, 0.75], ['a', 'b', 'a']), 0.6, root=True
    ),
    bundle.CLASSIFIER: bundle.Classes('stage of visit', ('1.0', 'après "tout"', 'mid way'), 1.75),
}


@pytest.mark.parametrize('kind, call', bundle.CALLS.items())
def test_every_field_at_another_value_than_its_default_comes_back_with_identical_outputs(kind, call, tiny, tmp_path):
    config = call.from_flat({opt.name: ODD[opt.name] for opt in call.options()})
    assert all(getattr(getattr(config, opt.group), opt.name) != opt.default for opt in call.options())
    target = TARGETS[kind]
    torch.manual_seed(3)
    network = Network(config.model, nucleotides=target is None, outputs=target.outputs if target else 0).eval()
    # weights that no initialisation leaves, biases and norms too
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    saved = bundle.BundleConfig(kind, config, 1.5, target, REFERENCES.numbers if target else None)
    arrays = {'references': REFERENCES.codes} if target else {}
    bundle.save(tmp_path, network, saved, CARD, arrays)
    loaded, config_loaded, arrays_loaded = bundle.load(tmp_path)
    assert config_loaded == saved
    assert arrays_loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert arrays_loaded[name].dtype == array.dtype and np.array_equal(arrays_loaded[name], array)
    files = tiny.write(tmp_path / 'inputs')
    with pytest.warns(UserWarning, match='reads the first 48 nucleotides'):
        study, _ = read_study(files.table, files.sequences, max_length=48)
    batch = make_batch(study, np.arange(len(study)))
    with torch.no_grad():
        one, two = network.encode(batch), loaded.encode(batch)
        for field in dataclasses.fields(one):
            assert torch.equal(getattr(one, field.name), getattr(two, field.name))
        assert torch.equal(network.distance_head(one.unions, one.unions), loaded.distance_head(two.unions, two.unions))
        if target:
            before, after = network.regression_head(one), loaded.regression_head(two)
            assert torch.equal(before, after)
            columns = target.columns(before.numpy()), config_loaded.target.columns(after.numpy())
            assert [name for name, _ in columns[0].items()] == list(columns[1])
            assert all(np.array_equal(columns[0][name], columns[1][name]) for name in columns[0])
    assert not loaded.training
    # the head that no one needs afterwards is not in the file
    assert not any('nucleotide' in name.split('.')[0] for name in load_file(tmp_path / bundle.MODEL_FILE))


def test_what_is_not_finite_is_null_in_the_card_which_stays_json(tmp_path, tiny_encoder):
    network, config, _ = bundle.load(tiny_encoder.folder)
    bundle.save(tmp_path, network, config, CARD)
    assert json.loads((tmp_path / bundle.CARD_FILE).read_text())['figures'] == {'validation': {'distance_r': None}}


def test_a_card_without_one_of_its_fields_is_not_written(tmp_path, tiny_encoder):
    network, config, _ = bundle.load(tiny_encoder.folder)
    with pytest.raises(ValueError, match='lacks the field seed of format version 1'):
        bundle.save(tmp_path, network, config, {name: value for name, value in CARD.items() if name != 'seed'})


def test_loading_leaves_the_random_numbers_of_the_caller_alone(tiny_encoder):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    bundle.load(tiny_encoder.folder)
    assert torch.equal(torch.rand(3), wanted)


def test_a_bundle_is_three_files_without_pickle_and_without_any_id(tiny, tiny_encoder, tiny_regressor, tiny_classifier):
    ids = {*tiny.counts.index, *tiny.groups, *tiny.counts.columns}
    for run in (tiny_encoder, tiny_regressor, tiny_classifier):
        assert sorted(path.name for path in run.folder.iterdir()) == sorted(bundle.FILES)
        for path in run.folder.iterdir():
            content = path.read_bytes()
            assert not [name for name in ids if name.encode() in content]
            # a zip (torch.save) or a bare pickle
            assert not content.startswith((b'PK', b'\x80'))


def test_a_card_tells_what_a_reader_may_rely_on(tiny_encoder, tiny_regressor):
    cards = [json.loads((run.folder / bundle.CARD_FILE).read_text()) for run in (tiny_encoder, tiny_regressor)]
    assert [card['kind'] for card in cards] == ['encoder', 'regressor']
    for card in cards:
        assert set(card) == set(bundle.CARD_FIELDS)
        assert (card['format_version'], card['seed'], card['device'], card['asvs']) == (1, 7, 'cpu', 30)
        assert card['amplicon_length']['longest'] <= 60
        assert all(len(digest) == 64 for digest in card['input_sha256'].values())
    assert cards[0]['samples'] == {'training': 22, 'validation': 2}
    assert cards[1]['samples'] == {'training': 16, 'validation': 4, 'test': 4}
    assert (cards[1]['target'], cards[1]['unit']) == ('age', 'that of the metadata column "age"')
    assert set(cards[1]['figures']) == {'training', 'validation', 'test'}


def test_the_hash_of_a_bundle_follows_its_weights_and_configuration(encoder, regressor):
    before = bundle.sha256(encoder)
    assert before == bundle.sha256(encoder) != bundle.sha256(regressor)
    change_json(encoder / bundle.CARD_FILE, lambda card: card.update(wall_seconds=99.0))
    assert bundle.sha256(encoder) == before
    change_weights(encoder, lambda weights: weights['distance_head.weight'].add_(1))
    assert bundle.sha256(encoder) != before


@pytest.mark.parametrize('name', bundle.FILES)
def test_a_missing_file_is_named(encoder, name):
    (encoder / name).unlink()
    assert refusal(encoder) == f'The model lacks its file {name}; use a model that this plugin has made.'


@pytest.mark.parametrize('left', [0, 5, 200, -1])
def test_cut_off_weights_are_refused(encoder, left):
    path = encoder / bundle.MODEL_FILE
    path.write_bytes(path.read_bytes()[:left])
    for level in ('min', 'max'):
        with pytest.raises(ValueError) as error:
            bundle.check(encoder, level)
        assert str(error.value).startswith("The model's model.safetensors is damaged or cut off (")
        assert str(error.value).endswith('); get the artifact again from where it was made.')


def test_a_pickle_in_the_place_of_weights_is_refused_and_not_run(encoder):
    torch.save({'weights': torch.zeros(3)}, encoder / bundle.MODEL_FILE)
    assert refusal(encoder).startswith("The model's model.safetensors is damaged or cut off (")


def test_missing_weights_are_named(encoder):
    change_weights(encoder, lambda weights: weights.pop('distance_head.weight'))
    assert refusal(encoder) == (
        "The model's model.safetensors lacks the weights distance_head.weight that its config.json asks for."
    )


def test_weights_too_many_are_named(encoder):
    change_weights(encoder, lambda weights: weights.update({'distance_head.more': torch.zeros(2)}))
    assert refusal(encoder) == (
        "The model's model.safetensors has weights that its config.json does not know: distance_head.more."
    )


def test_weights_of_another_shape_than_the_configuration_asks_for_are_named(encoder):
    change_weights(encoder, lambda weights: weights.update({'distance_head.weight': torch.zeros(15)}))
    assert refusal(encoder) == (
        'The weights distance_head.weight of the model have the shape (15,), but its config.json asks for (16,); the '
        'two files are not of one model.'
    )


def test_classes_other_than_the_weights_are_for_are_refused(classifier):
    change_json(classifier / bundle.CONFIG_FILE, lambda fields: fields['target'].update(classes=['a', 'b']))
    assert refusal(classifier) == (
        'The weights regression_head.out.bias of the model have the shape (3,), but its config.json asks for (2,); the '
        'two files are not of one model.'
    )


def test_numbers_beside_the_weights_that_are_missing_or_not_asked_for_are_named(encoder, regressor):
    change_weights(regressor, lambda weights: weights.pop('references'))
    assert refusal(regressor) == (
        "The model's model.safetensors lacks the numbers references that its config.json asks for."
    )
    change_weights(encoder, lambda weights: weights.update(references=torch.ones(2, 3, dtype=torch.uint8)))
    assert refusal(encoder) == (
        "The model's model.safetensors has weights that its config.json does not know: references."
    )


@pytest.mark.parametrize('level', ['min', 'max'])
def test_numbers_of_another_type_than_they_are_to_have_are_named(regressor, level):
    change_weights(regressor, lambda weights: weights.update(references=weights['references'].int()))
    with pytest.raises(ValueError) as error:
        bundle.check(regressor, level)
    assert str(error.value) == (
        'The numbers references of the model are of the type I32 instead of U8; use a model that this plugin has made.'
    )


def test_references_that_are_no_sequences_are_refused_where_all_is_read(regressor):
    change_weights(regressor, lambda weights: weights['references'][0].fill_(9))
    bundle.check(regressor, 'min')
    assert refusal(regressor) == (
        'The references of a model must be sequences and the numbers by which others are compared with them, but they '
        'are not; train the model again.'
    )


def test_arrays_of_every_type_come_back_and_floats_must_be_numbers(tiny_encoder, tmp_path, monkeypatch):
    network, config, none = bundle.load(tiny_encoder.folder)
    assert none == {}
    types = {'float32': 'F32', 'float64': 'F64', 'uint8': 'U8', 'int32': 'I32', 'int64': 'I64'}
    monkeypatch.setattr(bundle.BundleConfig, 'arrays', {f'more.{name}': kind for name, kind in types.items()})
    # every other one: not what lies in one piece in memory
    arrays = {f'more.{name}': np.arange(6, dtype=name)[::2] for name in types}
    bundle.save(tmp_path, network, config, CARD, arrays)
    _, _, found = bundle.load(tmp_path)
    assert {name: (array.dtype, list(array)) for name, array in found.items()} == {
        name: (array.dtype, [0, 2, 4]) for name, array in arrays.items()
    }
    with pytest.raises(ValueError, match='^The numbers more.int32 of the model are of the type I64 instead of I32; '):
        bundle.save(tmp_path, network, config, CARD, arrays | {'more.int32': np.arange(3)})
    with pytest.raises(ValueError, match='lacks the numbers more.uint8 that its config.json asks for.$'):
        bundle.save(tmp_path, network, config, CARD, {name: arrays[name] for name in arrays if 'uint8' not in name})
    bundle.save(tmp_path, network, config, CARD, arrays | {'more.float64': np.array([np.nan])})
    assert refusal(tmp_path) == 'The numbers more.float64 of the model are not all numbers; train it again.'


def test_weights_of_another_type_are_named(encoder):
    change_weights(encoder, lambda weights: weights.update({'distance_head.weight': torch.zeros(16).bfloat16()}))
    assert refusal(encoder) == (
        'The weights distance_head.weight of the model are of the type BF16 instead of F32; use a model that this '
        'plugin has made.'
    )


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers_are_named_where_all_is_read(encoder, value):
    def spoil(weights):
        weights['distance_head.weight'][3] = value

    change_weights(encoder, spoil)
    bundle.check(encoder, 'min')
    assert refusal(encoder) == ('The weights distance_head.weight of the model are not all numbers; train it again.')


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
def test_files_that_are_not_json_objects_are_refused(encoder, name):
    path = encoder / name
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert refusal(encoder).startswith(f"The model's {name} is damaged or cut off: it is not JSON (")
    path.write_text('[1, 2]')
    assert refusal(encoder) == f"The model's {name} is damaged: it holds no object."
    path.write_bytes(b'\xff\xfe\x00')
    assert refusal(encoder) == f"The model's {name} is damaged: it is not text."


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
def test_a_newer_format_version_is_refused_and_one_that_is_missing_too(encoder, name):
    change_json(encoder / name, lambda fields: fields.update(format_version=2))
    assert refusal(encoder) == (
        'The model has format version 2, but this version of q2-aam reads up to 1; update q2-aam.'
    )
    for wrong in (0, 'one', True, None):
        change_json(encoder / name, lambda fields: fields.update(format_version=wrong))  # noqa: B023
        assert refusal(encoder) == (f"The model's {name} has no format version; use a model that this plugin has made.")


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
def test_a_field_that_is_unknown_or_missing_is_named(encoder, name):
    field = {bundle.CONFIG_FILE: 'distance_divisor', bundle.CARD_FILE: 'figures'}[name]
    change_json(encoder / name, lambda fields: fields.update(flavour='sweet'))
    assert refusal(encoder) == f"The model's {name} has a field that format version 1 does not know: flavour."
    change_json(encoder / name, lambda fields: fields.pop('flavour') and fields.pop(field))
    assert refusal(encoder) == f"The model's {name} lacks the field {field} of format version 1."


def test_the_card_of_another_kind_of_model_is_refused(encoder, tiny_regressor):
    shutil.copy(tiny_regressor.folder / bundle.CARD_FILE, encoder)
    assert refusal(encoder) == "The model's card.json is that of another model: its kind is 'regressor'."


def test_a_model_of_another_kind_than_wanted_is_refused(tiny_encoder):
    with pytest.raises(UserError) as error:
        bundle.load(tiny_encoder.folder, bundle.REGRESSOR)
    assert str(error.value) == ('The model is of the kind encoder, but regressor is wanted; give a model of that kind.')


def test_loading_a_damaged_model_is_an_error_of_the_user(encoder):
    (encoder / bundle.CARD_FILE).unlink()
    with pytest.raises(UserError, match='^The model lacks its file card.json; '):
        bundle.load(encoder)


def test_the_names_of_the_files_are_there_without_torch():
    code = 'import sys; from q2_aam import bundle; print(sorted({"torch", "safetensors"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'
