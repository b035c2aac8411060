"""Embeddings and outputs of many samples: each distinct ASV encoded once, then samples streamed.

Shapes: A ASVs of the study, D width, K memberships.
"""

import numpy as np
import pandas as pd
import torch

from q2_aam.bundle import PROBABILITY
from q2_aam.data.batches import make_batch
from q2_aam.data.log_abundances import known_asvs, profiles_of
from q2_aam.model.network import SampleEmbeddings

SAMPLES_AT_ONCE = 256
# Sequences that go to the device together; the network cuts them further to its memory.
ASVS_AT_ONCE = 8192


@torch.no_grad()
def embed_asvs(network, study, asvs, device):
    """Return the embeddings [len(asvs), D] of rows of the study's ASVs."""
    pieces = []
    for start in range(0, len(asvs), ASVS_AT_ONCE):
        chunk = asvs[start : start + ASVS_AT_ONCE]
        lengths = study.lengths[chunk].astype(np.int64)
        codes = torch.from_numpy(np.ascontiguousarray(study.codes[chunk, : lengths.max()])).to(device)
        pieces.append(network.encode_asvs(codes, torch.from_numpy(lengths).to(device))[0])
    return torch.cat(pieces)


@torch.no_grad()
def embed_samples(network, study, rows, device, asvs_AD=None, reading=None):
    """Yield the SampleEmbeddings of `rows` of the study, in order, some hundred samples at a time.

    Parameters
    ----------
    network : q2_aam.model.network.Network
    study : q2_aam.data.study.Study
    rows : int64 [samples]
    device : torch.device
    asvs_AD : [A, D], optional
        Embeddings of all ASVs of the study, where they are at hand.
    reading : callable, optional
        See :func:`q2_aam.data.batches.make_batch`.
    """
    needed = np.arange(len(study.codes))
    if asvs_AD is None:
        held = [study.asvs[study.offsets[row] : study.offsets[row + 1]] for row in rows]
        needed = np.unique(np.concatenate(held))
        asvs_AD = embed_asvs(network, study, needed, device)
    for start in range(0, len(rows), SAMPLES_AT_ONCE):
        batch = make_batch(study, rows[start : start + SAMPLES_AT_ONCE], sequences=False, reading=reading)
        own = torch.from_numpy(np.searchsorted(needed, batch.distinct.numpy())).to(device)
        batch = batch.to(device)
        yield network.encode_samples(asvs_AD[own], batch.asvs, batch.abundances, batch.offsets)


@torch.no_grad()
def outputs_of(network, study, rows, device, asvs_AD=None, reading=None):
    """Return the outputs of the regression head for `rows` of the study, float64 [rows, outputs].

    Samples of like richness go together, so that little is padded; see :func:`embed_samples` for the parameters.
    """
    order = np.argsort(study.richness[rows], kind='stable')
    parts = embed_samples(network, study, rows[order], device, asvs_AD, reading)
    outputs = np.concatenate([network.regression_head(part).double().cpu().numpy() for part in parts])
    return outputs[np.argsort(order)]


def profile_outputs_of(head, study, rows, reading=None):
    """Return what a profile head gives for `rows` of the study, some hundred at a time.

    Parameters
    ----------
    head : q2_aam.model.abundance_ensemble.ProfileHead
    study, rows, reading
        See :func:`embed_samples`.

    Returns
    -------
    outputs : float64 [rows, outputs]
        Mean over its members.
    known : float64 [rows]
        Share of a sample, of the sum of its logarithms, in ASVs that the head knows.
    """
    outputs, known = [], []
    for block in np.split(rows, range(SAMPLES_AT_ONCE, len(rows), SAMPLES_AT_ONCE)):
        profiles_BA = profiles_of(study, block, reading)
        profiles_BC = known_asvs(profiles_BA, study.keys, head.keys_C)
        outputs.append(head.mean_outputs(profiles_BC))
        known.append(np.asarray(profiles_BC.sum(axis=1) / profiles_BA.sum(axis=1), dtype=np.float64).ravel())
    return np.concatenate(outputs), np.concatenate(known)


@torch.no_grad()
def distances_among(network, study, rows, device, reading=None):
    """Return the predicted distances among `rows` of the study, float32 [rows, rows], before any divisor."""
    parts = list(embed_samples(network, study, rows, device, reading=reading))
    unions = SampleEmbeddings.concatenate(parts).unions
    # blocks of rows, because the head holds [block, rows, K] at once
    block = max(1, network.max_floats // (8 * unions.numel()))
    return torch.cat([network.distance_head(part, unions) for part in unions.split(block)]).cpu().numpy()


def regression_figures(predicted, true):
    """Return mae, rmse, r2 and r (Pearson) of predictions; r2 and r are NaN where `true` or `predicted` is constant."""
    error = predicted - true
    spread = true.var()
    both_vary = spread > 0 and predicted.var() > 0
    return {
        'mae': float(np.abs(error).mean()),
        'rmse': float(np.sqrt((error**2).mean())),
        'r2': float(1 - (error**2).mean() / spread) if spread > 0 else float('nan'),
        'r': float(np.corrcoef(predicted, true)[0, 1]) if both_vary else float('nan'),
    }


def details_of(study, parts, predicted, true=None, reading=None):
    """Return one row a sample: its part, what is predicted for it and what of it was read.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    parts : array of str
    predicted : dict
        {column: [samples]}, ``prediction`` first, as :meth:`q2_aam.bundle.Target.columns` gives it.
    true : [samples], optional
        Numbers or names of classes.
    reading : callable, optional
        See :func:`q2_aam.data.batches.make_batch`.

    Returns
    -------
    pandas.DataFrame
        Index ``id``; columns part, prediction, true, the others of `predicted`, reads_used, asvs_used, asvs_cut (longer
        than the model reads), share_of_reads_cut (share of reads in those), share_of_reads_left_out (in ASVs beyond
        max_asvs_per_sample).
    """
    asvs_cut, share_cut = study.cut_share()
    kept = np.ones(len(study.asvs), dtype=bool) if reading is None else reading(study.abundances, study.offsets)[0]
    richness = np.add.reduceat(kept.astype(np.int64), study.offsets[:-1])
    left_out = np.add.reduceat(study.abundances * ~kept, study.offsets[:-1], dtype=np.float64)
    return pd.DataFrame(
        {
            'part': parts,
            'prediction': predicted['prediction'],
            'true': np.full(len(study), np.nan) if true is None else true,
            **predicted,
            'reads_used': study.reads,
            'asvs_used': richness,
            'asvs_cut': asvs_cut,
            'share_of_reads_cut': share_cut,
            'share_of_reads_left_out': left_out,
        },
        index=pd.Index(study.sample_ids, name='id'),
    )


def probabilities_of(target, details):
    """Return the probabilities in details as a table of their own, one column a class, by its name."""
    return details[[PROBABILITY + name for name in target.classes]].set_axis(list(target.classes), axis=1)
