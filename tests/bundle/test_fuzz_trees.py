"""Trees whose arrays were changed at random end in a sentence or in an answer, and never without end."""

import dataclasses
import json
import pathlib
import time

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.torch import load_file, save_file

from q2_aam import bundle
from q2_aam.bundle.tensors import ENSEMBLE
from q2_aam.data.inputs import read_study
from q2_aam.data.log_abundances import log_abundances
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import UserError
from q2_aam.model.abundance_ensemble import AbundanceEnsemble
from q2_aam.model.member_arrays import EXTRA_TREES
from q2_aam.model.tree_members import TreeMembers
from q2_aam.runtime.encode import StudyReader
from q2_aam.training.members import MemberData, fit_extra_trees

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
# Longer than any answer takes, and shorter than what has no end.
MAX_SECONDS = 2.0
SENTENCES = '; train the model again.', '; train it again.'


@pytest.fixture
def trees(tiny, tmp_path):
    """Save the frozen model of a kind with trees that have learned the tiny study; return its folder and a reader."""
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    fold, rows = np.arange(24) % 3, np.arange(24)

    def make(kind):
        model, classes = bundle.load(FIXTURE / kind), 2 if kind == bundle.CLASSIFIER else 0
        values = np.arange(24) % 2 if classes else np.arange(24.0)
        data = MemberData(log_abundances(study, rows), values, classes, False, fold, np.arange(3))
        members = {EXTRA_TREES: fit_extra_trees(data, 12)}
        known = np.ones((3, 30), dtype=np.uint8)
        ensemble = AbundanceEnsemble(members, {EXTRA_TREES: 1.0}, np.full(3, 1 / 3, dtype=np.float32), known)
        config = dataclasses.replace(model.config, blend=bundle.Blend(0.0, 1.0, 1.0, 1.0, 3, {EXTRA_TREES: 1.0}))
        vocabulary = Vocabulary.of(study.codes, study.lengths)
        folder = tmp_path / kind
        folder.mkdir()
        card = json.loads((FIXTURE / kind / bundle.CARD_FILE).read_text())
        bundle.save(folder, dataclasses.replace(model, config=config, ensemble=ensemble, vocabulary=vocabulary), card)
        return folder, StudyReader(study)

    return make


def change(weights, random):
    """Change some of the numbers of one array of trees, or its shape."""
    name = f'{ENSEMBLE}{EXTRA_TREES}.' + random.choice(list(TreeMembers.ARRAYS))
    array = weights[name].numpy().copy()
    flat = array.reshape(-1)
    places = random.integers(flat.size, size=random.integers(1, 4))
    way = random.integers(7)
    if way == 0:
        # any bits
        raw = flat.view(np.uint8).reshape(flat.size, -1)
        raw[places] = random.integers(0, 256, raw[places].shape)
    elif way == 1 and array.dtype.kind == 'i':
        flat[places] = random.choice([0, -1, 1, np.iinfo(array.dtype).max, np.iinfo(array.dtype).min])
    elif way == 2:
        flat[places] += random.integers(-3, 4, len(places)).astype(array.dtype)
    elif way == 3:
        flat[places] = random.choice(flat, len(places))
    elif way == 4:
        array = array[: random.integers(len(array) + 1)]
    elif way == 5:
        array = np.repeat(array, 2, axis=0)
    else:
        array = array[::-1]
    weights[name] = torch.from_numpy(np.ascontiguousarray(array))


def fuzz(folder, reader, seal, changes):
    """Load and ask models that were changed as often; return how many answered and how many were refused."""
    sound = load_file(folder / bundle.MODEL_FILE)
    random, answered, refused = np.random.default_rng(1), 0, 0
    for _ in range(changes):
        weights = dict(sound)
        change(weights, random)
        save_file(weights, folder / bundle.MODEL_FILE)
        seal(folder)
        start = time.process_time()
        try:
            model = bundle.load(folder)
            (part,) = reader.ensemble_outputs(model.ensemble, model.vocabulary, np.arange(24))
            outputs = model.ensemble.combine(part.by_kind)
        except UserError as error:
            assert str(error).endswith(SENTENCES)
            refused += 1
        else:
            assert outputs.shape == (3, 24, model.config.target.outputs)
            answered += 1
        assert time.process_time() - start < MAX_SECONDS
    return answered, refused


KINDS = pytest.mark.parametrize('kind', [bundle.REGRESSOR, bundle.CLASSIFIER])


@KINDS
def test_models_with_changed_trees_end_in_a_sentence_or_an_answer(trees, seal, kind):
    answered, refused = fuzz(*trees(kind), seal, 25)
    assert answered > 2 and refused > 2


@pytest.mark.slow
@KINDS
def test_hundreds_of_models_with_changed_trees_end_in_a_sentence_or_an_answer(trees, seal, kind):
    answered, refused = fuzz(*trees(kind), seal, 500)
    assert answered > 50 and refused > 50


@KINDS
def test_hundreds_of_changed_trees_end_in_a_sentence_or_an_answer(trees, kind):
    """What loading does after the types of arrays are known, without the files."""
    folder, reader = trees(kind)
    model, sound = bundle.load(folder), load_file(folder / bundle.MODEL_FILE)
    random, answered = np.random.default_rng(2), 0
    abundances = log_abundances(reader.study, np.arange(24))
    for _ in range(500):
        weights = dict(sound)
        change(weights, random)
        arrays = {
            name.removeprefix(ENSEMBLE): tensor.numpy() for name, tensor in weights.items() if name.startswith(ENSEMBLE)
        }
        start = time.process_time()
        try:
            made = AbundanceEnsemble.from_arrays(arrays, 30, {EXTRA_TREES: 1.0}, 3, model.config.target.outputs)
            with np.errstate(all='ignore'):
                # of bits that are no number, which whoever loads a file is told of before
                outputs = made.outputs(abundances)
        except ValueError as error:
            assert str(error).endswith(SENTENCES)
        else:
            assert outputs.shape == (3, 24, model.config.target.outputs)
            answered += 1
        assert time.process_time() - start < MAX_SECONDS
    assert 50 < answered < 450


def test_a_chain_as_long_as_an_array_allows_ends():
    """The deepest tree there can be: every node has a leaf to the left, and the next node to the right."""
    depth = 20000
    node = np.arange(2 * depth + 1)
    inner = (node % 2 == 0) & (node < 2 * depth)
    right = np.where(inner, node + 2, np.cumsum(~inner) - 1)
    trees = TreeMembers.from_arrays(
        {
            'first': np.zeros(1, np.int32),
            'asv': np.where(inner, 0, -1).astype(np.int16),
            'threshold': np.zeros(len(node), np.float32),
            'right': right.astype(np.int32),
            'value': np.arange(depth + 1, dtype=np.float32)[:, None],
        },
        np.ones((1, 1), dtype=np.uint8),
        1,
    )
    outputs = trees.outputs(scipy.sparse.csr_matrix(np.array([[0.0], [1.0]], dtype=np.float32)))
    assert outputs.ravel().tolist() == [0, depth]
