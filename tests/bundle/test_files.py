"""A bundle holds all that prediction needs and nothing else, and gives back what was put in."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from q2_aam import bundle
from q2_aam.bundle.files import heads_to_save
from q2_aam.config import HeadConfig
from q2_aam.data.batches import draw_samples, make_batch
from q2_aam.data.inputs import read_study
from q2_aam.data.references import References
from q2_aam.data.sequences import encode
from q2_aam.model.network import build_network
from q2_aam.stats.conformal import Calibration, calibrate
from tests.values import another_than_default, sets_of_values

# every field of every group at a value that is not its default
ODD = {
    'validation_fraction': 0.3,
    'test_fraction': 0.1,
    'max_asvs_per_sample': 12,
    'asv_choice': 'random',
    'max_steps': 5,
    'rarefaction_depth': 500,
    'asv_dropout': 0.1,
    'rarefaction_range': 3.0,
    'nucleotide_noise': 0.01,
    'max_shift': 2,
    'max_trim': 30,
    'unifrac': 'weighted_normalized',
    'nucleotides_per_token': 5,
    'width': 24,
    'asv_layers': 1,
    'sample_layers': 2,
    'attention_heads': 3,
    'mlp_ratio': 3,
    'memberships': 20,
    'max_sequence_length': 48,
    'epochs': 3,
    'batch_size': 7,
    'learning_rate': 0.002,
    'warmup_fraction': 0.2,
    'weight_decay': 0.01,
    'gradient_clip': 0.5,
    'random_seed': 11,
    'mask_ratio': 0.2,
    'masked_asv_ratio': 0.5,
    'nucleotide_weight': 0.25,
    'distance_weight': 0.75,
    'patience': 2,
    'freeze': 'encoder',
    'encoder_learning_rate_ratio': 0.5,
    'abundance_ensemble': False,
    'random_forest': False,
    'target_scaling': 'minmax',
    'coverage': 0.75,
    'device': 'cpu',
    'threads': 2,
    'max_memory_gb': 3.5,
    'precision': 'float32',
    'compile': True,
}
REFERENCES = References(encode(['ACGTAC', 'GGNTA'])[0], 3, 0.75, 0.25, 4, 7)
CARD = {
    'format_version': 1,
    'kind': 'encoder',
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
    'metrics': {'validation': {'distance_r': float('nan')}},
}


TARGETS = {
    bundle.ENCODER: None,
    bundle.REGRESSOR: bundle.NumericTarget(
        'age at visit', 3.25, 1.75, 0.6, sqrt=True, calibration=calibrate([0.125, -0.5, 0.75], ['a', 'b', 'a'])
    ),
    bundle.CLASSIFIER: bundle.ClassTarget('stage of visit', ('1.0', 'après "tout"', 'mid way'), 1.75),
}


@pytest.mark.parametrize('kind, call', bundle.CALLS.items())
def test_every_field_at_another_value_than_its_default_comes_back_with_identical_outputs(kind, call, tiny, tmp_path):
    options, _ = sets_of_values(call, lambda opt: ODD.get(opt.name, another_than_default(opt)))
    config = call.from_flat(options)
    assert all(
        getattr(getattr(config, opt.group), opt.name) != opt.default for opt in call.options() if opt.name in options
    )
    target = TARGETS[kind]
    heads = {'distances': HeadConfig('distances'), 'nucleotides': HeadConfig('nucleotides')}
    if target:
        heads['target'] = HeadConfig('target', target.outputs)
    network = build_network(config.model, heads, torch.Generator().manual_seed(3)).eval()
    # weights that no initialisation leaves, biases and norms too
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    # the head that no one needs afterwards is not saved
    assert heads_to_save(network) == {name: head for name, head in heads.items() if name != 'nucleotides'}
    saved = bundle.BundleConfig(
        kind, config, heads_to_save(network), 1.5, target, REFERENCES.numbers if target else None
    )
    bundle.save(tmp_path, bundle.Bundle(saved, network, REFERENCES if target else None), CARD | {'kind': kind})
    loaded = bundle.load(tmp_path)
    assert loaded.config == saved and loaded.ensemble is None and loaded.vocabulary is None
    if target:
        assert loaded.references.numbers == REFERENCES.numbers
        assert loaded.references.codes.dtype == np.uint8 and np.array_equal(loaded.references.codes, REFERENCES.codes)
    else:
        assert loaded.references is None
    files = tiny.write(tmp_path / 'inputs')
    with pytest.warns(UserWarning, match='reads the first 48 nucleotides'):
        study, _ = read_study(files.table, files.sequences, max_length=48)
    drawn = draw_samples(study, np.arange(len(study)), sequences=True)
    with torch.no_grad():
        one, two = (net(make_batch(drawn, net.budget(), saved.heads)) for net in (network, loaded.network))
    assert torch.equal(one.asvs, two.asvs)
    for field in dataclasses.fields(one.samples):
        assert torch.equal(getattr(one.samples, field.name), getattr(two.samples, field.name))
    assert set(one.heads) == set(saved.heads)
    assert all(torch.equal(one.heads[name], two.heads[name]) for name in one.heads)
    if target:
        columns = (
            target.columns(one.heads['target'].double().numpy()),
            loaded.config.target.columns(two.heads['target'].double().numpy()),
        )
        assert list(columns[0]) == list(columns[1])
        assert all(np.array_equal(columns[0][name], columns[1][name]) for name in columns[0])
    assert not loaded.network.training
    assert not any('nucleotides' in name for name in load_file(tmp_path / bundle.MODEL_FILE))


def test_large_arrays_stand_beside_the_weights_and_not_in_the_configuration(tiny_regressor, tmp_path):
    model = bundle.load(tiny_regressor.folder)
    random = np.random.default_rng(1)
    # by difficulty, as that of the model is
    calibration = calibrate(random.standard_normal(80_000), random.integers(0, 500, 80_000), np.ones(80_000))
    target = dataclasses.replace(model.config.target, calibration=calibration)
    config = dataclasses.replace(model.config, target=target)
    card = json.loads((tiny_regressor.folder / bundle.CARD_FILE).read_text())
    bundle.save(tmp_path, dataclasses.replace(model, config=config), card)
    assert len((tmp_path / bundle.CONFIG_FILE).read_text().splitlines()) < 200
    arrays = load_file(tmp_path / bundle.MODEL_FILE)
    assert arrays['calibration.scores'].dtype == torch.float64 and arrays['calibration.groups'].dtype == torch.int64
    assert arrays['ensemble.vocabulary'].shape == (30, 60) and arrays['ensemble.vocabulary'].dtype == torch.uint8
    loaded = bundle.load(tmp_path).config.target.calibration
    assert loaded == calibration and len(loaded.scores) == 80_000 and loaded.number_of_groups == 500
    # their arrays are not read where only the configuration is
    assert bundle.read_config(tmp_path).target.calibration is None


def test_what_is_not_finite_is_null_in_the_card_which_stays_json(tmp_path, tiny_encoder):
    bundle.save(tmp_path, bundle.load(tiny_encoder.folder), CARD)
    assert json.loads((tmp_path / bundle.CARD_FILE).read_text())['metrics'] == {'validation': {'distance_r': None}}


def test_a_bundle_is_not_saved_with_a_card_that_lacks_a_field(tmp_path, tiny_encoder):
    card = {name: value for name, value in CARD.items() if name != 'seed'}
    with pytest.raises(ValueError) as error:
        bundle.save(tmp_path, bundle.load(tiny_encoder.folder), card)
    assert str(error.value) == "The model's card.json lacks the field seed; use a model of this plugin."


def test_loading_leaves_the_random_numbers_of_the_caller_alone(tiny_encoder):
    before = torch.get_rng_state()
    bundle.load(tiny_encoder.folder)
    assert torch.equal(torch.get_rng_state(), before)


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
        assert set(card) == {*bundle.CARD_FIELDS, 'devices', 'nodes', 'strategy'}
        assert (card['devices'], card['nodes'], card['strategy']) == (1, 1, 'single')
        assert (card['format_version'], card['seed'], card['device'], card['asvs']) == (1, 7, 'cpu', 30)
        assert card['amplicon_length']['longest'] <= 60
        assert all(len(digest) == 64 for digest in card['input_sha256'].values())
    assert cards[0]['samples'] == {'training': 22, 'validation': 2}
    assert cards[1]['samples'] == {'training': 16, 'validation': 4, 'test': 4}
    assert (cards[1]['target'], cards[1]['unit']) == ('age', 'that of the metadata column "age"')
    assert set(cards[1]['metrics']) == {'training', 'validation', 'test'}


def test_arrays_that_do_not_lie_in_one_piece_are_saved_as_they_are(tiny_regressor, tmp_path):
    model = bundle.load(tiny_regressor.folder)
    # every other one
    calibration = Calibration(np.arange(6.0)[::2], np.array([0, 9, 1, 9, 0, 9])[::2], True)
    assert not calibration.scores.flags.c_contiguous and not calibration.groups.flags.c_contiguous
    target = dataclasses.replace(model.config.target, calibration=calibration)
    card = json.loads((tiny_regressor.folder / bundle.CARD_FILE).read_text())
    bundle.save(tmp_path, dataclasses.replace(model, config=dataclasses.replace(model.config, target=target)), card)
    assert bundle.load(tmp_path).config.target.calibration == calibration


def test_the_names_of_the_files_are_there_without_torch():
    code = 'import sys; from q2_aam import bundle; print(sorted({"torch", "safetensors"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'
