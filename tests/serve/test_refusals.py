"""What cannot be answered is refused: a status that blames the request, and one sentence that says why."""

import gzip
import json
import pickle
import random
import time

import pytest

from .conftest import as_biom, as_tsv

JSON = {'Content-Type': 'application/json'}
TSV = {'Content-Type': 'text/tab-separated-values'}
GOOD = {'table': {'S1': {'a': 3, 'b': 4}, 'S2': {'a': 1}}, 'sequences': {'a': 'ACGTACGT', 'b': 'ACGTACGA'}}


def refused(response, status=None):
    """Return the sentence of a refusal."""
    assert 400 <= response.status_code < 500, (response.status_code, response.text)
    assert status in (None, response.status_code), (response.status_code, response.text)
    assert list(response.json()) == ['error']
    sentence = response.json()['error']
    assert sentence and '\n' not in sentence and len(sentence) < 1000 and 'Traceback' not in sentence
    assert sentence[0].isupper() and sentence.endswith('.'), sentence
    return sentence


def changed(**fields):
    return GOOD | fields


@pytest.mark.parametrize(
    'body, status, words',
    [
        ([], 422, 'The request must be an object with a table'),
        ({'tabel': {}}, 422, "has the field 'tabel', but may have table, sequences, covariates only"),
        ({'sequences': {'a': 'ACGT'}}, 422, 'The request has no table'),
        (changed(table=[]), 422, 'must be an object of samples, or one of BIOM 1'),
        (changed(table={'S1': 3}), 422, "Sample 'S1' must be an object of counts by feature"),
        (changed(table={'S1': {'a': 'many'}}), 422, "has 'many' for feature 'a' in sample 'S1', which is no number"),
        (changed(table={'S1': {'a': True}}), 422, 'which is no number'),
        (changed(table={'S1': {'a': -1}}), 422, 'must be numbers from 0 to 1e+15'),
        (changed(table={'S1': {'a': 10**400}}), 422, 'not finite'),
        (changed(table={'S1': {'a': 0}}), 422, 'all counts are 0'),
        (changed(table={'S1': {}}), 422, 'it has no features'),
        (changed(table={'id': {'a': 3}}), 422, 'Sample IDs must not be names that QIIME 2 metadata reserve'),
        (changed(table={'S1': {'c': 3}}), 422, "The sequences have none of the features of the table (e.g. 'c')"),
        (changed(table={'S1': {'a': 3, 'c': 3}}), 422, 'The input sequences lack 1 of the 2 features'),
        (changed(sequences={'a': 'ACGT', 'b': 'AXGT'}), 422, "The sequence of feature 'b' has 'X' at position 2"),
        (changed(sequences={'a': 'ACGT', 'b': 'AC-T'}), 422, 'has a gap'),
        (changed(sequences={'a': 'ACGT', 'b': ''}), 422, "The sequence of feature 'b' is empty"),
        (changed(sequences={'a': 'ACGT', 'b': 'AC\nGT'}), 422, "no blanks, but there is feature 'b' with sequence 'AC"),
        (changed(sequences={'a': 7}), 422, 'must be an object with the sequence of each feature as text'),
        (changed(sequences={'a': 'A' * 2001, 'b': 'C'}), 413, 'A sequence has 2,001 nucleotides, of at most 2,000'),
        (changed(covariates={'S1': 3}), 422, 'The covariates must be an object of samples'),
        (changed(covariates={'S1': {'x': [1]}}), 422, "Covariate 'x' of sample 'S1' is [1], but must be a number"),
        (changed(covariates={'S1': {str(n): 1 for n in range(201)}}), 413, 'have 201 columns, of at most 200'),
        ({'table': {'S1': {'not a sequence': 3}}}, 422, 'The feature IDs of the table are not sequences'),
        ({'table': {'S' * 1001: {'ACGT': 3}}}, 413, 'Sample IDs may have 1,000 characters, but one has 1,001'),
        ({'matrix_type': 'sparse'}, 422, 'The table is no BIOM 1: its rows must be a list of objects with an id'),
    ],
)
def test_an_object_that_cannot_be_used_is_refused(client, body, status, words):
    assert words in refused(client.post('/predict', json=body), status)


