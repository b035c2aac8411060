"""What is learned of covariates: which columns they are, their categories, means and spreads, and whether one leaks."""

import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted, have, listed, shown

from .covariates import (
    MAX_CATEGORIES,
    MAX_COLUMNS,
    MAX_ENTRIES,
    CategoricalCovariate,
    CovariateSchema,
    NumericCovariate,
    is_numeric,
    words_of,
)
from .names import OF_CLASSES, OF_COLUMNS, first_fault
from .numbers import MAX_VALUE, MIN_RANGE, warn_of_codes

# Categories of fewer training samples, as leaves of trees, are not learned: no name in a model tells of one sample.
# Nor are those of one group: what is learned of them cannot be told from the group, and such names may be its own.
MIN_SAMPLES, MIN_GROUPS = 5, 2
# Numbers that differ by less, as a share of the largest, are the same but for rounding.
MIN_SPREAD = 1e-12
# Share of the labelled samples from which on a column that has the target's values is said to be the target.
LEAK, LEAK_CORRELATION, MIN_COMPARED = 0.95, 0.999, 5


def select_covariates(
    frame: pd.DataFrame | None, columns: list[str] | None, target: str, groups: str | None = None
) -> pd.DataFrame | None:
    """Return the columns of metadata that are covariates: those named, or all but the target's and the groups'.

    Raises
    ------
    UserError
        If columns are named without metadata, if one is not there or is the target, or if none is left.
    """
    if frame is None:
        if columns:
            raise UserError('Parameter covariate_columns names columns of covariates, but none are given; give both.')
        return None
    if columns:
        if missing := [name for name in columns if name not in frame.columns]:
            raise UserError(
                f'The covariates have no column {shown(missing[0])}, which covariate_columns names; they have '
                f'{listed(map(shown, frame.columns))}.'
            )
        if target in columns:
            raise UserError(
                f'Column {shown(target)} is the target and cannot be a covariate, too; leave it out of '
                'covariate_columns.'
            )
        return frame[list(dict.fromkeys(columns))]
    chosen = [name for name in frame.columns if name not in (target, groups)]
    if not chosen:
        raise UserError(
            'The covariates have no columns but those of the target and the groups; give others, or no covariates.'
        )
    return frame[chosen]


def learn_schema(frame: pd.DataFrame, sample_ids: list[str], groups: np.ndarray) -> CovariateSchema:
    """Learn what is to be known of covariates.

    Parameters
    ----------
    frame : pandas.DataFrame
        Covariates by sample id.
    sample_ids : list of str
        Training samples.
    groups : object [samples]

    Raises
    ------
    UserError
        If there are too many columns or categories, if a name cannot be written, if numbers are infinite or too large,
        or if no column says anything.

    Warns
    -----
    AAMWarning
        Of columns that say nothing of the training samples.
    """
    if len(frame.columns) > MAX_COLUMNS:
        raise UserError(
            f'At most {MAX_COLUMNS} covariates can be used, but there are {len(frame.columns):,}; choose some with '
            'covariate_columns.'
        )
    _check_names(frame.columns, OF_COLUMNS, 'Names of covariates', 'the metadata have')
    rows = frame.reindex(sample_ids)
    made: list = []
    ignored = []
    for name in sorted(rows.columns):
        column = _numeric(rows[name]) if is_numeric(rows[name]) else _categorical(rows[name], groups)
        ignored += [name] if column is None else []
        made += [] if column is None else [column]
    if ignored:
        text = (
            f'Covariates that are not used: {listed(map(shown, ignored))}; the training samples have no two values of '
            f'them (a category counts with {MIN_SAMPLES} samples of {MIN_GROUPS} groups).'
        )
        if not made:
            raise UserError(f'{text[:-1]}, so that there is no covariate to learn from; give others, or none.')
        warnings.warn(text, AAMWarning, stacklevel=2)
    schema = CovariateSchema(
        tuple(column for column in made if isinstance(column, CategoricalCovariate)),
        tuple(column for column in made if isinstance(column, NumericCovariate)),
    )
    if schema.width > MAX_ENTRIES:
        raise UserError(
            f'The covariates have {schema.width:,} categories and numbers in all, of at most {MAX_ENTRIES:,}; choose '
            'some columns with covariate_columns.'
        )
    return schema


