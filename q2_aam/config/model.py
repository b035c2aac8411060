"""Parameters of the model group, the size and form of the network; and the configuration of one of its heads."""

import dataclasses
import typing

from q2_aam.errors import shown

from .fields import AUTO, Group, option

# From this many training samples on, the network is twice as deep: on fewer, depth is not worth its time
# (docs/performance.md).
MANY_SAMPLES = 2000


# What keeps the outputs of a head within bounds, and the hidden layers that it may have.
ACTIVATIONS = ('none', 'relu', 'softplus', 'exp', 'sigmoid')
MAX_HEAD_LAYERS = 16
MAX_HEAD_CATEGORIES = 1001
# What a head of the kind 'target' may read of a sample.
POOLINGS = ('all', 'attention', 'mean', 'soft_union')
# Bounds of outputs, which are float32.
MAX_BOUND = 1e30


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """One head of the network.

    Attributes
    ----------
    kind : str
        A key of ``q2_aam.model.heads.HEADS``.
    outputs : int
        How many numbers it gives for each thing that it reads; 0 where that follows from the model.
    layers : int
        Hidden layers of a head of the kind 'target'; the others know only what stands above.
    residual : bool
        Whether it adds a linear function of what it reads.
    scaled : bool
        Whether it learns what its outputs are multiplied by, and what is added.
    activation : str
        One of ``ACTIVATIONS``: all outputs are at least `low` then, and with sigmoid at most `high`.
    low, high : float
        On the scale of the outputs.
    pooling : str
        One of ``POOLINGS``.
    categories : int
        Categories of samples, that of the unknown included, each with a factor and an offset of its own where it is
        `scaled`; 0: all samples have the same.
    """

    kind: str
    outputs: int = 0
    layers: int = 1
    residual: bool = False
    scaled: bool = False
    activation: str = 'none'
    low: float = 0.0
    high: float = 1.0
    categories: int = 0
    pooling: str = 'all'

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str):
            raise ValueError(f'The kind of a head must be text, but it is {shown(self.kind)}.')
        if not isinstance(self.outputs, int) or isinstance(self.outputs, bool) or self.outputs < 0:
            raise ValueError(
                f'Outputs of a head must be a whole number of 0 or more, but they are {shown(self.outputs)}.'
            )
        if type(self.layers) is not int or not 0 <= self.layers <= MAX_HEAD_LAYERS:
            raise ValueError(
                f'Layers of a head must be a whole number from 0 to {MAX_HEAD_LAYERS}, but they are '
                f'{shown(self.layers)}.'
            )
        for name in ('residual', 'scaled'):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f'{name} of a head must be true or false, but it is {shown(getattr(self, name))}.')
        if type(self.categories) is not int or not 0 <= self.categories <= MAX_HEAD_CATEGORIES:
            raise ValueError(
                f'Categories of a head must be a whole number from 0 to {MAX_HEAD_CATEGORIES:,}, but they are '
                f'{shown(self.categories)}.'
            )
        if self.pooling not in POOLINGS:
            raise ValueError(
                f'The pooling of a head must be one of {", ".join(POOLINGS)}, but it is {shown(self.pooling)}.'
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f'The activation of a head must be one of {", ".join(ACTIVATIONS)}, but it is {shown(self.activation)}.'
            )
        numbers = [type(value) in (int, float) and -MAX_BOUND <= value <= MAX_BOUND for value in (self.low, self.high)]
        if not all(numbers) or not self.low < self.high:
            raise ValueError(
                f'The bounds of a head must be two numbers, the lower one first, but they are {shown(self.low)} and '
                f'{shown(self.high)}.'
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
    abundance_fusion: str = option(
        AUTO,
        'How the abundance of an ASV enters its token in the sample encoder: film (it scales and shifts the embedding '
        'of the ASV), add (it shifts it) or concat (a layer reads both). auto: film, or as in the encoder.',
        choices=(AUTO, 'film', 'add', 'concat'),
        advanced=True,
        absent='film',
    )
    abundance_as: str = option(
        AUTO,
        'What the network is told of the abundance of an ASV: shares (of the reads), log_counts (the logarithm of its '
        'reads, and that of the reads of its sample: of a table of counts) or presence (no more than that it is '
        'there). The abundance ensemble reads shares. auto: shares, or as in the encoder.',
        choices=(AUTO, 'shares', 'log_counts', 'presence'),
        advanced=True,
        absent='shares',
    )
    activation: str = option(
        AUTO,
        'Activation of the feed-forward networks in the layers of both encoders: gelu, relu or silu. auto: gelu, or as '
        'in the encoder.',
        choices=(AUTO, 'gelu', 'relu', 'silu'),
        advanced=True,
        absent='gelu',
    )
    positions: str = option(
        AUTO,
        'How the layers of the ASV encoder know where a token stands: learned (an embedding of its position is added) '
        'or rotary (attention turns queries and keys by it, so that it tells how far apart tokens are). With both, '
        'tokens are bound to their position by multiplication first. auto: learned, or as in the encoder.',
        choices=(AUTO, 'learned', 'rotary'),
        advanced=True,
        absent='learned',
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
        if self.positions == 'rotary' and isinstance(width, int) and isinstance(heads, int) and width // heads % 2:
            raise ValueError(
                f'Parameter positions is rotary, which needs an even width of each attention head, but width ({width}) '
                f'by attention_heads ({heads}) is {width // heads}; change one of them.'
            )

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
            'abundance_fusion': 'film',
            'abundance_as': 'shares',
            'activation': 'gelu',
            'positions': 'learned',
            'max_sequence_length': max(longest_sequence, 8),
        }
        return dataclasses.replace(self, **{k: v for k, v in derived.items() if getattr(self, k) == AUTO})


# A ModelConfig in which every 'auto' has its value: its fields are numbers, which no annotation can say.
ResolvedModel: typing.TypeAlias = typing.Any


def _heads(width):
    """The largest number of heads not above one for each 32 of `width` that divides it."""
    return next(heads for heads in range(max(1, width // 32), 0, -1) if width % heads == 0)
