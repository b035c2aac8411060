"""The kernel head in a bundle: it comes back as it was, and a damaged one is refused in a sentence."""

import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from q2_aam import bundle
from q2_aam.data.composition import Composition, composition_of, sequence_keys
from q2_aam.data.inputs import read_study
from q2_aam.errors import UserError
from q2_aam.model.kernel_head import ASVS, MEAN
from q2_aam.training.kernel import fit_kernel_head

FIXTURE = pathlib.Path(__file__).parent / 'data' / 'bundle-v1'


@pytest.fixture
def regressor(tmp_path):
    """A copy of a sound regressor whose kernel head has both views, to be damaged."""
    return shutil.copytree(FIXTURE / 'regressor', tmp_path / 'regressor')


@pytest.mark.parametrize('views', [(ASVS,), (ASVS, MEAN)])
@pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])
def test_a_kernel_head_comes_back_with_identical_outputs(kind, views, tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    network, config, arrays = bundle.load(FIXTURE / kind)
    random = np.random.default_rng(4)
    asvs_AD = random.normal(size=(30, config.call.model.width)).astype(np.float32) if MEAN in views else None
    composition = composition_of(study, np.arange(24), sequence_keys(study.codes, study.lengths), asvs_AD)
    targets = np.stack([tiny.target.to_numpy() * (1 - 2 * column) for column in range(config.target.outputs)], axis=1)
    head, _ = fit_kernel_head(composition, targets, None, random)
    saved = dataclasses.replace(config, blend=bundle.Blend(0.375, 1.25, views))
    arrays = {f'kernel.{name}': array for name, array in head.arrays().items()} | {'references': arrays['references']}
    card = json.loads((FIXTURE / kind / bundle.CARD_FILE).read_text())
    del card['format_version'], card['kind']
    bundle.save(tmp_path, network, saved, card, arrays)
    _, loaded, found = bundle.load(tmp_path)
    assert loaded == saved and found.keys() == arrays.keys()
    again = bundle.kernel_head_of(found, loaded)
    assert tuple(again.views) == views
    wanted, outputs = head.outputs(composition), again.outputs(composition)
    assert wanted.tobytes() == outputs.tobytes() and wanted.std() > 0.1
    # of ASVs that no landmark holds
    other = Composition(composition.asvs_BA, composition.keys_A + 1, composition.mean_BD)
    assert head.outputs(other).tobytes() == again.outputs(other).tobytes() != outputs.tobytes()


def test_a_model_without_a_kernel_head_has_none():
    _, config, arrays = bundle.load(FIXTURE / 'encoder')
    assert bundle.kernel_head_of(arrays, config) is None


# what scipy or numpy say of it stands between
DAMAGED = r"The model's kernel head is damaged \(.*\); train the model again\."
ANOTHER = "The model's kernel head is that of another model: see {}; train the model again."
NOT_NUMBERS = 'The numbers kernel.center of the model are not all numbers; train it again.'


@pytest.mark.parametrize(
    ('name', 'change', 'sentence'),
    [
        ('keys', lambda array: array.flip(0), DAMAGED.replace('.*', 'keys are not sorted')),
        ('asvs.columns', lambda array: array + 1, DAMAGED),
        ('asvs.offsets', lambda array: array.sum(), DAMAGED),
        ('asvs.length', lambda array: array[:0], DAMAGED),
        ('asvs.length', lambda array: -array, ANOTHER.format('asvs')),
        ('asvs.coefficients', lambda array: array[1:], ANOTHER.format('asvs')),
        ('mean.landmarks', lambda array: array[:, 1:].clone(), ANOTHER.format('mean')),
        ('center', lambda array: array.repeat(2), ANOTHER.format('asvs')),
        ('center', lambda array: array / 0, NOT_NUMBERS),
    ],
)
def test_a_damaged_kernel_head_is_refused_where_all_is_read(regressor, name, change, sentence):
    weights = load_file(regressor / bundle.MODEL_FILE)
    save_file(weights | {f'kernel.{name}': change(weights[f'kernel.{name}'])}, regressor / bundle.MODEL_FILE)
    bundle.check(regressor, 'min')
    with pytest.raises(ValueError) as error:
        bundle.check(regressor)
    said = str(error.value)
    assert re.fullmatch(sentence, said)
    with pytest.raises(UserError) as error:
        bundle.load(regressor)
    assert str(error.value) == said


@pytest.mark.parametrize('level', ['min', 'max'])
def test_a_kernel_head_other_than_the_configuration_tells_of_is_named(regressor, level):
    def refused():
        with pytest.raises(ValueError) as error:
            bundle.check(regressor, level)
        return str(error.value)

    fields = json.loads((regressor / bundle.CONFIG_FILE).read_text())
    fields['blend']['views'] = [ASVS]
    (regressor / bundle.CONFIG_FILE).write_text(json.dumps(fields))
    assert refused() == (
        "The model's model.safetensors has weights that its config.json does not know: kernel.mean.coefficients."
    )
    weights = load_file(regressor / bundle.MODEL_FILE)
    few = {name: values for name, values in weights.items() if not name.startswith('kernel.')}
    save_file(few, regressor / bundle.MODEL_FILE)
    assert refused() == (
        "The model's model.safetensors lacks the numbers kernel.asvs.coefficients that its config.json asks for."
    )
