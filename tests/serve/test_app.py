"""What the server answers is what predict gives, in whatever form the table comes."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.config import PredictClassesConfig, PredictConfig
from q2_aam.inference.predict import predict, predict_classes

from .conftest import FROZEN, RUNTIME, as_biom, as_tsv


@pytest.fixture(scope='module')
def details():
    config = PredictConfig.from_flat(RUNTIME)
    return predict(FROZEN / 'table.biom', FROZEN / 'regressor', config, say=lambda line: None)[1]


def answered(response):
    assert response.status_code == 200, response.text
    samples = response.json()['samples']
    return pd.DataFrame(samples).set_index('id')


def same(answer, details):
    assert list(answer.index) == list(details.index)
    for name in ('prediction', 'lower_bound', 'upper_bound', 'reads_used', 'asvs_used'):
        np.testing.assert_allclose(answer[name].astype(float), details[name].astype(float), rtol=1e-6)
    assert list(answer['flag']) == list(details['flag'])
    for name in ('share_of_reads_near', 'vocabulary_coverage'):
        np.testing.assert_allclose([row[name] for row in answer['applicability']], details[name], rtol=1e-6)


def test_json_gets_predictions_intervals_and_applicability(client, named, details):
    table, sequences = named
    response = client.post('/predict', json={'table': table, 'sequences': sequences})
    same(answered(response), details)
    assert {name: response.json()[name] for name in ('kind', 'target')} == {'kind': 'regressor', 'target': 'age'}
    assert response.headers['x-content-type-options'] == 'nosniff'


@pytest.mark.parametrize('dense', [False, True])
def test_biom_1_is_read_by_itself(client, table, details, dense):
    same(answered(client.post('/predict', json=as_biom(table, dense))), details)


def test_text_is_read_whose_ids_are_sequences(client, table, details):
    kind = {'Content-Type': 'text/tab-separated-values; charset=utf-8'}
    same(answered(client.post('/predict', content=as_tsv(table), headers=kind)), details)


@pytest.mark.parametrize('of', [as_tsv, lambda table: json.dumps(as_biom(table))])
def test_a_form_brings_the_files_of_a_study(client, named, details, of):
    table, sequences = named
    fasta = ''.join(f'>{name} words\n{letters[:20]}\n{letters[20:]}\n' for name, letters in sequences.items())
    files = {'table': ('table.txt', of(table)), 'sequences': ('dna.fasta', fasta)}
    same(answered(client.post('/predict', files=files)), details)


def test_parameters_are_those_of_predict(client, table):
    narrow, wide = (
        answered(client.post(f'/predict?coverage={coverage}', json={'table': table})) for coverage in (0.2, 0.8)
    )
    width = [(one['upper_bound'] - one['lower_bound']).mean() for one in (narrow, wide)]
    assert width[0] < width[1]


def test_a_sample_alone_gets_what_it_gets_beside_others(client, table, details):
    name = details.index[3]
    alone = answered(client.post('/predict', json={'table': {name: table[name]}}))
    assert alone.loc[name, 'prediction'] == pytest.approx(details.loc[name, 'prediction'], abs=1e-5)


def test_a_classifier_gives_the_probability_of_each_class(client_of, table):
    client = client_of(FROZEN / 'classifier')
    config = PredictClassesConfig.from_flat(RUNTIME)
    _, probabilities, _ = predict_classes(FROZEN / 'table.biom', FROZEN / 'classifier', config, say=lambda line: None)
    found = answered(client.post('/predict', json={'table': table}))
    frame = pd.DataFrame(list(found['probabilities']), found.index)
    np.testing.assert_allclose(frame[list(probabilities.columns)], probabilities, atol=1e-6)
    response = client.post('/predict?coverage=0.5', json={'table': table})
    assert response.status_code == 422
    assert response.json()['error'] == (
        'The model predicts classes, which have no intervals; leave the parameter coverage out.'
    )


def test_covariates_come_along_and_are_asked_for(client_of, facility_regressor):
    client, study = client_of(facility_regressor.folder), facility_regressor
    config = PredictConfig.from_flat(RUNTIME)
    files = study.run.files
    expected = predict(files.table, study.folder, config, files.sequences, lambda line: None, study.covariates)[1]
    counts = study.tiny.counts
    names = list(counts.index[:6])
    table = {name: {key: value for key, value in counts.loc[name].items() if value} for name in names}
    body = {'table': table, 'sequences': study.tiny.sequences}
    rows = {name: dict(study.covariates.loc[name]) for name in names}
    found = answered(client.post('/predict', json=body | {'covariates': rows}))
    np.testing.assert_allclose(found['prediction'], expected.loc[names, 'prediction'], rtol=1e-5)
    text = study.covariates.loc[names].to_csv(sep='\t')
    fasta = ''.join(f'>{name}\n{letters}\n' for name, letters in study.tiny.sequences.items())
    form = client.post('/predict', files={'table': as_tsv(table), 'sequences': fasta, 'covariates': text})
    np.testing.assert_allclose(answered(form)['prediction'], expected.loc[names, 'prediction'], rtol=1e-5)
    without = client.post('/predict', json=body)
    assert without.status_code == 422 and 'The model was trained with 2 covariates' in without.json()['error']


def test_samples_of_another_region_are_flagged_and_said(client, table):
    random = np.random.default_rng(1)
    other = {'S1': {''.join(random.choice(list('ACGT'), 39)): 50 for _ in range(9)}}
    response = client.post('/predict', json={'table': other})
    assert answered(response)['flag']['S1'] == 'other_region'
    assert any('they may be of another region of the gene' in words for words in response.json()['warnings'])
    refused = client.post('/predict?abstain=true', json={'table': other})
    assert refused.status_code == 422
    assert refused.json()['error'].startswith('Every sample of the table is flagged (1 other_region)')


def test_a_sample_without_reads_gets_null_and_a_flag(client, table):
    name, row = next(iter(table.items()))
    found = answered(client.post('/predict', json={'table': {name: row, 'empty': {}}}))
    assert found.loc['empty', 'prediction'] is None or np.isnan(found.loc['empty', 'prediction'])
    assert found.loc['empty', 'flag'] == 'no_reads'


def test_health_and_card_are_told(client):
    assert client.get('/health').json() == {'status': 'ok', 'inside': 0}
    card = client.get('/model').json()
    assert card['kind'] == 'regressor' and card['target'] == 'age' and set(bundle.CARD_FIELDS) <= set(card)
    assert card['request']['reads_sequences'] is True and card['uuid'] is None


def test_the_page_is_read_without_a_network(client):
    page = client.get('/docs')
    assert page.status_code == 200 and page.headers['content-type'].startswith('text/html')
    assert not re.search(r'<script|<link|src=|url\(|https?://(?!\.\.\.)', page.text)
    for words in ('POST /predict', '?coverage', 'application/biom+json', 'multipart/form-data', '413'):
        assert words in page.text
    assert client.get('/').text == page.text
    schema = client.get('/openapi.json').json()
    assert set(schema['paths']) == {'/predict', '/health', '/model'}
    assert 'requestBody' in schema['paths']['/predict']['post']
    # no body is sent to the others, so that none is refused
    assert '413' in schema['paths']['/predict']['post']['responses']
    assert list(schema['paths']['/health']['get']['responses']) == ['200']


def test_an_error_of_ours_is_one_sentence_and_its_place_without_its_words_goes_to_the_log(client, monkeypatch, caplog):
    def fail(served, asked, options):
        raise RuntimeError(f'secret: {asked.counts.sample_ids[0]}')

    monkeypatch.setattr('q2_aam.serve.app.answer', fail)
    response = client.post('/predict', json={'table': {'S1': {'ACGT': 3}}})
    assert response.status_code == 500 and 'secret' not in response.text
    assert response.json()['error'] == 'The server failed at this request; whoever runs it finds the place in its log.'
    # nothing is raised further, for whoever serves the application to write down: the words may hold sample IDs
    assert 'RuntimeError in' in caplog.text and 'in fail' in caplog.text and 'secret: S1' not in caplog.text
