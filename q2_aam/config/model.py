"""Parameters of the model group, the size and form of the network; and the configuration of one of its heads."""

import dataclasses
import typing

from q2_aam.errors import shown

from .fields import AUTO, Group, option

# From this many training samples on, the network is twice as deep: on fewer, depth is not worth its time
# (docs/performance.md).
MANY_SAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """One head of the network.

    Attributes
    ----------
    kind : str
        A key of ``q2_aam.model.heads.HEADS``.
    outputs : int
        How many numbers it gives for each thing that it reads; 0 where that follows from the model.
    """

    kind: str
    outputs: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str):
            raise ValueError(f'The kind of a head must be text, but it is {shown(self.kind)}.')
        if not isinstance(self.outputs, int) or isinstance(self.outputs, bool) or self.outputs < 0:
            raise ValueError(
                f'Outputs of a head must be a whole number of 0 or more, but they are {shown(self.outputs)}.'
            )


@dataclasses.dataclass(frozen=True)
class ModelConfig(Group):
    group = 'model'

    nucleotides_per_token: int | str = option(
        AUTO,
        'Neighbouring nucleotides per token of the ASV encoder: 1 reads single nucleotides, more is cheaper. auto: 10, '
        'or as in the encoder.',
        low=1,
        high=32,
        advanced=True,
    )
    width: int | str = option(
        AUTO,
        'Embedding dimension of tokens, ASVs and samples: a wider model can learn more and costs more. auto: 128, or '
        'as in the encoder.',
        low=8,
        high=8192,
    )
    asv_layers: int | str = option(
        AUTO,
        'Transformer layers of the ASV encoder, over nucleotides. auto: 2 from 2,000 training samples on, else 1, or '
        'as in the encoder.',
        low=1,
        high=96,
    )
    sample_layers: int | str = option(
        AUTO,
        'Transformer layers of the sample encoder, over ASVs. auto: 4 from 2,000 training samples on, else 2, or as in '
        'the encoder.',
        low=1,
        high=96,
    )
    attention_heads: int | str = option(
        AUTO,
        'Attention heads per layer; width must be a multiple of it. auto: one per 32 of width, or as in the encoder.',
        low=1,
        high=256,
        advanced=True,
    )
    mlp_ratio: int | str = option(
        AUTO,
        'Width of the feed-forward network of each layer, as a multiple of width. auto: 2, or as in the encoder.',
        low=1,
        high=16,
        advanced=True,
    )
    memberships: int | str = option(
        AUTO,
        'Number of soft memberships of an ASV, which play the part of the branches of a tree in UniFrac: samples that '
        'share few of them are far apart. auto: twice the width, or as in the encoder.',
        low=8,
        high=65536,
        advanced=True,
    )
    max_sequence_length: int | str = option(
        AUTO,
        'Sequences are truncated to this many nucleotides. auto: the length of the longest sequence, or as in the '
        'encoder.',
        low=8,
        high=65536,
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        width, heads = self.width, self.attention_heads
        if isinstance(width, int) and isinstance(heads, int) and width % heads:
            raise ValueError(f'Parameter width ({width}) must be a multiple of attention_heads ({heads}).')

    def resolved(self, longest_sequence: int, samples: int) -> 'ModelConfig':
        """Return a copy in which every 'auto' has its value.

        Parameters
        ----------
        longest_sequence : int
            Nucleotides of the longest sequence.
        samples : int
            Number of training samples.
        """
        width = 128 if self.width == AUTO else self.width
        asv_layers, sample_layers = (2, 4) if samples >= MANY_SAMPLES else (1, 2)
        derived = {
            # the best distances of held-out samples for the same operations (docs/performance.md)
            'nucleotides_per_token': 10,
            'width': width,
            'asv_layers': asv_layers,
            'sample_layers': sample_layers,
            'attention_heads': _heads(width),
            'mlp_ratio': 2,
            'memberships': 2 * width,
            'max_sequence_length': max(longest_sequence, 8),
        }
        return dataclasses.replace(self, **{k: v for k, v in derived.items() if getattr(self, k) == AUTO})


# A ModelConfig in which every 'auto' has its value: its fields are numbers, which no annotation can say.
ResolvedModel: typing.TypeAlias = typing.Any


def _heads(width):
    """The largest number of heads not above one for each 32 of `width` that divides it."""
    return next(heads for heads in range(max(1, width // 32), 0, -1) if width % heads == 0)