@pytest.mark.parametrize(
    'content, headers, status, words',
    [
        (b'', JSON, 400, 'The request has no body'),
        (b'{"table": ', JSON, 400, 'The request is not JSON'),
        (b'{"table": NaN}', JSON, 400, 'NaN is no number'),
        (b'{"a": 1, "a": 2}', JSON, 400, "the name 'a' occurs twice"),
        (b'[' * 100_000, JSON, 400, 'nested too deep'),
        (b'\xff\xfe', JSON, 400, 'is not text in UTF-8'),
        (b'\x89HDF\r\n\x1a\n' + bytes(50), JSON, 415, 'biom convert -i table.biom -o table.json --to-json'),
        (pickle.dumps({'table': 1}), JSON, 400, 'is not text'),
        (gzip.compress(b'{}'), JSON | {'Content-Encoding': 'gzip'}, 415, 'A compressed body is not read'),
        (b'{}', {'Content-Type': 'application/x-hdf5'}, 415, "The type of the request is 'application/x-hdf5'"),
        (b'{}', {'Content-Type': ''}, 415, "The type of the request is ''"),
        (b'x', TSV, 422, 'The table has no header'),
        (b'#OTU ID\tS1\nACGT\t1\t2\n', TSV, 422, "The line of feature 'ACGT' has 2 counts, but the header"),
        (
            b'#OTU ID\tS1\nACGT\tx\n',
            TSV,
            422,
            "The table has 'x' for feature 'ACGT' in sample 'S1', which is no number",
        ),
        (b'#OTU ID\tS1\nACGT\t1\nACGT\t1\n', TSV, 422, "Feature IDs must be unique: 'ACGT' occurs twice"),
        (b'#OTU ID\tS1\tS1\nACGT\t1\t1\n', TSV, 422, "Sample IDs must be unique: 'S1' occurs twice"),
        (b'#OTU ID\tS1\nACGT\tinf\n', TSV, 422, 'not finite'),
        (b'--x', {'Content-Type': 'multipart/form-data'}, 400, 'The type of the form names no boundary'),
        (
            b'--x\r\n',
            {'Content-Type': 'multipart/form-data; boundary=x'},
            400,
            'does not begin and end with its boundary',
        ),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(client, content, headers, status, words):
    assert words in refused(client.post('/predict', content=content, headers=headers), status)


@pytest.mark.parametrize(
    'files, status, words',
    [
        ({'sequences': '>a\nACGT\n'}, 422, 'The form has no part named table'),
        ({'table': '#OTU ID\tS1\na\t1\n', 'sequence': 'x'}, 422, "The form has a part named 'sequence'"),
        ({'table': '#OTU ID\tS1\na\t1\n', 'sequences': 'ACGT'}, 422, 'are not a FASTA file'),
        (
            {'table': '#OTU ID\tS1\na\t1\n', 'sequences': '>a\n' + 'ACGT\n' * 501},
            413,
            'A sequence has 2,004 nucleotides',
        ),
        ({'table': b'\x89HDF\r\n\x1a\n'}, 415, 'The table is BIOM 2 (HDF5)'),
        ({'table': b'PK\x03\x04'}, 415, 'The table is an archive, as an artifact of QIIME 2 (.qza) is'),
        ({'table': '#OTU ID\tS1\nACGT\t1\n', 'covariates': 'id\tx\nS1\n'}, 422, 'The covariates must be a header'),
        ({'table': '#OTU ID\tS1\nACGT\t1\n', 'covariates': 'id\tx\nS1\t1\nS1\t1\n'}, 422, 'have a sample ID twice'),
    ],
)
def test_a_form_that_cannot_be_used_is_refused(client, files, status, words):
    assert words in refused(client.post('/predict', files=files), status)


@pytest.mark.parametrize(
    'query, words',
    [
        ('coverage=2', 'The parameter coverage cannot be used: input should be less than or equal to 0.99.'),
        ('coverage=much', 'The parameter coverage cannot be used: input should be a valid number'),
        ('harmonize=perhaps', "The parameter harmonize cannot be used: input should be 'auto' or 'off'."),
        ('table=/etc/passwd', "The parameter 'table' must be one of coverage, harmonize, abstain, and be there once."),
        ('abstain=true&abstain=false', "The parameter 'abstain' must be one of"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused(client, query, words):
    assert words in refused(client.post(f'/predict?{query}', json=GOOD), 422)


def test_other_addresses_and_methods_are_refused(client):
    assert 'Not Found; the addresses are /predict' in refused(client.get('/models/../../etc/passwd'), 404)
    assert 'Method Not Allowed' in refused(client.get('/predict'), 405)


@pytest.mark.parametrize(
    'limits, body, words',
    [
        ({'max_samples': 1}, GOOD, 'The table has 2 samples, of at most 1 that this server takes at once'),
        ({'max_features': 1}, GOOD, 'The table has 2 features, of at most 1 that'),
        ({'max_megabytes': 1}, GOOD | {'sequences': {'a': 'A' * 10**6}}, 'has more than 1 MB'),
    ],
)
def test_what_is_too_large_is_refused(client_of, limits, body, words):
    from .conftest import FROZEN

    client = client_of(FROZEN / 'regressor', **limits)
    assert words in refused(client.post('/predict', json=body), 413)
    if 'max_megabytes' in limits:
        # without a length it is counted as it comes
        parts = (json.dumps(body).encode()[at : at + 50_000] for at in range(0, 1_100_000, 50_000))
        assert words in refused(client.post('/predict', content=parts, headers=JSON), 413)


def malformed(dice):
    """Yield (content, headers) of 200 requests, each wrong in a way and a place of its own."""
    good, table = json.dumps(GOOD), {name: dict(row) for name, row in GOOD['table'].items()}
    biom = as_biom({'S1': {'ACGTACGT': 3, 'ACGTACGA': 4}, 'S2': {'ACGTACGT': 1}})
    for _ in range(20):
        yield dice.randbytes(dice.randint(1, 200)) + b'\xff', JSON
        yield good[: dice.randint(1, len(good) - 1)], JSON
        place = dice.randint(1, 8)
        letters = 'ACGTACGT'[: place - 1] + dice.choice('!XZ*.-0 é') + 'ACGTACGT'[place:]
        yield json.dumps(GOOD | {'sequences': {'a': letters, 'b': 'ACGT'}}), JSON
        count = dice.choice([-dice.random(), '1', None, [1], {}, False, 10 ** dice.randint(16, 330)])
        yield json.dumps(GOOD | {'table': table | {f'S{dice.randint(3, 9)}': {'a': count}}}), JSON
        wrong = dice.choice([None, 3, 'text', [], [[]], {}, {'S1': dice.choice([None, 1, 'x', []])}])
        yield json.dumps(GOOD | {'table': wrong}), JSON
        entry = dice.choice([[9, 0, 1], [0, 7, 1], [-1, 0, 1], [0, 0], [0, 0, 'x'], 7, None, [0.5, 0, 1], [True, 0, 1]])
        yield json.dumps(biom | {'data': [*biom['data'], entry]}), JSON
        field = dice.choice(['rows', 'columns', 'data', 'matrix_type'])
        yield json.dumps(biom | {field: dice.choice([None, 5, 'x', [3], [{'id': 3}], {}])}), JSON
        lines = as_tsv({'S1': {'ACGT': 3, 'ACGA': 1}, 'S2': {'ACGT': 1}}).splitlines()
        at = dice.randint(1, len(lines) - 1)
        lines[at] += dice.choice(['\t', '\t1\t2', 'x\t', '\tS1'])
        yield '\n'.join(lines), TSV
        boundary = f'b{dice.randint(1, 99)}'
        name = dice.choice(['x', 'table"; filename="../../etc/passwd', '', 'Table'])
        form = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nx\r\n--{boundary}--\r\n'
        yield form, {'Content-Type': f'multipart/form-data; boundary={boundary}'}
        yield good, {'Content-Type': dice.choice(['application/xml', 'image/png', 'application/octet-stream', '*/*'])}


def test_two_hundred_malformed_requests_are_each_refused_with_a_sentence(client):
    sentences, number = set(), 0
    for content, headers in malformed(random.Random(5)):
        sentences.add(refused(client.post('/predict', content=content, headers=headers)))
        number += 1
    assert number == 200 and len(sentences) > 60
    # and the server goes on
    assert client.get('/health').json() == {'status': 'ok', 'inside': 0}


def test_a_long_header_of_a_part_is_refused_at_once():
    from q2_aam.serve.limits import Refused
    from q2_aam.serve.requests import parts_of

    # a search in it would take hours, during which nothing else is answered
    head = b'Content-Disposition: form-data;' * 100_000
    began = time.monotonic()
    with pytest.raises(Refused, match='^The form is malformed: each part must have a name'):
        parts_of(b'--b\r\n' + head + b'\r\n\r\nx\r\n--b--\r\n', 'boundary=b')
    assert time.monotonic() - began < 5
