"""Files that anybody may have written: what is too large, too deep or cannot be shown is refused in one sentence."""

import dataclasses
import json
import pathlib
import shutil
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from q2_aam import bundle
from q2_aam.bundle import BundleConfig
from q2_aam.bundle.tensors import MAX_VOCABULARY
from q2_aam.bundle.untrusted import MAX_BYTES, brief, one_line, read_object
from q2_aam.config import HeadConfig, ModelConfig
from q2_aam.errors import UserError
from q2_aam.model.network import build_network
from q2_aam.model.tree_members import MAX_TREES
from q2_aam.stats.conformal import Calibration
from q2_aam.training import ensemble, members

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'


@pytest.fixture
def model(tmp_path):
    """(kind): a copy of a sound model, to be damaged."""
    return lambda kind: shutil.copytree(FIXTURE / kind, tmp_path / kind)


def refusal(folder, level='max'):
    with pytest.raises(ValueError) as error:
        bundle.check(folder, level)
    return str(error.value)


def fields_of(kind):
    return json.loads((FIXTURE / kind / bundle.CONFIG_FILE).read_text())


def refusal_of(fields):
    with pytest.raises(ValueError) as error:
        BundleConfig.from_json(fields if isinstance(fields, str) else json.dumps(fields))
    return str(error.value)


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
def test_a_file_of_json_that_is_too_large_is_not_read(model, monkeypatch, name):
    folder = model('encoder')
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content + b' ' * (MAX_BYTES + 1 - len(content)))
    reads = []
    read_bytes = pathlib.Path.read_bytes
    monkeypatch.setattr(pathlib.Path, 'read_bytes', lambda path: reads.append(path.name) or read_bytes(path))
    for level in ('min', 'max'):
        assert refusal(folder, level) == (
            f"The model's {name} has 1,048,577 bytes, of at most 1,048,576; use a model that this plugin has made."
        )
    assert name not in reads


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
@pytest.mark.parametrize('depth', [17, 500, 100_000])
def test_json_that_is_nested_too_deep_is_refused(model, name, depth):
    folder = model('encoder')
    text = (folder / name).read_text()
    (folder / name).write_text('{"flavour": ' + '[' * depth + ']' * depth + ',' + text.lstrip()[1:])
    assert refusal(folder) == f"The model's {name} is damaged: it is nested more than 16 levels deep."


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
@pytest.mark.parametrize('digits', [20, 400, 5000])
def test_whole_numbers_of_hundreds_of_digits_are_refused(model, name, digits):
    folder = model('encoder')
    text = (folder / name).read_text()
    (folder / name).write_text('{"flavour": -' + '9' * digits + ',' + text.lstrip()[1:])
    assert refusal(folder) == f"The model's {name} is damaged: it has a number of {digits:,} digits."


def test_text_that_cannot_be_written_is_refused(model):
    fields = fields_of('classifier')
    fields['target']['classes'][0] = 'a\ud800'
    assert refusal_of(fields) == "The model's config.json is damaged: 'a\\ud800' is not text."
    with pytest.raises(ValueError) as error:
        read_object('{"\\udfff": 1}', 'card.json')
    assert str(error.value) == "The model's card.json is damaged: '\\udfff' is not text."


NAMES = "Names in the model's config.json must not {}, but {} has {}; use a model that this plugin has made."


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('a\tb', 'contain tabs, line breaks or other control characters'),
        ('\x1b[2J', 'contain tabs, line breaks or other control characters'),
        (' a', 'begin or end with blanks, which QIIME 2 metadata leave out'),
        (' ', 'be blank'),
        ('sample-id', 'be names that QIIME 2 metadata reserve for the column of IDs'),
    ],
)
def test_names_that_no_output_can_have_are_refused(name, words):
    fields = fields_of('classifier')
    fields['target']['classes'][1] = name
    assert refusal_of(fields) == NAMES.format(words, 'its classes', repr(name))
    fields = fields_of('regressor')
    fields['target']['name'] = name
    assert refusal_of(fields) == NAMES.format(words, 'its target', repr(name))


def test_classes_that_are_read_back_as_something_else_are_refused():
    fields = fields_of('classifier')
    fields['target']['classes'] = ['NA', 'b']
    words = 'be words that QIIME 2 reads as a missing value'
    assert refusal_of(fields) == NAMES.format(words, 'its classes', "'NA'")
    fields['target']['classes'] = ['gut', 'Gut']
    assert refusal_of(fields) == (
        "The classes of the model's config.json must differ by more than upper and lower case; use a model that this "
        'plugin has made.'
    )


