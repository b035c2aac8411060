"""How often an ASV that was read in another way is still nearest to itself, by what an encoder makes of it.

    python tests/benchmarks/shifted_asvs.py [--data FOLDER] [--seed 1] [--width 128] [--steps 300] [--held 100]
        [--shift 0 8] [--trim 0 40] [--noise 0 0.01] [--encoder FOLDER ...] [--quick]

Needs rooted-tree.qza beside the table. For each of --shift with the --trim and --noise at the same place an encoder is
pretrained on the samples' sequences without the last --cut nucleotides, so that a read can begin later and be as long.
Then each ASV is read in another way, and its nearest neighbour by the Euclidean distance of embeddings is looked for
among all ASVs as they are: first as it is read, then harmonized with the encoder's training sequences, as predict,
embed and predict-distances do. Errors are of nucleotides. R2 is that of UniFrac distances between samples that were
held out, read as they are. Encoders that are given are asked the same, of sequences from their first nucleotide on:
they are taken to have learned such.
"""

import pathlib
import tempfile

import bench
import distances
import h5py
import numpy as np
import torch
from trimming import with_errors

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.data.batches import Batch, sequence_chunks
from q2_aam.data.harmonize import harmonize
from q2_aam.data.sequences import encode
from q2_aam.training.pretrain import pretrain

LETTERS = np.array(list('?ACGTN'))
QUICK = distances.QUICK | {'max_steps': 2}
# Nucleotides by which the sequences of the encoder are shorter than those of the data.
CUT = 8


def readings(first, end):
    """Return {name: function of a full sequence and a generator} for an encoder of nucleotides `first` to `end`.

    Where `first` is 0, nothing is known of what comes before.
    """
    found = {
        'as it is': lambda full, random: full[first:end],
        'start +1': lambda full, random: full[first + 1 : end + 1],
        'start +8': lambda full, random: full[first + 8 : end + 8],
        'start -1': lambda full, random: full[first - 1 : end - 1],
        'start -1, as N': lambda full, random: 'N' + full[first : end - 1],
        'start +8, as N': lambda full, random: 'N' * 8 + full[first + 8 : end],
        'end -1': lambda full, random: full[first : end - 1],
        'end -20': lambda full, random: full[first : end - 20],
        'end -40': lambda full, random: full[first : end - 40],
        '1 % errors': lambda full, random: with_errors(full[first:end], 0.01, random),
        'start +1, end -20, 1 % errors': lambda full, random: with_errors(full[first + 1 : end - 20], 0.01, random),
    }
    return {name: read for name, read in found.items() if first or name != 'start -1'}


@torch.no_grad()
def embedded(network, sequences):
    """Return the embedding of each sequence, float32 [U, D]."""
    codes, lengths = encode([sequence[: network.config.max_sequence_length] for sequence in sequences])
    chunks = sequence_chunks(codes, lengths.astype(np.int64), network.budget())
    return network(Batch(sequences=chunks)).asvs.numpy()


def share_of_itself(read, known):
    """Return how often the row of `known` [U, D] that is nearest to a row of `read` [U, D] is the same one."""
    squares = (known**2).sum(axis=1)[None] - 2 * read.astype(np.float64) @ known.T
    return float((squares.argmin(axis=1) == np.arange(len(known))).mean())


def harmonized(sequences, model):
    """Return what each sequence is read as; the first of several training ASVs that it may be."""
    if model.references is None:
        return sequences
    length = model.config.call.model.max_sequence_length
    found = harmonize(sequences, model.references, model.vocabulary, length)
    return sequences if found is None else [found.sequences[row] for row in found.parts.argmax(axis=1).A1]


def shares(model, full, first, end, seed):
    """Return {reading: how often an ASV is nearest to itself, as it is read and harmonized}.

    ASVs that are the same as they are read are one.
    """
    full = sorted({sequence[first:end]: sequence for sequence in full}.values())
    as_they_are = [sequence[first:end] for sequence in full]
    known = [embedded(model.network, some) for some in (as_they_are, harmonized(as_they_are, model))]
    found = {}
    for number, (name, read) in enumerate(readings(first, end).items()):
        random = np.random.default_rng([seed, number])
        changed = [read(sequence, random) for sequence in full]
        ways = (changed, harmonized(changed, model))
        found[name] = [share_of_itself(embedded(model.network, some), one) for some, one in zip(ways, known)]
    return found


def write_cut(study, first, end, folder):
    """Write the table of a study and its sequences from `first` to `end`; return both paths."""
    full = [''.join(LETTERS[codes[codes > 0]]) for codes in study.codes]
    table = distances.write_table(study, folder / 'table.biom')
    with h5py.File(table) as file:
        ids = [name.decode() for name in file['observation/ids'][:]]
    (folder / 'sequences.fasta').write_text(
        ''.join(f'>{name}\n{sequence[first:end]}\n' for name, sequence in zip(ids, full))
    )
    return table, folder / 'sequences.fasta', full


def main():
    options = bench.arguments(
        __doc__,
        width={'type': int, 'default': 128},
        steps={'type': int, 'default': 300},
        held={'type': int, 'default': 100, 'help': 'samples that are held out'},
        shift={'type': int, 'nargs': '*', 'default': [0, 8]},
        trim={'type': int, 'nargs': '*', 'default': [0, 40]},
        noise={'type': float, 'nargs': '*', 'default': [0.0, 0.01]},
        encoder={'type': pathlib.Path, 'nargs': '*', 'default': [], 'help': 'more that are asked'},
    )
    with tempfile.TemporaryDirectory() as name:
        compare(options, pathlib.Path(name))


def compare(options, work):
    """Pretrain each encoder, and print how often an ASV is nearest to itself."""
    table, sequences, tree = distances.files_of(options.data, work)
    study = distances.rarefied(distances.read_study(table, sequences)[0], options.seed)
    first, end = 1, study.longest - CUT
    table, sequences, full = write_cut(study, first, end, work)
    columns = {}
    for shift, trim, noise in zip(options.shift, options.trim, options.noise):
        values = {
            'random_seed': options.seed, 'threads': 1, 'device': options.device.type, 'width': options.width,
            'validation_fraction': options.held / len(study), 'max_steps': options.steps,
            'max_shift': shift, 'max_trim': trim, 'nucleotide_noise': noise,
            'max_sequence_length': study.longest,
        } | (QUICK if options.quick else {})  # fmt: skip
        folder = work / f'encoder-{shift}-{trim}-{noise}'
        folder.mkdir()
        config = PretrainConfig.from_flat(values)
        history = pretrain(table, folder, config, sequences, phylogeny=tree, say=lambda line: None)
        r2 = history.last('validation')['distance_r2']
        found = shares(bundle.load(folder), full, first, end, options.seed)
        columns[f'shift {shift}, trim {trim}, noise {noise:g}'] = f'{r2:.4f}', found
    for folder in options.encoder:
        columns[str(folder)] = '', shares(bundle.load(folder), full, 0, end, options.seed)
    rows = [['R2', *(r2 for r2, _ in columns.values())]]
    for name in readings(first, end):
        pairs = (found.get(name) for _, found in columns.values())
        rows.append([name, *('' if pair is None else f'{pair[0]:.1%}, {pair[1]:.1%}' for pair in pairs)])
    bench.say_table(('', *columns), rows)


if __name__ == '__main__':
    main()
