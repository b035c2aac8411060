"""From nucleotides to an embedding of each ASV.

Shapes: U distinct ASVs, L nucleotides, T tokens of P nucleotides each, N tokens of all ASVs, M masked tokens, Q places
of tokens with padding, D width, F half the width of an attention head.
"""

import torch
import torch.nn.functional as F
from torch import nn

from q2_aam.config import ResolvedModel
from q2_aam.data.batches import SequenceChunk

from .layers import Block, turns_of
from .segments import mean_of

# codes of q2_aam.data.sequences: 0 padding, 1 to 4 A C G T, 5 any other letter
CODES = 6


class SumOfRows(torch.autograd.Function):
    """Weighted sums of rows of a table: PyTorch's embedding bag, with one matrix product as its gradient.

    There are few rows, and each token has one for each of its nucleotides, none twice: to sort them by row, as PyTorch
    does, takes several times as long.
    """

    @staticmethod
    def forward(ctx, table_RD, rows_NP, weights_NP):
        """Return [N, D]: the sum of the P rows of each token."""
        ctx.save_for_backward(rows_NP, weights_NP)
        ctx.rows = len(table_RD)
        return F.embedding_bag(rows_NP, table_RD, mode='sum', per_sample_weights=weights_NP)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        """Return the gradient of the table, [R, D]."""
        (d_ND,) = gradients
        rows_NP, weights_NP = ctx.saved_tensors
        counts_NR = d_ND.new_zeros(len(d_ND), ctx.rows).scatter_(1, rows_NP, weights_NP.to(d_ND.dtype))
        return counts_NR.mT @ d_ND, None, None


class ASVEncoder(nn.Module):
    """Transformer over tokens of neighbouring nucleotides; the mean of its outputs is the embedding of the ASV.

    Nucleotides are bound to their position by multiplication, so that even the mean over an untrained encoder tells
    sequences apart by what stands where (a random projection of the sequence; Plate 1995, doi:10.1109/72.377968).
    """

    def __init__(self, config: ResolvedModel):
        super().__init__()
        self.nucleotides_per_token = config.nucleotides_per_token
        width = config.width
        tokens = -(-config.max_sequence_length // config.nucleotides_per_token)
        # one row for each code at each place in a token; the rows of code 0 get weight 0, so that padding adds nothing
        self.nucleotide_embedding = nn.Parameter(torch.empty(config.nucleotides_per_token * CODES, width))
        self.position_binding = nn.Parameter(torch.empty(tokens, width))
        # of each head, where attention is turned by positions
        self.turned_width = width // config.attention_heads if config.positions == 'rotary' else 0
        if not self.turned_width:
            self.position_embedding = nn.Parameter(torch.empty(tokens, width))
        self.mask_embedding = nn.Parameter(torch.empty(1, width))
        self.blocks = nn.ModuleList(
            Block(width, config.attention_heads, config.mlp_ratio, config.activation) for _ in range(config.asv_layers)
        )
        self.norm = nn.LayerNorm(width)

    @property
    def embedding(self) -> tuple[nn.Parameter, float]:
        """What tokens are embedded with, and its spread to begin with: a token is as large whatever it is made of."""
        return self.nucleotide_embedding, 0.5

    def forward(self, chunk: SequenceChunk) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode ASVs.

        Returns
        -------
        embeddings : [U, D]
        masked : [M, D], or None
            Outputs of the masked tokens.
        """
        x_UTD = self._embed(chunk.codes)
        if chunk.masked is not None:
            x_UTD = torch.where(chunk.masked[..., None], self.mask_embedding, x_UTD)
        length = x_UTD.shape[1]
        x_UTD = x_UTD * self.position_binding[:length]
        turns_2QF = None
        if self.turned_width:
            turns_2QF = self._turns(chunk, length)
        else:
            x_UTD = x_UTD + self.position_embedding[:length]
        x_QD = chunk.layout.to_places(x_UTD.flatten(0, 1).index_select(0, chunk.real))
        for block in self.blocks:
            x_QD = block(x_QD, chunk.layout, turns_2QF)
        x_ND = self.norm(chunk.layout.to_tokens(x_QD))
        embeddings_UD = mean_of(x_ND, chunk.tokens)
        masked_MD = None if chunk.masked_tokens is None else x_ND.index_select(0, chunk.masked_tokens)
        return embeddings_UD, masked_MD

    def _turns(self, chunk, length):
        turns_2TF = turns_of(length, self.turned_width, chunk.codes.device)
        # the same for each ASV; no remainders, which graphs for other runtimes lack
        turns_2UTF = turns_2TF[:, None].expand(-1, chunk.codes.shape[0], -1, -1)
        return torch.stack(
            [chunk.layout.to_places(turn.flatten(0, 1).index_select(0, chunk.real)) for turn in turns_2UTF]
        )

    def _embed(self, codes_UL):
        p = self.nucleotides_per_token
        codes_UTP = F.pad(codes_UL, (0, -codes_UL.shape[1] % p)).unflatten(1, (-1, p)).long()
        rows_UTP = codes_UTP + CODES * torch.arange(p, device=codes_UL.device)
        weights_UTP = (codes_UTP > 0).to(self.nucleotide_embedding.dtype)
        if torch.compiler.is_exporting():
            # other runtimes know no bags and would loop over them
            return (F.embedding(rows_UTP, self.nucleotide_embedding) * weights_UTP[..., None]).sum(2)
        x_ND = SumOfRows.apply(self.nucleotide_embedding, rows_UTP.flatten(0, 1), weights_UTP.flatten(0, 1))
        return x_ND.unflatten(0, rows_UTP.shape[:2])


class NamedFeatureEncoder(ASVEncoder):
    """The same of features without sequences, whose tokens have embeddings of their own.

    The tokens of a feature are its clades, from the root on, and last itself (:mod:`q2_aam.data.known_features`):
    features of one clade share what is learned of it.
    """

    def __init__(self, config: ResolvedModel, tokens: int):
        super().__init__(config)
        del self.nucleotide_embedding
        # row 0 is of a feature that is unknown
        self.token_embedding = nn.Parameter(torch.empty(tokens + 1, config.width))

    @property
    def embedding(self) -> tuple[nn.Parameter, float]:
        """What tokens are embedded with, and its spread to begin with."""
        return self.token_embedding, 1.0

    def _embed(self, codes_UL):
        return F.embedding(codes_UL.long(), self.token_embedding)
