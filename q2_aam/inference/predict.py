"""Predicting new samples from nothing but a table, its sequences and a model."""

import dataclasses
import warnings

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.bundle.finite import GIVEN, check_finite
from q2_aam.config import AUTO
from q2_aam.data.applicability import MAJORITY, NO_READS, OK, applicability
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.details import details_of, probabilities_of
from q2_aam.data.harmonize import describe, harmonize
from q2_aam.data.inputs import read_study
from q2_aam.data.signs import Signs
from q2_aam.data.splits import NEW
from q2_aam.errors import AAMWarning, UserError, counted, shown
from q2_aam.runtime.device import choose_device, device_name, place, use_threads
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run_directory import temporary_directory
from q2_aam.runtime.screen import print_line
from q2_aam.stats.conformal import warn_of_few_groups
from q2_aam.stats.separation import describe as describe_separation
from q2_aam.stats.separation import separation
from q2_aam.training.blend import blended_outputs
from q2_aam.training.train import describe_study

from .covariates import check_covariates, with_covariates

# Share of reads from which on it is said what was done to them.
MIN_SHARE = 0.005


def predict(table, model, config, sequences=None, say=print_line, covariates=None):
    """Predict the target of every sample of a table.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    model : path
        Bundle of a regressor.
    config : q2_aam.config.PredictConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences. They need not be those
        that the model was trained on: sequences are read, and those in its vocabulary are looked up too.
    say : callable
        Takes one line of progress.
    covariates : pandas.DataFrame, optional
        Metadata by sample id, with the columns that the model was trained with; needed if, and only if, there were any.
        What a sample lacks, and a category that the model has not learned, is unknown.

    Returns
    -------
    predictions : pandas.Series
        By sample id, in the unit of the target; samples without reads are not in it, and neither are those for which
        the model abstains.
    details : pandas.DataFrame
        One row a sample, those without reads (and so without a prediction) too.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    coverage = config.data.coverage
    target, details, given = _predict(bundle.REGRESSOR, table, model, config, sequences, say, covariates, coverage)
    return details.loc[given, 'prediction'].rename(target.name), details


def predict_classes(table, model, config, sequences=None, say=print_line, covariates=None):
    """Predict the class of every sample of a table; see :func:`predict`.

    Parameters
    ----------
    table, sequences, say, covariates
        As there.
    model : path
        Bundle of a classifier.
    config : q2_aam.config.PredictClassesConfig

    Returns
    -------
    predictions : pandas.Series
        The most probable class by sample id; samples without reads are not in it, and neither are those for which the
        model abstains.
    probabilities : pandas.DataFrame
        For the same samples; one column a class, by its name.
    details : pandas.DataFrame
        One row a sample, those without reads (and so without a prediction) too.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    target, details, given = _predict(bundle.CLASSIFIER, table, model, config, sequences, say, covariates)
    predicted = details.loc[given]
    return predicted['prediction'].rename(target.name), probabilities_of(target.classes, predicted), details


def _predict(kind, table, model, config, sequences, say, covariates, coverage=AUTO):
    """Return the target of a model of this kind, the details of a table's samples, and the ids of those predicted."""
    device = choose_device(config.runtime.device)
    model = bundle.load(model, kind)
    check_covariates(model.config.covariates, covariates)
    target = model.config.target if coverage == AUTO else _with_coverage(model.config.target, coverage)
    with temporary_directory() as directory, use_threads(config.runtime.threads):
        longest = model.config.call.model.max_sequence_length
        harmonizer = Harmonizer(model, say)
        change = None if config.data.harmonize == 'off' else harmonizer
        study, without_reads = read_study(table, sequences, None, longest, directory, change)
        study = with_covariates(study, model.config.covariates, covariates, say)
        describe_study(study, {NEW: len(study)}, say)
        say(f'Model: predicts {shown(target.name)}, on {device_name(device)}.')
        place(model.network, config.runtime, device)
        reader = StudyReader(study, make_augmentation(model.config.call.data))
        # what overflows is named below, and needs no warnings of numpy
        with np.errstate(all='ignore'):
            outputs, signs = with_less_memory(model.network, lambda: outputs_of(model, reader, device))
            columns = target.columns(outputs, signs)
        numbers = [column for column in columns.values() if column.dtype != object]
        check_finite(np.column_stack([outputs, *numbers]), study.sample_ids, GIVEN)
        details = details_of(study, np.full(len(study), NEW, dtype=object), columns, augment=reader.augment)
        similarity = model.references.similarity(study.codes, study.lengths)
        harmonized, shifted = harmonizer.columns(study.sample_ids)
        more = {} if signs is None else vars(signs) | {'min_coverage': model.config.min_coverage}
        details = details.join([harmonized, applicability(study, similarity, reader.augment, shifted, **more)])
    if model.domain is not None:
        say(describe_separation(separation(details['familiarity'].to_numpy(), model.domain.quantiles)))
    _warn_of_strangers(details)
    if config.data.abstain:
        details = _abstained(details, list(columns), say)
    predicted = details.index[details['prediction'].notna()]
    return target, _with_samples_without_reads(details, without_reads), predicted


