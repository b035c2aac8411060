"""Errors on reads that were trimmed in another way than those that a model has learned from.

    python tests/benchmarks/trimming.py [--data FOLDER --target COLUMN --groups COLUMN] [--seeds 3] [--seed 1]
        [--mismatches 0 1 2 3] [--network-only] [--quick]

A regressor is fitted on nucleotides 1 to 140 of the samples of two thirds of the groups (2 to 141 where reads are to
have one base more in front), and asked about all others, whose reads are trimmed in another way, with harmonize off and
auto. Aim: a mean absolute error within 10 % of that of the same trimming, and at most 20 % of the samples flagged.
Errors are of sequences: at 1 % of all nucleotides another one is read. A small network: the abundance ensemble has most
of the weight.
"""

import pathlib
import tempfile
import warnings

import accuracy
import bench
import biom
import h5py
import numpy as np

from q2_aam.config import FitRegressorConfig, PredictConfig
from q2_aam.data import harmonize
from q2_aam.data.sequences import read_fasta, reverse_complement
from q2_aam.inference.predict import predict
from q2_aam.training.fit import fit_regressor

START, LENGTH, TRAINED = 1, 140, 0.68
SMALL = {
    'width': 32, 'asv_layers': 1, 'sample_layers': 1, 'memberships': 32, 'epochs': 10, 'random_forest': False,
    'test_fraction': 0.0,
}  # fmt: skip
HEADER = ('reads', 'MAE off', 'flagged off', 'MAE auto', 'ratio', 'flagged auto', 'harmonized', 'aim')
MAX_RATIO, MAX_FLAGGED = 1.1, 0.2


def with_errors(sequence, share, random):
    """Return a sequence with another nucleotide at a share of its places."""
    letters = np.array(list(sequence))
    places = np.flatnonzero(random.random(len(letters)) < share)
    # the next letter but up to two
    order = 'ACGT'
    for place in places:
        letters[place] = order[(order.index(letters[place]) + random.integers(1, 4)) % 4]
    return ''.join(letters)


def trimmings(first):
    """Return {name: function of a full sequence and a generator} for a model trained from nucleotide `first` on."""
    end = first + LENGTH

    def window(start, stop):
        return lambda full, random: full[first + start : end + stop]

    return {
        'same trimming': window(0, 0),
        **({'start -1': window(-1, -1), 'start -1, same end': window(-1, 0)} if first else {}),
        'start +1': window(1, 1),
        'start +1, same end': window(1, 0),
        'start +8': window(8, 8),
        'end -1': window(0, -1),
        'end -20': window(0, -20),
        'longer by 10': window(0, 10 - first),
        'reverse complements': lambda full, random: reverse_complement(full[first:end]),
        'reverse complements, start +1': lambda full, random: reverse_complement(full[first + 1 : end]),
        '1 % errors': lambda full, random: with_errors(full[first:end], 0.01, random),
        'start +1, 1 % errors': lambda full, random: with_errors(full[first + 1 : end], 0.01, random),
    }


def write(table, sequences, folder, samples):
    """Write a table of `samples`, and the sequence of each of its features; return both paths."""
    part = table.filter(set(samples), axis='sample', inplace=False).remove_empty(axis='observation')
    folder.mkdir()
    with h5py.File(folder / 'table.biom', 'w') as file:
        part.to_hdf5(file, 'trimming.py')
    names = part.ids(axis='observation')
    (folder / 'sequences.fasta').write_text(''.join(f'>{name}\n{sequences[name]}\n' for name in names))
    return folder / 'table.biom', folder / 'sequences.fasta'


def mixed(table, sequences, samples, folder, first):
    """Write a table half of whose samples begin one nucleotide later, the others with eight missing at the end."""
    some, others = samples[::2], samples[1::2]
    parts = []
    for letter, ids, start, stop in (('a', some, 1, 1), ('b', others, 0, -8)):
        part = table.filter(set(ids), axis='sample', inplace=False).remove_empty(axis='observation')
        named = {name: letter + name for name in part.ids(axis='observation')}
        parts.append(part.update_ids(named, axis='observation', inplace=False))
        sequences = sequences | {
            new: sequences[name][first + start : first + LENGTH + stop] for name, new in named.items()
        }
    return write(parts[0].concat(parts[1:], axis='sample'), sequences, folder, samples)


