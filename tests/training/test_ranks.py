"""Several processes, here threads, learn as one does: the same losses, whatever is learned, however it is divided."""

import pathlib
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam.data import batches
from q2_aam.data.splits import TRAINING
from q2_aam.data.tensors import with_tensors
from q2_aam.errors import UserError
from q2_aam.objectives import Inputs
from q2_aam.objectives.protocol import read
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.ranks import ONE, OthersFailed
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import Run
from q2_aam.runtime.sharded import whole
from q2_aam.training import train
from q2_aam.training.prepare import prepare_fit, prepare_pretraining
from q2_aam.training.steps import make_scaler, take_step
from q2_aam.training.train import start, task_of
from tests.conftest import TINY, make_tiny
from tests.runtime.lines import run_threads

# Samples of the batches: odd and even numbers, and fewer than there are processes.
SIZES = (7, 8, 3, 1, 5)


def to_float64(patch):
    """Let the network compute in float64: what the library takes to float32, and what it makes in float32."""
    moved = batches.moved

    def move(value, device):
        return with_tensors(
            moved(value, device), lambda tensor: tensor.double() if tensor.dtype == torch.float32 else tensor
        )

    placed = train.place
    patch.setattr(train, 'place', lambda *values: placed(*values).double())
    patch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    patch.setattr(batches, 'moved', move)


@pytest.fixture
def in_float64(monkeypatch):
    to_float64(monkeypatch)


def prepare_tiny(kind, folder, more=None, **options):
    """Prepare the tiny study for a kind of model in a new folder."""
    from q2_aam.bundle import CALLS

    tiny = make_tiny()
    files = tiny.write(folder / 'files')
    run = Run(folder, 7, torch.device('cpu'), Recorder(lambda line: None), {}, 0.0)
    config = CALLS[kind].from_flat(TINY | options)
    inputs = {'distance_matrix': files.distance_matrix}
    if kind == 'encoder':
        taxa = [f'k__Bacteria; p__{number % 3}' for number in range(len(tiny.sequences))]
        inputs['taxonomy'] = pd.Series(taxa, list(tiny.sequences), name='Taxon')
        inputs['alpha_diversity'] = pd.DataFrame({'observed': (tiny.counts > 0).sum(axis=1).astype(float)})
        return prepare_pretraining(Inputs(files.table, files.sequences, **inputs), config, run)
    target = tiny.stages
    if kind == 'regressor':
        target = tiny.target
        inputs['covariates'] = pd.DataFrame({'weight': tiny.target % 5, 'season': [*'abcd'] * 6}, tiny.target.index)
    inputs |= more or {}
    return prepare_fit(kind, Inputs(files.table, files.sequences, target, tiny.groups, **inputs), config, run)


@pytest.fixture
def prepared_of(tmp_path):
    """Prepare the tiny study for a kind of model: (kind, parameters)."""
    return lambda kind, **options: prepare_tiny(kind, pathlib.Path(tempfile.mkdtemp(dir=tmp_path)), **options)


def learn(prepared, ranks, steps, spoil=None, remember=False, divide=False):
    """Take steps; return the metrics of each, the weights, and what a chunk may hold."""
    run = Run(None, 7, torch.device('cpu'), Recorder(lambda line: None), {}, 0.0, ranks)
    network = start(prepared, run)
    reader = StudyReader(prepared.study, prepared.augment)
    if divide:
        ranks.divide(network)
    task = task_of(network, prepared, run, reader, frozen=('asv_encoder.',) if remember else ())
    if remember:
        reader.remember(network, ranks)
    if spoil is not None:
        spoil(network)
    generator = np.random.default_rng(1)
    network.train()
    scaler, losses = make_scaler(network, task, None), []
    for step in range(steps):
        rows = generator.permutation(prepared.rows[TRAINING])[: SIZES[step % len(SIZES)]]
        metrics, samples, _ = take_step(network, task, scaler, [task.make(rows, step)], step)
        losses.append([samples, *read(metrics).values()])
    weights = torch.cat([whole(weight.detach()).flatten() for weight in network.parameters()]).numpy()
    return np.array(losses), weights, network.max_floats