def test_names_too_long_for_a_model_are_refused_before_it_is_trained():
    with pytest.raises(UserError) as error:
        bundle.NumericTarget('a' * 1001, 0.0, 1.0)
    assert str(error.value) == (
        'The name of the metadata column to predict must be text of 1 to 1,000 characters, but it is '
        f"'{'a' * 76}... (1,001 characters); rename it."
    )
    with pytest.raises(UserError) as error:
        bundle.ClassTarget('stage', tuple(f'{number} {"é" * 100}' for number in range(1000)))
    assert str(error.value) == (
        'The names of the 1,000 classes are too long for a model, which holds 524,288 bytes of them; give shorter '
        'names, or merge classes.'
    )


def test_a_model_of_five_thousand_classes_is_read():
    fields = fields_of('classifier')
    fields['target']['classes'] = [f'class number {number} of many' for number in range(5000)]
    fields['heads']['target']['outputs'] = 5000
    assert BundleConfig.from_json(json.dumps(fields)).target.outputs == 5000


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (
            {f'head{number}': {'kind': 'distances'} for number in range(63)},
            "The model's config.json has 65 heads, of at most 64; use a model that this plugin has made.",
        ),
        (
            {'wide': {'kind': 'target', 'outputs': 2**62}},
            "The head 'wide' of the model's config.json has 4,611,686,018,427,387,904 outputs, of at most 65,536; use "
            'a model that this plugin has made.',
        ),
    ],
)
def test_heads_for_which_there_is_no_memory_are_refused(change, sentence):
    fields = fields_of('regressor')
    fields['heads'] |= change
    assert refusal_of(fields) == sentence


@pytest.mark.parametrize(
    ('name', 'shape', 'words'),
    [
        ('references', (100_000, 8), '1,024 sequences of 65,536'),
        ('references', (1, 70_000), '1,024 sequences of 65,536'),
        ('references', (80,), '1,024 sequences of 65,536'),
        ('ensemble.vocabulary', (8193, 8), '8,192 sequences of 65,536'),
        ('ensemble.known', (1,) * 70, '3 dimensions'),
    ],
)
def test_arrays_too_large_are_refused_by_the_header_of_the_file(model, change_weights, name, shape, words):
    folder = model('regressor')
    change_weights(folder, lambda weights: weights.update({name: torch.ones(shape, dtype=torch.uint8)}))
    for level in ('min', 'max'):
        assert refusal(folder, level) == (
            f'The numbers {name} of the model have the shape {brief(shape)}, but at most {words} are allowed; use a '
            'model that this plugin has made.'
        )


def test_what_training_makes_is_never_too_large():
    assert ensemble.MAX_VOCABULARY <= MAX_VOCABULARY
    assert max(ensemble.MEMBERS_OF_FEW, ensemble.MEMBERS_OF_MANY) <= 1024
    # one for each member, where they are more than trees
    assert members.TREES + max(ensemble.MEMBERS_OF_FEW, ensemble.MEMBERS_OF_MANY) <= MAX_TREES


def test_a_calibration_of_a_hundred_thousand_groups_takes_no_time(tmp_path):
    model = bundle.load(FIXTURE / 'regressor')
    groups = np.arange(100_000)
    calibration = Calibration(np.sort(np.random.default_rng(1).exponential(size=len(groups))), groups)
    target = dataclasses.replace(model.config.target, calibration=calibration)
    card = json.loads((FIXTURE / 'regressor' / bundle.CARD_FILE).read_text())
    started = time.process_time()
    bundle.save(tmp_path, dataclasses.replace(model, config=dataclasses.replace(model.config, target=target)), card)
    columns = bundle.load(tmp_path).config.target.columns(np.zeros((1000, 1)))
    assert time.process_time() - started < 2
    assert len(columns['lower_bound']) == 1000


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        (lambda fields, name: fields.update({name: 1}), 'config.json'),
        (lambda fields, name: fields['target'].update({name: 1}), 'target of config.json'),
        (lambda fields, name: fields['heads']['target'].update({name: 1}), "head 'target' of config.json"),
        (lambda fields, name: fields['heads'].update({name: {'kind': 1}}), None),
        (lambda fields, name: fields['call'].update({name: 1}), None),
        (lambda fields, name: fields['call']['model'].update({name: 1}), None),
        (lambda fields, name: fields['call']['model'].update(width=name), None),
        (lambda fields, name: fields.update(kind=name), None),
        (lambda fields, name: fields['heads']['target'].update(kind=name), None),
        (lambda fields, name: fields['blend'].update(members=name), None),
        (lambda fields, name: fields['target'].update(scale=name), None),
        (lambda fields, name: fields['target'].update(name=name), None),
        (lambda fields, name: fields.update(distance_divisor=name), None),
    ],
)
def test_no_message_repeats_a_name_as_it_is(change, name):
    for hostile in ('\x1b[2J\nThe model is sound.', '\x1b' + 'x' * 500_000):
        fields = fields_of('regressor')
        change(fields, hostile)
        sentence = refusal_of(fields)
        assert sentence.isprintable() and len(sentence) < 700
        if name:
            assert sentence.startswith(f"The model's {name} has a field that format version 1 does not know: '\\x1b")


