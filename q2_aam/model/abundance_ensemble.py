"""The profile head: outputs from how much a sample holds of each ASV that is known by name.

It stands beside the transformer because it keeps ASVs apart that the encoder, which reads sequences, finds alike: with
a hundred labels as with two thousand that is where most of what can be learned lies (docs/accuracy.md). It holds
weights of ASVs, no sample and no id.

Shapes: M members, B samples, C known ASVs, W width, O outputs.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# Samples whose outputs are computed at a time.
SAMPLES_AT_ONCE = 256
KEYS = 'keys'


class LinearOfMembers(nn.Module):
    """M linear maps side by side, each with weights of its own."""

    def __init__(self, members, inputs, outputs):
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x_MBI):
        return x_MBI @ self.weight + self.bias


class NormOfMembers(nn.Module):
    """M layer norms side by side."""

    def __init__(self, members, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x_MBW):
        return F.layer_norm(x_MBW, x_MBW.shape[-1:]) * self.weight + self.bias


class ProfileHead(nn.Module):
    """M perceptrons of two hidden layers on the logarithms of abundances; what they say is averaged.

    Members differ in the samples that they have learned from, so that each sample has a member that knows nothing of it
    (:mod:`q2_aam.training.ensemble`).

    Attributes
    ----------
    keys_C : int64 [C]
        Sorted keys of the ASVs that it knows (:func:`q2_aam.data.sequences.sequence_keys`).
    asv_dropout, dropout : float
        While training, share of ASVs and of hidden values that are left out at random.
    """

    def __init__(self, keys_C, members, outputs, width, asv_dropout=0.0, dropout=0.0):
        super().__init__()
        self.asv_dropout, self.dropout = asv_dropout, dropout
        self.keys_C = keys_C
        self.first = LinearOfMembers(members, len(keys_C), width)
        self.first_norm = NormOfMembers(members, width)
        self.second = LinearOfMembers(members, width, width)
        self.second_norm = NormOfMembers(members, width)
        self.out = LinearOfMembers(members, width, outputs)
        # what abundances are divided by, and how much of the say each member has
        self.register_buffer('scale', torch.ones(1))
        self.register_buffer('shares', torch.full((members,), 1 / members))

    def forward(self, profiles_BC):
        """Return the outputs of every member, [M, B, O].

        Parameters
        ----------
        profiles_BC : [B, C], or [M, B, C] where each member is given samples of its own
            See :func:`q2_aam.data.log_abundances.profiles_of`.
        """
        x = F.dropout(profiles_BC / self.scale, self.asv_dropout, self.training)
        x = F.dropout(F.gelu(self.first_norm(self.first(x))), self.dropout, self.training)
        x = F.dropout(F.gelu(self.second_norm(self.second(x))), self.dropout, self.training)
        return self.out(x)

    @torch.no_grad()
    def outputs(self, profiles_BC):
        """Return what every member says, float64 [M, B, O], of samples in a sparse matrix of the known ASVs."""
        self.eval()
        starts = range(0, profiles_BC.shape[0], SAMPLES_AT_ONCE)
        blocks = [self(dense(profiles_BC[start : start + SAMPLES_AT_ONCE], self.scale.device)) for start in starts]
        return torch.cat(blocks, dim=1).double().cpu().numpy()

    def mean_outputs(self, profiles_BC):
        """Return the mean of what members say, by their shares, float64 [B, O]."""
        return np.average(self.outputs(profiles_BC), axis=0, weights=self.shares.double().cpu().numpy())

    def arrays(self):
        """Return {name: array}: everything that :meth:`from_arrays` needs, no id and no sample in it."""
        return {KEYS: self.keys_C, **{name: value.cpu().numpy() for name, value in self.state_dict().items()}}

    @classmethod
    def from_arrays(cls, arrays, members, outputs):
        """Read what :meth:`arrays` gave; ValueError unless it is a head of so many members and outputs."""
        keys_C, weights = arrays[KEYS], {name: array for name, array in arrays.items() if name != KEYS}
        if keys_C.ndim != 1 or not len(keys_C) or (np.diff(keys_C) <= 0).any():
            raise ValueError("The model's profile head is damaged: its keys are not sorted; train the model again.")
        width = max((1, *weights['first.weight'].shape[-1:]))
        _check_shape('first.weight', weights, (members, len(keys_C), width))
        # without memory: what the arrays say of their sizes is not to be believed yet
        with torch.device('meta'):
            head = cls(keys_C, members, outputs, width)
        for name, value in head.state_dict().items():
            _check_shape(name, weights, tuple(value.shape))
        if not weights['scale'][0] > 0:
            raise ValueError("The model's profile head is damaged: its scale is not above 0; train the model again.")
        head.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, assign=True)
        return head.eval()


def _check_shape(name, weights, wanted):
    if weights[name].shape != wanted:
        raise ValueError(
            f"The model's profile head is that of another model: {name} has the shape {weights[name].shape} instead of "
            f'{wanted}; train the model again.'
        )


def dense(profiles, device):
    """Return a sparse matrix as a tensor on `device`."""
    return torch.from_numpy(profiles.toarray()).to(device)
