"""What a file of ONNX says of itself, read from its bytes: no package of ONNX, and nothing of it is run.

ONNX is a message of protocol buffers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): a row of fields, each a
number and a type (varint, 8 bytes, bytes with their length, 4 bytes) followed by its value. Importable without torch.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

# Types of fields on the wire, and fields of the messages that are read.
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
IR_VERSION, GRAPH, OPSET, FUNCTIONS = 1, 7, 8, 25
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12
NODE_DOMAIN, NODE_ATTRIBUTE, ATTRIBUTE_GRAPH = 7, 5, 6
EXTERNAL_DATA, DATA_LOCATION = 13, 14
# Of TensorProto.DataType, those that our graphs have.
TYPES = {1: 'float32', 6: 'int32', 7: 'int64', 11: 'float64'}
# Of ONNX itself.
DOMAINS = ('', 'ai.onnx')
# A graph within a graph within ...
MAX_DEPTH = 8


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a graph: its name, the type of its numbers, and its axes, numbers or names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """What a file of ONNX says of itself.

    Attributes
    ----------
    inputs, outputs : list of Port
    domains : set of str
        Of its operators.
    has_external_data : bool
        Whether weights stand in other files.
    """

    inputs: list[Port]
    outputs: list[Port]
    domains: set[str]
    has_external_data: bool


def read_onnx(content: bytes) -> OnnxFile:
    """Read the bytes of a file; ValueError, without a word on which file it is, if they are no ONNX."""
    model = list(fields_of(memoryview(content)))
    numbers = {number for number, _, _ in model}
    if not {IR_VERSION, GRAPH, OPSET} <= numbers or _first(model, GRAPH, BYTES) is None:
        raise ValueError('it has no graph, or no version')
    graph = list(fields_of(_first(model, GRAPH, BYTES)))
    ports = {
        which: [_port(value) for number, kind, value in graph if (number, kind) == (which, BYTES)]
        for which in (INPUT, OUTPUT)
    }
    domains = set(_domains(graph, 0))
    domains |= {'functions of its own' for number in numbers if number == FUNCTIONS}
    tensors = [value for number, kind, value in graph if (number, kind) == (INITIALIZER, BYTES)]
    return OnnxFile(ports[INPUT], ports[OUTPUT], domains, any(map(_is_external, tensors)))


def fields_of(content: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, type, value) of each field of a message: a number, or bytes; ValueError if it ends too early."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = _varint(content, place)
        elif kind in (EIGHT, FOUR, BYTES):
            size, place = _varint(content, place) if kind == BYTES else ({EIGHT: 8, FOUR: 4}[kind], place)
            if size > len(content) - place:
                raise ValueError('a field ends behind the end of the file')
            value = content[place : place + size]
            place += size
        else:
            raise ValueError('it has a field of an unknown type')
        if number == 0:
            raise ValueError('it has a field without a number')
        yield number, kind, value


def _varint(content, place):
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError('it has a number without an end')


def _first(fields, number, kind):
    return next((value for one, other, value in fields if (one, other) == (number, kind)), None)


def _text(value):
    return '' if value is None else bytes(value).decode('utf-8')


def _port(content):
    fields = list(fields_of(content))
    name, of_type = _text(_first(fields, 1, BYTES)), _first(fields, 2, BYTES)
    tensor = None if of_type is None else _first(list(fields_of(of_type)), 1, BYTES)
    if tensor is None:
        raise ValueError('it has an input or output that is no tensor')
    of_tensor = list(fields_of(tensor))
    code, shape = _first(of_tensor, 1, VARINT), _first(of_tensor, 2, BYTES)
    if code not in TYPES or shape is None:
        raise ValueError('it has an input or output of a type that our models do not have')
    return Port(name, TYPES[code], tuple(_axis(value) for number, _, value in fields_of(shape) if number == 1))


def _axis(content):
    fields = list(fields_of(content))
    size = _first(fields, 1, VARINT)
    return _text(_first(fields, 2, BYTES)) if size is None else size


def _domains(graph, depth):
    """Yield the domain of each operator, also of those in graphs within."""
    if depth > MAX_DEPTH:
        raise ValueError(f'its graphs are nested more than {MAX_DEPTH} deep')
    for number, kind, value in graph:
        if (number, kind) != (NODE, BYTES):
            continue
        node = list(fields_of(value))
        yield _text(_first(node, NODE_DOMAIN, BYTES))
        for attribute in (part for one, other, part in node if (one, other) == (NODE_ATTRIBUTE, BYTES)):
            inner = _first(list(fields_of(attribute)), ATTRIBUTE_GRAPH, BYTES)
            if inner is not None:
                yield from _domains(list(fields_of(inner)), depth + 1)


def _is_external(tensor):
    fields = list(fields_of(tensor))
    return _first(fields, EXTERNAL_DATA, BYTES) is not None or _first(fields, DATA_LOCATION, VARINT) not in (None, 0)
