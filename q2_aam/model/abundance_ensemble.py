"""The abundance ensemble: outputs from how much a sample holds of each ASV of a vocabulary.

It stands beside the transformer because it keeps ASVs apart that the encoder, which reads sequences, finds alike: with
a hundred labels as with two thousand that is where most of what can be learned lies (docs/accuracy.md). It holds
weights of ASVs, no sample and no id.

Shapes: M members, B samples, C ASVs of the vocabulary, W width, O outputs.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# Samples whose outputs are computed at a time.
SAMPLES_AT_ONCE = 256
# The standard deviation of logarithms: those of reads are up to 9.2, those of shares of 1e-9 are 1e-5.
MIN_SCALE = 1e-20
# What the shares of members, float32, may miss 1 by.
ROUNDING = 1e-3
ARRAYS = {'known': 'uint8', 'scale': 'float32', 'shares': 'float32'} | {
    f'{layer}.{kind}': 'float32'
    for layer in ('first', 'first_norm', 'second', 'second_norm', 'out')
    for kind in ('weight', 'bias')
}


@dataclasses.dataclass
class EnsembleBatch:
    """What an ensemble learns from.

    Attributes
    ----------
    abundances : [M, B, C], or [B, C] where all members are given the same samples
        See :func:`q2_aam.data.log_abundances.log_abundances`.
    dropout : tuple of [M, B, W]
        What hidden values are multiplied by: 0, or more than 1. Empty: nothing is dropped.
    labels : tensor
        Of the M * B samples, member after member.
    """

    abundances: torch.Tensor
    dropout: tuple[torch.Tensor, ...] = ()
    labels: torch.Tensor | None = None


class MemberLinear(nn.Module):
    """M linear maps side by side, each with weights of its own."""

    def __init__(self, members: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs))

    def forward(self, x_MBI):
        return x_MBI @ self.weight + self.bias


class MemberNorm(nn.Module):
    """M layer norms side by side."""

    def __init__(self, members: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x_MBW):
        return F.layer_norm(x_MBW, x_MBW.shape[-1:]) * self.weight + self.bias


class AbundanceEnsemble(nn.Module):
    """M perceptrons of two hidden layers on the logarithms of abundances; their outputs are averaged.

    Members differ in the samples that they have learned from, so that each sample has a member that knows nothing of it
    (:mod:`q2_aam.training.ensemble`). A member reads only the ASVs that its own training samples hold: weights of
    others were never trained.

    Buffers
    -------
    scale : [1]
        What abundances are divided by.
    shares : [M]
        Weight of each member in the mean.
    known : uint8 [M, C]
        1 where the training samples of a member hold an ASV.
    """

    def __init__(self, size: int, members: int, outputs: int, width: int):
        super().__init__()
        self.first = MemberLinear(members, size, width)
        self.first_norm = MemberNorm(members, width)
        self.second = MemberLinear(members, width, width)
        self.second_norm = MemberNorm(members, width)
        self.out = MemberLinear(members, width, outputs)
        self.register_buffer('scale', torch.ones(1))
        self.register_buffer('shares', torch.full((members,), 1 / members))
        self.register_buffer('known', torch.ones(members, size, dtype=torch.uint8))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights as torch's Linear does."""
        for layer in (self.first, self.second, self.out):
            bound = layer.weight.shape[1] ** -0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, batch: EnsembleBatch) -> torch.Tensor:
        """Return the outputs of every member, [M, B, O]."""
        x = batch.abundances / self.scale
        if not self.training:
            # what a member learns from holds nothing else
            x = x * self.known[:, None]
        first, second = batch.dropout or (1.0, 1.0)
        x = F.gelu(self.first_norm(self.first(x))) * first
        x = F.gelu(self.second_norm(self.second(x))) * second
        return self.out(x)

    @torch.no_grad()
    def outputs(self, abundances_BC) -> np.ndarray:
        """Return the outputs of every member, float64 [M, B, O], for samples in a sparse matrix of the vocabulary."""
        self.eval()
        starts = range(0, abundances_BC.shape[0], SAMPLES_AT_ONCE)
        blocks = [
            self(EnsembleBatch(dense(abundances_BC[start : start + SAMPLES_AT_ONCE], self.scale.device)))
            for start in starts
        ]
        return torch.cat(blocks, dim=1).double().cpu().numpy()

    def coverage(self, abundances_BC, totals_B: np.ndarray) -> np.ndarray:
        """Return the share of each sample in ASVs that each member knows, float64 [M, B].

        Parameters
        ----------
        abundances_BC : sparse matrix [B, C]
        totals_B : float64 [B]
            Sum of the logarithms of all ASVs of each sample, those outside the vocabulary too.
        """
        known_CM = self.known.cpu().numpy().T.astype(np.float32)
        return (abundances_BC @ known_CM / totals_B[:, None]).T.astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array}: everything that :meth:`from_arrays` needs; no id and no sample is in it."""
        return {name: value.cpu().numpy() for name, value in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], size: int, members: int, outputs: int) -> 'AbundanceEnsemble':
        """Read what :meth:`arrays` gave; ValueError unless it is an ensemble of these sizes."""
        width = max((1, *arrays['first.weight'].shape[-1:]))
        _check_shape('first.weight', arrays, (members, size, width))
        # without memory: what the arrays say of their sizes is not to be believed yet
        with torch.device('meta'):
            ensemble = cls(size, members, outputs, width)
        for name, value in ensemble.state_dict().items():
            _check_shape(name, arrays, tuple(value.shape))
        scale, shares = arrays['scale'][0], arrays['shares'].astype(np.float64)
        # written so that NaN fails
        if not MIN_SCALE <= scale <= 1 / MIN_SCALE or not (shares >= 0).all() or not abs(shares.sum() - 1) <= ROUNDING:
            raise ValueError(
                "The model's abundance ensemble is damaged: its scale must be above 0, and the shares of its members "
                'must sum to 1; train the model again.'
            )
        if arrays['known'].max() > 1:
            raise ValueError("The model's abundance ensemble is damaged: known must be 0 or 1; train the model again.")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        ensemble.load_state_dict(tensors, assign=True)
        return ensemble.eval()


def _check_shape(name, arrays, shape):
    if arrays[name].shape != shape:
        raise ValueError(
            f"The model's abundance ensemble belongs to another model: {name} has the shape {arrays[name].shape} "
            f'instead of {shape}; train the model again.'
        )


def dense(matrix, device) -> torch.Tensor:
    """Return a sparse matrix as a tensor on `device`."""
    return torch.from_numpy(matrix.toarray()).to(device)
