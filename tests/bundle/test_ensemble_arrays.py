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
from q2_aam.bundle import known_asvs, token_branches
from q2_aam.bundle.files import array_types
from q2_aam.bundle.tensors import ABUNDANCE, ENSEMBLE, GROUPS, OPTIONAL, REFERENCES, SCORES, VOCABULARY
from q2_aam.data.inputs import read_study
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import UserError
from q2_aam.model import abundance_ensemble
from q2_aam.model.abundance_ensemble import AbundanceEnsemble
from q2_aam.model.linear_members import LinearMembers
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.model.perceptrons import Perceptrons
from q2_aam.model.tree_members import TreeMembers
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
    # the first bundles do not name their kinds
    assert config.blend.kinds == {PERCEPTRONS: 1.0}
    assert 'kinds' not in json.loads((FIXTURE / 'regressor' / bundle.CONFIG_FILE).read_text())['blend']
    names = {'uint8': 'U8', 'float32': 'F32', 'int32': 'I32', 'int16': 'I16'}
    for kinds in ({PERCEPTRONS: 1.0}, {LINEAR: 0.5}, dict.fromkeys(abundance_ensemble.KINDS, 0.25)):
        asked = array_types(dataclasses.replace(config, blend=dataclasses.replace(config.blend, kinds=kinds)))
        of_kinds = abundance_ensemble.array_types(kinds)
        assert {name: kind for name, kind in asked.items() if name.startswith(ENSEMBLE)} == {
            VOCABULARY: 'U8',
            ABUNDANCE: 'F32',
            **{ENSEMBLE + name: names[kind] for name, kind in of_kinds.items()},
        }
        assert (asked[REFERENCES], asked[SCORES], asked[GROUPS]) == ('U8', 'F64', 'I64')
    without = array_types(dataclasses.replace(config, blend=None))
    assert not any(name.startswith(ENSEMBLE) for name in without) and {REFERENCES, SCORES, GROUPS} <= set(without)
    # an encoder may hold the ASVs that it knows, or tokens
    of_encoder = set(array_types(bundle.read_config(FIXTURE / 'encoder')))
    assert of_encoder == {*known_asvs.ARRAYS, *token_branches.ARRAYS} <= OPTIONAL


def drawn(kinds, outputs, members=5, size=20):
    """An ensemble of drawn weights and trees, on the ASVs that each member knows."""
    random, generator = np.random.default_rng(4), torch.Generator().manual_seed(4)
    known = random.integers(0, 2, (members, size)).astype(np.uint8)
    perceptrons = Perceptrons(size, members, outputs, 12)
    # weights that no initialisation leaves, norms and the scale too
    with torch.no_grad():
        for name, value in perceptrons.state_dict().items():
            value.copy_(torch.randn(value.shape, generator=generator).abs() + (name != 'known'))
    perceptrons.known.copy_(torch.from_numpy(known))
    linear = LinearMembers(
        random.normal(size=(members, size, outputs)).astype(np.float32),
        random.normal(size=(members, outputs)).astype(np.float32),
    )
    # each tree asks for one ASV
    starts = np.arange(members)
    trees = TreeMembers(
        members,
        (3 * starts).astype(np.int32),
        np.column_stack([random.integers(0, size, members), np.full((members, 2), -1)]).ravel().astype(np.int16),
        np.tile(np.float32([2.5, 0, 0]), members),
        np.column_stack([3 * starts + 2, 2 * starts, 2 * starts + 1]).ravel().astype(np.int32),
        random.random((2 * members, outputs)).astype(np.float32),
    )
    of_kinds = {PERCEPTRONS: perceptrons, LINEAR: linear, EXTRA_TREES: trees}
    shares = random.random(members)
    return AbundanceEnsemble(
        {kind: of_kinds[kind] for kind in kinds}, kinds, (shares / shares.sum()).astype(np.float32), known
    )