def columns_of_fold(frame: pd.DataFrame, training_ids: list[str], test_ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return covariates as methods other than ours take them: one column a category, learned on training samples.

    Returns
    -------
    columns, new_columns : float32 [training or test samples, Q]
        See :meth:`q2_aam.data.covariates.Covariates.columns`.
    """
    with warnings.catch_warnings():
        # the model of the fold says the same of them
        warnings.simplefilter('ignore', AAMWarning)
        schema = learn_schema(frame, training_ids, np.array(training_ids, dtype=object))
    return schema.read(frame, training_ids).columns(), schema.read(frame, test_ids).columns()


def warn_of_leak(frame: pd.DataFrame, target: pd.Series) -> None:
    """Warn of covariates that have the values of the target in nearly all samples.

    Parameters
    ----------
    frame : pandas.DataFrame
        Covariates by sample id.
    target : pandas.Series
        Numbers, or names of classes, by sample id: of the samples that are learned from.
    """
    leaks = []
    for name in frame.columns:
        column = frame[name].reindex(target.index)
        if is_numeric(target) != is_numeric(column):
            continue
        equal = equal_numbers if is_numeric(target) else _equal_words
        if equal(column, target):
            leaks.append(name)
    if leaks:
        warnings.warn(
            f'{counted(len(leaks), "covariate")} {have(len(leaks))} the values of the target '
            f'{shown(target.name)} in nearly all samples ({listed(map(shown, leaks))}): a model learns to copy '
            'what nobody will know of new samples; leave such columns out with covariate_columns.',
            AAMWarning,
            stacklevel=2,
        )


def equal_numbers(column, target):
    """Tell whether one column of numbers is the other, in whatever unit."""
    both = column.notna() & target.notna()
    if both.sum() < max(MIN_COMPARED, LEAK * len(target)):
        return False
    one, other = column[both].to_numpy(dtype=np.float64), target[both].to_numpy(dtype=np.float64)
    if np.isclose(one, other, rtol=1e-6, atol=0).mean() >= LEAK:
        return True
    return bool(one.std() > 0 < other.std() and abs(np.corrcoef(one, other)[0, 1]) >= LEAK_CORRELATION)


def _equal_words(column, target):
    return len(target) >= MIN_COMPARED and (words_of(column) == words_of(target)).mean() >= LEAK


def _categorical(column, groups):
    """Return what is known of a categorical column; None if that is nothing."""
    words = words_of(column)
    there = np.array([word is not None for word in words], dtype=bool)
    names, code, samples = np.unique(words[there].astype(str), return_inverse=True, return_counts=True)
    pairs = pd.DataFrame({'code': code, 'group': groups[there]}).drop_duplicates()
    groups_of = np.bincount(pairs['code'].to_numpy(dtype=np.int64), minlength=len(names))
    kept = (samples >= MIN_SAMPLES) & (groups_of >= MIN_GROUPS)
    # one category alone tells something only if others are unknown
    if not kept.any() or (kept.sum() == 1 and samples[kept].sum() == len(words)):
        return None
    if kept.sum() > MAX_CATEGORIES:
        raise UserError(
            f'Covariate {shown(column.name)} has {kept.sum():,} categories, of at most {MAX_CATEGORIES:,}; leave it '
            'out with covariate_columns, or merge categories.'
        )
    categories = [str(name) for name in names[kept]]
    _check_names(categories, OF_CLASSES, f'Categories of covariate {shown(column.name)}', 'it has')
    shares = samples[kept] / samples[kept].sum()
    return CategoricalCovariate(str(column.name), tuple(categories), tuple(float(share) for share in shares))


def _numeric(column):
    """Return what is known of a numeric column; None if that is nothing."""
    values = column.dropna().astype(np.float64)
    wrong = values.index[~(values.abs() <= MAX_VALUE)]
    if len(wrong):
        raise UserError(
            f'Covariate {shown(column.name)} must have values from -{MAX_VALUE:g} to {MAX_VALUE:g}, but has '
            f'{values[wrong[0]]:g} for sample {shown(wrong[0])}; correct it or leave it empty.'
        )
    if len(values) < MIN_SAMPLES or np.ptp(values) <= max(MIN_RANGE, MIN_SPREAD * values.abs().max()):
        return None
    warn_of_codes(values, str(column.name))
    return NumericCovariate(str(column.name), float(values.mean()), float(values.std(ddof=0)))


def _check_names(names, faults, what, where):
    fault = first_fault(map(str, names), faults)
    if fault is not None:
        words, wrong = fault
        raise UserError(f'{what} must not {words}, but {where} {shown(wrong[0])}; rename it.')
