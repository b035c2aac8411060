"""What is told of the importance of ASVs: the columns of its tables, and the folder that holds them.

Importable without torch.
"""

import dataclasses
import os
import pathlib

import pandas as pd

from .atomic import writing_output

DETAILS_FILE, CLADES_FILE, SAMPLES_FILE = 'details.tsv', 'clades.tsv', 'samples.tsv'
# What of a table's columns comes first; others follow.
DETAILS_COLUMNS = ('id', 'importance', 'effect')
CLADES_COLUMNS = ('level', 'clade', 'importance', 'effect')
SAMPLES_COLUMNS = ('sample', 'id', 'share_of_reads', 'prediction', 'effect')
# The effect on the probability of a class is in the column of this prefix and its name.
EFFECT_ON = 'effect_on_'
# Columns of text, whatever stands in them: a class named 01 is not 1.
TEXTS = ('id', 'sample', 'class', 'clade', 'taxonomy', 'target')


@dataclasses.dataclass(frozen=True)
class Importance:
    """How much a model's predictions depend on each ASV of some samples, and on each clade.

    Attributes
    ----------
    details : pandas.DataFrame
        One row an ASV, index ``id``, the most important first; columns are explained at
        :func:`q2_aam.inference.explain.importance`.
    clades : pandas.DataFrame
        One row a clade, the most important of a level first; columns level, clade, importance, effect and more. Empty
        without a taxonomy.
    samples : pandas.DataFrame
        One row for some samples and each of the most important ASVs: its share of the sample's reads, the prediction of
        the sample (of classes, the probability of the class that the ASV has most effect on), and by how much the ASV
        changes it (missing where that was not asked).
    """

    details: pd.DataFrame
    clades: pd.DataFrame
    samples: pd.DataFrame

    @property
    def magnitudes(self) -> pd.DataFrame:
        """The importance alone, index ``id``, the largest first."""
        return self.details[['importance']]

    def save(self, folder: str | os.PathLike) -> None:
        """Write all three tables into a folder."""
        folder = pathlib.Path(folder)
        for name, frame in (
            (DETAILS_FILE, self.details.rename_axis('id').reset_index()),
            (CLADES_FILE, self.clades),
            (SAMPLES_FILE, self.samples),
        ):
            with writing_output(folder):
                frame.to_csv(folder / name, sep='\t', index=False, lineterminator='\n')

    @classmethod
    def load(cls, folder: str | os.PathLike) -> 'Importance':
        """Read what :meth:`save` wrote."""
        folder = pathlib.Path(folder)
        details, clades, samples = (read_tsv(folder / name) for name in (DETAILS_FILE, CLADES_FILE, SAMPLES_FILE))
        return cls(details.set_index('id'), clades, samples)


def read_tsv(path: str | os.PathLike) -> pd.DataFrame:
    """Read one of the tables: text as it is, all other columns as numbers; empty cells are missing."""
    frame = pd.read_csv(path, sep='\t', dtype=str, keep_default_na=False, na_values=[''], encoding='utf-8')
    for name in frame.columns.difference(TEXTS):
        frame[name] = pd.to_numeric(frame[name])
    return frame
