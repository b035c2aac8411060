"""The whole network: ASV encoder, sample encoder and the heads that objectives need.

Shapes: U distinct ASVs, B samples, M masked tokens, N non-zeros, D width, K memberships.
"""

import contextlib
import dataclasses

import torch
from torch import nn

from q2_aam.config import HeadConfig, ResolvedModel
from q2_aam.data.batches import Batch, Budget, SampleChunk

from .asv_encoder import ASVEncoder
from .heads import SampleEmbeddings, make_head
from .initialise import initialise
from .layers import Block, all_recomputed
from .sample_encoder import Memberships, SampleEncoder, abundance_features

# Floats that a layer keeps for its gradient, for each token and unit of width, beside those of the MLP: its input and
# that of the MLP, q k v, attention's output as it comes and joined.
KEPT_PER_TOKEN = 7


@dataclasses.dataclass
class Outputs:
    """What a network gives for a batch.

    Attributes
    ----------
    heads : dict
        {name: outputs} of the heads that the batch asks for.
    asvs : [U, D], or None
        Embeddings of its distinct ASVs, where it reads any.
    samples : SampleEmbeddings or None
        Of its samples, where it has any.
    """

    heads: dict[str, torch.Tensor]
    asvs: torch.Tensor | None = None
    samples: SampleEmbeddings | None = None


class Network(nn.Module):
    """The network of `config`. Make one with :func:`build_network`.

    Parameters
    ----------
    config : q2_aam.config.ModelConfig
        Resolved: without any 'auto'.
    heads : dict
        {name: q2_aam.config.HeadConfig}.

    Attributes
    ----------
    max_floats : int
        Activations that each level may keep for its gradient. What exceeds that is cut off in chunks, which keep their
        inputs only and are computed again for the gradient. It never changes a result.
    precision : torch.dtype
        In which the encoders compute; what they return is float32.
    """

    def __init__(self, config: ResolvedModel, heads: dict[str, HeadConfig]):
        super().__init__()
        self.config = config
        self.max_floats = 2**28
        self.precision = torch.float32
        self.asv_encoder = ASVEncoder(config)
        self.sample_encoder = SampleEncoder(config)
        self.memberships = Memberships(config)
        self.heads = nn.ModuleDict({name: make_head(config, head) for name, head in heads.items()})
        # what it was made of stands in a bundle
        self.head_configs = dict(heads)

    def forward(self, batch: Batch) -> Outputs:
        """Return what the batch asks for: outputs of its heads, and embeddings of what it reads."""
        asvs_UD, samples = batch.embeddings, None
        if batch.sequences:
            asvs_UD = _joined([self._run(self.asv_encoder, chunk.kept, chunk)[0] for chunk in batch.sequences])
        if batch.samples:
            parts = [self._run(self._embed, chunk.kept, asvs_UD, chunk) for chunk in batch.samples]
            samples = SampleEmbeddings.concatenate([SampleEmbeddings(*part) for part in parts])
        given = {'samples': samples}
        if batch.masked:
            given['masked'] = _joined([self._run(self.asv_encoder, chunk.kept, chunk)[1] for chunk in batch.masked])
        heads = {name: self.heads[name](given[self.heads[name].reads]) for name in batch.heads}
        return Outputs(heads, asvs_UD if batch.sequences else None, samples)

    def budget(self) -> Budget:
        """Return how a batch is to be cut; without a gradient a layer is gone when the next is done."""
        config, floats = self.config, (KEPT_PER_TOKEN + self.config.mlp_ratio) * self.config.width
        learns = torch.is_grad_enabled()
        return Budget(
            max_floats=self.max_floats,
            nucleotides_per_token=config.nucleotides_per_token,
            per_sequence_token=floats * (config.asv_layers if learns else 1),
            per_sample_token=floats * (config.sample_layers if learns else 1),
            # memberships are computed for each non-zero too
            per_asv=4 * config.memberships,
            per_pair=config.attention_heads,
        )

    def compile_blocks(self) -> None:
        """Let PyTorch compile the layers: the same code for all of them, so that it is compiled once."""
        for part in self.modules():
            if isinstance(part, Block):
                part.compile_products()

    def _run(self, function, kept, *inputs):
        """Call `function` in the network's precision; what is not `kept` is computed again where it has a gradient."""
        with self._autocast():
            if not kept and torch.is_grad_enabled():
                results = all_recomputed(function, *inputs)
            else:
                results = function(*inputs)
        return tuple(result if result is None else result.float() for result in results)

    def _autocast(self):
        if self.precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(next(self.parameters()).device.type, self.precision)

    def _embed(self, asvs_UD, chunk: SampleChunk):
        features_N = abundance_features(chunk.abundances)
        summary_BD, tokens_ND = self.sample_encoder(asvs_UD, features_N, chunk)
        memberships_BK = self.memberships(asvs_UD, tokens_ND, features_N, chunk)
        mean_BD = torch.segment_reduce(tokens_ND, 'mean', lengths=chunk.richness, axis=0, unsafe=True)
        return summary_BD, mean_BD, memberships_BK


def _joined(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def build_network(
    config: ResolvedModel, heads: dict[str, HeadConfig], generator: torch.Generator | None = None
) -> Network:
    """Return a network on the CPU, its weights drawn from `generator`; without one it has no memory for them yet."""
    # torch's own initialisation would draw from its global generator, which other runs of the process use
    with torch.device('meta'):
        network = Network(config, heads)
    if generator is None:
        return network
    network.to_empty(device='cpu')
    initialise(network, generator)
    return network
