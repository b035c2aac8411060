"""The abundance ensemble in a bundle: it comes back as it was, and a damaged one is refused in a sentence."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from q2_aam import bundle
from q2_aam.bundle.files import ABUNDANCE, ENSEMBLE, GROUPS, REFERENCES, SCORES, VOCABULARY, array_types
from q2_aam.data.inputs import read_study
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import UserError
from q2_aam.model.abundance_ensemble import ARRAYS, AbundanceEnsemble
from q2_aam.runtime.encode import StudyReader

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'


@pytest.fixture
def regressor(tmp_path):
    """A copy of a sound regressor with an abundance ensemble, to be damaged."""
    return shutil.copytree(FIXTURE / 'regressor', tmp_path / 'regressor')


def refusal(folder, level='max'):
    with pytest.raises(ValueError) as error:
        bundle.check(folder, level)
    return str(error.value)


def test_the_arrays_that_a_bundle_asks_for_are_those_of_an_ensemble_and_its_vocabulary():
    config = bundle.read_config(FIXTURE / 'regressor')
    names = {'uint8': 'U8', 'float32': 'F32'}
    assert array_types(config) == {
        REFERENCES: 'U8',
        SCORES: 'F64',
        GROUPS: 'I64',
        VOCABULARY: 'U8',
        ABUNDANCE: 'F32',
        **{ENSEMBLE + name: names[kind] for name, kind in ARRAYS.items()},
    }
    assert array_types(dataclasses.replace(config, blend=None)) == {REFERENCES: 'U8', SCORES: 'F64', GROUPS: 'I64'}
    assert set(array_types(bundle.read_config(FIXTURE / 'encoder'))) == set()


@pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])
def test_an_ensemble_comes_back_with_identical_outputs(kind, tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    model = bundle.load(FIXTURE / kind)
    vocabulary = Vocabulary.of(study.codes[:20], study.lengths[:20], np.arange(20) / 190)
    ensemble = AbundanceEnsemble(20, 5, model.config.target.outputs, 12)
    # weights that no initialisation leaves, norms and the scale too
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in ensemble.state_dict().items():
            value.copy_(torch.randn(value.shape, generator=generator).abs() + (name != 'known'))
    ensemble.known.copy_(torch.randint(0, 2, (5, 20), generator=generator))
    ensemble.shares.div_(ensemble.shares.sum())
    config = dataclasses.replace(model.config, blend=bundle.Blend(0.375, 1.25, 2.0, 0.5, 5))
    card = json.loads((FIXTURE / kind / bundle.CARD_FILE).read_text())
    saved = dataclasses.replace(model, config=config, ensemble=ensemble, vocabulary=vocabulary)
    bundle.save(tmp_path, saved, card)
    loaded = bundle.load(tmp_path)
    assert loaded.config == config
    assert loaded.vocabulary.codes.tobytes() == vocabulary.codes.tobytes()
    assert loaded.vocabulary.abundance.tobytes() == vocabulary.abundance.tobytes()
    assert loaded.vocabulary.keys.tolist() == vocabulary.keys.tolist()
    reader, rows = StudyReader(study), np.arange(24)
    ((_, before, covered),) = reader.ensemble_outputs(ensemble, vocabulary, rows)
    ((_, after, covered_after),) = reader.ensemble_outputs(loaded.ensemble, loaded.vocabulary, rows)
    assert before.shape == (5, 24, config.target.outputs) and before.std() > 0.1 and covered.std() > 0.01
    assert before.tobytes() == after.tobytes() and covered.tobytes() == covered_after.tobytes()


@pytest.mark.parametrize('kind', bundle.CALLS)
def test_only_a_model_with_a_blend_has_an_ensemble(kind):
    model = bundle.load(FIXTURE / kind)
    assert (model.ensemble is None) == (model.vocabulary is None) == (kind == bundle.ENCODER)
    if model.ensemble is not None:
        out = model.ensemble.out.weight
        assert (len(out), out.shape[-1]) == (model.config.blend.members, model.config.target.outputs)
        # ten ASVs, all of which some sample holds
        assert len(model.vocabulary) == 10 and not model.ensemble.training


def test_a_bundle_may_lack_the_abundances_of_its_vocabulary(regressor, change_weights):
    assert ABUNDANCE not in load_file(regressor / bundle.MODEL_FILE)
    assert bundle.load(regressor).vocabulary.abundance is None
    uneven = torch.arange(10) / 45
    change_weights(regressor, lambda weights: weights.update({ABUNDANCE: uneven}))
    assert bundle.load(regressor).vocabulary.abundance.tolist() == pytest.approx(uneven.tolist())
    change_weights(regressor, lambda weights: weights.update({ABUNDANCE: -uneven}))
    assert refusal(regressor).startswith("The model's vocabulary is damaged: the abundances of its sequences must be")


def test_a_model_holds_the_mean_share_of_each_asv_of_its_vocabulary(tiny_regressor):
    abundance = bundle.load(tiny_regressor.folder).vocabulary.abundance
    assert abundance.sum() == pytest.approx(1, abs=1e-5) and abundance.std() > 0.001


def test_nothing_in_an_ensemble_is_as_many_as_there_are_samples(tiny_regressor):
    model = bundle.load(tiny_regressor.folder)
    sizes = {size for array in model.ensemble.arrays().values() for size in array.shape}
    # members, ASVs, the width and one output; 24 samples are 16, 4 and 4 by split
    assert sizes == {model.config.blend.members, 30, 128, 1}


ANOTHER = (
    "The model's abundance ensemble belongs to another model: {} has the shape {} instead of {}; train the model again."
)


@pytest.mark.parametrize(
    ('name', 'change', 'sentence'),
    [
        (
            'vocabulary',
            lambda array: array.flip(0).contiguous(),
            "The model's vocabulary is damaged: its sequences are not sorted; train the model again.",
        ),
        (
            'vocabulary',
            lambda array: array + 5,
            "The model's vocabulary is damaged: it must be sequences; train the model again.",
        ),
        ('vocabulary', lambda array: array[1:].clone(), ANOTHER.format('first.weight', '(3, 10, 8)', '(3, 9, 8)')),
        ('first.weight', lambda array: array.sum(), ANOTHER.format('first.weight', '()', '(3, 10, 1)')),
        ('out.weight', lambda array: array.repeat(1, 1, 2), ANOTHER.format('out.weight', '(3, 8, 2)', '(3, 8, 1)')),
        ('known', lambda array: array[:, 1:].clone(), ANOTHER.format('known', '(3, 9)', '(3, 10)')),
        (
            'known',
            lambda array: array * 7,
            "The model's abundance ensemble is damaged: known must be 0 or 1; train the model again.",
        ),
        (
            'scale',
            torch.zeros_like,
            "The model's abundance ensemble is damaged: its scale must be above 0, and the shares of its members must "
            'sum to 1; train the model again.',
        ),
        (
            'second_norm.bias',
            lambda array: array / 0,
            'The numbers ensemble.second_norm.bias of the model are not all numbers; train it again.',
        ),
    ],
)
def test_a_damaged_ensemble_is_refused_where_all_is_read(regressor, change_weights, name, change, sentence):
    change_weights(regressor, lambda weights: weights.update({ENSEMBLE + name: change(weights[ENSEMBLE + name])}))
    bundle.check(regressor, 'min')
    assert refusal(regressor) == sentence
    with pytest.raises(UserError) as error:
        bundle.load(regressor)
    assert str(error.value) == sentence


def test_other_members_than_the_configuration_tells_of_are_refused(regressor, change_json):
    def change(fields):
        assert fields['blend']['members'] == 3
        fields['blend']['members'] = 4

    change_json(regressor / bundle.CONFIG_FILE, change)
    assert refusal(regressor) == ANOTHER.format('first.weight', '(3, 10, 8)', '(4, 10, 8)')


@pytest.mark.parametrize('level', ['min', 'max'])
def test_arrays_other_than_the_configuration_tells_of_are_named(regressor, change_json, change_weights, level):
    scale = load_file(regressor / bundle.MODEL_FILE)['ensemble.scale']
    change_weights(regressor, lambda weights: weights.pop('ensemble.scale'))
    assert refusal(regressor, level) == (
        "The model's model.safetensors lacks the numbers ensemble.scale that its config.json asks for."
    )

    def give_another_type(weights):
        weights.update({'ensemble.scale': scale, 'ensemble.known': weights['ensemble.known'].int()})

    change_weights(regressor, give_another_type)
    assert refusal(regressor, level) == (
        'The numbers ensemble.known of the model are of the type I32 instead of U8; use a model that this plugin has '
        'made.'
    )
    change_json(regressor / bundle.CONFIG_FILE, lambda fields: fields.pop('blend'))
    assert refusal(regressor, level) == (
        "The model's model.safetensors has weights that its config.json does not know: 'ensemble.first.bias'."
    )
