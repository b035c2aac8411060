"""Pretraining that goes on from an encoder with branches of tokens keeps them, and learns memberships beside them."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.bundle.token_branches import TokenBranches
from q2_aam.config import DistancesConfig, HeadConfig, ModelConfig, PretrainConfig
from q2_aam.data.sequences import encode
from q2_aam.data.shares import ALONE, Alone
from q2_aam.data.tokens import distinct_keys
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference.embed import predict_distances
from q2_aam.model.heads import SampleEmbeddings
from q2_aam.model.network import build_network
from q2_aam.stats.metrics import regression_metrics
from q2_aam.training.pretrain import pretrain
from tests.conftest import TINY, run_fit

QUICK = {'epochs': 2, 'batch_size': 8, 'random_seed': 7, 'threads': 1, 'device': 'cpu'}
# so that they count beside the memberships of a tiny encoder
LENGTHS = np.array([0.5, 0.8])
NO_DISTANCES = (
    'The initial encoder predicts distances between samples, but the new one will not, because it learns none: give a '
    'distance_matrix or a phylogeny, and leave distance_weight above 0.'
)


@pytest.fixture
def files(tiny, tmp_path):
    return tiny.write(tmp_path / 'inputs')


@pytest.fixture
def source(tiny, tiny_encoder, tmp_path):
    """The tiny encoder with branches of tokens, of which it has learned those of nine sequences."""
    model, folder = bundle.load(tiny_encoder.folder), tmp_path / 'source'
    folder.mkdir()
    codes, _ = encode(list(tiny.sequences.values())[:9])
    size = model.config.call.model.nucleotides_per_token
    branches = TokenBranches(np.zeros(0, np.int64), LENGTHS).learned_from(codes, size)
    card = json.loads((tiny_encoder.folder / bundle.CARD_FILE).read_text())
    bundle.save(folder, dataclasses.replace(model, token_branches=branches), card)
    return folder


@pytest.fixture
def go_on(files, source, tmp_path):
    """Go on from it: (name of a new folder, options) -> folder, history, lines."""

    def run(name, distance_matrix=files.distance_matrix, **options):
        folder, lines = tmp_path / name, []
        folder.mkdir()
        history = pretrain(
            files.table, folder, PretrainConfig.from_flat(QUICK | options), files.sequences, distance_matrix,
            say=lines.append, initial_encoder=source,
        )  # fmt: skip
        return folder, history, lines

    return run


def distances(files, encoder, ids):
    config = DistancesConfig.from_flat({'threads': 1, 'device': 'cpu', 'harmonize': 'off'})
    frame = predict_distances(files.table, encoder, config, files.sequences, say=lambda line: None)
    return frame.loc[ids, ids].to_numpy()[np.triu_indices(len(ids), 1)]


def test_branches_and_distances_are_those_from_before_where_nothing_is_learned(tiny, files, source, go_on):
    folder, history, lines = go_on('still', learning_rate=1e-8)
    before, after = bundle.load(source), bundle.load(folder)
    assert after.token_branches.lengths.tolist() == LENGTHS.tolist()
    # ASVs have no branches of their own beside them
    assert after.config.heads['distances'].kind == 'distances'
    ids = list(tiny.counts.index)
    known, now = distances(files, source, ids), distances(files, folder, ids)
    # tokens of training samples are new no more: of the others nothing changes
    size = before.config.call.model.nucleotides_per_token
    held = set(history.last('held_out'))
    learned = tiny.counts.loc[[name for name in ids if name not in held]]
    read = [tiny.sequences[name] for name in learned.columns[(learned > 0).any()]]
    longest = before.config.call.model.max_sequence_length
    keys = np.union1d(before.token_branches.keys, distinct_keys(encode([one[:longest] for one in read])[0], size))
    assert after.token_branches.keys.tolist() == keys.tolist() and len(keys) > len(before.token_branches.keys)
    (line,) = [line for line in lines if line.startswith('Branches of tokens: ')]
    assert line == (
        f'Branches of tokens: those of the initial encoder are kept, and {len(keys) - len(before.token_branches.keys)} '
        f'tokens of the training samples join the {len(before.token_branches.keys)} that it has learned from.'
    )
    assert np.corrcoef(known, now)[0, 1] > 0.99
    assert history.last('run')['kept_distances_r2'] > 0.9


def test_what_validation_scores_is_what_the_encoder_predicts(tiny, files, go_on):
    folder, history, _ = go_on('scored', validation_fraction=0.3)
    held = sorted(history.last('held_out'))
    true = tiny.distances.loc[held, held].to_numpy()[np.triu_indices(len(held), 1)]
    expected = regression_metrics(distances(files, folder, held), true)
    best = int(history.last('validation')['best_epoch'])
    scored = {metric: value for _, epoch, part, metric, value in history.rows if (epoch, part) == (best, 'validation')}
    assert scored['distance_r2'] == pytest.approx(expected['r2'], abs=1e-3)
    assert scored['distance_mae'] == pytest.approx(expected['mae'], abs=1e-4)


def test_memberships_learn_what_tokens_leave(go_on, source):
    folder, _, _ = go_on('learned', learning_rate=0.01)
    before, after = (bundle.load(place).network.state_dict() for place in (source, folder))
    assert not torch.allclose(before['heads.distances.weight'], after['heads.distances.weight'], atol=1e-3)


class Half(Alone):
    """The share of a process that computes some rows of the pairs, and is told of no others."""

    def __init__(self, rows):
        self.rows = torch.tensor(rows)

    def own_rows(self, level, rows):
        return self.rows


def test_processes_that_share_the_pairs_of_a_batch_compute_those_of_one():
    config = ModelConfig(width=16, asv_layers=1, sample_layers=1, attention_heads=2, memberships=16).resolved(30, 4)
    network = build_network(config, {'distances': HeadConfig('distances')}, torch.Generator().manual_seed(1))
    random = torch.rand(4, 16, generator=torch.Generator().manual_seed(2))
    root = torch.rand(4, 9, generator=torch.Generator().manual_seed(3))
    samples, shared = SampleEmbeddings(random, random, random), root @ root.T
    more = [shared, shared.diagonal()]
    whole = network._head('distances', samples, ALONE, more)
    parts = [network._head('distances', samples, Half(rows), more) for rows in ([0, 2], [1, 3])]
    torch.testing.assert_close(torch.cat(parts), whole[[0, 2, 1, 3]])
    assert not torch.allclose(whole, network._head('distances', samples, ALONE, []), atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['go_on', 'begin'])
def test_two_processes_keep_them_as_one_does(kind, request, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(pathlib.Path(__file__).parents[2]))
    run = request.getfixturevalue(kind)
    one, two = (run(name, devices=devices)[1] for name, devices in (('one', 1), ('two', 2)))
    assert [row[:4] for row in one.rows] == [row[:4] for row in two.rows]
    np.testing.assert_allclose([row[4] for row in two.rows], [row[4] for row in one.rows], rtol=1e-3, atol=1e-4)


def test_without_distances_they_stay_as_they_were_and_a_warning_says_what_is_lost(go_on, source):
    with pytest.warns(AAMWarning) as caught:
        folder, _, _ = go_on('without', distance_matrix=None)
    assert NO_DISTANCES in [str(one.message) for one in caught]
    before, after = bundle.load(source).token_branches, bundle.load(folder).token_branches
    assert before.keys.tolist() == after.keys.tolist() and before.lengths.tolist() == after.lengths.tolist()


def test_of_longer_sequences_tokens_that_the_encoder_does_not_read_are_none(files, source, go_on):
    lines = files.sequences.read_text().splitlines()
    files.sequences.write_text(''.join(f'{one}\n' if one[0] == '>' else f'{one}{"GATTACA" * 20}\n' for one in lines))
    with pytest.warns(AAMWarning, match='are truncated, in ASVs with'):
        folder, _, _ = go_on('longer', epochs=1)
    after, form = bundle.load(folder), bundle.read_config(source).call.model
    last = form.max_sequence_length // form.nucleotides_per_token
    assert after.token_branches.keys.max() < last * 4**form.nucleotides_per_token


def test_features_without_sequences_are_refused(tiny, source, tmp_path):
    named = tiny.write(tmp_path / 'named')
    with pytest.raises(UserError, match='^The feature IDs of the table are not sequences'):
        pretrain(
            named.table, tmp_path, PretrainConfig.from_flat(QUICK), None, named.distance_matrix, initial_encoder=source
        )


def test_an_encoder_without_them_gets_none(go_on, tiny_encoder, source, monkeypatch):
    monkeypatch.setattr('q2_aam.bundle.files.TokenBranches.from_arrays', classmethod(lambda cls, arrays: None))
    folder, history, lines = go_on('none')
    assert bundle.load(folder).token_branches is None and not any(line.startswith('Branches of') for line in lines)
    assert bundle.load(folder).config.heads['distances'].kind == 'own_branches'


@pytest.fixture
def begin(files, tmp_path):
    """Pretrain from no encoder beside branches of tokens: (name of a new folder, options) -> folder, history, lines."""

    def run(name, distance_matrix=files.distance_matrix, sequences=files.sequences, say=None, **options):
        folder, lines = tmp_path / name, []
        folder.mkdir()
        config = PretrainConfig.from_flat({**TINY, **QUICK, 'token_branches': 'on', **options})
        history = pretrain(files.table, folder, config, sequences, distance_matrix, say=say or lines.append)
        return folder, history, lines

    return run


def test_an_encoder_begins_with_them_where_they_are_asked_for(tiny, files, begin, tmp_path):
    folder, history, lines = begin('begun', validation_fraction=0.3)
    model, held = bundle.load(folder), sorted(history.last('held_out'))
    assert model.config.heads['distances'].kind == 'distances'
    learned = tiny.counts.drop(index=held)
    read = [tiny.sequences[name] for name in learned.columns[(learned > 0).any()]]
    keys = distinct_keys(encode(read)[0], model.config.call.model.nucleotides_per_token)
    # those of held-out samples are new
    assert model.token_branches.keys.tolist() == keys.tolist()
    assert model.token_branches.lengths.tolist() == [15.36 / TINY['memberships']] * 2
    assert f'Branches of tokens: {len(keys)} tokens of the training samples, each of length 0.96.' in lines
    true = tiny.distances.loc[held, held].to_numpy()[np.triu_indices(len(held), 1)]
    expected = regression_metrics(distances(files, folder, held), true)
    best = int(history.last('validation')['best_epoch'])
    scored = {metric: value for _, epoch, part, metric, value in history.rows if (epoch, part) == (best, 'validation')}
    assert scored['distance_r2'] == pytest.approx(expected['r2'], abs=1e-3)
    fitted = run_fit(tiny, tmp_path / 'fit', encoder=folder)
    assert np.isfinite(fitted.predictions).all()


def test_such_a_run_that_was_interrupted_goes_on_and_gives_the_same_bytes(begin, work_dir, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.checkpoint.SECONDS_BETWEEN', 0.0)

    def interrupt(line):
        if line.startswith('epoch 1/2'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin('interrupted', say=interrupt)
    (resumed, _, lines), (complete, _, _) = begin('resumed'), begin('complete', epochs=2)
    assert any(line.startswith('Resumed after ') for line in lines)
    assert (resumed / bundle.MODEL_FILE).read_bytes() == (complete / bundle.MODEL_FILE).read_bytes()


def test_by_default_an_encoder_begins_without_them_and_off_leaves_those_of_the_initial_encoder(begin, go_on):
    for folder, _, lines in (begin('auto', token_branches='auto'), go_on('off', token_branches='off')):
        model = bundle.load(folder)
        assert model.token_branches is None and model.config.heads['distances'].kind == 'own_branches'
        assert not any(line.startswith('Branches of') for line in lines)


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        (
            {'distance_matrix': None},
            'Parameter token_branches is on, but no distances are learned: give a distance_matrix or a phylogeny, and '
            'leave distance_weight above 0, or set it to off.',
        ),
        (
            {'sequences': None, 'nucleotides_per_token': 'auto'},
            'Parameter token_branches is on, but the features have no sequences, and so no tokens; give sequences, or '
            'set it to off.',
        ),
        (
            {'nucleotides_per_token': 25},
            'Parameter token_branches is on, which takes tokens of at most 24 nucleotides, but nucleotides_per_token '
            'is 25; lower it, or set token_branches to off.',
        ),
    ],
)
def test_where_there_can_be_none_one_sentence_says_why(begin, changed, sentence):
    with pytest.raises(UserError) as caught:
        begin('refused', **changed)
    assert str(caught.value) == sentence
