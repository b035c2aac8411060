"""Reads of another trimming or orientation are predicted as those of the trimming that a model was trained on."""

import dataclasses
import json

import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.config import DistancesConfig, EmbedConfig
from q2_aam.data.sequences import reverse_complement
from q2_aam.inference.embed import embed, predict_distances

START, END = 10, 110
SCALE = 12.0  # the range of the target


@pytest.fixture
def full(tiny):
    """Sequences of 130 nucleotides in place of those of the tiny study, which are read from 11 to 110."""
    random = np.random.default_rng(8)
    return {name: ''.join(random.choice(list('ACGT'), 130)) for name in tiny.sequences}


def trimmed(full, start=START, end=END):
    return {name: sequence[start:end] for name, sequence in full.items()}


@pytest.fixture
def regressor(tiny, full, fitted):
    tiny.sequences = trimmed(full)
    return fitted(tiny).folder


@pytest.mark.parametrize(
    'start, end', [(1, 1), (1, 0), (-1, -1), (-1, 0), (8, 8), (0, -1), (0, -20), (0, 10), (-10, 20), (5, -15)]
)
def test_other_trimmings_are_predicted_as_the_same(tiny, full, predicted, regressor, start, end):
    before, _ = predicted(tiny, regressor)
    tiny.sequences = trimmed(full, START + start, END + end)
    after, details = predicted(tiny, regressor, 'trimmed')
    assert list(after) == pytest.approx(list(before), abs=1e-4 * SCALE)
    assert set(details['flag']) == {'ok'} and set(details['offset']) == {start}
    assert set(details['share_of_reads_harmonized']) == ({0.0} if (start, end) == (0, 10) else {1.0})
    tiny.sequences = {name: reverse_complement(one) for name, one in tiny.sequences.items()}
    complemented, _ = predicted(tiny, regressor, 'complemented')
    assert list(complemented) == pytest.approx(list(before), abs=1e-4 * SCALE)


