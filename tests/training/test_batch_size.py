"""batch_size auto: the largest batch that is computed at once, found without a trace; memory is pretended here."""

import dataclasses
import threading
import types

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.bundle import CALLS
from q2_aam.config import FitRegressorConfig
from q2_aam.data.batches import make_batch
from q2_aam.data.readable import draw_readable
from q2_aam.data.splits import TRAINING
from q2_aam.model.network import Network
from q2_aam.objectives import Inputs
from q2_aam.runtime import device as devices
from q2_aam.training import batch_size
from q2_aam.training.batch import loss_of
from q2_aam.training.prepare import prepare_fit, prepare_pretraining
from q2_aam.training.rehearsal import rehearse_fit
from q2_aam.training.train import start
from tests.conftest import TINY, run_fit, run_pretrain
from tests.runtime.lines import run_threads

FAST = {'abundance_ensemble': False}
# Floats of a chunk, in which some ten of the richest of some 60 training samples are computed at once.
LITTLE = 60_000


@pytest.fixture
def with_memory(monkeypatch):
    """Let the search begin from 4 samples, on a device with room for so many floats; return where it can be changed."""
    monkeypatch.setattr(batch_size, 'looks_for_it', lambda device: True)
    monkeypatch.setattr(batch_size, 'Schedule', lambda: types.SimpleNamespace(batch_size=4))

    def make(floats):
        memory = types.SimpleNamespace(floats=floats)
        monkeypatch.setattr(devices, 'floats_per_chunk', lambda *_: memory.floats)
        return memory

    return make


@pytest.fixture
def study(tiny):
    return tiny.repeated(3)


@pytest.fixture
def prepare(study, tmp_path, make_run):
    """Prepare a pretraining or a fit with batch_size auto; also return its run, and the lines it has said."""

    def make(kind='encoder', name='run', **options):
        files, lines = study.write(tmp_path / f'inputs-{name}'), []
        run, config = (
            make_run(say=lines.append, name=name),
            CALLS[kind].from_flat(TINY | {'batch_size': 'auto'} | options),
        )
        inputs = Inputs(files.table, files.sequences, distance_matrix=files.distance_matrix)
        if kind != 'encoder':
            inputs = dataclasses.replace(inputs, target=study.target, groups=study.groups)

        def prepared(config, run):
            return (
                prepare_pretraining(inputs, config, run)
                if kind == 'encoder'
                else prepare_fit(kind, inputs, config, run)
            )

        return batch_size.with_batch_size(prepared, config, run), run, lines

    return make


def is_whole(prepared, run, number):
    """Tell whether the richest samples are one chunk on each level."""
    network = start(prepared, run)
    rows = prepared.rows[TRAINING]
    rows = rows[np.argsort(-prepared.study.richness[rows], kind='stable')][:number]
    batch = make_batch(draw_readable(prepared.study, rows, sequences=True), network.budget())
    return all(chunk.kept for chunk in batch.sequences + batch.samples)


@pytest.mark.parametrize(
    'smallest, most, limit, found, tries',
    [
        (64, 10_000, 1000, 992, 9), (64, 64, 1000, 64, 1), (64, 80, 1000, 80, 2), (64, 10_000, 10, 64, 1),
        (2, 10, 5, 5, 5), (2, 60_000, 60_000, 4096, 12),
    ],
)  # fmt: skip
def test_it_is_doubled_then_halved_between_in_few_tries(smallest, most, limit, found, tries):
    asked = []

    def fits(number):
        asked.append(number)
        return number <= limit

    assert batch_size.largest(smallest, most, fits) == (found, tries) and len(asked) == tries
    assert found <= max(smallest, limit) and all(smallest <= number <= most for number in asked)


def test_on_a_cpu_it_is_the_default(prepare):
    prepared, _, lines = prepare()
    assert prepared.config.training.batch_size == 64
    assert lines == [
        'Batch size: 64, the default, because auto looks for a larger one only where a run begins on a GPU.'
    ]


@pytest.mark.parametrize('begins_on_gpu', [True, False])
def test_a_run_that_goes_on_on_another_device_takes_the_same_batches(prepare, with_memory, monkeypatch, begins_on_gpu):
    with_memory(LITTLE)
    monkeypatch.setattr(batch_size, 'looks_for_it', lambda device: begins_on_gpu)
    prepared, run, lines = prepare()
    number = prepared.config.training.batch_size
    assert (number > 4) == begins_on_gpu
    monkeypatch.setattr(batch_size, 'looks_for_it', lambda device: not begins_on_gpu)
    config = batch_size._with(prepared.config, 'auto')
    assert batch_size.with_batch_size(lambda config, run: config.training.batch_size, config, run) == number
    assert lines[0] == lines[-1]


@pytest.mark.parametrize('kind, options', [('encoder', {'masked_asv_ratio': 0.5}), ('regressor', FAST)])
def test_the_richest_samples_are_computed_at_once(prepare, with_memory, kind, options):
    with_memory(LITTLE)
    prepared, run, lines = prepare(kind, **options)
    found = prepared.config.training.batch_size
    assert 4 < found < len(prepared.rows[TRAINING]) / 4
    assert is_whole(prepared, run, found) and not is_whole(prepared, run, found + 2)
    assert lines[0].startswith(f'Batch size: {found} (found by ')
    assert (0, 0, 'run', 'batch_size', found) in run.recorder.history.rows


