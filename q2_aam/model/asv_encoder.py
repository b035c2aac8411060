"""From nucleotides to an embedding of each ASV.

Shapes: U distinct ASVs, L nucleotides, T tokens of P nucleotides each, N tokens of all ASVs, Q their places with
padding, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .layers import Block, layout_of

# codes of q2_aam.data.sequences: 0 padding, 1 to 4 A C G T, 5 any other letter
CODES = 6
NUCLEOTIDES = 4


class ASVEncoder(nn.Module):
    """Transformer over tokens of neighbouring nucleotides; the mean of its outputs is the embedding of the ASV.

    Nucleotides are bound to their place by multiplication, so that already the mean over an untrained encoder tells
    sequences apart by what stands where (a random projection of the sequence; Plate 1995, doi:10.1109/72.377968).
    """

    def __init__(self, config):
        super().__init__()
        self.nucleotides_per_token = config.nucleotides_per_token
        width = config.width
        tokens = -(-config.max_sequence_length // config.nucleotides_per_token)
        # one row for each code at each place in a token; the rows of code 0 get weight 0, so that padding adds nothing
        self.nucleotide_embedding = nn.Parameter(torch.empty(config.nucleotides_per_token * CODES, width))
        self.position_binding = nn.Parameter(torch.empty(tokens, width))
        self.position_embedding = nn.Parameter(torch.empty(tokens, width))
        self.hidden_embedding = nn.Parameter(torch.empty(1, width))
        self.blocks = nn.ModuleList(
            Block(width, config.attention_heads, config.feed_forward_ratio) for _ in range(config.asv_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, codes_UL, lengths_U, hidden_UT=None):
        """Encode ASVs.

        Parameters
        ----------
        codes_UL : uint8 [U, L]
        lengths_U : int64 [U]
        hidden_UT : bool [U, T], optional
            Tokens whose nucleotides are hidden from the encoder.

        Returns
        -------
        embeddings : [U, D]
        outputs : [tokens that are hidden, D], or None
        """
        x_UTD = self._embed(codes_UL)
        tokens_U = -(-lengths_U // self.nucleotides_per_token)
        if hidden_UT is not None:
            x_UTD = torch.where(hidden_UT[..., None], self.hidden_embedding, x_UTD)
        length = x_UTD.shape[1]
        x_UTD = x_UTD * self.position_binding[:length] + self.position_embedding[:length]
        real_UT = torch.arange(length, device=x_UTD.device) < tokens_U[:, None]
        token_N = real_UT.flatten().nonzero()[:, 0]
        x_ND = x_UTD.flatten(0, 1).index_select(0, token_N)
        layout = layout_of(F.pad(tokens_U.cumsum(0), (1, 0)).cpu().numpy(), x_ND.device)
        x_QD = layout.spread(x_ND)
        for block in self.blocks:
            x_QD = block(x_QD, layout)
        x_ND = self.norm(layout.collect(x_QD))
        embeddings = torch.segment_reduce(x_ND, 'mean', lengths=tokens_U, axis=0, unsafe=True)
        hidden_N = None if hidden_UT is None else hidden_UT.flatten()[token_N].nonzero()[:, 0]
        return embeddings, None if hidden_N is None else x_ND.index_select(0, hidden_N)

    def _embed(self, codes_UL):
        p = self.nucleotides_per_token
        codes_UTP = F.pad(codes_UL, (0, -codes_UL.shape[1] % p)).unflatten(1, (-1, p)).long()
        rows_UTP = codes_UTP + CODES * torch.arange(p, device=codes_UL.device)
        x_ND = F.embedding_bag(
            rows_UTP.flatten(0, 1),
            self.nucleotide_embedding,
            mode='sum',
            per_sample_weights=(codes_UTP > 0).flatten(0, 1).to(self.nucleotide_embedding.dtype),
        )
        return x_ND.unflatten(0, rows_UTP.shape[:2])


class NucleotideHead(nn.Module):
    """Tells the nucleotides of hidden tokens."""

    def __init__(self, config):
        super().__init__()
        self.out = nn.Linear(config.width, config.nucleotides_per_token * NUCLEOTIDES)

    def forward(self, outputs_ND):
        """Return logits [N, P, 4] for the outputs of hidden tokens, [N, D]."""
        return self.out(outputs_ND).unflatten(-1, (-1, NUCLEOTIDES))


def hidden_nucleotides(codes_UL, hidden_UT, nucleotides_per_token):
    """Return the codes of hidden tokens, int64 [hidden, P], in the order of the encoder's hidden outputs."""
    codes_UL = F.pad(codes_UL, (0, -codes_UL.shape[1] % nucleotides_per_token))
    return codes_UL.unflatten(1, (-1, nucleotides_per_token))[hidden_UT].long()
