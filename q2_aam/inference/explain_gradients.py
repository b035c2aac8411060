"""Integrated gradients of the network along the abundances of a sample (Sundararajan et al. 2017, arXiv:1703.01365).

The baseline is the sample with the same ASVs, each at one read in a million (what the network takes for the least), and
the path leads from there to the sample along the logarithms of shares of reads: the network reads shares mostly by
their order of magnitude, and along a straight line of shares nearly all of the change would lie in the first step. So
the attributions of a sample sum to how the network's output differs between the sample and one in which all ASVs are
hardly there. They tell what abundances do, given which ASVs there are; what presence does, only taking an ASV away
tells (:mod:`q2_aam.inference.explain_removal`). Trees have no gradient, so that there are none of the blended
prediction.

Shapes: B samples, Z non-zeros, U distinct ASVs, O outputs.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from q2_aam.bundle import Bundle, NumericTarget
from q2_aam.data.batches import Drawn, make_batch
from q2_aam.data.readable import draw_readable
from q2_aam.model.network import Network
from q2_aam.model.sample_encoder import MIN_SHARE
from q2_aam.runtime.encode import StudyReader, device_of
from q2_aam.runtime.memory import with_less_memory

from .explain_removal import scaled_as

SAMPLES_AT_ONCE = 64


def gradients(
    model: Bundle, reader: StudyReader, rows: np.ndarray, steps: int, codes: np.ndarray | None = None
) -> Iterator[tuple[Drawn, np.ndarray]]:
    """Yield the integrated gradients of some samples, some at a time.

    Parameters
    ----------
    model : q2_aam.bundle.Bundle
    reader : StudyReader
        Its ASVs are remembered.
    rows : int64
        Of the study.
    steps : int
        Of the path; the midpoint of each stands for it.
    codes : int64 [samples of the study], optional
        Number of the category by which the target of each sample is scaled.

    Yields
    ------
    drawn : Drawn
        The samples as they were read.
    attributions : float64 [Z]
        Of each of their non-zeros: of a number in its unit (where its square root or logarithm is learned, in that), of
        classes in the logarithm of the probability of the class that the network predicts for the sample.
    """
    # the gradients of inputs alone are wanted
    model.network.requires_grad_(False)
    for start in range(0, len(rows), SAMPLES_AT_ONCE):
        drawn = draw_readable(reader.study, rows[start : start + SAMPLES_AT_ONCE], reader.augment)
        yield drawn, with_less_memory(model.network, lambda: _attributions(model, reader, drawn, steps, codes))  # noqa: B023


def _attributions(model, reader, drawn, steps, codes):
    network, target = model.network, scaled_as(model.config.target, None if codes is None else codes[drawn.rows])
    log_Z = np.log(np.maximum(drawn.abundances.astype(np.float64), MIN_SHARE))
    above_Z = log_Z - np.log(MIN_SHARE)
    classes_B = None
    if not isinstance(target, NumericTarget):
        with torch.no_grad():
            classes_B = _outputs(network, reader, drawn, log_Z)[0].argmax(dim=1)
    total_Z = np.zeros(len(log_Z))
    for step in range(steps):
        along_Z = np.log(MIN_SHARE) + (step + 0.5) / steps * above_Z
        with torch.enable_grad():
            outputs_BO, shares = _outputs(network, reader, drawn, along_Z)
            if classes_B is None:
                told = outputs_BO[:, 0] * (
                    target.scale if codes is None else torch.as_tensor(target.scale).to(outputs_BO)
                )
            else:
                told = torch.log_softmax(outputs_BO / target.temperature, dim=1).gather(1, classes_B[:, None])
            parts = torch.autograd.grad(told.sum(), shares)
        slope_Z = np.concatenate([part.double().cpu().numpy() for part in parts])
        # of a share p by its logarithm: p
        total_Z += slope_Z * np.exp(along_Z) * above_Z / steps
    return total_Z


def _outputs(network: Network, reader, drawn, log_Z):
    """Return the outputs of samples whose shares have these logarithms, [B, O], and the shares by chunk of samples."""
    if reader.asvs is None:
        raise TypeError('The reader must have remembered its ASVs.')
    device = device_of(network)
    read = dataclasses.replace(drawn, abundances=np.exp(log_Z).astype(np.float32))
    asvs_UD = reader.asvs[torch.from_numpy(drawn.distinct).to(device)]
    batch = make_batch(read, network.budget(), ('target',), asvs_UD)
    if 'target' in reader.given:
        batch.given['target'] = [None, torch.from_numpy(reader.given['target'][drawn.rows])]
    batch = batch.to(device)
    shares = [chunk.abundances.requires_grad_() for chunk in batch.samples]
    return network(batch).heads['target'], shares
