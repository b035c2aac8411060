"""Encoders that come with the package are those that were released, and are used where they can read a table."""

import json
import re
import shutil

import biom
import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam import bundle, encoders
from q2_aam.config import DistancesConfig, EmbedConfig, FitRegressorConfig
from q2_aam.config.default_encoder import SHIPPED
from q2_aam.data.sequences import reverse_complement
from q2_aam.encoders import choice
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference.embed import embed, predict_distances
from q2_aam.training.fit import fit_regressor

QUICK = {'threads': 1, 'device': 'cpu'}
NONE = 'No encoder is given and default_encoder is none; give an encoder or set default_encoder to auto.'
TWO = 'Two encoders are asked for at once: give no encoder, or leave default_encoder (v4) at auto.'
DAMAGED = (
    'The encoder v4 that comes with q2-aam is damaged: its files are not those that were released; install q2-aam '
    'again.'
)
FEW = (
    'Only 0% of the reads of the table are in sequences near those that the encoder v4.1 learned from (16S V4 from '
    'primer 515F on): give an encoder of the region of the table (pretrain makes one), or set default_encoder to v4.1 '
    'to use it all the same.'
)
# Of the first sample to two others in what `table_of` writes of `v4`.
RELEASED = [0.221361, 0.389178]
STRANGERS = (
    'Only 0% of the reads of the table are in sequences near those that the encoder learned from, so that what it '
    'makes of the others may be far off: give an encoder that was trained on such sequences.'
)
FROM_SCRATCH = (
    'Only {share} of the reads are in sequences that begin where those of the encoder v4 do and are near them, so that '
    'training starts from scratch; leave default_encoder at auto, or give an encoder that was trained on such '
    'sequences.'
)


@pytest.fixture(scope='module')
def references():
    return bundle.load(encoders.path_of('v4')).references


@pytest.fixture(scope='module')
def v4(references):
    """Twenty sequences that the encoder learned from."""
    letters = np.array(list('?ACGTN'))
    whole = references.codes[(references.codes > 0).sum(axis=1) == references.codes.shape[1]]
    return [''.join(letters[row]) for row in whole[:20]]


@pytest.fixture
def table_of(tmp_path):
    """Write a table of 12 samples with these sequences for ids."""

    def write(sequences):
        counts = np.random.default_rng(3).integers(0, 9, (12, len(sequences)))
        path = tmp_path / f'table{len(list(tmp_path.iterdir()))}.biom'
        with h5py.File(path, 'w') as file:
            biom.Table(counts.T, sequences, [f's{i:02d}' for i in range(12)]).to_hdf5(file, 'test')
        return path

    return write


@pytest.fixture
def strangers():
    random = np.random.default_rng(5)
    return [''.join(random.choice(list('ACGT'), 150)) for _ in range(20)]


def exactly(sentence):
    return '^' + re.escape(sentence) + '$'


def test_every_encoder_is_as_it_was_released_and_says_what_it_learned_from():
    assert tuple(encoders.CARDS) == SHIPPED and encoders.NEWEST == SHIPPED[-1]
    for name in SHIPPED:
        folder = encoders.path_of(name)
        model = bundle.load(folder, bundle.ENCODER)
        assert model.config.distance_divisor == 1.0 and model.references is not None
        sources = (folder / 'SOURCES.md').read_text()
        assert 'CC BY-SA 3.0' in sources and 'Greengenes' in sources
        # nobody's ids
        card = json.loads((folder / bundle.CARD_FILE).read_text())
        assert card['samples']['training'] > 1000
        assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6


def test_the_files_are_package_data():
    root = encoders.FOLDER.parents[1]
    assert "'q2_aam.encoders' = ['*/*']" in (root / 'pyproject.toml').read_text()
    assert 'recursive-include q2_aam/encoders *' in (root / 'MANIFEST.in').read_text()


@pytest.mark.parametrize('file', bundle.FILES)
@pytest.mark.parametrize('how', ['changed', 'gone'])
def test_a_damaged_encoder_is_named_in_one_sentence(file, how, tmp_path, monkeypatch):
    shutil.copytree(encoders.FOLDER / 'v4', tmp_path / 'v4')
    monkeypatch.setattr(encoders, 'FOLDER', tmp_path)
    damaged = tmp_path / 'v4' / file
    if how == 'gone':
        damaged.unlink()
    else:
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
    with pytest.raises(UserError, match=exactly(DAMAGED)):
        encoders.path_of('v4')


def test_an_encoder_that_is_given_is_taken_and_two_are_refused(tmp_path):
    for default in ('auto', 'none'):
        assert choice.choose(tmp_path, default) == choice.Chosen(tmp_path, None, True)
    with pytest.raises(UserError, match=exactly(TWO)):
        choice.choose(tmp_path, 'v4')
    assert choice.choose(None, 'none') is None
    assert choice.choose(None, 'auto') == choice.Chosen(encoders.FOLDER / 'v4.1', 'v4.1', False)
    assert choice.choose(None, 'v4').asked_for
    with pytest.raises(UserError, match=exactly(NONE)):
        choice.choose_to_read(None, 'none')


