"""The whole network: ASV encoder, sample encoder and the heads that a task needs.

Shapes: U distinct ASVs, L nucleotides, T tokens, B samples, N non-zeros, D width, K memberships.
"""

import dataclasses

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .asv_encoder import ASVEncoder, NucleotideHead
from .heads import DistanceHead, RegressionHead
from .initialise import initialise
from .sample_encoder import SampleEncoder, abundance_features

# Floats that a layer keeps for its gradient, for each token and unit of width, beside those of the feed-forward part:
# input, two norms, q k v, their padded copies, attention's output twice.
KEPT_A_TOKEN = 14


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
        Activations that one chunk of work may hold. It cuts the work and never changes a result.
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
        step = max(1, self.max_floats // self._floats(tokens, self.config.asv_layers))
        pieces = []
        for start in range(0, len(codes_UL), step):
            chunk = slice(start, start + step)
            hidden = None if hidden_UT is None else hidden_UT[chunk]
            pieces.append(self._run(self.asv_encoder, len(codes_UL) > step, codes_UL[chunk], lengths_U[chunk], hidden))
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
        cuts = self._sample_cuts(np.diff(offsets))
        parts = []
        for start, end in zip(cuts[:-1], cuts[1:]):
            inside = slice(offsets[start], offsets[end])
            local_B = offsets_B[start : end + 1] - offsets_B[start]
            parts.append(
                SampleEmbeddings(
                    *self._run(self._embed, len(cuts) > 2, asvs_UD, asv_N[inside], abundances_N[inside], local_B)
                )
            )
        return SampleEmbeddings.concatenate(parts)

    def encode(self, batch):
        """Return the SampleEmbeddings of a :class:`q2_aam.data.batches.Batch`."""
        asvs_UD, _ = self.encode_asvs(batch.codes, batch.lengths)
        return self.encode_samples(asvs_UD, batch.asvs, batch.abundances, batch.offsets)

    def _run(self, function, in_chunks, *inputs):
        """Call `function` in the network's precision; where work is cut and a gradient wanted, recompute it then."""
        device = next(self.parameters()).device.type
        with torch.autocast(device, self.precision, enabled=self.precision != torch.float32):
            if in_chunks and torch.is_grad_enabled():
                results = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
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
        """Floats kept for one sequence of `tokens` tokens: those of its layers, and one layer's attention scores."""
        kept = layers * (KEPT_A_TOKEN + 2 * self.config.feed_forward_ratio) * self.config.width * tokens
        return kept + layers * self.config.attention_heads * tokens**2

    def _sample_cuts(self, richness_B):
        """Where to cut B samples into chunks that fit: [0, ..., B]."""
        cuts, held = [0], 0
        for sample, richness in enumerate(richness_B):
            # memberships are computed for each non-zero too
            floats = (
                self._floats(int(richness) + 1, self.config.sample_layers) + 4 * int(richness) * self.config.memberships
            )
            if held and held + floats > self.max_floats:
                cuts.append(sample)
                held = 0
            held += floats
        return [*cuts, len(richness_B)]
