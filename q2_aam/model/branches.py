"""What distances are computed from: soft memberships of samples, and a branch of its own above each ASV.

Shapes: A and B samples, K memberships, N and M non-zeros, U distinct ASVs.
"""

import dataclasses

import torch


@dataclasses.dataclass
class Branches:
    """Branches that samples have; rows of it are samples, taken by ``[rows]``.

    Attributes
    ----------
    memberships : [B, K]
        How much of each shared branch a sample has.
    asvs : int64 [N]
        Number of the ASV of each non-zero, the same in all samples that are compared.
    lengths : [N]
        Of its own branch.
    richness : int64 [B]
    scale : [B] or None
        What the lengths of a sample's own branches count; None: 1. What two samples share counts the geometric mean.
    """

    memberships: torch.Tensor
    asvs: torch.Tensor
    lengths: torch.Tensor
    richness: torch.Tensor
    scale: torch.Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """Samples and memberships."""
        return self.memberships.shape

    def __len__(self) -> int:
        return len(self.memberships)

    def __getitem__(self, rows) -> 'Branches':
        starts = self.richness.cumsum(0) - self.richness
        richness, first = self.richness[rows], starts[rows]
        before = richness.cumsum(0) - richness
        number = int(richness.sum())
        where = torch.arange(number, device=first.device) + torch.repeat_interleave(first - before, richness)
        scale = None if self.scale is None else self.scale[rows]
        return Branches(self.memberships[rows], self.asvs[where], self.lengths[where], richness, scale)

    @classmethod
    def concatenate(cls, parts: list['Branches']) -> 'Branches':
        """Join the branches of samples."""
        fields = {f.name: [getattr(part, f.name) for part in parts] for f in dataclasses.fields(cls)}
        return cls(**{name: torch.cat(values) for name, values in fields.items() if values[0] is not None})


def own_lengths(one: Branches, other: Branches) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the length of the own branches that two sets of samples share, [A, B], and that each has, [A] and [B].

    An ASV is in a sample or it is not: nothing of this is soft.
    """
    _, numbers = torch.unique(torch.cat([one.asvs, other.asvs]), return_inverse=True)
    distinct = int(numbers.max()) + 1
    lengths_AU = _spread(one, numbers[: len(one.asvs)], one.lengths, distinct)
    others = numbers[len(one.asvs) :]
    present_BU = _spread(other, others, torch.ones_like(other.lengths), distinct)
    lengths_BU = _spread(other, others, other.lengths, distinct)
    shared_AB, one_A, other_B = lengths_AU @ present_BU.T, lengths_AU.sum(1), lengths_BU.sum(1)
    if one.scale is None or other.scale is None:
        return shared_AB, one_A, other_B
    return shared_AB * torch.sqrt(one.scale[:, None] * other.scale), one_A * one.scale, other_B * other.scale


def _spread(branches, numbers_N, values_N, distinct):
    """Return the values of non-zeros by sample and ASV, [B, U]."""
    samples = torch.arange(len(branches), device=numbers_N.device)
    rows_N = torch.repeat_interleave(samples, branches.richness)
    return values_N.new_zeros(len(branches), distinct).index_put((rows_N, numbers_N), values_N)


def sketched(branches: Branches, keys_N: torch.Tensor, places: int) -> torch.Tensor:
    """Return the own branches of samples as vectors whose products are the lengths that samples share, [B, places].

    There is no end of ASVs: each stands at one of the places, with one of two signs, which follow from its key, so that
    the products are right on average, and off by about the root of 1 in `places` of the product of both samples'
    lengths (count sketch: Charikar et al. 2004, doi:10.1016/S0304-3975(03)00400-6).

    Parameters
    ----------
    branches : Branches
    keys_N : int64 [N]
        Of the ASV of each non-zero (:func:`q2_aam.data.sequences.sequence_keys`).
    places : int
    """
    samples = torch.arange(len(branches), device=keys_N.device)
    rows_N = torch.repeat_interleave(samples, branches.richness)
    # the last bit is the sign
    lengths_N = branches.lengths if branches.scale is None else branches.lengths * branches.scale[rows_N]
    values_N = lengths_N.sqrt() * (1 - 2 * (keys_N & 1)).to(lengths_N.dtype)
    vectors = values_N.new_zeros(len(branches), places)
    return vectors.index_put_((rows_N, (keys_N >> 1) % places), values_N, accumulate=True)
