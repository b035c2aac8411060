"""What tests of the server share: a model, an application around it, tables as strangers send them."""

import pathlib

import pytest

from tests.inference.exported import samples_of

FROZEN = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
RUNTIME = {'device': 'cpu', 'threads': 1}


@pytest.fixture(scope='session')
def table():
    """{sample: {sequence: count}} of the table that goes with the models."""
    return samples_of(FROZEN / 'table.biom')[0]


@pytest.fixture(scope='session')
def named(table):
    """The same by names of features, and {name: sequence}."""
    features = sorted({sequence for row in table.values() for sequence in row})
    names = {sequence: f'asv{number:02d}' for number, sequence in enumerate(features)}
    renamed = {sample: {names[sequence]: count for sequence, count in row.items()} for sample, row in table.items()}
    return renamed, {name: sequence for sequence, name in names.items()}


@pytest.fixture(scope='session')
def client_of():
    """(folder of a model, limits): a client of an application, in this process."""
    pytest.importorskip('fastapi', reason='the server needs the packages of the extra serve')
    testing = pytest.importorskip('fastapi.testclient', reason='its client needs httpx')
    from q2_aam.serve.app import make_app
    from q2_aam.serve.limits import Limits
    from q2_aam.serve.models import open_model

    def make(folder, **limits):
        app = make_app(open_model(folder), Limits(**limits), RUNTIME)
        return testing.TestClient(app, raise_server_exceptions=False)

    return make


@pytest.fixture(scope='session')
def client(client_of):
    """A client of a regressor."""
    return client_of(FROZEN / 'regressor')


def as_tsv(table):
    """Return a table as biom-format writes it."""
    features = sorted({name for row in table.values() for name in row})
    lines = ['# Constructed from biom file', '\t'.join(['#OTU ID', *table])]
    lines += ['\t'.join([name, *(str(row.get(name, 0.0)) for row in table.values())]) for name in features]
    return '\n'.join(lines) + '\n'


def as_biom(table, dense=False):
    """Return a table as an object of BIOM 1."""
    features = sorted({name for row in table.values() for name in row})
    if dense:
        data = [[row.get(name, 0) for row in table.values()] for name in features]
    else:
        data = [
            [features.index(name), number, count]
            for number, row in enumerate(table.values())
            for name, count in row.items()
        ]
    return {
        'id': None, 'format': 'Biological Observation Matrix 1.0.0', 'type': 'OTU table',
        'matrix_type': 'dense' if dense else 'sparse', 'matrix_element_type': 'float',
        'shape': [len(features), len(table)], 'data': data,
        'rows': [{'id': name, 'metadata': None} for name in features],
        'columns': [{'id': name, 'metadata': None} for name in table],
    }  # fmt: skip
