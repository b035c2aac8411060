"""A study with nothing wrong, into which tests plant faults."""

import dataclasses
import hashlib

import numpy as np
import pandas as pd

SAMPLES, ASVS, LENGTH, CONSERVED = 80, 60, 120, 50


@dataclasses.dataclass
class Planned:
    """Counts [samples, features], sequences by feature, and columns by sample."""

    counts: pd.DataFrame
    sequences: dict
    target: pd.Series
    groups: pd.Series
    batches: pd.DataFrame

    def write(self, folder):
        """Write table and sequences into a new folder; return their paths."""
        import biom
        import h5py

        folder.mkdir()
        table = biom.Table(self.counts.to_numpy().T, list(self.counts.columns), list(self.counts.index))
        with h5py.File(folder / 'table.biom', 'w') as file:
            table.to_hdf5(file, 'test')
        text = ''.join(f'>{name}\n{sequence}\n' for name, sequence in self.sequences.items())
        (folder / 'sequences.fasta').write_text(text)
        return folder / 'table.biom', folder / 'sequences.fasta'

    @property
    def stages(self):
        """The target as classes of the same size."""
        cut = pd.cut(self.target, [-1, 8, 16, 25], labels=['early', 'mid', 'late'])
        return cut.astype(object).rename('stage')


def hashed(sequences):
    """Return the MD5 of each sequence, by which features are named."""
    return [hashlib.md5(sequence.encode(), usedforsecurity=False).hexdigest() for sequence in sequences]


def make_sequences(random, number=ASVS, length=LENGTH):
    """Return sequences that begin alike, as those of one region do, and then differ."""
    letters = np.array(list('ACGT'))
    begin = ''.join(random.choice(letters, CONSERVED))
    return [begin + ''.join(random.choice(letters, length - CONSERVED)) for _ in range(number)]


def make_study():
    """A community that turns over with age: each subject has two samples, one in each of two balanced runs."""
    random = np.random.default_rng(3)
    subject = np.repeat(np.arange(SAMPLES // 2), 2)
    age = np.round(random.uniform(0, 24, SAMPLES), 2)
    times = np.linspace(-2, 26, ASVS)
    expected = np.exp(-(((age[:, None] - times) / 6) ** 2)) * random.gamma(2.0, 1.0, (SAMPLES, ASVS))
    depth = random.integers(3000, 9000, SAMPLES)
    counts = random.poisson(depth[:, None] * expected / expected.sum(axis=1, keepdims=True)).astype(float)
    sequences = make_sequences(random)
    names = [f'id{number:03d}' for number in random.permutation(SAMPLES)]
    index = pd.Index(names, name='id')
    return Planned(
        pd.DataFrame(counts, names, hashed(sequences)),
        dict(zip(hashed(sequences), sequences)),
        pd.Series(age, index, name='age'),
        pd.Series([f'P{number}' for number in subject], index, name='subject'),
        pd.DataFrame({'run': np.where(np.arange(SAMPLES) % 2, 'one', 'two')}, index),
    )
