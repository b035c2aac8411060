"""Models that are damaged or forged at random: refused in one sentence, or as good as the model that they were.

The slow test takes its seed from AAM_FUZZ_SEED, and the number of its mutations from AAM_FUZZ_MUTATIONS.
"""

import collections
import json
import os
import pathlib
import resource
import shutil
import time
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from q2_aam import bundle
from q2_aam.config import DistancesConfig, PredictClassesConfig, PredictConfig
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference.embed import predict_distances
from q2_aam.inference.predict import predict, predict_classes

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
ON_CPU = {'threads': 1, 'device': 'cpu'}
# In the place of any value of JSON. Python writes no list that is nested too deep, so that a word stands for it.
DEEP = '<deep>'
VALUES = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**30, 10**400, 0.0, 0.5, 5e-324, 1e-30, 1e39, 1.7e308, -1e308,
    float('nan'), float('inf'), '', 'auto', 'a\nb', '\x1b[2J', '\ud800', ' a ', 'id', 'x' * 5000, DEEP, [], {}, [[]],
    [0.5] * 300, ['a', 'A'], {'a': {}}, {'\x1b': 1}, list('abc'),
]  # fmt: skip
NUMBERS = [0.0, -1.0, 1e-38, 1e20, 3e38, -3e38, float('nan'), float('inf'), 1.0 + 2**-20]
MAX_SENTENCE, MAX_SECONDS, MAX_MEGABYTES = 700, 10, 600


def flip_bit(content, random):
    place = random.integers(len(content))
    content[place] ^= 1 << int(random.integers(8))


def replace_byte(content, random):
    content[random.integers(len(content))] = int(random.integers(256))


def delete_byte(content, random):
    del content[random.integers(len(content))]


def insert_byte(content, random):
    content.insert(int(random.integers(len(content) + 1)), int(random.integers(256)))


def truncate(content, random):
    del content[random.integers(len(content)) :]


def append_bytes(content, random):
    content += random.bytes(int(random.integers(1, 100)))


def clear_block(content, random):
    start = int(random.integers(len(content)))
    end = min(len(content), start + int(random.integers(1, 4096)))
    content[start:end] = bytes(end - start)


def repeat_block(content, random):
    start, end = sorted(random.integers(len(content), size=2).tolist())
    content[start:start] = content[start:end]


ONE_BYTE = (flip_bit, replace_byte, delete_byte, insert_byte)
BLOCKS = (truncate, append_bytes, clear_block, repeat_block)


def damage(path, random, ways):
    """Damage a file in one of these ways; return which."""
    content = bytearray(path.read_bytes())
    way = ways[random.integers(len(ways))]
    way(content, random)
    path.write_bytes(content)
    return f'{way.__name__} of {path.name}'


def damage_header(folder, random):
    """Damage the header of the weights, which says where they are."""
    path = folder / bundle.MODEL_FILE
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], 'little')
    header = bytearray(content[:end])
    way = ONE_BYTE[random.integers(2)]
    way(header, random)
    path.write_bytes(bytes(header) + content[end:])
    return f'{way.__name__} of the header'


def change_value(folder, random):
    """Change, delete or add a value anywhere in one of the JSON files."""
    path = folder / (bundle.CONFIG_FILE, bundle.CARD_FILE)[random.random() < 0.2]
    fields = json.loads(path.read_text())
    inside = fields
    while True:
        keys = list(inside) if isinstance(inside, dict) else range(len(inside))
        key = keys[random.integers(len(keys))]
        deeper = isinstance(inside[key], (dict, list)) and len(inside[key])
        if not deeper or random.random() < 0.2:
            break
        inside = inside[key]
    what = random.random()
    value = VALUES[random.integers(len(VALUES))]
    if what < 0.7:
        inside[key] = value
    elif what < 0.85:
        del inside[key]
    elif isinstance(inside, dict):
        inside[value if isinstance(value, str) else 'more'] = value
    else:
        inside.append(value)
    path.write_text(json.dumps(fields).replace(f'"{DEEP}"', '[' * 100_000 + ']' * 100_000))
    return f'{path.name}: {key}'


def change_tensor(folder, random):
    """Change numbers, shape, type or name of weights or of an array, or leave it out."""
    path = folder / bundle.MODEL_FILE
    tensors = load_file(path)
    name = list(tensors)[random.integers(len(tensors))]
    tensor = tensors[name].clone()
    what = random.integers(7)
    if what < 3:
        number = NUMBERS[random.integers(len(NUMBERS))]
        if not tensor.is_floating_point():
            number = int(random.integers(0, 256))
        tensor.view(-1)[int(random.integers(tensor.numel()))] = number
    elif what == 3:
        tensor = tensor.repeat(2, *(1 for _ in tensor.shape[1:]))
    elif what == 4:
        tensor = tensor.to((torch.float64, torch.int64, torch.uint8, torch.bfloat16)[random.integers(4)])
    elif what == 5:
        tensor = tensor[None].clone() if random.random() < 0.5 else tensor[..., :0].clone()
    tensors[name] = tensor
    if what == 6:
        del tensors[name]
    save_file(tensors, path)
    return f'{name}, {what}'


