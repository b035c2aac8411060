"""What tests of exported models share: the reader of the page that goes with one, and what it is given of a table."""

import re

import numpy as np

from q2_aam.data.sequences import read_fasta
from q2_aam.data.table import read_table
from q2_aam.inference.export_described import described_of, vocabulary_lines
from q2_aam.inference.onnx_readme import readme


def reader_of(page):
    """Return the code of the reader on a page."""
    return re.search(r'```python\n(.*?)```', page, re.DOTALL)[1]


def inputs_of(graph, model, samples, sequences, covariates=None):
    """Return what the reader of a model makes of samples, by the names of inputs; no graph of ONNX is needed."""
    described = described_of(graph.columns, model, '')
    code = reader_of(readme(described))
    code = '\n'.join(line for line in code.splitlines() if 'onnxruntime' not in line and 'open(' not in line)
    names = {'described': described, 'entries': vocabulary_lines(model)}
    exec(code, names)
    return names['inputs_of'](samples, sequences, covariates)


def samples_of(table, fasta=None):
    """Return {sample: {feature: reads}} and {feature: sequence} of the files of a call."""
    opened, samples = read_table(table), {}
    rows = (row for block in opened.blocks() for row in block)
    for name, row in zip(opened.sample_ids, rows):
        samples[name] = {opened.feature_ids[place]: float(count) for place, count in zip(row.indices, row.data)}
    return samples, read_fasta(fasta) if fasta else {name: name for name in opened.feature_ids}


def assert_columns(found, details, columns, tolerance):
    """Hold {column: array} of an exported model to the details of a prediction, in the same order of samples."""
    for name in columns:
        one, other = np.asarray(found[name], dtype=float), details[name].to_numpy(dtype=float)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=name)
