"""Predicting new samples from nothing but a table, its sequences and a model."""

import dataclasses
import warnings

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.data.applicability import MOST, NO_READS, OK, applicability
from q2_aam.data.augmentation import reading_of
from q2_aam.data.inputs import read_study
from q2_aam.data.references import References
from q2_aam.data.splits import NEW
from q2_aam.errors import AAMWarning, UserError, counted
from q2_aam.runtime.device import choose_device, place, use_threads, with_less_memory
from q2_aam.runtime.encode import details_of, embed_asvs, outputs_of, probabilities_of, profile_outputs_of
from q2_aam.runtime.run_directory import temporary_folder
from q2_aam.stats.conformal import warn_of_few_groups
from q2_aam.training.report import device_name, say_study


def predict(table, model, config, sequences=None, say=print):
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
        that the model was trained on: sequences are read, and those that its profile head knows are looked up too.
    say : callable
        Takes one line of progress.

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
    target, details, given = _predict(bundle.REGRESSOR, table, model, config, sequences, say, coverage)
    return details.loc[given, 'prediction'].rename(target.name), details


def predict_classes(table, model, config, sequences=None, say=print):
    """Predict the class of every sample of a table; see :func:`predict`.

    Parameters
    ----------
    table, sequences, say
        As there.
    model : path
        Bundle of a classifier.
    config : q2_aam.config.PredictClassesConfig

    Returns
    -------
    predictions : pandas.Series
        The likeliest class by sample id; samples without reads are not in it, and neither are those for which the
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
    target, details, given = _predict(bundle.CLASSIFIER, table, model, config, sequences, say)
    predicted = details.loc[given]
    return predicted['prediction'].rename(target.name), probabilities_of(target, predicted), details


def _predict(kind, table, model, config, sequences, say, coverage=AUTO):
    """Return the target of a model of this kind, the details of a table's samples, and the ids of those predicted."""
    device = choose_device(config.runtime.device)
    network, made, arrays = bundle.load(model, kind)
    target = made.target if coverage == AUTO else _with_coverage(made.target, coverage)
    references = References(arrays['references'], **made.references)
    turn = _turning(references, say) if config.data.turn_reversed else None
    with temporary_folder() as work, use_threads(config.runtime.threads):
        longest = made.call.model.max_sequence_length
        study, without_reads = read_study(table, sequences, max_length=longest, folder=work, turn=turn)
        say_study(study, {'new': len(study)}, say)
        say(f'Model: predicts "{target.name}", on {device_name(device)}.')
        network = place(network, config.runtime, device)
        reading = reading_of(made.call.data)
        outputs = with_less_memory(network, lambda: _outputs(network, made, arrays, study, device, reading))
        columns = target.columns(outputs)
        details = details_of(study, np.full(len(study), NEW, dtype=object), columns, reading=reading)
        details = details.join(applicability(study, references.nearness(study.codes, study.lengths), reading))
    _warn_of_strangers(details)
    if config.data.abstain:
        details = _abstained(details, list(columns), say)
    given = details.index[details['prediction'].notna()]
    return target, _with_samples_without_reads(details, without_reads), given


def _outputs(network, made, arrays, study, device, reading):
    """Return outputs of the network, and of the profile head where there is one, for all samples of the study."""
    rows = np.arange(len(study))
    asvs = embed_asvs(network, study, np.arange(len(study.codes)), device)
    outputs = outputs_of(network, study, rows, device, asvs, reading)
    head = bundle.profile_head_of(arrays, made)
    if head is None:
        return outputs
    return made.blend.outputs(outputs, *profile_outputs_of(head.to(device), study, rows, reading))


def _with_coverage(target, coverage):
    if coverage != target.coverage:
        warn_of_few_groups(target.calibration, coverage)
    return dataclasses.replace(target, coverage=coverage)


def _turning(references, say):
    """Return what turns the reversed ones among the sequences of a table, and says how many these are."""

    def turn(sequences):
        sequences, number = references.turn(sequences)
        say(f'Turned: {number:,} of {counted(len(sequences), "sequence")}, whose reverse complement the model knows.')
        return sequences

    return turn


def _warn_of_strangers(details):
    """Warn, in one sentence, where most reads of the table are in ASVs unlike those that the model learned from."""
    near, backward, other = (
        np.average(details[f'share_of_reads_{name}'], weights=details['reads_used'])
        for name in ('near', 'reversed', 'other_region')
    )
    far = 1 - near
    if far <= MOST:
        return
    if backward > far / 2:
        why = 'they are the reverse complement of what it knows; set turn_reversed to True.'
    elif other > far / 2:
        why = 'they may be of another region of the gene; give a model that was trained on this region.'
    else:
        why = 'its predictions may be far off; look at the flags in the details, or set abstain to True.'
    warnings.warn(
        f'{far:.0%} of the reads of the table are in sequences unlike those that the model learned from '
        f'({backward:.0%} reversed, {other:.0%} like none of these in either direction): {why}',
        AAMWarning,
        stacklevel=2,
    )


def _abstained(details, columns, say):
    """Return the details with empty `columns` for samples whose flag is not ok."""
    flagged = details['flag'] != OK
    found = ', '.join(f'{number:,} {flag}' for flag, number in details.loc[flagged, 'flag'].value_counts().items())
    if flagged.all():
        raise UserError(
            f'Every sample of the table has a flag ({found}), so that there is none to predict; set abstain to False '
            'to see them in the details.'
        )
    say(f'Abstained: {counted(int(flagged.sum()), "sample")}{f" ({found})" if found else ""}.')
    return details.assign(**{name: details[name].where(~flagged) for name in columns})


def _with_samples_without_reads(details, ids):
    """Add a row without prediction for each of `ids`."""
    if not ids:
        return details
    empty = {'part': NEW, 'prediction': np.nan, 'true': np.nan, 'reads_used': 0.0, 'asvs_used': 0, 'asvs_cut': 0,
             'share_of_reads_cut': 0.0, 'share_of_reads_left_out': 0.0, 'flag': NO_READS}  # fmt: skip
    return pd.concat([details, pd.DataFrame(empty, index=pd.Index(ids, name='id'))]).sort_index()
