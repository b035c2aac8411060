"""A model for other runtimes as a folder: which files it has, and whether they belong together.

Importable without torch, and without a package of ONNX.
"""

import itertools
import pathlib
from typing import Any

from q2_aam.bundle.untrusted import brief, one_line, read_bytes, read_object
from q2_aam.data.atomic import hash_file
from q2_aam.errors import shown

from .onnx_wire import DOMAINS, Port, read_onnx

MODEL_FILE, INPUTS_FILE, VOCABULARY_FILE, README_FILE = 'model.onnx', 'inputs.json', 'vocabulary.txt', 'README.md'
FILES = (MODEL_FILE, INPUTS_FILE, VOCABULARY_FILE, README_FILE)
FORMAT_VERSION = 1
# What a message of protocol buffers may have; a vocabulary of 8,192 sequences of 1,500 nucleotides, a page of text.
MAX_SIZES = {MODEL_FILE: 2**31 - 1, VOCABULARY_FILE: 2**24, README_FILE: 2**20}
# Fields of INPUTS_FILE, and the type of each.
FIELDS: dict[str, type | tuple[type, ...]] = {
    'format_version': int,
    'made_by': str,
    'kind': str,
    'target': (str, type(None)),
    'inputs': list,
    'outputs': list,
    'tokens': dict,
    'vocabulary': dict,
    'abundances': dict,
    'covariates': dict,
    'classes': list,
    'applicability': dict,
    'weights_sha256': str,
    'model_sha256': str,
    'vocabulary_sha256': str,
}
SEQUENCES, HASHES, NOTHING = FORMS = ('sequences', 'blake2b', 'none')
NUCLEOTIDES = set('ACGTN')
HEXADECIMAL = set('0123456789abcdef')
# Hexadecimal digits of a key of a sequence.
KEY_DIGITS = 16


def check(folder, level: str = 'max') -> None:
    """Raise ValueError, in one sentence, unless `folder` holds a sound model for other runtimes.

    Parameters
    ----------
    folder : path
    level : str
        'min' trusts the checksums of the large files.
    """
    folder = pathlib.Path(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f'The ONNX model lacks its file {name}; export it again.')
        size = (folder / name).stat().st_size
        if size > MAX_SIZES.get(name, size):
            raise ValueError(
                f"The ONNX model's {name} has {size:,} bytes, of at most {MAX_SIZES[name]:,}; export it again."
            )
    described = read_inputs(folder)
    if level == 'max':
        for name, field in ((MODEL_FILE, 'model_sha256'), (VOCABULARY_FILE, 'vocabulary_sha256')):
            if described[field] != hash_file(folder / name):
                raise ValueError(
                    f"The ONNX model's {name} does not match the checksum in its {INPUTS_FILE}: one of them is "
                    'damaged, or of another model; export it again.'
                )
    _check_vocabulary((folder / VOCABULARY_FILE).read_bytes(), described['vocabulary'])
    _check_graph((folder / MODEL_FILE).read_bytes(), described)


def read_inputs(folder) -> dict[str, Any]:
    """Return what INPUTS_FILE says; ValueError, in one sentence, unless it has all fields, of their types."""
    fields = read_object(read_bytes(pathlib.Path(folder) / INPUTS_FILE), INPUTS_FILE)
    if unknown := sorted(set(fields) - set(FIELDS)):
        raise ValueError(f"The ONNX model's {INPUTS_FILE} has the unknown field {shown(unknown[0])}; export it again.")
    for name, kind in FIELDS.items():
        if name not in fields:
            raise ValueError(f"The ONNX model's {INPUTS_FILE} lacks the field {name}; export it again.")
        if not isinstance(fields[name], kind) or isinstance(fields[name], bool):
            raise ValueError(
                f"The ONNX model's {INPUTS_FILE} has {brief(fields[name])} for {name}, which is of the wrong type; "
                'export it again.'
            )
    if fields['format_version'] != FORMAT_VERSION:
        raise ValueError(
            f'The ONNX model has format version {fields["format_version"]}, but this version of q2-aam reads '
            f'{FORMAT_VERSION}; update q2-aam.'
        )
    return fields


def _check_vocabulary(content, described):
    form, entries = described.get('form'), described.get('entries')
    where = f"The ONNX model's {VOCABULARY_FILE}"
    if form not in FORMS or type(entries) is not int:
        raise ValueError(
            f"The ONNX model's {INPUTS_FILE} must give form and entries of the vocabulary, but it has "
            f'{brief(described)}; export it again.'
        )
    try:
        lines = content.decode('ascii').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{where} is not text; export the model again.') from error
    if len(lines) != entries or len(set(lines)) != entries or (form == NOTHING and entries):
        raise ValueError(
            f'{where} must have {entries:,} different lines, as its {INPUTS_FILE} says, but it has {len(lines):,}, '
            f'{len(set(lines)):,} of them different; export the model again.'
        )
    for line in lines:
        sound = line and set(line) <= NUCLEOTIDES
        if form == HASHES:
            sound = len(line) == KEY_DIGITS and set(line) <= HEXADECIMAL
        if not sound:
            raise ValueError(f'{where} must be one entry a line ({form}), but has {brief(line)}; export it again.')


def _check_graph(content, described):
    try:
        graph = read_onnx(content)
    except ValueError as error:
        raise ValueError(
            f"The ONNX model's {MODEL_FILE} is no file of ONNX, or damaged ({one_line(error)}); export it again."
        ) from error
    if graph.has_external_data:
        raise ValueError(f"The ONNX model's {MODEL_FILE} asks for weights in other files; export it again.")
    if others := sorted(graph.domains - set(DOMAINS)):
        raise ValueError(
            f"The ONNX model's {MODEL_FILE} has operators that are not of ONNX itself ({shown(others[0])}); export it "
            'again.'
        )
    for what, ports in (('inputs', graph.inputs), ('outputs', graph.outputs)):
        told = [_told(port, what) for port in described[what]]
        # a runtime knows sizes of axes by their number alone: names are for readers
        for one, other in itertools.zip_longest(ports, told):
            if _form(one) != _form(other):
                raise ValueError(
                    f"Of its {what}, the ONNX model's {MODEL_FILE} has {_written(one)} where its {INPUTS_FILE} tells "
                    f'of {_written(other)}; export it again.'
                )


def _told(port, what):
    if not isinstance(port, dict) or not {'name', 'dtype', 'shape'} <= set(port) or not isinstance(port['shape'], list):
        raise ValueError(
            f"The ONNX model's {INPUTS_FILE} must give name, dtype and shape of each of its {what}, but has "
            f'{brief(port)}; export it again.'
        )
    return Port(str(port['name']), str(port['dtype']), tuple(port['shape']))


def _form(port):
    return port and (port.name, port.dtype, [axis if isinstance(axis, int) else None for axis in port.shape])


def _written(port):
    return 'none' if port is None else f'{brief(port.name)} ({brief(port.dtype)}, axes {brief(list(port.shape))})'
