"""An exported graph that may be given no ASV at all: what it then reads is one of padding.

Tracing takes every axis for one of two or more places, so that the graph itself cannot be told to pad one that has
none: what pads it is put before the graph.
"""

# Axes that may be empty, and what stands at the place that such an axis then has, by inputs.
FILLED = {
    'tokens': ((0, 1), 0),
    'vocabulary_index': ((0,), -1),
    'asv_index': ((1,), -1),
    'abundances': ((1,), 0.0),
}


def with_empty_axes(model):
    """Return an ONNX model whose inputs may have no ASVs, no nucleotides and no places; others cost it nothing.

    Parameters
    ----------
    model : onnx.ModelProto
        Is changed.
    """
    import onnx

    graph = model.graph
    types = {port.name: port.type.tensor_type for port in graph.input}
    nodes = []
    for name, (axes, value) in FILLED.items():
        dtype, rank = types[name].elem_type, len(types[name].shape.dim)
        nodes += _padding(onnx.helper, name, [place in axes for place in range(rank)], value, dtype)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in FILLED:
                node.input[place] = _filled(name)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    # shapes that were noted of what is within are those of the inputs before they were padded
    del graph.value_info[:]
    return model


def _filled(name):
    return f'{name}_filled'


def _padding(helper, name, may_be_empty, value, dtype):
    """Return the nodes that give an input one place more on each axis that may be empty, and is."""
    int64, part = helper.TensorProto.INT64, '{}_{}'.format
    constants = {
        'one': (int64, [1], [1]),
        'before': (int64, [len(may_be_empty)], [0] * len(may_be_empty)),
        'axes': (int64, [len(may_be_empty)], [int(empty) for empty in may_be_empty]),
        'value': (dtype, [], [value]),
    }
    nodes = [
        helper.make_node('Constant', [], [part(name, which)], value=helper.make_tensor(part(name, which), *tensor))
        for which, tensor in constants.items()
    ]
    steps = [
        ('Shape', (name,), 'shape'),
        ('Min', (part(name, 'shape'), part(name, 'one')), 'full'),
        ('Sub', (part(name, 'one'), part(name, 'full')), 'empty'),
        ('Mul', (part(name, 'empty'), part(name, 'axes')), 'after'),
    ]
    nodes += [helper.make_node(kind, list(given), [part(name, made)]) for kind, given, made in steps]
    nodes.append(helper.make_node('Concat', [part(name, 'before'), part(name, 'after')], [part(name, 'pads')], axis=0))
    padded = [name, part(name, 'pads'), part(name, 'value')]
    return [*nodes, helper.make_node('Pad', padded, [_filled(name)])]
