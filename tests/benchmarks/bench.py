"""What the benchmarks share: studies, networks, one training step, fair timing. As a script it does nothing.

Nothing here needs QIIME 2: an artifact is a zip file.
"""

import argparse
import dataclasses
import pathlib
import platform
import statistics
import tempfile
import time
import zipfile

import h5py
import numpy as np
import torch

from q2_aam.config import HeadConfig, PretrainConfig
from q2_aam.data.inputs import read_study
from q2_aam.data.pairs import PairDistances
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.model.network import build_network
from q2_aam.objectives import Context, Distances, Inputs, MaskedNucleotides
from q2_aam.runtime.device import deterministic, place
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.seeds import Stream, torch_generator
from q2_aam.training.batch import loss_of
from q2_aam.training.optimizer import make_optimizer, peak_learning_rate
from q2_aam.training.prepare import MASKED_BESIDE_DISTANCES, Prepared

ECAM = pathlib.Path(__file__).resolve().parents[1] / 'data' / 'ecam'
# The size at which speeds are judged: the reference implementation's widths differ, its numbers of layers are these.
FORM = {'width': 128, 'asv_layers': 4, 'sample_layers': 8}
CPU = torch.device('cpu')
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


def arguments(text, **more):
    """Parse the arguments that every benchmark takes, and `more`: {name: keywords of add_argument}."""
    parser = argparse.ArgumentParser(description=text.strip().splitlines()[0])
    parser.add_argument(
        '--data', type=pathlib.Path, default=ECAM, help='folder with table.qza and, unless ids are sequences, rep-seqs'
    )
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--device', type=torch.device, default=CPU, help='cpu or cuda')
    parser.add_argument('--quick', action='store_true', help='fewer repeats and smaller sizes, to see that it runs')
    parser.add_argument(
        '--clock',
        choices=tuple(CLOCKS),
        default='wall',
        help='cpu: processor seconds of all threads, for a busy machine',
    )
    for name, keywords in more.items():
        parser.add_argument(f'--{name}', **keywords)
    return parser.parse_args()


def read_data(folder):
    """Return the study of `folder`."""
    with tempfile.TemporaryDirectory() as work:
        table = _unpack(folder / 'table.qza', 'data/feature-table.biom', work)
        sequences = folder / 'rep-seqs.qza'
        fasta = _unpack(sequences, 'data/dna-sequences.fasta', work) if sequences.exists() else None
        return read_study(table, fasta)[0]


def _unpack(artifact, ending, folder):
    with zipfile.ZipFile(artifact) as file:
        name = next(name for name in file.namelist() if name.endswith(ending))
        return file.extract(name, folder)


def make_up(samples, asvs, richness, length, seed):
    """Return a study of random sequences in which every sample has `richness` of `asvs` ASVs, drawn evenly."""
    random = np.random.default_rng(seed)
    letters = np.frombuffer(b'ACGT', dtype=np.uint8)[random.integers(0, 4, (asvs, length))]
    matrix = {
        'data': random.integers(1, 1000, samples * richness).astype(np.float64),
        'indices': np.concatenate([random.choice(asvs, richness, replace=False) for _ in range(samples)]),
        'indptr': np.arange(samples + 1) * richness,
    }
    with tempfile.TemporaryDirectory() as folder:
        # the layout of BIOM 2.1, whose ids are the sequences; every reader of tables knows it
        with h5py.File(pathlib.Path(folder) / 'table.biom', 'w') as file:
            file.attrs['shape'] = (asvs, samples)
            file['observation/ids'] = [row.tobytes().decode() for row in letters]
            file['sample/ids'] = [f'sample{i:06d}' for i in range(samples)]
            for name, values in matrix.items():
                file[f'sample/matrix/{name}'] = values
        return read_study(pathlib.Path(folder) / 'table.biom')[0]


def random_distances(study, seed):
    """Return distances that mean nothing: speed does not depend on them."""
    values = np.random.default_rng(seed).random((len(study), len(study)), dtype=np.float32)
    values = (values + values.T) / 2
    np.fill_diagonal(values, 0)
    return PairDistances(values, np.arange(len(study)), 1.0, float(values.mean()), float(values.var()))


def configuration(study, **options):
    """Return a resolved PretrainConfig for `study`: the defaults, at the size of FORM, but for `options`."""
    config = PretrainConfig.from_flat(FORM | {'masked_asv_ratio': MASKED_BESIDE_DISTANCES} | options)
    return dataclasses.replace(config, model=config.model.resolved(study.longest, len(study)))


def our_training(study, config, seed, device=CPU):
    """Return (network, prepared, reader) of pretraining, with a head for predictions."""
    rows = {TRAINING: np.arange(len(study)), VALIDATION: np.arange(0)}
    context = Context(Inputs(None), study, rows, config, seed)
    # pretraining's own objectives, so that what is measured is what users run
    distances = Distances(context, random_distances(study, seed), 'random', False)
    objectives = tuple(filter(None, (distances, MaskedNucleotides.align(context))))
    heads = {one.name: one.head for one in objectives} | {'target': HeadConfig('target', 1)}
    if 'distances' in heads:
        # what is compared has no branches of ASVs
        heads['distances'] = HeadConfig('distances')
    network = build_network(config.model, heads, torch_generator(seed, Stream.WEIGHTS))
    network = place(network, config.runtime, device)
    return network, Prepared('encoder', config, study, rows, objectives), StudyReader(study)


def our_network(study, config, seed, device=CPU):
    """Return (network, loss): that of :func:`our_training`, and its loss of a batch."""
    network, prepared, reader = our_training(study, config, seed, device)
    return network, lambda network, rows, generator: loss_of(network, prepared, reader, rows, generator)[:2]


def training_step(network, loss, config):
    """Return a function (rows) that does one step: loss, gradient, clipping, AdamW."""
    rate = peak_learning_rate(config.training, config.model.width)
    optimizer = make_optimizer(network, rate, config.training.weight_decay)
    generator = np.random.default_rng(0)

    def step(rows):
        network.train()
        value = loss(network, rows, generator)
        value = value[0] if isinstance(value, tuple) else value
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.training.gradient_clip)
        optimizer.step()
        return value.item()

    return step


def interleaved(sides, repeats, options, warm=1):
    """Time callables in turn, A B A B ..., and return {name: median seconds}; each is called `warm` times before."""
    seconds, clock = {name: [] for name in sides}, CLOCKS[options.clock]
    with deterministic(options.device):
        for turn in range(warm + repeats):
            for name, side in sides.items():
                synchronise()
                start = clock()
                side()
                synchronise()
                if turn >= warm:
                    seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def synchronise():
    """Wait for a GPU, if there is one that is used."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def spread_rows(study, count):
    """Return `count` rows that stand for the whole study: evenly over its samples in order of richness."""
    order = np.argsort(study.richness, kind='stable')
    return order[np.linspace(0, len(study) - 1, min(count, len(study))).round().astype(np.int64)]


def say_machine(options):
    """Print what the figures are measured on, and by which clock."""
    where = torch.cuda.get_device_name() if options.device.type == 'cuda' else platform.machine()
    print(f'{where}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.clock} clock', flush=True)


def say_table(header, rows):
    """Print rows of text in columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    for row in (header, *rows):
        print('  '.join(f'{cell:<{width}}' for cell, width in zip(row, widths)).rstrip())
    print(flush=True)


def verdict(ratio, aim):
    """Return the words on a ratio that should be `aim` at least."""
    return f'{ratio:.1f}x (aim {aim:g}x) {"PASS" if ratio >= aim else "FAIL"}'