def test_names_of_weights_and_kinds_of_cards_are_shown_escaped(model, change_weights, change_json):
    folder = model('encoder')
    change_weights(folder, lambda weights: weights.update({'\x1b[2J': torch.ones(1)}))
    assert refusal(folder).endswith("does not know: '\\x1b[2J'.")
    change_weights(folder, lambda weights: weights.pop('\x1b[2J'))
    change_json(folder / bundle.CARD_FILE, lambda fields: fields.update(kind='\x1b[2J'))
    assert refusal(folder) == "The model's card.json belongs to another model: its kind is '\\x1b[2J'."
    change_json(folder / bundle.CARD_FILE, lambda fields: fields.update({'\x1b[2J': 1}))
    assert refusal(folder) == "The model's card.json has the unknown field '\\x1b[2J'; use a model of this plugin."


def test_what_is_shown_of_a_value_is_one_short_line():
    assert brief('a\nb') == "'a\\nb'" and brief(None) == 'None' and brief((3, 10)) == '(3, 10)'
    assert brief('x' * 10**6) == "'" + 'x' * 76 + '...'
    assert brief(list(range(1000))).endswith('...') and len(brief(list(range(1000)))) == 80
    assert one_line(ValueError('a\n\x1bb')) == 'a\\n\\x1bb' and one_line('é') == 'é'
    assert len(one_line('\x1b' * 1000)) == 400


def test_references_of_sequences_longer_than_any_are_refused():
    fields = fields_of('regressor')
    fields['references']['longest'] = 10**10
    assert refusal_of(fields) == (
        "The longest sequence in the references of the model's config.json must have at most 1,000,000,000 "
        'nucleotides, but it has 10,000,000,000.'
    )
    fields['references'] |= {'longest': 40, 'kmer': 9}
    assert refusal_of(fields) == (
        'The applicability references of the model are damaged: they must be sequences and thresholds; train the model '
        'again.'
    )


def test_a_file_that_cannot_be_read_is_named(model, monkeypatch):
    folder = model('encoder')

    def fail(path):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(pathlib.Path, 'read_bytes', fail)
    assert refusal(folder) == (
        "The model's config.json cannot be read (Permission denied); get the artifact again from where it was made."
    )


def test_a_header_of_weights_that_is_too_large_is_not_read(model, seal):
    folder = model('encoder')
    save_file({f'{number}' + 'x' * 1000: torch.ones(1) for number in range(1000)}, folder / bundle.MODEL_FILE)
    seal(folder)
    for level in ('min', 'max'):
        sentence = refusal(folder, level)
        assert sentence.startswith("The model's model.safetensors has a header of 1,0")
        assert sentence.endswith(' bytes, of at most 1,048,576; use a model that this plugin has made.')


def test_the_header_of_the_largest_network_is_not_too_large(tmp_path):
    layers = {'asv_layers': 96, 'sample_layers': 96, 'attention_heads': 2, 'mlp_ratio': 1, 'nucleotides_per_token': 6}
    layers |= {'activation': 'gelu', 'positions': 'learned'}
    form = ModelConfig(width=8, memberships=8, max_sequence_length=40, **layers)
    network = build_network(form, {'distances': HeadConfig('distances')}, torch.Generator().manual_seed(1))
    save_file(network.state_dict(), tmp_path / 'weights')
    assert int.from_bytes((tmp_path / 'weights').read_bytes()[:8], 'little') < MAX_BYTES / 2
