"""The whole network: ASV encoder, sample encoder and the heads that a task needs.

Shapes: U distinct ASVs, L nucleotides, T tokens, B samples, N non-zeros, D width, K memberships.
"""

import dataclasses

import numpy as np
import torch
from torch import nn

from .asv_encoder import ASVEncoder, NucleotideHead
from .heads import DistanceHead, RegressionHead
from .initialise import initialise
from .layers import all_recomputed
from .sample_encoder import SampleEncoder, abundance_features

# Floats that a layer keeps for its gradient, for each token and unit of width, beside those of the feed-forward part:
# its input and that of the feed-forward part, q k v, attention's output as it comes and joined.
KEPT_A_TOKEN = 7
# Work that exceeds max_floats is cut into chunks of this share of it: small, so that little is computed twice.
SHARE_OF_A_CHUNK = 1 / 4


@dataclasses.dataclass
class SampleEmbeddings:
    """What the heads see of B samples: summary [B, D], mean [B, D], unions [B, K]."""

    summary: torch.Tensor
    mean: torch.Tensor
    unions: torch.Tensor

    @classmethod
    def concatenate(cls, parts):
        """Join the embeddings of chunks of samples."""
        return cls(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(cls)})


class Network(nn.Module):
    """The network of `config`, initialised from torch's default generator.

    Parameters
    ----------
    config : q2_aam.config.ModelConfig
        Resolved: without any 'auto'.
    nucleotides : bool
        Whether to have the head that tells hidden nucleotides, which only pretraining needs.
    outputs : int
        Outputs of the regression head; 0 has none.

    Attributes
    ----------
    max_floats : int
        Activations that each level may keep for its gradient. What exceeds that is cut off in chunks, which keep their
        inputs only and are computed again for the gradient. It never changes a result.
    precision : torch.dtype
        In which the encoders compute; what they return is float32.
    """

    def __init__(self, config, nucleotides=False, outputs=0):
        super().__init__()
        self.config = config
        self.max_floats = 2**28
        self.precision = torch.float32
        self.asv_encoder = ASVEncoder(config)
        self.sample_encoder = SampleEncoder(config)
        self.distance_head = DistanceHead(config)
        self.nucleotide_head = NucleotideHead(config) if nucleotides else None
        self.regression_head = RegressionHead(config, outputs) if outputs else None
        initialise(self)

    def encode_asvs(self, codes_UL, lengths_U, hidden_UT=None):
        """Encode distinct ASVs, chunk by chunk; see :meth:`ASVEncoder.forward`."""
        tokens = -(-codes_UL.shape[1] // self.config.nucleotides_per_token)
        floats = self._floats(np.full(len(codes_UL), tokens), self.config.asv_layers)
        pieces = []
        for start, end, kept in self._chunks(floats):
            chunk = slice(start, end)
            hidden = None if hidden_UT is None else hidden_UT[chunk]
            pieces.append(self._run(self.asv_encoder, kept, codes_UL[chunk], lengths_U[chunk], hidden))
        embeddings, outputs = zip(*pieces)
        return torch.cat(embeddings), None if hidden_UT is None else torch.cat(outputs)

    def encode_samples(self, asvs_UD, asv_N, abundances_N, offsets_B):
        """Encode samples, chunk by chunk, from the embeddings of the ASVs they hold.

        Parameters
        ----------
        asvs_UD : [U, D]
        asv_N : int64 [N]
            Row in `asvs_UD` of each non-zero.
        abundances_N : [N]
            Share of the sample's reads.
        offsets_B : int64 [B + 1]
            Where each sample begins among the non-zeros.

        Returns
        -------
        SampleEmbeddings
        """
        offsets = offsets_B.tolist()
        richness_B = np.diff(offsets)
        # memberships are computed for each non-zero too
        floats = self._floats(richness_B + 1, self.config.sample_layers) + 4 * self.config.memberships * richness_B
        parts = []
        for start, end, kept in self._chunks(floats):
            inside = slice(offsets[start], offsets[end])
            local_B = offsets_B[start : end + 1] - offsets_B[start]
            parts.append(
                SampleEmbeddings(*self._run(self._embed, kept, asvs_UD, asv_N[inside], abundances_N[inside], local_B))
            )
        return SampleEmbeddings.concatenate(parts)

    def encode(self, batch):
        """Return the SampleEmbeddings of a :class:`q2_aam.data.batches.Batch`."""
        asvs_UD, _ = self.encode_asvs(batch.codes, batch.lengths)
        return self.encode_samples(asvs_UD, batch.asvs, batch.abundances, batch.offsets)

    def _run(self, function, kept, *inputs):
        """Call `function` in the network's precision; what is not `kept` is computed again where it has a gradient."""
        device = next(self.parameters()).device.type
        with torch.autocast(device, self.precision, enabled=self.precision != torch.float32):
            if not kept and torch.is_grad_enabled():
                results = all_recomputed(function, *inputs)
            else:
                results = function(*inputs)
        return tuple(result if result is None else result.float() for result in results)

    def _embed(self, asvs_UD, asv_N, abundances_N, offsets_B):
        features_N = abundance_features(abundances_N)
        summary_BD, tokens_ND = self.sample_encoder(asvs_UD, asv_N, features_N, offsets_B)
        unions_BK = self.distance_head.unions(asvs_UD, asv_N, tokens_ND, features_N, offsets_B)
        mean_BD = torch.segment_reduce(tokens_ND, 'mean', lengths=offsets_B.diff(), axis=0, unsafe=True)
        return summary_BD, mean_BD, unions_BK

    def _floats(self, tokens, layers):
        """Floats held for sequences of `tokens` tokens: those that layers keep, and one layer's attention scores.

        Without a gradient a layer is gone when the next is done.
        """
        kept = (layers if torch.is_grad_enabled() else 1) * (KEPT_A_TOKEN + self.config.feed_forward_ratio)
        return kept * self.config.width * tokens + self.config.attention_heads * tokens**2

    def _chunks(self, floats):
        """Cut sequences that keep `floats` each into chunks (start, end, whether the chunk is kept for its gradient).

        The last ones are kept, as many as fit: gradients come in reverse, so that they are gone before the first ones
        are computed again.
        """
        if floats.sum() <= self.max_floats:
            return [(0, len(floats), True)]
        cuts, held = [0], 0
        for sequence, size in enumerate(floats.tolist()):
            if held and held + size > SHARE_OF_A_CHUNK * self.max_floats:
                cuts.append(sequence)
                held = 0
            held += size
        cuts.append(len(floats))
        behind = floats[::-1].cumsum()[::-1]
        return [(start, end, bool(behind[start] <= self.max_floats)) for start, end in zip(cuts[:-1], cuts[1:])]