def mutate(folder, kind, random, seal):
    """Change a model; return what was done, and whether it was forged: whoever does that makes checksums match."""
    chance = random.random()
    if chance < 0.4:
        return damage(folder / bundle.FILES[random.integers(3)], random, ONE_BYTE), False
    if chance < 0.5:
        return damage(folder / bundle.FILES[random.integers(3)], random, BLOCKS), False
    if chance < 0.53:
        name = bundle.FILES[random.integers(3)]
        other = [other for other in bundle.CALLS if other != kind][random.integers(2)]
        shutil.copyfile(FIXTURE / other / name, folder / name)
        return f'{name} of {other}', False
    if chance < 0.6:
        return change_value(folder, random), False
    done = (change_value, change_value, change_tensor, damage_header)[random.integers(4)](folder, random)
    try:
        seal(folder)
    except (ValueError, RecursionError, TypeError):
        return done, False
    return done, True


def results_of(kind, folder):
    """Return all numbers and words that a model gives for the table of the fixture."""
    table, say = FIXTURE / 'table.biom', lambda line: None
    if kind == bundle.REGRESSOR:
        frames = predict(table, folder, PredictConfig.from_flat(ON_CPU), say=say)[1:]
    elif kind == bundle.CLASSIFIER:
        frames = predict_classes(table, folder, PredictClassesConfig.from_flat(ON_CPU), say=say)[1:]
    else:
        frames = [predict_distances(table, folder, DistancesConfig.from_flat(ON_CPU), say=say)]
    return [frame.drop(columns='true', errors='ignore') for frame in frames]


def check_sentence(error):
    sentence = str(error)
    assert sentence.isprintable() and sentence.endswith('.') and len(sentence) <= MAX_SENTENCE, sentence


def outcome(kind, folder, forged, expected):
    """Return what becomes of a changed model; AssertionError, or whatever else it raises, if that must not be."""
    try:
        bundle.check(folder, 'min')
        bundle.check(folder)
    except ValueError as error:
        check_sentence(error)
        with pytest.raises(UserError):
            bundle.load(folder, kind)
        return 'refused'
    try:
        results = results_of(kind, folder)
    except UserError as error:
        check_sentence(error)
        assert forged, error
        return 'refused when it predicts'
    for frame in results:
        # of older models nobody knows how far samples may lie
        numbers = frame.select_dtypes('number').drop(columns='familiarity', errors='ignore')
        assert np.isfinite(numbers.to_numpy()).all()
    if forged:
        return 'another model'
    assert all(frame.equals(other) for frame, other in zip(results, expected, strict=True))
    return 'the same predictions'


def fuzz(seed, mutations, place, seal):
    """Return how many mutations had which outcome."""
    counts = collections.Counter()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.simplefilter('ignore', AAMWarning)
        expected = {kind: results_of(kind, FIXTURE / kind) for kind in bundle.CALLS}
        for number in range(mutations):
            random = np.random.default_rng([seed, number])
            kind = list(bundle.CALLS)[number % 3]
            folder = shutil.copytree(FIXTURE / kind, place / f'{number}')
            done, forged = mutate(folder, kind, random, seal)
            start = time.process_time()
            try:
                became = outcome(kind, folder, forged, expected[kind])
            except Exception as error:
                raise AssertionError(f'Mutation {number} of seed {seed} ({kind}; {done}): {error!r}') from error
            assert time.process_time() - start < MAX_SECONDS, f'Mutation {number} of seed {seed} ({kind}; {done})'
            counts['forged' if forged else 'damaged', became] += 1
            shutil.rmtree(folder)
    return counts


def test_a_damaged_model_is_refused_in_a_sentence_or_predicts_the_same(tmp_path, seal):
    counts = fuzz(1, 300, tmp_path, seal)
    assert sum(counts.values()) == 300
    # worth the name: all outcomes occur
    assert counts['damaged', 'refused'] > 100 and counts['damaged', 'the same predictions'] > 0
    assert counts['forged', 'refused'] > 50 and counts['forged', 'another model'] > 10


@pytest.mark.slow
def test_thousands_of_damaged_models_are_refused_in_a_sentence_or_predict_the_same(tmp_path, seal):
    seed = int(os.environ.get('AAM_FUZZ_SEED', '12'))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = fuzz(seed, int(os.environ.get('AAM_FUZZ_MUTATIONS', '5000')), tmp_path, seal)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    print(f'\nseed {seed}: {dict(counts)}, {grown:,.0f} MB more')
    # none asks for more than a model of its size takes
    assert grown < MAX_MEGABYTES
