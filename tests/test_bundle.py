"""A bundle holds all that prediction needs and nothing else; what is damaged is refused in a sentence of its own."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from q2_aam import bundle
from q2_aam.config import AUTO, FitConfig, PredictConfig, PretrainConfig
from q2_aam.data.batches import make_batch
from q2_aam.data.inputs import read_study
from q2_aam.errors import UserError
from q2_aam.inference.predict import predict
from q2_aam.model.network import Network

FIXTURE = pathlib.Path(__file__).parent / 'data' / 'bundle-v1'

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
    'feed_forward_ratio': 2,
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
    'loss': 'mae',
    'target_scaling': 'minmax',
    'device': 'cpu',
    'threads': 2,
    'max_memory_gb': 3.5,
    'precision': 'float32',
}
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


@pytest.mark.parametrize('call', [PretrainConfig, FitConfig])
def test_every_field_at_another_value_than_its_default_comes_back_with_identical_outputs(call, tiny, tmp_path):
    config = call.from_flat({opt.name: ODD[opt.name] for opt in call.options()})
    assert all(getattr(getattr(config, opt.group), opt.name) != opt.default for opt in call.options())
    regressor = call is FitConfig
    torch.manual_seed(3)
    network = Network(config.model, nucleotides=not regressor, outputs=int(regressor)).eval()
    # weights that no initialisation leaves, biases and norms too
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    target = bundle.Target('age at visit', 3.25, 1.75) if regressor else None
    saved = bundle.BundleConfig(bundle.REGRESSOR if regressor else bundle.ENCODER, config, 1.5, target)
    bundle.save(tmp_path, network, saved, CARD)
    loaded, config_loaded = bundle.load(tmp_path)
    assert config_loaded == saved
    files = tiny.write(tmp_path / 'inputs')
    with pytest.warns(UserWarning, match='reads the first 48 nucleotides'):
        study, _ = read_study(files.table, files.sequences, max_length=48)
    batch = make_batch(study, np.arange(len(study)))
    with torch.no_grad():
        one, two = network.encode(batch), loaded.encode(batch)
        for field in dataclasses.fields(one):
            assert torch.equal(getattr(one, field.name), getattr(two, field.name))
        assert torch.equal(network.distance_head(one.unions, one.unions), loaded.distance_head(two.unions, two.unions))
        if regressor:
            assert torch.equal(network.regression_head(one), loaded.regression_head(two))
    assert not loaded.training
    # the head that no one needs afterwards is not in the file
    assert not any('nucleotide' in name.split('.')[0] for name in load_file(tmp_path / bundle.MODEL_FILE))


def test_what_is_not_finite_is_null_in_the_card_which_stays_json(tmp_path, tiny_encoder):
    network, config = bundle.load(tiny_encoder.folder)
    bundle.save(tmp_path, network, config, CARD)
    assert json.loads((tmp_path / bundle.CARD_FILE).read_text())['figures'] == {'validation': {'distance_r': None}}


def test_a_card_without_one_of_its_fields_is_not_written(tmp_path, tiny_encoder):
    network, config = bundle.load(tiny_encoder.folder)
    with pytest.raises(ValueError, match='lacks the field seed of format version 1'):
        bundle.save(tmp_path, network, config, {name: value for name, value in CARD.items() if name != 'seed'})


def test_loading_leaves_the_random_numbers_of_the_caller_alone(tiny_encoder):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    bundle.load(tiny_encoder.folder)
    assert torch.equal(torch.rand(3), wanted)


def test_a_bundle_is_three_files_without_pickle_and_without_any_id(tiny, tiny_encoder, tiny_regressor):
    ids = {*tiny.counts.index, *tiny.groups, *tiny.counts.columns}
    for run in (tiny_encoder, tiny_regressor):
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


def test_a_parameter_that_is_unknown_missing_or_out_of_bounds_is_named(encoder):
    path = encoder / bundle.CONFIG_FILE
    sound = path.read_text()
    change_json(path, lambda fields: fields['call']['model'].update(depth=3))
    assert refusal(encoder) == (
        "In the model's config.json: The configuration group model has a field that this version does not know: depth."
    )
    path.write_text(sound)
    change_json(path, lambda fields: fields['call']['training'].pop('mask_fraction'))
    assert refusal(encoder) == (
        "In the model's config.json: The configuration group training lacks the field mask_fraction."
    )
    path.write_text(sound)
    change_json(path, lambda fields: fields['call']['model'].update(width=[16]))
    assert refusal(encoder) == (
        "In the model's config.json: Parameter width must be a whole number from 8 to 8192 or 'auto', but it is [16]."
    )


def test_a_form_of_the_model_that_is_left_to_be_derived_is_refused(encoder):
    change_json(encoder / bundle.CONFIG_FILE, lambda fields: fields['call']['model'].update(width=AUTO))
    assert refusal(encoder) == "The model's config.json gives 'auto' for width, where a value must stand."


@pytest.mark.parametrize('kind', ['classifier', ['encoder'], None])
def test_an_unknown_kind_is_refused(encoder, kind):
    change_json(encoder / bundle.CONFIG_FILE, lambda fields: fields.update(kind=kind))
    assert refusal(encoder) == f'The kind of a model must be one of encoder, regressor, but it is {kind!r}.'


def test_the_card_of_another_kind_of_model_is_refused(encoder, tiny_regressor):
    shutil.copy(tiny_regressor.folder / bundle.CARD_FILE, encoder)
    assert refusal(encoder) == "The model's card.json is that of another model: its kind is 'regressor'."


@pytest.mark.parametrize('divisor', [0, -1.5, 'two', True, float('nan')])
def test_a_distance_divisor_that_is_not_above_0_is_refused(encoder, divisor):
    change_json(encoder / bundle.CONFIG_FILE, lambda fields: fields.update(distance_divisor=divisor))
    assert refusal(encoder) == (f"The model's config.json has the distance divisor {divisor!r}, which is not above 0.")


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'scale': 0}, "and a scale above 0, but it is Target(name='age', center={center}, scale=0)."),
        ({'center': float('inf')}, "and a scale above 0, but it is Target(name='age', center=inf, scale={scale})."),
        ({'unit': 'years'}, "The model's target of config.json has a field that format version 1 does not know: unit."),
    ],
)
def test_a_target_that_cannot_be_undone_is_refused(regressor, change, sentence):
    target = bundle.read_config(regressor).target
    change_json(regressor / bundle.CONFIG_FILE, lambda fields: fields['target'].update(change))
    assert refusal(regressor).endswith(sentence.format(center=target.center, scale=target.scale))


def test_a_regressor_without_target_and_an_encoder_with_one_are_refused(encoder, regressor):
    sentence = "The model's config.json must have a target if, and only if, it is a regressor."
    change_json(regressor / bundle.CONFIG_FILE, lambda fields: fields.update(target=None))
    assert refusal(regressor) == sentence
    target = {'name': 'age', 'center': 0.0, 'scale': 1.0}
    change_json(encoder / bundle.CONFIG_FILE, lambda fields: fields.update(target=target))
    assert refusal(encoder) == sentence


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


@pytest.mark.parametrize('kind', [bundle.ENCODER, bundle.REGRESSOR])
def test_bundles_of_format_version_1_are_read_for_ever(kind):
    _, config = bundle.load(FIXTURE / kind, kind)
    assert json.loads((FIXTURE / kind / bundle.CONFIG_FILE).read_text())['format_version'] == 1
    assert config.kind == kind


def test_a_regressor_of_format_version_1_predicts_what_it_did_when_it_was_made():
    expected = pd.read_csv(FIXTURE / 'predictions.tsv', sep='\t', index_col='id')['age']
    config = PredictConfig.from_flat({'threads': 1, 'device': 'cpu'})
    predictions, _ = predict(FIXTURE / 'table.biom', FIXTURE / 'regressor', config, say=lambda line: None)
    assert list(predictions.index) == list(expected.index)
    assert np.abs(predictions - expected).max() < 1e-5
    # worth comparing
    assert expected.std() > 0.1


def test_the_encoder_of_format_version_1_places_samples_where_it_did():
    expected = pd.read_csv(FIXTURE / 'distances.tsv', sep='\t', index_col=0)
    network, config = bundle.load(FIXTURE / 'encoder', bundle.ENCODER)
    study, _ = read_study(FIXTURE / 'table.biom', max_length=config.call.model.max_sequence_length)
    with torch.no_grad():
        unions = network.encode(make_batch(study, np.arange(len(study)))).unions
        found = network.distance_head(unions, unions).numpy()
    assert study.sample_ids == list(expected.index)
    assert np.abs(found - expected.to_numpy()).max() < 1e-5


def test_the_table_of_the_frozen_bundles_is_biom_2_1():
    with h5py.File(FIXTURE / 'table.biom') as file:
        assert tuple(file.attrs['format-version']) == (2, 1)
