"""Files of ONNX written by hand, byte by byte, and folders around them: what is read of one needs no package."""

import hashlib
import json

from q2_aam.inference import onnx_files
from q2_aam.inference.onnx_wire import TYPES

CODES = {name: number for number, name in TYPES.items()}
INPUTS = [
    ('tokens', 'int32', ['asvs', 'length']),
    ('vocabulary_index', 'int32', ['asvs']),
    ('asv_index', 'int32', ['samples', 'places']),
    ('abundances', 'float32', ['samples', 'places']),
]
OUTPUTS = [('prediction', 'float64', ['samples']), ('embedding', 'float32', ['samples', 300])]


def varint(value):
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number, value):
    """A field with a number, or with bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def port(name, dtype, shape):
    axes = [field(1, axis) if isinstance(axis, int) else field(2, axis.encode()) for axis in shape]
    tensor = field(1, CODES[dtype]) + field(2, b''.join(field(1, axis) for axis in axes))
    return field(1, name.encode()) + field(2, field(1, tensor))


def onnx_bytes(inputs=INPUTS, outputs=OUTPUTS, nodes=b'', initializers=b'', more=b''):
    """The bytes of a model with these inputs and outputs."""
    graph = field(2, b'main') + nodes + initializers
    graph += b''.join(field(11, port(*one)) for one in inputs) + b''.join(field(12, port(*one)) for one in outputs)
    return field(1, 10) + field(2, b'by hand') + field(7, graph) + field(8, field(1, b'') + field(2, 20)) + more


def write_folder(folder, content=None, lines=('ACGT', 'ACGA'), **changes):
    """Write an exported model whose fields are changed; return the folder."""
    content = onnx_bytes() if content is None else content
    vocabulary = ''.join(f'{line}\n' for line in lines).encode()

    def ports(rows):
        return [dict(zip(('name', 'dtype', 'shape', 'meaning'), (*row, 'words'))) for row in rows]

    described = {
        'format_version': 1, 'made_by': 'q2-aam', 'kind': 'regressor', 'target': 'age', 'inputs': ports(INPUTS),
        'outputs': ports(OUTPUTS), 'tokens': {'codes': {}, 'max_length': 150},
        'vocabulary': {'form': 'sequences', 'entries': len(lines)}, 'abundances': {}, 'covariates': {}, 'classes': [],
        'applicability': {}, 'weights_sha256': '0' * 64, 'model_sha256': hashlib.sha256(content).hexdigest(),
        'vocabulary_sha256': hashlib.sha256(vocabulary).hexdigest(),
    }  # fmt: skip
    described = {name: value for name, value in (described | changes).items() if value is not ...}
    folder.mkdir(exist_ok=True)
    (folder / onnx_files.MODEL_FILE).write_bytes(content)
    (folder / onnx_files.VOCABULARY_FILE).write_bytes(vocabulary)
    (folder / onnx_files.INPUTS_FILE).write_text(json.dumps(described))
    (folder / onnx_files.README_FILE).write_text('# A model\n')
    return folder