def outputs_of(model: bundle.Bundle, reader: StudyReader, device) -> tuple[np.ndarray, Signs | None]:
    """Return the outputs of a model, of both its parts, for all samples of a study, float64 [samples, outputs].

    Their signs are None where the model has no abundance ensemble.
    """
    rows = np.arange(len(reader.study))
    reader.remember(model.network)
    network = reader.outputs(model.network, 'target', rows)
    if model.ensemble is None or model.vocabulary is None or model.config.blend is None:
        return network, None
    return blended_outputs(
        reader, model.ensemble.to(device), model.vocabulary, model.config.blend, model.domain, network, rows
    )


def _with_coverage(target, coverage):
    if coverage != target.coverage:
        warn_of_few_groups(target.calibration, coverage)
    return dataclasses.replace(target, coverage=coverage)


class Harmonizer:
    """Reads a table as harmonized, says so, and keeps what was done to each of its samples."""

    def __init__(self, model, say):
        self.model, self.say = model, say
        self.samples = None

    def __call__(self, table, sequences):
        """Return the table that is read, and the sequence of each of its features."""
        model = self.model
        longest = model.config.call.model.max_sequence_length
        harmonized = harmonize(sequences, model.references, model.vocabulary, longest)
        if harmonized is None:
            return table, sequences
        self.samples = harmonized.samples(table)
        # less would be told as 0 %
        if np.average(self.samples['share_of_reads_harmonized'], weights=self.samples['reads']) >= MIN_SHARE:
            self.say(describe(self.samples))
        return harmonized.table(table), harmonized.sequences

    def columns(self, sample_ids):
        """Return what was done to samples, columns share_of_reads_harmonized and offset, and their reads shifted."""
        if self.samples is None:
            nothing = {'share_of_reads_harmonized': 0.0, 'offset': 0}
            return pd.DataFrame(nothing, pd.Index(sample_ids, name='id')), np.zeros(len(sample_ids))
        samples = self.samples.loc[sample_ids]
        return samples[['share_of_reads_harmonized', 'offset']], samples['shifted'].to_numpy()


def _warn_of_strangers(details):
    """Warn, in one sentence, where most reads of the table are in ASVs unlike those that the model learned from."""
    near, backward, other = (
        np.average(details[f'share_of_reads_{name}'], weights=details['reads_used'])
        for name in ('near', 'reverse_complement', 'other_region')
    )
    far = 1 - near
    if far <= MAJORITY:
        return
    if backward > far / 2:
        why = 'they are the reverse complements of such sequences; set harmonize to auto.'
    elif other > far / 2:
        why = 'they may be of another region of the gene; give a model that was trained on this region.'
    else:
        why = 'its predictions may be far off; look at the flags in the details, or set abstain to True.'
    warnings.warn(
        f'{far:.0%} of the reads of the table are in sequences unlike those that the model learned from '
        f'({backward:.0%} reverse-complemented, {other:.0%} like none of them in either direction): {why}',
        AAMWarning,
        stacklevel=2,
    )


def _abstained(details, columns, say):
    """Return the details with empty `columns` for samples whose flag is not ok."""
    flagged = details['flag'] != OK
    counts = ', '.join(f'{number:,} {flag}' for flag, number in details.loc[flagged, 'flag'].value_counts().items())
    if flagged.all():
        raise UserError(
            f'Every sample of the table is flagged ({counts}), so that none can be predicted; set abstain to False to '
            'see predictions and flags in the details.'
        )
    say(f'Abstained: {counted(int(flagged.sum()), "sample")}{f" ({counts})" if counts else ""}.')
    return details.assign(**{name: details[name].where(~flagged) for name in columns})


def _with_samples_without_reads(details, ids):
    """Add a row without prediction for each of `ids`."""
    if not ids:
        return details
    empty = {'part': NEW, 'prediction': np.nan, 'true': np.nan, 'reads_used': 0.0, 'asvs_used': 0, 'asvs_truncated': 0,
             'share_of_reads_truncated': 0.0, 'share_of_reads_left_out': 0.0,
             'share_of_reads_harmonized': 0.0, 'offset': 0, 'flag': NO_READS}  # fmt: skip
    return pd.concat([details, pd.DataFrame(empty, index=pd.Index(ids, name='id'))]).sort_index()