@pytest.fixture
def saved(tiny, tmp_path):
    """Save a model of the frozen kind with another ensemble on 20 ASVs of the tiny study: (kind, kinds of members)."""
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)

    def make(kind, kinds):
        model = bundle.load(FIXTURE / kind)
        vocabulary = Vocabulary.of(study.codes[:20], study.lengths[:20], np.arange(20) / 190)
        ensemble = drawn(kinds, model.config.target.outputs)
        config = dataclasses.replace(model.config, blend=bundle.Blend(0.375, 1.25, 2.0, 0.5, 5, kinds))
        model = dataclasses.replace(model, config=config, ensemble=ensemble, vocabulary=vocabulary)
        folder = tmp_path / 'saved'
        folder.mkdir()
        bundle.save(folder, model, json.loads((FIXTURE / kind / bundle.CARD_FILE).read_text()))
        return folder, model, StudyReader(study)

    return make


ALL_KINDS = {LINEAR: 0.5, EXTRA_TREES: 2.0, PERCEPTRONS: 1.25}


@pytest.mark.parametrize('kinds', [{PERCEPTRONS: 1.0}, {LINEAR: 0.3}, {EXTRA_TREES: 1.0}, ALL_KINDS], ids='+'.join)
@pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])
def test_an_ensemble_comes_back_with_identical_outputs(kind, kinds, saved):
    folder, model, reader = saved(kind, kinds)
    loaded = bundle.load(folder)
    assert loaded.config == model.config
    assert loaded.vocabulary.codes.tobytes() == model.vocabulary.codes.tobytes()
    assert loaded.vocabulary.abundance.tobytes() == model.vocabulary.abundance.tobytes()
    assert loaded.vocabulary.keys.tolist() == model.vocabulary.keys.tolist()
    rows = np.arange(24)
    (before,) = reader.ensemble_outputs(model.ensemble, model.vocabulary, rows)
    (after,) = reader.ensemble_outputs(loaded.ensemble, loaded.vocabulary, rows)
    one, two = (made.ensemble.combine(part.by_kind) for made, part in ((model, before), (loaded, after)))
    assert one.shape == (5, 24, model.config.target.outputs) and one.std() > 0.1 and before.coverage.std() > 0.01
    assert one.tobytes() == two.tobytes() and before.coverage.tobytes() == after.coverage.tobytes()
    # only what the configuration names lies in the file
    names = {name.removeprefix(ENSEMBLE) for name in load_file(folder / bundle.MODEL_FILE) if ENSEMBLE in name}
    assert names == set(abundance_ensemble.array_types(kinds)) | {'vocabulary', 'vocabulary_abundance'}


@pytest.mark.parametrize('kind', bundle.CALLS)
def test_only_a_model_with_a_blend_has_an_ensemble(kind):
    model = bundle.load(FIXTURE / kind)
    assert (model.ensemble is None) == (model.vocabulary is None) == (kind == bundle.ENCODER)
    if model.ensemble is not None:
        perceptrons = model.ensemble.members[PERCEPTRONS]
        out = perceptrons.out.weight
        assert (len(out), out.shape[-1]) == (model.config.blend.members, model.config.target.outputs)
        # ten ASVs, all of which some sample holds
        assert len(model.vocabulary) == 10 and not perceptrons.training


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
    members = model.ensemble.members
    arrays = model.ensemble.arrays()
    sizes = {size for name, array in arrays.items() if EXTRA_TREES not in name for size in array.shape}
    # members, ASVs, the width and one output; 24 samples are 16, 4 and 4 by split
    assert sizes == {model.config.blend.members, 30, 128, 1} and set(members) == set(abundance_ensemble.KINDS)
    trees = members[EXTRA_TREES]
    # of 18 samples at most three leaves of five each
    assert len(trees.value) <= 3 * len(trees.first) and len(trees.asv) == 2 * len(trees.value) - len(trees.first)


