"""What an encoder compares samples by: their memberships, and the branches of ASVs or of tokens beside these.

Shapes: B samples, K memberships, T tokens.
"""

import dataclasses

import numpy as np
import torch

from q2_aam.bundle import Bundle
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.readable import draw_readable
from q2_aam.data.study import Study
from q2_aam.model.branches import Branches

from .encode import StudyReader

HEAD = 'distances'


def branches_of(model: Bundle, study: Study) -> tuple[torch.Tensor | Branches, np.ndarray]:
    """Return what the distances of samples are computed from, as the head of an encoder takes it.

    Parameters
    ----------
    model : q2_aam.bundle.Bundle
        An encoder that has learned distances.
    study : q2_aam.data.study.Study

    Returns
    -------
    branches : [B, K], or Branches of B samples
        By rows of the study, on the network's device.
    keys : int64
        Of each number that branches have.
    """
    # so that rows of like richness are together, for little to be padded, and the way back
    order = np.argsort(study.richness, kind='stable')
    reader = StudyReader(study, make_augmentation(model.config.call.data))
    branches = reader.branches(model.network, HEAD, order)
    device = branches.device if isinstance(branches, torch.Tensor) else branches.memberships.device
    branches = branches[torch.from_numpy(np.argsort(order)).to(device)]
    memberships = branches if isinstance(branches, torch.Tensor) else branches.memberships
    if model.token_branches is not None:
        return _with_tokens(model, study, memberships, reader.augment)
    if model.known_asvs is not None and not isinstance(branches, torch.Tensor):
        factors_A = torch.from_numpy(model.known_asvs.factors(study.keys)).to(device)
        branches = dataclasses.replace(branches, lengths=branches.lengths * factors_A[branches.asvs])
    return branches, study.keys


def _with_tokens(model, study, memberships_BK, augment):
    """Return what :func:`branches_of` does, where tokens have branches and ASVs have none."""
    size, longest = model.config.call.model.nucleotides_per_token, model.config.call.model.max_sequence_length
    drawn = draw_readable(study, np.arange(len(study)), augment, sequences=True)
    sequences = drawn.codes, drawn.inverse, drawn.offsets
    lengths_BT, keys, scale_B = model.token_branches.of_samples(*sequences, size, longest // size)
    given = lengths_BT.indices.astype(np.int64), lengths_BT.data, np.diff(lengths_BT.indptr).astype(np.int64), scale_B
    return Branches(memberships_BK, *(torch.from_numpy(part).to(memberships_BK.device) for part in given)), keys
