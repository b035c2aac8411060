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
from q2_aam.data.extra_targets import HEAD as EXTRA_HEAD
from q2_aam.data.signs import Signs
from q2_aam.data.splits import NEW
from q2_aam.errors import AAMWarning, UserError, counted, shown
from q2_aam.objectives.extra_targets import columns_of
from q2_aam.runtime.copies import place_copies
from q2_aam.runtime.device import choose_device, device_name, use_threads
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run_directory import temporary_directory
from q2_aam.runtime.screen import print_line
from q2_aam.stats.conformal import warn_of_few_groups
from q2_aam.stats.separation import describe as describe_separation
from q2_aam.stats.separation import separation
from q2_aam.training.blend import blended_outputs
from q2_aam.training.train import describe_study

from .categories import check_categories, read_categories
from .covariates import check_covariates, with_covariates
from .passes import SPREAD, mean_of_passes, spread
from .read import NO_CLADES, read_new


def predict(
    table, model, config, sequences=None, say=print_line, covariates=None, scale_by=None, clades=NO_CLADES
):  # fmt: skip
    """Predict the target of every sample of a table.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    model : path or q2_aam.bundle.Bundle
        Of a regressor; a server has it in memory.
    config : q2_aam.config.PredictConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences. They need not be those
        that the model was trained on: sequences are read, and those in its vocabulary are looked up too.
    say : callable
        Takes one line of progress.
    covariates : pandas.DataFrame, optional
        Metadata by sample id, with the columns that the model was trained with; needed if, and only if, there were any.
        What a sample lacks, and a category that the model has not learned, is unknown.
    scale_by : pandas.Series, optional
        Category by sample id, needed where the model was trained with such a column. Of a category that it has not
        learned, the scaling is that of all samples.
    clades : q2_aam.inference.read.Clades
        By what features without sequences are placed that the model does not know.

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
    target, details, given = _predict(
        bundle.REGRESSOR, table, model, config, sequences, say, covariates, coverage, scale_by, clades
    )
    return details.loc[given, 'prediction'].rename(target.name), details


def predict_classes(table, model, config, sequences=None, say=print_line, covariates=None, clades=NO_CLADES):
    """Predict the class of every sample of a table; see :func:`predict`.

    Parameters
    ----------
    table, sequences, say, covariates, clades
        As there.
    model : path or q2_aam.bundle.Bundle
        Of a classifier.
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
    target, details, given = _predict(
        bundle.CLASSIFIER, table, model, config, sequences, say, covariates, clades=clades
    )
    predicted = details.loc[given]
    return predicted['prediction'].rename(target.name), probabilities_of(target.classes, predicted), details


def _predict(
    kind, table, model, config, sequences, say, covariates, coverage=AUTO, scale_by=None, clades=NO_CLADES
):  # fmt: skip
    """Return the target of a model of this kind, the details of a table's samples, and the ids of those predicted."""
    device = choose_device(config.runtime.device)
    model = model if isinstance(model, bundle.Bundle) else bundle.load(model, kind)
    check_covariates(model.config.covariates, covariates)
    check_categories(model.config.target, scale_by)
    target = model.config.target if coverage == AUTO else _with_coverage(model.config.target, coverage)
    with temporary_directory() as directory, use_threads(config.runtime.threads):
        study, without_reads, changed = read_new(model, table, sequences, directory, config.data.harmonize, say, clades)
        study = with_covariates(study, model.config.covariates, covariates, say)
        describe_study(study, {NEW: len(study)}, say)
        say(f'Model: predicts {shown(target.name)}, on {device_name(device)}.')
        place_copies(model.network, config.runtime, device)
        reader = StudyReader(study, make_augmentation(model.config.call.data))
        codes = read_categories(target, scale_by, study.sample_ids, say)
        if codes is not None and model.config.heads['target'].categories:
            reader.given['target'] = codes
        # what overflows is named below, and needs no warnings of numpy
        with np.errstate(all='ignore'):
            outputs, signs = with_less_memory(model.network, lambda: outputs_of(model, reader, device))
            read_as = target if codes is None else target.of(codes)
            if config.data.prediction_passes > 1:
                outputs, passes = mean_of_passes(
                    model,
                    reader,
                    config.data.prediction_passes,
                    lambda some: with_less_memory(model.network, lambda: outputs_of(model, some, device)[0]),
                )
            columns = read_as.columns(outputs, signs)
            if config.data.prediction_passes > 1:
                columns[SPREAD] = spread(read_as, columns, passes)
            columns |= _extra_columns(model, reader, config.data.prediction_passes)
        numbers = [column for column in columns.values() if column.dtype != object]
        check_finite(np.column_stack([outputs, *numbers]), study.sample_ids, GIVEN)
        details = details_of(study, np.full(len(study), NEW, dtype=object), columns, augment=reader.augment)
        similarity = model.similarity(study)
        harmonized, shifted = changed.columns(study.sample_ids)
        more = {} if signs is None else vars(signs) | {'min_coverage': model.config.min_coverage}
        details = details.join([harmonized, applicability(study, similarity, reader.augment, shifted, **more)])
    if model.domain is not None:
        say(describe_separation(separation(details['familiarity'].to_numpy(), model.domain.quantiles)))
    if model.known_features is None:
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
    if reader.asvs is None:
        reader.remember(model.network)
    network = reader.outputs(model.network, 'target', rows)
    if model.ensemble is None or model.vocabulary is None or model.config.blend is None:
        return network, None
    return blended_outputs(
        reader, model.ensemble.to(device), model.vocabulary, model.config.blend, model.domain, network, rows
    )


def _extra_columns(model, reader, passes):
    """Return the columns of what the network predicts beside the target, of several passes the mean."""
    if not model.config.extra_targets:
        return {}
    every = np.arange(len(reader.study))

    def of(some):
        return with_less_memory(model.network, lambda: some.outputs(model.network, EXTRA_HEAD, every))

    outputs = of(reader) if passes == 1 else mean_of_passes(model, reader, passes, of)[0]
    return columns_of(model.config.extra_targets, outputs)


def _with_coverage(target, coverage):
    if coverage != target.coverage:
        warn_of_few_groups(target.calibration, coverage)
    return dataclasses.replace(target, coverage=coverage)


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