@pytest.mark.parametrize(
    'kind, size, steps',
    [
        ('encoder', 2, 15),
        ('regressor', 3, 10),
        ('classifier', 3, 10),
        pytest.param('encoder', 2, 50, marks=pytest.mark.slow),
        *(pytest.param(kind, 4, 50, marks=pytest.mark.slow) for kind in ('encoder', 'regressor', 'classifier')),
    ],
)
def test_losses_and_weights_are_those_of_one_process(prepared_of, in_float64, kind, size, steps):
    options = {'masked_asv_ratio': 0.3, 'taxonomy_level': 2} if kind == 'encoder' else {'head_dropout': 0.2}
    prepared = prepared_of(kind, **options)
    losses, weights, _ = learn(prepared, ONE, steps)
    # the loss of all, and that of each objective
    assert weights.dtype == np.float64 and losses.shape[1] == {'encoder': 8, 'regressor': 4, 'classifier': 4}[kind]
    for others in run_threads(size, lambda ranks: learn(prepared, ranks, steps)):
        np.testing.assert_allclose(others[0], losses, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(others[1], weights, rtol=1e-7, atol=1e-9)


def test_masked_abundances_extra_targets_categories_and_weights_are_those_of_one_process(prepared_of, in_float64):
    """Beside a target that is scaled by category, of a network that is told of counts."""
    ids = make_tiny().target.index
    extra = pd.DataFrame({'a': np.arange(24.0), 'b': np.where(np.arange(24) % 3, 1.0, np.nan) * np.arange(24)}, ids)
    sites = pd.Series([*'xxyy'] * 6, ids, name='site')
    more = {'extra_targets': extra, 'scale_by': sites, 'sample_weights': pd.Series(np.arange(24.0), ids, name='w')}
    options = {'abundance_weight': 0.5, 'masked_abundance_ratio': 0.4, 'abundance_as': 'log_counts'}
    options |= {'learnable_scale': True, 'category_weights': 'balanced', 'head_dropout': 0.2}
    prepared = prepared_of('regressor', more=more, **options)
    losses, weights, _ = learn(prepared, ONE, 5)
    # the loss of all, of target, distances, abundances and extra targets, and of each of these
    assert losses.shape[1] == 8

    def small(network):
        network.max_floats = 2000

    for spoil in (None, small):
        for others in run_threads(3, lambda ranks: learn(prepared, ranks, 5, spoil)):  # noqa: B023
            np.testing.assert_allclose(others[0], losses, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(others[1], weights, rtol=1e-7, atol=1e-9)


def test_work_that_is_cut_into_many_chunks_gives_the_same(prepared_of, in_float64):
    prepared = prepared_of('encoder', taxonomy_level=2)

    def small(network):
        network.max_floats = 2000

    losses, weights, _ = learn(prepared, ONE, 3)
    for others in run_threads(2, lambda ranks: learn(prepared, ranks, 3, small)):
        np.testing.assert_allclose(others[0], losses, rtol=1e-9)
        np.testing.assert_allclose(others[1], weights, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('where', ['forward', 'backward', 'end'])
def test_memory_that_runs_out_in_one_process_makes_all_do_the_step_again(prepared_of, in_float64, where):
    prepared, floats = prepared_of('regressor'), []
    losses, weights, _ = learn(prepared, ONE, 4)

    def work(ranks):
        def spoil(network):
            if ranks.rank == 1:
                runs_out(network, ranks, where)

        result = learn(prepared, ranks, 4, spoil)
        floats.append(result[2])
        return result

    for others in run_threads(3, work):
        np.testing.assert_allclose(others[0], losses, rtol=1e-9)
        np.testing.assert_allclose(others[1], weights, rtol=1e-7, atol=1e-9)
    # halved once, everywhere
    assert floats == [floats[0]] * 3 and 2 * floats[0] == learn(prepared, ONE, 0)[2]


def runs_out(network, ranks, where):
    """Let memory run out in the third step: before anything is exchanged, within the backward pass, or after it."""
    calls = []

    def third(*inputs):
        calls.append(where)
        if len(calls) == 3:
            raise MemoryError

    if where == 'forward':
        network.register_forward_pre_hook(third)
    elif where == 'backward':
        network.sample_encoder.summary_embedding.register_hook(third)
    else:
        average = ranks.average

        def fails(module):
            average(module)
            third()

        ranks.average = fails


def test_all_end_where_one_fails(prepared_of):
    def work(ranks):
        def spoil(network):
            def fails(*inputs):
                raise UserError('This is wrong; mend it.')

            if ranks.rank == 1:
                network.heads['target'].register_forward_hook(fails)

        return learn(prepared_of('regressor'), ranks, 4, spoil)

    kinds = [type(result) for result in run_threads(3, work)]
    assert kinds == [OthersFailed, UserError, OthersFailed]


def test_samples_of_a_frozen_encoder_are_divided_too(prepared_of, in_float64):
    prepared = prepared_of('regressor')

    losses, weights, _ = learn(prepared, ONE, 3, remember=True)
    for others in run_threads(3, lambda ranks: learn(prepared, ranks, 3, remember=True)):
        np.testing.assert_allclose(others[0], losses, rtol=1e-9)
        np.testing.assert_allclose(others[1], weights, rtol=1e-7, atol=1e-9)