def run(options, first, seed, folder):
    """Yield (name, errors off, flags off, errors auto, flags auto, share harmonized) of each trimming."""
    table = biom.load_table(bench._unpack(options.data / 'table.qza', 'data/feature-table.biom', folder))
    full = read_fasta(bench._unpack(options.data / 'rep-seqs.qza', 'data/dna-sequences.fasta', folder))
    target, groups = accuracy.read_columns(options.data, options.target, options.groups, 0)
    held = set(table.ids()) & set(target.index) & set(groups.index)
    target = target[sorted(held)]
    names = np.unique(groups[target.index])
    # the same groups whatever is trimmed
    learned = np.random.default_rng(seed).permutation(names)[: round(TRAINED * len(names))]
    training = target[groups[target.index].isin(learned)]
    asked = target.drop(training.index)
    cut = {name: sequence[first : first + LENGTH] for name, sequence in full.items()}
    files = write(table, cut, folder / 'training', training.index)
    (folder / 'model').mkdir()
    config = FitRegressorConfig.from_flat(
        SMALL
        | {'random_seed': seed, 'threads': 1, 'device': 'cpu', 'abundance_ensemble': not options.network_only}
        | ({'epochs': 1} if options.quick else {})
    )
    fit_regressor(
        files[0], training, folder / 'model', config, sequences=files[1], groups=groups, say=lambda line: None
    )
    inputs = {}
    for number, (name, trim) in enumerate(trimmings(first).items()):
        random = np.random.default_rng([seed, number])
        changed = {feature: trim(sequence, random) for feature, sequence in full.items()}
        inputs[name] = write(table, changed, folder / f'asked{number}', asked.index)
    inputs['mixed runs'] = mixed(table, full, list(asked.index), folder / 'mixed', first)
    for name, files in inputs.items():
        row = [name]
        for choice in ('off', 'auto'):
            details = predict_quietly(files, folder / 'model', choice)
            row += [(details['prediction'] - asked[details.index]).abs(), details['flag'] != 'ok']
        yield *row, details['share_of_reads_harmonized']


def predict_quietly(files, model, choice):
    """Return the details of a prediction."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        config = PredictConfig.from_flat({'threads': 1, 'device': 'cpu', 'harmonize': choice})
        return predict(files[0], model, config, sequences=files[1], say=lambda line: None)[1]


def main():
    options = bench.arguments(
        __doc__,
        target={'default': 'month_of_life', 'help': 'column of metadata.tsv'},
        groups={'default': 'subject', 'help': 'column of metadata.tsv'},
        seeds={'type': int, 'default': 1},
        mismatches={'type': int, 'nargs': '*', 'default': [harmonize.MAX_MISMATCHES], 'help': 'that are allowed'},
        **{'network-only': {'action': 'store_true', 'help': 'a model without an abundance ensemble'}},
    )
    for mismatches in options.mismatches:
        harmonize.MAX_MISMATCHES = mismatches
        print(f'Up to {mismatches} mismatches.', flush=True)
        for first in (0, START):
            print(f'Trained on nucleotides {first + 1} to {first + LENGTH}.', flush=True)
            rows = {}
            for seed in range(options.seed, options.seed + options.seeds):
                with tempfile.TemporaryDirectory() as name:
                    for trimming, *values in run(options, first, seed, pathlib.Path(name)):
                        rows.setdefault(trimming, []).append(values)
            bench.say_table(HEADER, list(table_of(rows)))


def table_of(rows):
    """Yield the cells of each trimming, all samples of all seeds pooled."""
    same = np.concatenate([values[0] for values in rows['same trimming']]).mean()
    for name, seeds in rows.items():
        off, flagged_off, auto, flagged, share = (np.concatenate(parts) for parts in zip(*seeds))
        ratio = auto.mean() / same
        aim = 'PASS' if ratio <= MAX_RATIO and flagged.mean() <= MAX_FLAGGED else 'FAIL'
        yield (
            name, f'{off.mean():.2f}', f'{flagged_off.mean():.0%}', f'{auto.mean():.2f}', f'{ratio:.2f}',
            f'{flagged.mean():.0%}', f'{share.mean():.0%}', aim,
        )  # fmt: skip


if __name__ == '__main__':
    main()
