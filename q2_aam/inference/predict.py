"""Predicting new samples from nothing but a table, its sequences and a model."""

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.data.inputs import read_study
from q2_aam.data.parts import NEW
from q2_aam.data.readings import reading_of
from q2_aam.training.devices import choose_device, place, use_threads, with_less_memory
from q2_aam.training.evaluate import details_of, outputs_of
from q2_aam.training.report import device_name, say_study
from q2_aam.training.work import temporary_folder


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
        that the model was trained on: sequences are read, not looked up.
    say : callable
        Takes one line of progress.

    Returns
    -------
    predictions : pandas.Series
        By sample id, in the unit of the target; samples without reads are not in it.
    details : pandas.DataFrame
        One row a sample, those without reads (and so without a prediction) too.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    device = choose_device(config.runtime.device)
    network, made = bundle.load(model, bundle.REGRESSOR)
    with temporary_folder() as work, use_threads(config.runtime.threads):
        longest = made.call.model.max_sequence_length
        study, without_reads = read_study(table, sequences, max_length=longest, folder=work)
        say_study(study, {'new': len(study)}, say)
        say(f'Model: predicts "{made.target.name}", on {device_name(device)}.')
        network = place(network, config.runtime, device)
        reading = reading_of(made.call.data)
        outputs = with_less_memory(
            network, lambda: outputs_of(network, study, np.arange(len(study)), device, reading=reading)[:, 0]
        )
    predicted = made.target.unscaled(outputs)
    details = details_of(study, np.full(len(study), NEW, dtype=object), predicted, reading=reading)
    predictions = details['prediction'].rename(made.target.name)
    return predictions, _with_samples_without_reads(details, without_reads)


def _with_samples_without_reads(details, ids):
    """Add a row without prediction for each of `ids`."""
    if not ids:
        return details
    empty = {'part': NEW, 'prediction': np.nan, 'true': np.nan, 'reads_used': 0.0, 'asvs_used': 0, 'asvs_cut': 0,
             'share_of_reads_cut': 0.0, 'share_of_reads_left_out': 0.0}  # fmt: skip
    return pd.concat([details, pd.DataFrame(empty, index=pd.Index(ids, name='id'))]).sort_index()
