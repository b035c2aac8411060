"""The profile head in a bundle: it comes back as it was, and a damaged one is refused in a sentence."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from q2_aam import bundle
from q2_aam.bundle.schema import PROFILE, PROFILE_ARRAYS
from q2_aam.data.inputs import read_study
from q2_aam.data.log_abundances import known_asvs, profiles_of
from q2_aam.errors import UserError
from q2_aam.model.abundance_ensemble import ProfileHead

FIXTURE = pathlib.Path(__file__).parent / 'data' / 'bundle-v1'


@pytest.fixture
def regressor(tmp_path):
    """A copy of a sound regressor with a profile head, to be damaged."""
    return shutil.copytree(FIXTURE / 'regressor', tmp_path / 'regressor')


def refusal(folder, level='max'):
    with pytest.raises(ValueError) as error:
        bundle.check(folder, level)
    return str(error.value)


def test_the_arrays_that_a_bundle_asks_for_are_those_of_a_profile_head():
    arrays = ProfileHead(np.arange(3), 2, 1, 4).arrays()
    assert {name: str(array.dtype) for name, array in arrays.items()} == PROFILE_ARRAYS
    blend = bundle.Blend(0.5, 0.5, 1.0, 2)
    config = dataclasses.replace(bundle.read_config(FIXTURE / 'regressor'), blend=blend)
    types = {'int64': 'I64', 'float32': 'F32'}
    assert {name: kind for name, kind in config.arrays.items() if name != 'references'} == {
        PROFILE + name: types[kind] for name, kind in PROFILE_ARRAYS.items()
    }


@pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])
def test_a_profile_head_comes_back_with_identical_outputs(kind, tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    network, config, arrays = bundle.load(FIXTURE / kind)
    keys_A = study.keys
    torch.manual_seed(4)
    head = ProfileHead(np.sort(keys_A[:20]), 5, config.target.outputs, 12)
    # weights that no initialisation leaves, norms and the scale too
    with torch.no_grad():
        for value in head.state_dict().values():
            value.add_(torch.rand_like(value))
    saved = dataclasses.replace(config, blend=bundle.Blend(0.375, 1.25, 2.0, 5))
    arrays = {PROFILE + name: array for name, array in head.arrays().items()} | {'references': arrays['references']}
    card = json.loads((FIXTURE / kind / bundle.CARD_FILE).read_text())
    del card['format_version'], card['kind']
    bundle.save(tmp_path, network, saved, card, arrays)
    _, loaded, found = bundle.load(tmp_path)
    assert loaded == saved and found.keys() == arrays.keys()
    again = bundle.profile_head_of(found, loaded)
    profiles_BC = known_asvs(profiles_of(study, np.arange(24)), keys_A, head.keys_C)
    wanted, outputs = head.outputs(profiles_BC), again.outputs(profiles_BC)
    assert wanted.shape == (5, 24, config.target.outputs) and wanted.std() > 0.1
    assert wanted.tobytes() == outputs.tobytes()


@pytest.mark.parametrize('kind', bundle.CALLS)
def test_only_a_model_with_a_blend_has_a_profile_head(kind):
    _, config, arrays = bundle.load(FIXTURE / kind)
    head = bundle.profile_head_of(arrays, config)
    assert (head is None) == (kind == bundle.ENCODER)
    assert bundle.profile_head_of({}, dataclasses.replace(config, blend=None)) is None
    if head is not None:
        assert (len(head.out.weight), head.out.weight.shape[-1]) == (config.blend.members, config.target.outputs)
        # ten ASVs, all of which some sample holds
        assert len(head.keys_C) == 10 and not head.training


def test_nothing_in_a_profile_head_is_as_many_as_there_are_samples(tiny_regressor):
    _, config, arrays = bundle.load(tiny_regressor.folder)
    sizes = {size for name, array in arrays.items() if name.startswith(PROFILE) for size in array.shape}
    # members, ASVs, the width and one output; 24 samples are 16, 4 and 4 by part
    assert sizes == {config.blend.members, 30, 128, 1}


ANOTHER = "The model's profile head is that of another model: {} has the shape {} instead of {}; train the model again."


@pytest.mark.parametrize(
    ('name', 'change', 'sentence'),
    [
        (
            'keys',
            lambda array: array.flip(0),
            "The model's profile head is damaged: its keys are not sorted; train the model again.",
        ),
        ('keys', lambda array: array[1:].clone(), ANOTHER.format('first.weight', '(3, 10, 8)', '(3, 9, 8)')),
        ('first.weight', lambda array: array.sum(), ANOTHER.format('first.weight', '()', '(3, 10, 1)')),
        ('out.weight', lambda array: array.repeat(1, 1, 2), ANOTHER.format('out.weight', '(3, 8, 2)', '(3, 8, 1)')),
        (
            'scale',
            torch.zeros_like,
            "The model's profile head is damaged: its scale is not above 0; train the model again.",
        ),
        (
            'second_norm.bias',
            lambda array: array / 0,
            'The numbers profile.second_norm.bias of the model are not all numbers; train it again.',
        ),
    ],
)
def test_a_damaged_profile_head_is_refused_where_all_is_read(regressor, name, change, sentence):
    weights = load_file(regressor / bundle.MODEL_FILE)
    save_file(weights | {PROFILE + name: change(weights[PROFILE + name])}, regressor / bundle.MODEL_FILE)
    bundle.check(regressor, 'min')
    assert refusal(regressor) == sentence
    with pytest.raises(UserError) as error:
        bundle.load(regressor)
    assert str(error.value) == sentence


def test_other_members_than_the_configuration_tells_of_are_refused(regressor):
    fields = json.loads((regressor / bundle.CONFIG_FILE).read_text())
    assert fields['blend']['members'] == 3
    fields['blend']['members'] = 4
    (regressor / bundle.CONFIG_FILE).write_text(json.dumps(fields))
    assert refusal(regressor) == ANOTHER.format('first.weight', '(3, 10, 8)', '(4, 10, 8)')


@pytest.mark.parametrize('level', ['min', 'max'])
def test_arrays_other_than_the_configuration_tells_of_are_named(regressor, level):
    def keep(names):
        save_file({name: weights[name] for name in weights if name in names}, regressor / bundle.MODEL_FILE)

    weights = load_file(regressor / bundle.MODEL_FILE)
    keep(set(weights) - {'profile.scale'})
    assert refusal(regressor, level) == (
        "The model's model.safetensors lacks the numbers profile.scale that its config.json asks for."
    )
    wrong = weights | {'profile.keys': weights['profile.keys'].int()}
    save_file(wrong, regressor / bundle.MODEL_FILE)
    assert refusal(regressor, level) == (
        'The numbers profile.keys of the model are of the type I32 instead of I64; use a model that this plugin has '
        'made.'
    )
    keep(set(weights))
    fields = json.loads((regressor / bundle.CONFIG_FILE).read_text())
    del fields['blend']
    (regressor / bundle.CONFIG_FILE).write_text(json.dumps(fields))
    assert refusal(regressor, level) == (
        "The model's model.safetensors has weights that its config.json does not know: profile.first.bias."
    )