def test_without_an_encoder_the_newest_reads_v4_and_says_so(table_of, v4):
    table, lines = table_of(v4), []
    distances = predict_distances(table, None, DistancesConfig.from_flat(QUICK), say=lines.append)
    assert lines.count('Encoder: v4.1, which comes with q2-aam; 100% of the reads are in sequences near those that it '
                       'learned from.') == 1  # fmt: skip
    given = predict_distances(table, encoders.path_of('v4.1'), DistancesConfig.from_flat(QUICK), say=lambda line: None)
    pd.testing.assert_frame_equal(distances, given)
    ordination, _ = embed(table, None, EmbedConfig.from_flat(QUICK), say=lines.append)
    assert len(ordination.samples) == 12


def test_v4_predicts_what_it_did_when_it_was_released(table_of, v4):
    table = table_of(v4)

    def distances(name):
        config = DistancesConfig.from_flat(QUICK | {'default_encoder': name})
        return predict_distances(table, None, config, say=lambda line: None).loc['s00', ['s01', 's02']].tolist()

    assert distances('v4') == pytest.approx(RELEASED, abs=1e-5)
    # the same network, and branches of tokens in place of those of ASVs
    old, new = (bundle.load(encoders.path_of(name)) for name in ('v4', 'v4.1'))
    others = new.network.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in old.network.state_dict().items() if key in others)
    assert new.token_branches is not None and new.known_asvs is None and old.token_branches is None
    assert distances('v4.1') != pytest.approx(RELEASED, abs=1e-3)


@pytest.mark.parametrize('call, config', [(predict_distances, DistancesConfig), (embed, EmbedConfig)])
def test_another_region_is_refused_unless_the_encoder_is_asked_for(call, config, table_of, strangers):
    table = table_of(strangers)
    with pytest.raises(UserError, match=exactly(FEW)):
        call(table, None, config.from_flat(QUICK), say=lambda line: None)
    with pytest.warns(AAMWarning, match=exactly(STRANGERS)):
        call(table, None, config.from_flat(QUICK | {'default_encoder': 'v4'}), say=lambda line: None)
    with pytest.warns(AAMWarning, match=exactly(STRANGERS)):
        call(table, encoders.path_of('v4'), config.from_flat(QUICK), say=lambda line: None)
    with pytest.raises(UserError, match=exactly(NONE)):
        call(table, None, config.from_flat(QUICK | {'default_encoder': 'none'}), say=lambda line: None)


def test_what_a_fit_can_read_begins_where_the_training_sequences_do(table_of, v4, strangers):
    model = bundle.load(encoders.path_of('v4'))

    def share(sequences):
        return choice.share_readable(table_of(sequences), None, model)

    assert share(v4) == 1.0
    assert share(strangers) == 0.0
    assert 0.2 < share(v4[:10] + strangers[:10]) < 0.8
    # eight nucleotides later, or backwards, they are near and are read as something else
    assert share([sequence[8:] for sequence in v4]) < 0.1
    assert share([reverse_complement(sequence) for sequence in v4]) < 0.1


@pytest.mark.parametrize('default', ['auto', 'none', 'v4'])
def test_a_fit_starts_from_v4_where_it_is_asked_to(default, table_of, v4, tmp_path):
    target = pd.Series(np.arange(12.0), index=[f's{i:02d}' for i in range(12)], name='age')
    options = {'random_seed': 7, 'epochs': 1, 'abundance_ensemble': False, 'random_forest': False}
    if default != 'v4':
        options |= {'width': 16, 'memberships': 16, 'asv_layers': 1, 'sample_layers': 1, 'mlp_ratio': 1}
    config = FitRegressorConfig.from_flat(QUICK | options | {'default_encoder': default})
    folder, lines = tmp_path / 'model', []
    folder.mkdir()
    *_, history = fit_regressor(table_of(v4), target, folder, config, say=lines.append)
    card = json.loads((folder / bundle.CARD_FILE).read_text())
    assert ('encoder' in card['input_sha256']) == (default == 'v4')
    assert bundle.read_config(folder).call.encoder.default_encoder == default
    said = [line for line in lines if line.startswith('Encoder: v4, which comes with q2-aam; 100% of the reads')]
    assert len(said) == (default == 'v4')
    hashes = [row[3] for row in history.rows if row[2] == 'encoder']
    assert hashes == ([card['input_sha256']['encoder']] if default == 'v4' else [])


def test_a_fit_on_another_region_starts_from_scratch_and_says_so(table_of, strangers, tmp_path):
    target = pd.Series(np.arange(12.0), index=[f's{i:02d}' for i in range(12)], name='age')
    form = {'width': 16, 'memberships': 16, 'asv_layers': 1, 'sample_layers': 1, 'mlp_ratio': 1}
    options = {'random_seed': 7, 'epochs': 1, 'abundance_ensemble': False, 'random_forest': False}
    config = FitRegressorConfig.from_flat(QUICK | form | options | {'default_encoder': 'v4'})
    (tmp_path / 'model').mkdir()
    with pytest.warns(AAMWarning, match=exactly(FROM_SCRATCH.format(share='0%'))):
        fit_regressor(table_of(strangers), target, tmp_path / 'model', config, say=lambda line: None)
    card = json.loads((tmp_path / 'model' / bundle.CARD_FILE).read_text())
    assert 'encoder' not in card['input_sha256']
