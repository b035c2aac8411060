"""What is no exported model is refused in one sentence, without a package of ONNX and without running anything."""

import random

import pytest

from q2_aam.inference import onnx_files
from q2_aam.inference.onnx_wire import read_onnx

from .onnx_bytes import INPUTS, OUTPUTS, field, onnx_bytes, write_folder


def refusal(folder, level='max'):
    with pytest.raises(ValueError) as error:
        onnx_files.check(folder, level)
    text = str(error.value)
    assert '\n' not in text and text.endswith('.') and 'export' in text or 'update' in text
    return text


def test_a_sound_folder_is_accepted_at_both_levels(tmp_path):
    folder = write_folder(tmp_path / 'model')
    onnx_files.check(folder)
    onnx_files.check(folder, 'min')


@pytest.mark.parametrize('name', onnx_files.FILES)
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_folder(tmp_path / 'model')
    (folder / name).unlink()
    assert refusal(folder) == f'The ONNX model lacks its file {name}; export it again.'


def test_a_large_file_that_was_changed_is_found_by_its_checksum(tmp_path):
    folder = write_folder(tmp_path / 'model')
    content = bytearray((folder / 'model.onnx').read_bytes())
    content[8] ^= 1
    (folder / 'model.onnx').write_bytes(content)
    assert 'model.onnx does not match the checksum in its inputs.json' in refusal(folder)


@pytest.mark.parametrize(
    'changes, words',
    [
        ({'extra': 1}, "inputs.json has the unknown field 'extra'"),
        ({'kind': ...}, 'inputs.json lacks the field kind'),
        ({'kind': 7}, 'inputs.json has 7 for kind, which is of the wrong type'),
        ({'format_version': True}, 'inputs.json has True for format_version'),
        ({'format_version': 2}, 'has format version 2, but this version of q2-aam reads 1'),
        ({'inputs': [{'name': 'tokens'}]}, 'must give name, dtype and shape of each of its inputs'),
        ({'vocabulary': {'form': 'words', 'entries': 2}}, 'must give form and entries of the vocabulary'),
        ({'vocabulary': {'form': 'sequences', 'entries': 3}}, 'must have 3 different lines'),
        ({'vocabulary': {'form': 'blake2b', 'entries': 2}}, "must be one entry a line (blake2b), but has 'ACGT'"),
        ({'lines': ('ACGT', 'ACGT')}, 'must have 2 different lines'),
        ({'lines': ('ACGT', 'ACGX')}, "must be one entry a line (sequences), but has 'ACGX'"),
    ],
)
def test_what_a_description_gets_wrong_is_said(tmp_path, changes, words):
    assert words in refusal(write_folder(tmp_path / 'model', **changes))


@pytest.mark.parametrize(
    'content, words',
    [
        (b'hello, this is no graph', 'model.onnx is no file of ONNX, or damaged'),
        (b'', 'it has no graph, or no version'),
        (onnx_bytes()[:-3], 'a field ends behind the end of the file'),
        (onnx_bytes(INPUTS[:3]), "has none where its inputs.json tells of 'abundances' ('float32'"),
        (
            onnx_bytes([*INPUTS[:3], ('abundances', 'float64', ['samples', 'places'])]),
            "has 'abundances' ('float64', axes ['samples', 'places']) where",
        ),
        (
            onnx_bytes(outputs=[OUTPUTS[0], ('embedding', 'float32', ['samples', 301])]),
            "Of its outputs, the ONNX model's model.onnx has 'embedding' ('float32', axes ['samples', 301])",
        ),
        (
            onnx_bytes(nodes=field(1, field(4, b'Evil') + field(7, b'com.example'))),
            "not of ONNX itself ('com.example')",
        ),
        (onnx_bytes(more=field(25, b'')), "not of ONNX itself ('functions of its own')"),
        (onnx_bytes(initializers=field(5, field(13, b'x') + field(14, 1))), 'asks for weights in other files'),
        (field(1, 10) + field(7, field(11, field(1, b'x'))) + field(8, b''), 'an input or output that is no tensor'),
    ],
    ids=lambda value: None if isinstance(value, str) else 'bytes',
)
def test_a_graph_that_is_none_of_ours_is_refused(tmp_path, content, words):
    assert words in refusal(write_folder(tmp_path / 'model', content))


def test_an_operator_within_a_loop_is_seen():
    inner = field(6, field(1, field(7, b'com.example')))
    assert 'com.example' in read_onnx(onnx_bytes(nodes=field(1, field(4, b'Loop') + field(5, inner)))).domains
    deep = b''
    for _ in range(12):
        deep = field(1, field(4, b'Loop') + field(5, field(6, deep)))
    with pytest.raises(ValueError, match='nested more than 8 deep'):
        read_onnx(onnx_bytes(nodes=deep))


def test_ports_are_read_with_their_axes():
    assert [(one.name, one.dtype, list(one.shape)) for one in read_onnx(onnx_bytes()).outputs] == OUTPUTS
    assert read_onnx(onnx_bytes(outputs=[('scalar', 'int64', [])])).outputs[0].shape == ()
    # of outputs alone: type 11 becomes 3, a byte
    with pytest.raises(ValueError, match='of a type that our models do not have'):
        read_onnx(onnx_bytes().replace(b'\x08\x0b', b'\x08\x03'))


def test_bytes_at_random_are_refused_or_read_and_nothing_else(tmp_path):
    dice, sound = random.Random(8), onnx_bytes()
    folder = write_folder(tmp_path / 'model')
    for _ in range(500):
        content = bytearray(sound)
        for _ in range(dice.randint(1, 4)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        (folder / 'model.onnx').write_bytes(content[: dice.choice([None, dice.randrange(len(content))])])
        try:
            onnx_files.check(folder, 'min')
        except ValueError as error:
            assert '\n' not in str(error)