def test_an_epoch_keeps_enough_steps(prepare, with_memory):
    with_memory(10**9)
    prepared, _, lines = prepare()
    assert prepared.config.training.batch_size == -(-len(prepared.rows[TRAINING]) // 4)
    few, _, lines = prepare(name='few', validation_fraction=0.8)
    assert few.config.training.batch_size == 4
    assert lines[0] == 'Batch size: 4 (more would leave too few steps in an epoch).'


def test_a_fit_takes_no_batch_that_it_would_cut_for_its_cost(prepare, with_memory, monkeypatch):
    with_memory(10**9)
    monkeypatch.setattr(batch_size, 'batch_and_steps', lambda model, study, rows, most, *_: (most // 2, 40))
    prepared, *_ = prepare('regressor', epochs='auto', **FAST)
    assert prepared.config.training.batch_size == -(-len(prepared.rows[TRAINING]) // 4) // 2


def test_memory_that_runs_out_in_a_try_is_a_batch_that_is_too_large(prepare, with_memory, monkeypatch):
    with_memory(10**9)
    forward, tried = Network.forward, []

    def forward_in_little(network, batch, *more):
        tried.append(sum(len(chunk.richness) for chunk in batch.samples))
        if tried[-1] > 10:
            raise torch.OutOfMemoryError('CUDA out of memory.')
        return forward(network, batch, *more)

    monkeypatch.setattr(Network, 'forward', forward_in_little)
    prepared, *_ = prepare()
    assert prepared.config.training.batch_size == 10 and max(tried) > 10


def test_another_error_in_a_try_is_that_of_the_run(prepare, with_memory, monkeypatch):
    with_memory(10**9)

    def broken(*_):
        raise RuntimeError('a defect')

    monkeypatch.setattr(Network, 'forward', broken)
    with pytest.raises(RuntimeError, match='a defect'):
        prepare()


@pytest.mark.parametrize('kind', ['encoder', pytest.param('regressor', marks=pytest.mark.slow)])
def test_the_model_is_bit_for_bit_that_of_the_number(study, tmp_path, with_memory, kind):
    with_memory(LITTLE)
    run, options = (run_pretrain, {'epochs': 1}) if kind == 'encoder' else (run_fit, {'epochs': 1, **FAST})
    random = torch.get_rng_state()
    found = run(study, tmp_path / 'auto', batch_size='auto', **options)
    assert torch.equal(torch.get_rng_state(), random)
    number = bundle.read_config(found.folder).call.training.batch_size
    assert number > 4
    named = run(study, tmp_path / 'named', batch_size=number, files=found.files, **options)
    weights = [(one.folder / bundle.MODEL_FILE).read_bytes() for one in (found, named)]
    assert weights[0] == weights[1]
    assert [row for row in found.history.rows if row[3] != 'batch_size'] == named.history.rows


def test_a_run_that_goes_on_takes_the_same_batches_in_another_memory(prepare, with_memory):
    memory = with_memory(LITTLE)
    prepared, run, _ = prepare()
    memory.floats = LITTLE // 3
    config = dataclasses.replace(
        prepared.config, training=dataclasses.replace(prepared.config.training, batch_size='auto')
    )
    again = batch_size.with_batch_size(lambda config, run: config.training.batch_size, config, run)
    assert again == prepared.config.training.batch_size
    # what cannot be read is found again
    (run.directory / batch_size.FILE).write_text('{')
    assert (
        batch_size.with_batch_size(
            lambda config, run: dataclasses.replace(prepared, config=config), config, run
        ).config.training.batch_size
        < again
    )


def test_all_processes_take_what_the_one_with_least_memory_can(prepare, with_memory, monkeypatch):
    with_memory(10**9)
    prepared, run, _ = prepare(epochs=1)
    prepared = dataclasses.replace(prepared, config=batch_size._with(prepared.config, 4))
    own = threading.local()
    monkeypatch.setattr(devices, 'floats_per_chunk', lambda *_: own.floats)

    def find(floats):
        def work(ranks):
            own.floats = floats[ranks.rank]
            return batch_size.find_batch_size(prepared, 16, dataclasses.replace(run, ranks=ranks))[0]

        return run_threads(2, work)

    least, most = find((LITTLE // 3,) * 2), find((10**9,) * 2)
    assert find((10**9, LITTLE // 3)) == least and most == [16, 16] and least[0] == least[1] < 16


def test_memory_that_runs_out_in_one_process_is_told_to_the_others(prepare, with_memory, monkeypatch):
    with_memory(10**9)
    prepared, run, _ = prepare(epochs=1)
    prepared = dataclasses.replace(prepared, config=batch_size._with(prepared.config, 4))
    moved = loss_of

    def losing(network, prepared, reader, rows, generator, share):
        if share.rank == 1 and len(rows) > 9:
            raise MemoryError
        return moved(network, prepared, reader, rows, generator, share)

    monkeypatch.setattr(batch_size, 'loss_of', losing)
    found = run_threads(
        2, lambda ranks: batch_size.find_batch_size(prepared, 16, dataclasses.replace(run, ranks=ranks))[0]
    )
    assert found == [9, 9]


def test_a_plan_tells_the_number(study, tmp_path, with_memory):
    with_memory(10**9)
    files = study.write(tmp_path / 'inputs')
    config = FitRegressorConfig.from_flat(TINY | {'batch_size': 'auto'} | FAST)
    inputs = Inputs(files.table, files.sequences, study.target, study.groups)
    derived = rehearse_fit(bundle.REGRESSOR, inputs, config).derived.set_index('parameter')['value']
    assert int(derived['batch_size']) > 4
