"""Members of the abundance ensemble that are perceptrons of two hidden layers.

Shapes: M members, B samples, C ASVs of the vocabulary, W width, O outputs.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .member_arrays import check_shape

# Samples whose outputs are computed at a time.
SAMPLES_AT_ONCE = 256
# Floats of activations, before anything is known of the memory there is.
MAX_FLOATS = 2**26
# The standard deviation of logarithms: those of reads are up to 9.2, those of shares of 1e-9 are 1e-5.
MIN_SCALE = 1e-20


@dataclasses.dataclass
class PerceptronBatch:
    """What perceptrons learn from.

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


class Perceptrons(nn.Module):
    """M perceptrons of two hidden layers on the logarithms of abundances.

    A member reads only the ASVs that its own training samples hold: weights of others were never trained.

    Attributes
    ----------
    scale : [1]
        What abundances are divided by.
    known : uint8 [M, C]
        1 where the training samples of a member hold an ASV; not among the arrays, the ensemble has it.
    """

    ARRAYS = {'scale': 'float32'} | {
        f'{layer}.{kind}': 'float32'
        for layer in ('first', 'first_norm', 'second', 'second_norm', 'out')
        for kind in ('weight', 'bias')
    }

    def __init__(self, size: int, members: int, outputs: int, width: int):
        super().__init__()
        self.first = MemberLinear(members, size, width)
        self.first_norm = MemberNorm(members, width)
        self.second = MemberLinear(members, width, width)
        self.second_norm = MemberNorm(members, width)
        self.out = MemberLinear(members, width, outputs)
        # halved where memory runs out; blocks of samples are as large as they are
        self.max_floats = MAX_FLOATS
        self.register_buffer('scale', torch.ones(1))
        self.register_buffer('known', torch.ones(members, size, dtype=torch.uint8))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights as torch's Linear does."""
        for layer in (self.first, self.second, self.out):
            bound = layer.weight.shape[1] ** -0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, batch: PerceptronBatch) -> torch.Tensor:
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
            self(PerceptronBatch(dense(abundances_BC[start : start + SAMPLES_AT_ONCE], self.scale.device)))
            for start in starts
        ]
        return torch.cat(blocks, dim=1).double().cpu().numpy()

    @torch.no_grad()
    def of(self, members: np.ndarray) -> 'Perceptrons':
        """Return a copy of some of the members."""
        _, size, width = self.first.weight.shape
        some = Perceptrons(size, len(members), self.out.weight.shape[-1], width)
        for name, value in some.state_dict().items():
            whole = self.state_dict()[name]
            value.copy_(whole if name == 'scale' else whole[members])
        return some

    @torch.no_grad()
    def put(self, members: np.ndarray, some: 'Perceptrons') -> None:
        """Take over what members of a copy (:meth:`of`) have learned."""
        for name, value in some.state_dict().items():
            if name != 'scale':
                self.state_dict()[name][members] = value.to(self.scale.device)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array}: everything that :meth:`from_arrays` needs; no id and no sample is in it."""
        return {name: value.cpu().numpy() for name, value in self.state_dict().items() if name in self.ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], known: np.ndarray, outputs: int) -> 'Perceptrons':
        """Read what :meth:`arrays` gave; ValueError unless it is of these sizes. `known` is uint8 [M, C]."""
        members, size = known.shape
        width = max((1, *arrays['first.weight'].shape[-1:]))
        check_shape('first.weight', arrays['first.weight'], (members, size, width))
        # without memory: what the arrays say of their sizes is not to be believed yet
        with torch.device('meta'):
            made = cls(size, members, outputs, width)
        for name in cls.ARRAYS:
            check_shape(name, arrays[name], tuple(made.state_dict()[name].shape))
        # written so that NaN fails
        if not MIN_SCALE <= arrays['scale'][0] <= 1 / MIN_SCALE:
            raise ValueError(
                "The model's abundance ensemble is damaged: its scale must be above 0; train the model again."
            )
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in (arrays | {'known': known}).items()}
        made.load_state_dict(tensors, assign=True)
        return made.eval()


def dense(matrix, device) -> torch.Tensor:
    """Return a sparse matrix as a tensor on `device`."""
    return torch.from_numpy(matrix.toarray()).to(device)
