"""The whole network: ASV encoder, sample encoder and the heads that objectives need.

Shapes: U distinct ASVs, B samples, M masked tokens, N non-zeros, D width, K memberships.
"""

import contextlib
import dataclasses
from typing import Any

import torch
from torch import nn

from q2_aam.config import HeadConfig, ResolvedModel
from q2_aam.data.batches import Batch, Budget, SampleChunk
from q2_aam.data.shares import ALONE, Alone
from q2_aam.data.tensors import moved

from .asv_encoder import ASVEncoder, NamedFeatureEncoder
from .covariates import CovariateEncoder, CovariateForm, floats_per_asv
from .heads import DistanceHead, OwnBranchDistanceHead, SampleEmbeddings, make_head
from .initialise import initialise
from .layers import Block, all_recomputed, needs_no_buckets
from .sample_encoder import Memberships, SampleEncoder, features_of
from .segments import mean_of

# Floats that a layer keeps for its gradient, for each token and unit of width, beside those of the MLP: its input and
# that of the MLP, q k v, attention's output as it comes and joined.
KEPT_PER_TOKEN = 7
# The same on a GPU, where norms and activations are kept too: beside twice those of the MLP.
KEPT_ON_GPU = 9
# The largest tensor of a chunk on a CPU, in floats. Beyond 32 MB glibc asks the system for fresh memory each time, and
# its pages cost more than a matrix product that fills them.
LARGEST_ON_CPU = 6 * 2**20
# Heads, by their kind, that never see covariates.
WITHOUT_COVARIATES = ('distances',)


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
        Of its samples, where it has any; they know nothing of covariates.
    """

    heads: dict[str, torch.Tensor]
    asvs: torch.Tensor | None = None
    samples: SampleEmbeddings | None = None

    def to(self, device: torch.device) -> 'Outputs':
        """Return the outputs on another device."""
        return moved(self, device)


class Network(nn.Module):
    """The network of `config`. Make one with :func:`build_network`.

    Parameters
    ----------
    config : q2_aam.config.ModelConfig
        Resolved: without any 'auto'.
    heads : dict
        {name: q2_aam.config.HeadConfig}.
    covariates : q2_aam.model.covariates.CovariateForm, optional
        Where it reads some.
    tokens : int, optional
        How many tokens there are of named features; without them it reads sequences.

    Attributes
    ----------
    max_floats : int
        Activations that each level may keep for its gradient. What exceeds that is cut off in chunks, which keep their
        inputs only and are computed again for the gradient. It never changes a result.
    precision : torch.dtype
        In which the encoders compute; what they return is float32.
    copies : list of Network
        The same network on other devices, which read with it (:mod:`q2_aam.runtime.copies`).
    """

    def __init__(
        self,
        config: ResolvedModel,
        heads: dict[str, HeadConfig],
        covariates: CovariateForm | None = None,
        tokens: int | None = None,
    ):
        super().__init__()
        self.config = config
        self.max_floats = 2**28
        self.precision = torch.float32
        # no list of torch's: a copy is no part of the network
        self.copies: list[Network] = []
        self.asv_encoder = ASVEncoder(config) if tokens is None else NamedFeatureEncoder(config, tokens)
        self.sample_encoder = SampleEncoder(config)
        self.memberships = Memberships(config)
        self.heads = nn.ModuleDict({name: make_head(config, head) for name, head in heads.items()})
        # what it was made of stands in a bundle
        self.head_configs = dict(heads)
        self.covariates = None if covariates is None else CovariateEncoder(config, covariates)

    def forward(self, batch: Batch, share: Alone = ALONE) -> Outputs:
        """Return what the batch asks for: outputs of its heads, and embeddings of what it reads.

        Where the batch is the `share` of one process among several, what all of them compute is joined here.
        """
        asvs_UD, samples, informed = batch.embeddings, None, None
        if batch.sequences:
            parts = [self._run(self.asv_encoder, chunk.kept, chunk)[0] for chunk in batch.sequences]
            (asvs_UD,) = share.join('sequences', _joined(parts))
        if batch.samples:
            read = [self._run(self._embed, chunk.kept, asvs_UD, chunk) for chunk in batch.samples]
            summary, mean, memberships, *more = share.join('samples', *map(_joined, zip(*read)))
            samples = informed = SampleEmbeddings(summary, mean, memberships)
            if self.covariates is not None:
                informed = SampleEmbeddings(more[0], more[1], memberships)
        given: dict[str, Any] = {'samples': informed, 'uninformed': samples}
        if samples is not None:
            given['branches'] = samples.memberships, asvs_UD, *share.held(batch.samples)
        given['asvs'] = asvs_UD
        if batch.masked:
            parts = [self._run(self.asv_encoder, chunk.kept, chunk)[1] for chunk in batch.masked]
            (given['masked'],) = share.join('masked', _joined(parts))
        if batch.masked_samples:
            parts = [self._run(self._tokens, chunk.kept, asvs_UD, chunk)[0] for chunk in batch.masked_samples]
            (given['masked_samples'],) = share.join('masked_samples', _joined(parts))
        heads = {
            name: self._head(name, given[self._reads(name)], share, batch.given.get(name, ())) for name in batch.heads
        }
        return Outputs(heads, asvs_UD if batch.sequences else None, samples)

    def _head(self, name, given, share, more):
        head = self.heads[name]
        if share is ALONE or not isinstance(head, DistanceHead | OwnBranchDistanceHead):
            return head(given, *more)
        # all pairs of samples would be the largest part of what every process computes
        samples = head.branches(*given) if isinstance(head, OwnBranchDistanceHead) else given.memberships
        own = share.own_rows('pairs', len(samples))
        # what samples share and have beside memberships, of these rows and of all
        beside = [(more[0][own], more[1][own], more[1])] if more else []
        (distances_BB,) = share.join('pairs', head.between(samples[own], samples, *beside))
        return distances_BB

    def _reads(self, name):
        return 'uninformed' if self.head_configs[name].kind in WITHOUT_COVARIATES else self.heads[name].reads

    def budget(self) -> Budget:
        """Return how a batch is to be cut; without a gradient a layer is gone when the next is done."""
        config = self.config
        learns, widest = torch.is_grad_enabled(), max(3, config.mlp_ratio) * config.width
        device = next(self.parameters()).device
        kept = KEPT_PER_TOKEN + config.mlp_ratio if device.type != 'cuda' else KEPT_ON_GPU + 2 * config.mlp_ratio
        floats = kept * config.width
        return Budget(
            max_floats=self.max_floats,
            nucleotides_per_token=config.nucleotides_per_token,
            per_sequence_token=(floats + 2 * config.width * (config.positions == 'rotary'))
            * (config.asv_layers if learns else 1),
            per_sample_token=floats * (config.sample_layers if learns else 1),
            # memberships are computed for each non-zero too
            per_asv=4 * config.memberships + floats_per_asv(config, self.covariates and self.covariates.form),
            per_pair=config.attention_heads,
            max_tokens=max(1, LARGEST_ON_CPU // widest) if device.type == 'cpu' else 2**62,
            # what explains attention reads its weights bucket by bucket, without a gradient
            ragged=learns and needs_no_buckets(device, self.precision, config.width // config.attention_heads),
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
        features_N = features_of(chunk, self.config.abundance_as)
        summary_BD, tokens_ND = self.sample_encoder(asvs_UD, features_N, chunk)
        memberships_BK = self.memberships(asvs_UD, tokens_ND, features_N, chunk)
        uninformed = summary_BD, mean_of(tokens_ND, chunk.richness), memberships_BK
        return uninformed if self.covariates is None else (*uninformed, *self.covariates(summary_BD, tokens_ND, chunk))

    def _tokens(self, asvs_UD, chunk: SampleChunk):
        return (self.sample_encoder(asvs_UD, features_of(chunk, self.config.abundance_as), chunk)[1],)


def _joined(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def build_network(
    config: ResolvedModel,
    heads: dict[str, HeadConfig],
    generator: torch.Generator | None = None,
    covariates: CovariateForm | None = None,
    tokens: int | None = None,
) -> Network:
    """Return a network on the CPU, its weights drawn from `generator`; without one it has no memory for them yet."""
    # torch's own initialisation would draw from its global generator, which other runs of the process use
    with torch.device('meta'):
        network = Network(config, heads, covariates, tokens)
    if generator is None:
        return network
    network.to_empty(device='cpu')
    initialise(network, generator)
    return network
