"""Covariates: what metadata say of a sample besides its reads, as numbers that models read.

What a model knows of them is learned on training samples: categories, means and spreads. A category that it has not
learned and a value that is missing are both unknown, which is an entry of its own. Importable without torch.

Shapes: N samples, C categorical columns, R numeric columns, Q columns of a table with one for each category.
"""

import dataclasses

import numpy as np
import pandas as pd
import scipy.sparse

from q2_aam.errors import UserError, counted, listed, shown

from .names import means_missing

# What a schema may hold.
MAX_COLUMNS, MAX_CATEGORIES, MAX_ENTRIES = 64, 1000, 4000
# Standard deviations beyond which a number is read as that far: a slip of the unit must not overflow.
MAX_DEVIATIONS = 10.0


@dataclasses.dataclass(frozen=True)
class CategoricalCovariate:
    """A categorical column: its categories in order, and the share of each among the training samples that have one."""

    name: str
    categories: tuple[str, ...]
    shares: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class NumericCovariate:
    """A numeric column: mean and standard deviation of the training samples that have a value."""

    name: str
    center: float
    scale: float


@dataclasses.dataclass(frozen=True)
class CovariateSchema:
    """What a model knows of covariates; no sample is in it.

    Attributes
    ----------
    categorical : tuple of CategoricalCovariate
    numeric : tuple of NumericCovariate
    ensemble_scale : float
        What their columns are multiplied by where they stand beside the logarithms of abundances.
    """

    categorical: tuple[CategoricalCovariate, ...] = ()
    numeric: tuple[NumericCovariate, ...] = ()
    ensemble_scale: float = 1.0

    @property
    def names(self) -> list[str]:
        """Names of all columns, in the order in which a model reads them."""
        return [column.name for column in self.categorical] + [column.name for column in self.numeric]

    @property
    def entries(self) -> tuple[int, ...]:
        """Entries of each categorical column, that of the unknown included."""
        return tuple(len(column.categories) + 1 for column in self.categorical)

    @property
    def width(self) -> int:
        """Number of columns of :meth:`Covariates.columns`, Q: entries, and a value and whether it is unknown."""
        return sum(self.entries) + 2 * len(self.numeric)

    def read(self, frame: pd.DataFrame | None, sample_ids: list[str]) -> 'Covariates':
        """Return the covariates of samples.

        Parameters
        ----------
        frame : pandas.DataFrame or None
            Metadata by sample id; all is unknown of samples that it lacks, and of all without one.
        sample_ids : list of str

        Raises
        ------
        UserError
            If a column is missing, or if a numeric one is not numeric.
        """
        shape = len(sample_ids), len(self.numeric)
        codes = np.zeros((len(sample_ids), len(self.categorical)), dtype=np.int64)
        numbers, known = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
        if frame is None:
            return Covariates(self, codes, numbers, known)
        self._check_columns(frame)
        rows = frame.reindex(sample_ids)
        for place, categorical in enumerate(self.categorical):
            index = pd.Index(categorical.categories, dtype=object)
            codes[:, place] = index.get_indexer(words_of(rows[categorical.name])) + 1
        for place, numeric in enumerate(self.numeric):
            values = rows[numeric.name].to_numpy(dtype=np.float64, na_value=np.nan)
            known[:, place] = np.isfinite(values)
            away = (np.where(known[:, place], values, numeric.center) - numeric.center) / numeric.scale
            numbers[:, place] = np.clip(away, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        return Covariates(self, codes, numbers, known)

    def _check_columns(self, frame):
        if missing := [name for name in self.names if name not in frame.columns]:
            raise UserError(
                f'The covariates lack {counted(len(missing), "column")} that the model was trained with: '
                f'{listed(map(shown, missing))}; add {"it" if len(missing) == 1 else "them"}, and leave empty what is '
                'not known of a sample.'
            )
        for column in self.numeric:
            if not is_numeric(frame[column.name]):
                raise UserError(
                    f'Covariate {shown(column.name)} is numeric in the model, but categorical in the metadata given; '
                    'give numbers, and leave empty what is not known.'
                )

    def describe(self) -> str:
        """Return the line that tells the user which covariates are read."""
        words = [
            f'{shown(column.name)} ({counted(len(column.categories), "category", "categories")})'
            for column in self.categorical
        ]
        words += [f'{shown(column.name)} (numeric)' for column in self.numeric]
        return f'Covariates: {listed(words)}.'


@dataclasses.dataclass(frozen=True, eq=False)
class Covariates:
    """Covariates of N samples.

    Attributes
    ----------
    schema : CovariateSchema
    codes : int64 [N, C]
        Number of the category from 1 on, 0 where it is unknown.
    numbers : float32 [N, R]
        In standard deviations from the mean; 0 where a value is unknown.
    known : bool [N, R]
    """

    schema: CovariateSchema
    codes: np.ndarray
    numbers: np.ndarray
    known: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def views(self) -> np.ndarray:
        """The numbers, and 1 where one is unknown, float32 [N, R, 2]."""
        return np.stack([self.numbers, ~self.known], axis=-1).astype(np.float32)

    @property
    def unknown(self) -> np.ndarray:
        """How many covariates of each sample are unknown, int64 [N]."""
        return (self.codes == 0).sum(axis=1) + (~self.known).sum(axis=1)

    def of(self, rows: np.ndarray) -> 'Covariates':
        """Return those of some of the samples."""
        return Covariates(self.schema, self.codes[rows], self.numbers[rows], self.known[rows])

    def dropped(self, share: float, generator: np.random.Generator) -> 'Covariates':
        """Return the covariates of which this share, drawn at random, is unknown."""
        columns = self.codes.shape[1]
        keep = generator.random((len(self), columns + self.numbers.shape[1])) >= share
        keep_codes, keep_numbers = keep[:, :columns], keep[:, columns:]
        return Covariates(
            self.schema,
            self.codes * keep_codes,
            self.numbers * keep_numbers.astype(np.float32),
            self.known & keep_numbers,
        )

    def present(self, unknown: bool) -> np.ndarray:
        """Return which of the columns of :meth:`columns` are learned from these samples, uint8 [Q].

        Those that tell that something is unknown count as `unknown` where no sample lacks it.
        """
        parts = []
        for place, entries in enumerate(self.schema.entries):
            there = np.bincount(self.codes[:, place], minlength=entries) > 0
            parts.append(np.append(there[1:], there[0] or unknown))
        for known in self.known.T:
            parts.append(np.array([known.any(), not known.all() or unknown]))
        return np.concatenate(parts).astype(np.uint8)

    def columns(self) -> np.ndarray:
        """Return a table of numbers, float32 [N, Q]: what models read that know no categories.

        1 in the column of its category. Of a sample whose category is unknown, the columns hold the shares of the
        training samples, which is what it is in the mean, and a last one tells that it is unknown.
        """
        parts = []
        for place, column in enumerate(self.schema.categorical):
            entries = len(column.categories) + 1
            table = np.zeros((entries, entries), dtype=np.float32)
            table[0, :-1], table[0, -1] = column.shares, 1
            table[1:, :-1] = np.eye(entries - 1, dtype=np.float32)
            parts.append(table[self.codes[:, place]])
        parts.append(self.views.reshape(len(self), 2 * len(self.schema.numeric)))
        return np.hstack(parts) * np.float32(self.schema.ensemble_scale)

    def describe_unknown(self, frame: pd.DataFrame | None, sample_ids: list[str]) -> str | None:
        """Return the line that tells of how many samples a covariate is unknown, and why; None where all are known."""
        words = []
        for place, column in enumerate(self.schema.categorical):
            unknown = np.flatnonzero(self.codes[:, place] == 0)
            if len(unknown):
                given = [] if frame is None else words_of(frame[column.name].reindex(sample_ids))[unknown]
                unseen = sorted({value for value in given if isinstance(value, str)})
                names = f', with categories that the model has not learned: {listed(map(shown, unseen), 3)}'
                words.append(f'{shown(column.name)} ({counted(len(unknown), "sample")}{names if unseen else ""})')
        for place, numeric in enumerate(self.schema.numeric):
            if missing := int((~self.known[:, place]).sum()):
                words.append(f'{shown(numeric.name)} ({counted(missing, "sample")})')
        return f'Covariates that are unknown, as the model was trained for: {listed(words)}.' if words else None


def beside(abundances: scipy.sparse.csr_matrix, covariates: Covariates | None) -> scipy.sparse.csr_matrix:
    """Return abundances [N, C] and, behind them, the columns of covariates, [N, C + Q]; no new matrix without any."""
    if covariates is None:
        return abundances
    return scipy.sparse.csr_matrix(scipy.sparse.hstack([abundances, scipy.sparse.csr_matrix(covariates.columns())]))


def balancing_scale(abundances: scipy.sparse.csr_matrix, columns: np.ndarray, share: float) -> float:
    """Return what columns [N, Q] are to be multiplied by to have a share of the variance of abundances [N, C]."""
    mean = np.asarray(abundances.mean(axis=0), dtype=np.float64).ravel()
    of_abundances = abundances.multiply(abundances).sum() / abundances.shape[0] - np.square(mean).sum()
    of_columns = columns.astype(np.float64).var(axis=0).sum()
    return float(np.sqrt(share * of_abundances / of_columns)) if of_columns > 0 and of_abundances > 0 else 1.0


def is_numeric(column: pd.Series) -> bool:
    """Tell whether a column is numeric; one that is all empty may be read as either."""
    return column.dtype.kind in 'fiu' or bool(column.isna().all())


def words_of(column: pd.Series) -> np.ndarray:
    """Return the categories of a column, object [N]; None where there is none, or a word for that."""
    if column.dtype.kind == 'f':
        # numbers that stand for categories: 12.0 is '12'
        values = [None if np.isnan(value) else f'{value:.15g}' for value in column]
    else:
        values = [None if pd.isna(value) else str(value).strip() for value in column]
    return np.array([None if not value or means_missing(value) else value for value in values], dtype=object)