ANOTHER = (
    "The model's abundance ensemble belongs to another model: {} has the shape {} instead of {}; train the model again."
)
SIZES = (
    "The model's abundance ensemble belongs to another model: known has the shape {} and shares {} instead of {} and "
    '{}; train the model again.'
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
        (
            'vocabulary',
            lambda array: array[1:].clone(),
            SIZES.format((3, 10), (3,), (3, 9), (3,)),
        ),
        ('first.weight', lambda array: array.sum(), ANOTHER.format('first.weight', '()', '(3, 10, 1)')),
        ('out.weight', lambda array: array.repeat(1, 1, 2), ANOTHER.format('out.weight', '(3, 8, 2)', '(3, 8, 1)')),
        ('known', lambda array: array[:, 1:].clone(), SIZES.format((3, 9), (3,), (3, 10), (3,))),
        ('shares', lambda array: array[1:].clone(), SIZES.format((3, 10), (2,), (3, 10), (3,))),
        (
            'known',
            lambda array: array * 7,
            "The model's abundance ensemble is damaged: known must be 0 or 1; train the model again.",
        ),
        (
            'scale',
            torch.zeros_like,
            "The model's abundance ensemble is damaged: its scale must be above 0; train the model again.",
        ),
        (
            'shares',
            torch.zeros_like,
            "The model's abundance ensemble is damaged: the shares of its members must sum to 1; train the model "
            'again.',
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
    assert refusal(regressor) == SIZES.format((3, 10), (3,), (4, 10), (4,))


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


@pytest.mark.parametrize(
    ('name', 'change', 'sentence'),
    [
        (
            'linear.weight',
            lambda array: array[:, 1:].clone(),
            ANOTHER.format('linear.weight', '(5, 19, 1)', '(5, 20, 1)'),
        ),
        ('linear.bias', lambda array: array.T.clone(), ANOTHER.format('linear.bias', '(1, 5)', '(5, 1)')),
        (
            'linear.weight',
            lambda array: array / 0,
            'The numbers ensemble.linear.weight of the model are not all numbers; train it again.',
        ),
        (
            'extra_trees.right',
            lambda array: array * 0,
            "The model's abundance ensemble is damaged: its trees have paths that do not end; train the model again.",
        ),
        (
            'extra_trees.threshold',
            lambda array: array[1:].clone(),
            ANOTHER.format('extra_trees.threshold', '(14,)', '(15,)'),
        ),
        (
            'extra_trees.threshold',
            lambda array: array / 0,
            'The numbers ensemble.extra_trees.threshold of the model are not all numbers; train it again.',
        ),
        (
            'extra_trees.value',
            lambda array: array * torch.nan,
            'The numbers ensemble.extra_trees.value of the model are not all numbers; train it again.',
        ),
    ],
)
def test_damaged_members_of_other_kinds_are_refused(saved, change_weights, name, change, sentence):
    folder, _, _ = saved(bundle.REGRESSOR, ALL_KINDS)
    change_weights(folder, lambda weights: weights.update({ENSEMBLE + name: change(weights[ENSEMBLE + name])}))
    bundle.check(folder, 'min')
    assert refusal(folder) == sentence


def test_shares_of_classes_in_trees_lie_between_0_and_1(saved, change_weights):
    folder, _, _ = saved(bundle.CLASSIFIER, {EXTRA_TREES: 1.0})
    change_weights(folder, lambda weights: weights['ensemble.extra_trees.value'].mul_(3))
    assert refusal(folder) == (
        "The model's abundance ensemble is damaged: its trees have shares of classes outside 0 to 1; train the model "
        'again.'
    )


@pytest.mark.parametrize('level', ['min', 'max'])
def test_arrays_of_kinds_that_the_blend_does_not_name_are_refused(saved, change_json, level):
    folder, _, _ = saved(bundle.REGRESSOR, ALL_KINDS)

    def name(*kinds):
        change_json(folder / bundle.CONFIG_FILE, lambda fields: fields['blend'].update(kinds=dict.fromkeys(kinds, 1.0)))
        return refusal(folder, level)

    assert name(LINEAR, EXTRA_TREES) == (
        "The model's model.safetensors has weights that its config.json does not know: 'ensemble.first.bias'."
    )
    assert name('forest').startswith('The kinds of a blend must be some of perceptrons, linear, extra_trees, but')