def test_with_harmonize_off_they_are_read_as_they_are(tiny, full, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    tiny.sequences = trimmed(full, START + 1, END + 1)
    after, details = predicted(tiny, regressor, 'trimmed', harmonize='off')
    assert (after - before).abs().min() > 1e-3
    assert set(details['share_of_reads_harmonized']) == {0.0} and set(details['offset']) == {0}


def test_a_sample_alone_is_predicted_as_in_a_table_of_many_trimmings(tiny, full, predicted, regressor):
    random = np.random.default_rng(4)
    # new ASVs too, which are shifted or left as they are, and reads that may be of two training ASVs
    for place, name in enumerate(full):
        start, end = random.integers(-3, 4), random.integers(-20, 11)
        sequence = full[name][START + start : END + end]
        if place % 5 == 0:
            sequence = sequence[:60] + 'ACGTACGTAC' + sequence[70:]
        tiny.sequences[name] = reverse_complement(sequence) if place % 4 == 0 else sequence
    together, details = predicted(tiny, regressor)
    assert 0.2 < details['share_of_reads_harmonized'].min() and details['offset'].nunique() > 2
    counts, sequences = tiny.counts, tiny.sequences
    for row in (0, 7, 16, 23):
        held = counts.columns[counts.iloc[row] > 0]
        tiny.counts, tiny.sequences = counts.iloc[[row]][held], {name: sequences[name] for name in held}
        alone, details_alone = predicted(tiny, regressor, f'alone{row}')
        assert alone.iloc[0] == pytest.approx(together.iloc[row], abs=1e-4 * SCALE)
        for column in ('flag', 'offset'):
            assert details_alone[column].iloc[0] == details[column].iloc[row]
        assert details_alone['share_of_reads_harmonized'].iloc[0] == pytest.approx(
            details['share_of_reads_harmonized'].iloc[row]
        )


def test_samples_of_reads_that_could_only_be_shifted_are_flagged(tiny, full, predicted, regressor):
    for name, sequence in full.items():
        # eight nucleotides of each are new
        tiny.sequences[name] = sequence[START + 2 : 70] + 'ACGTACGT' + sequence[78:END]
    lines = []
    _, details = predicted(tiny, regressor, 'shifted', say=lines.append)
    assert set(details['flag']) == {'other_trimming'} and set(details['offset']) == {2}
    assert lines[0] == (
        'Harmonized 100% of reads: 0% are read as training ASVs, 0% are reverse-complemented; start moved by +2 in '
        'samples with 100%.'
    )
    tiny.sequences = trimmed(full)
    assert set(predicted(tiny, regressor, 'same')[1]['flag']) == {'ok'}


def test_a_model_of_the_network_alone_reads_them_as_its_references(tiny, full, fitted, predicted, regressor):
    alone = fitted(tiny, 'alone', abundance_ensemble=False).folder
    before, _ = predicted(tiny, alone)
    tiny.sequences = {name: reverse_complement(one) for name, one in trimmed(full, START + 1, END + 1).items()}
    after, details = predicted(tiny, alone, 'trimmed')
    assert list(after) == pytest.approx(list(before), abs=1e-4 * SCALE) and set(details['offset']) == {1}


def test_samples_without_reads_have_nothing_harmonized(tiny, full, predicted, regressor):
    tiny.sequences = trimmed(full, START + 1)
    tiny.counts.iloc[3] = 0
    with pytest.warns(match='^Ignored: 1 sample without reads'):
        _, details = predicted(tiny, regressor, 'empty')
    row = details.iloc[3]
    assert (row['share_of_reads_harmonized'], row['offset'], row['flag']) == (0, 0, 'no_reads')
    assert details['offset'].dtype.kind == 'i'


@pytest.fixture
def encoder(tiny, full, pretrained):
    tiny.sequences = trimmed(full)
    return pretrained(tiny).folder


@pytest.fixture
def placed(tiny, encoder, tmp_path):
    """Distances and an embedding of the tiny study, one array each: (name of a new folder, options) -> both, lines."""

    def run(name, **options):
        files, lines, given = tiny.write(tmp_path / name), [], {'threads': 1, 'device': 'cpu'} | options
        config = DistancesConfig.from_flat(given)
        distances = predict_distances(files.table, encoder, config, files.sequences, lines.append)
        config = EmbedConfig.from_flat(given)
        _, embedding = embed(files.table, encoder, config, files.sequences, lambda line: None)
        return np.stack([distances.to_numpy(), embedding.to_numpy()]), lines

    return run


@pytest.mark.parametrize('start, end', [(1, 1), (8, 8), (-1, -1), (0, -20), (5, -15)])
def test_an_encoder_places_samples_of_other_trimmings_where_they_were(tiny, full, placed, start, end):
    before, lines = placed('before')
    assert not [line for line in lines if line.startswith('Harmonized')]
    tiny.sequences = trimmed(full, START + start, END + end)
    after, lines = placed('after')
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert [line for line in lines if line.startswith('Harmonized 100% of reads')]
    as_they_are, lines = placed('off', harmonize='off')
    assert np.abs(as_they_are - before).max(axis=(1, 2)).min() > 1e-3
    assert not [line for line in lines if line.startswith('Harmonized')]


def test_an_encoder_without_training_sequences_reads_all_as_they_are_and_says_so(tiny, full, placed, encoder):
    tiny.sequences = trimmed(full, START + 1, END + 1)
    expected, _ = placed('off', harmonize='off')
    config = json.loads((encoder / bundle.CONFIG_FILE).read_text())
    model = bundle.load(encoder)
    card = json.loads((encoder / bundle.CARD_FILE).read_text())
    older = dataclasses.replace(model, config=dataclasses.replace(model.config, references=None), references=None)
    assert config['references'] is not None
    bundle.save(encoder, older, card)
    found, lines = placed('auto')
    assert np.array_equal(found, expected)
    assert lines[0] == (
        'The encoder was made by an older version and holds no training sequences, so that sequences of another '
        'trimming or orientation are read as they are.'
    )
