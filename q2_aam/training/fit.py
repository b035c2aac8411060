"""Learning a metadata column from few labels, from files to a bundle."""

import pandas as pd

from q2_aam import bundle
from q2_aam.config import FitClassifierConfig, FitRegressorConfig
from q2_aam.data.details import probabilities_of
from q2_aam.data.splits import TEST, VALIDATION
from q2_aam.objectives import Inputs
from q2_aam.runtime.content import hash_files, hash_series
from q2_aam.runtime.history import History
from q2_aam.runtime.results import deliver
from q2_aam.runtime.run import open_run

from .finish import finish_fit
from .prepare import prepare_fit
from .train import train_fit


def fit_regressor(
    table, target: pd.Series, folder, config: FitRegressorConfig, sequences=None, encoder=None, groups=None,
    distance_matrix=None, say=print,
) -> tuple[pd.Series, pd.DataFrame, History]:  # fmt: skip
    """Train a regressor and write its bundle.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    target : pandas.Series
        Numbers by sample id, NaN where unknown; its name is that of the metadata column.
    folder : path
        Where the bundle is written; it exists.
    config : q2_aam.config.FitRegressorConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    encoder : path, optional
        Bundle of a pretrained encoder to start from.
    groups : pandas.Series, optional
        Group by sample id: samples of a group are never divided between splits.
    distance_matrix : path, optional
        Its distances are learned beside the target.
    say : callable
        Takes one line of progress.

    Returns
    -------
    predictions : pandas.Series
        For the test samples (the validation samples where there is no test split), in the target's own unit.
    details : pandas.DataFrame
        One row for each labelled sample.
    history : q2_aam.runtime.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    inputs = Inputs(table, sequences, target, groups, encoder, distance_matrix)
    _, details, history = _fit(bundle.REGRESSOR, inputs, folder, config, say)
    return _scored(details)['prediction'].rename(target.name), details, history


def fit_classifier(
    table, target: pd.Series, folder, config: FitClassifierConfig, sequences=None, encoder=None, groups=None,
    distance_matrix=None, say=print,
) -> tuple[pd.Series, pd.DataFrame, pd.DataFrame, History]:  # fmt: skip
    """Train a classifier and write its bundle; see :func:`fit_regressor`.

    Parameters
    ----------
    table, folder, sequences, encoder, groups, distance_matrix, say
        As there.
    target : pandas.Series
        Names of classes by sample id, missing where unknown; its name is that of the metadata column.
    config : q2_aam.config.FitClassifierConfig

    Returns
    -------
    predictions : pandas.Series
        The most probable class, for the test samples (the validation samples where there is no test split).
    probabilities : pandas.DataFrame
        For the same samples; one column a class, by its name.
    details : pandas.DataFrame
        One row for each labelled sample.
    history : q2_aam.runtime.history.History

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    inputs = Inputs(table, sequences, target, groups, encoder, distance_matrix)
    calibrated, details, history = _fit(bundle.CLASSIFIER, inputs, folder, config, say)
    scored = _scored(details)
    return scored['prediction'].rename(target.name), probabilities_of(calibrated.classes, scored), details, history


def _fit(kind, inputs, folder, config, say):
    """Train a model of this kind and write its bundle; return its target, the details and the history."""
    with open_run(f'fit-{kind}', config, _hashes(inputs), say) as run:
        result = run.result()
        if result is None:
            prepared = prepare_fit(kind, inputs, config, run)
            trained = train_fit(prepared, run)
            _, details = finish_fit(prepared, trained, run, folder)
            result = run.keep(details)
        deliver(result, folder)
    return bundle.read_config(folder).target, result.details, result.history


def _hashes(inputs):
    hashes = hash_files(
        table=inputs.table,
        sequences=inputs.sequences,
        encoder=inputs.encoder,
        distance_matrix=inputs.distance_matrix,
    )
    hashes['metadata'] = hash_series(inputs.target)
    if inputs.groups is not None:
        hashes['groups'] = hash_series(inputs.groups)
    return hashes


def _scored(details):
    """Return the rows of the test samples, of the validation samples where there are none."""
    tests = details['part'] == TEST
    return details[tests if tests.any() else details['part'] == VALIDATION]
