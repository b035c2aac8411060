"""Covariates in the network: what embeds them, and how they meet the ASVs of a sample. A new fusion is in FUSIONS, too.

They enter behind the sample encoder: what distances and embeddings are made of never sees them. A fusion takes the
summary and the tokens of the ASVs of each sample and gives a summary and a mean that know of the covariates, too.

Shapes: B samples, N non-zeros of the batch, F covariates, C categorical and R numeric ones, D width, H heads, E = D / H
width of a head, K latents.
"""

import dataclasses
import itertools

import torch
import torch.nn.functional as F
from torch import nn

from q2_aam.config import ResolvedModel
from q2_aam.data.batches import SampleChunk
from q2_aam.data.covariates import CovariateSchema

from .segments import largest_of, mean_of, sum_of, wholes_of

# Latent tokens of the perceiver.
LATENTS = 4


@dataclasses.dataclass(frozen=True)
class CovariateForm:
    """What the weights of covariates depend on.

    Attributes
    ----------
    entries : tuple of int
        Of each categorical column: its categories, and the unknown one, which is the first.
    numbers : int
        Numeric columns.
    fusion : str
        A key of FUSIONS.
    """

    entries: tuple[int, ...]
    numbers: int
    fusion: str

    @classmethod
    def of(cls, schema: CovariateSchema, fusion: str) -> 'CovariateForm':
        """Return the form of a schema."""
        return cls(schema.entries, len(schema.numeric), fusion)


class CovariateEncoder(nn.Module):
    """Embeds covariates, each a token of its own, and puts them to what was made of the ASVs."""

    def __init__(self, config: ResolvedModel, form: CovariateForm):
        super().__init__()
        self.form, width = form, config.width
        # where the entries of each column begin
        self.first = tuple(itertools.accumulate((0, *form.entries[:-1]))) if form.entries else ()
        self.category = nn.Parameter(torch.empty(sum(form.entries), width))
        # a number is a direction, its absence another
        self.number = nn.Parameter(torch.empty(form.numbers, 2, width))
        self.number_bias = nn.Parameter(torch.empty(form.numbers, width))
        self.fusion = FUSIONS[form.fusion](config)

    def forward(
        self, summary_BD: torch.Tensor, tokens_ND: torch.Tensor, chunk: SampleChunk
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return summary [B, D] and mean [B, D] that know of the covariates of a chunk, unknown ones included."""
        return self.fusion(summary_BD, tokens_ND, self.embed(chunk), chunk)

    def embed(self, chunk: SampleChunk) -> torch.Tensor:
        """Return the tokens of covariates, [B, F, D]; where a chunk has none, all are unknown."""
        samples, device = chunk.richness.shape[0], self.category.device
        codes_BC, numbers_BR2 = chunk.codes, chunk.numbers
        if codes_BC is None or numbers_BR2 is None:
            codes_BC = torch.zeros(samples, len(self.form.entries), dtype=torch.int64, device=device)
            numbers_BR2 = torch.tensor([0.0, 1.0], device=device).expand(samples, self.form.numbers, 2)
        place_BC = codes_BC + torch.tensor(self.first, dtype=torch.int64, device=device)
        categories_BCD = self.category.index_select(0, place_BC.flatten()).unflatten(0, place_BC.shape)
        numbers_BRD = torch.einsum('brk,rkd->brd', numbers_BR2, self.number) + self.number_bias
        return torch.cat([categories_BCD, numbers_BRD], dim=1)


class Add(nn.Module):
    """What covariates say is added to each ASV, and to the summary."""

    def __init__(self, config):
        super().__init__()
        self.project = nn.Linear(config.width, config.width)

    def forward(self, summary_BD, tokens_ND, covariates_BFD, chunk):
        more_BD = self.project(together(covariates_BFD))
        # the mean of ASVs moves by as much as each of them
        return summary_BD + more_BD, mean_of(tokens_ND, chunk.richness) + more_BD


class Concat(nn.Module):
    """A layer reads each ASV, and the summary, beside the covariates."""

    def __init__(self, config):
        super().__init__()
        # a layer on both side by side is the sum of one on each: covariates are read once a sample
        self.token = nn.Linear(config.width, config.width)
        self.covariate = nn.Linear(config.width, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, summary_BD, tokens_ND, covariates_BFD, chunk):
        more_BD = self.covariate(together(covariates_BFD))
        tokens_ND = self._layer(tokens_ND, more_BD.index_select(0, wholes_of(chunk.richness, chunk.asvs.shape[0])))
        return self._layer(summary_BD, more_BD), mean_of(tokens_ND, chunk.richness)

    def _layer(self, x, more):
        return x + self.out(F.gelu(self.token(x) + more))


class GatedUnit(nn.Module):
    """A gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992) on what was pooled: summary, and mean of ASVs."""

    def __init__(self, config):
        super().__init__()
        width = config.width
        self.sample = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.covariate = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.gate = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))

    def forward(self, summary_BD, tokens_ND, covariates_BFD, chunk):
        given_BD = together(covariates_BFD)
        return tuple(
            self._unit(number, x_BD, given_BD)
            for number, x_BD in enumerate((summary_BD, mean_of(tokens_ND, chunk.richness)))
        )

    def _unit(self, number, x_BD, given_BD):
        gate_BD = torch.sigmoid(self.gate[number](torch.cat([x_BD, given_BD], dim=-1)))
        sample_BD, covariate_BD = torch.tanh(self.sample[number](x_BD)), torch.tanh(self.covariate[number](given_BD))
        return gate_BD * sample_BD + (1 - gate_BD) * covariate_BD


class CrossAttention(nn.Module):
    """Each ASV, and the summary, asks the covariates, and a token that says nothing."""

    def __init__(self, config):
        super().__init__()
        self.heads = config.attention_heads
        self.nothing = nn.Parameter(torch.empty(1, config.width))
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, summary_BD, tokens_ND, covariates_BFD, chunk):
        nothing_B1D = self.nothing.to(covariates_BFD.dtype).expand(covariates_BFD.shape[0], 1, -1)
        asked_BFD = torch.cat([covariates_BFD, nothing_B1D], dim=1)
        key_BFHE, value_BFHE = self.key_value(asked_BFD).unflatten(-1, (2, self.heads, -1)).unbind(2)
        of_N = wholes_of(chunk.richness, chunk.asvs.shape[0])
        tokens_ND = self._ask(tokens_ND, key_BFHE.index_select(0, of_N), value_BFHE.index_select(0, of_N))
        return self._ask(summary_BD, key_BFHE, value_BFHE), mean_of(tokens_ND, chunk.richness)

    def _ask(self, x_ND, key_NFHE, value_NFHE):
        query_NHE = self.query(x_ND).unflatten(-1, (self.heads, -1))
        score_NFH = (query_NHE[:, None] * key_NFHE).sum(-1) * query_NHE.shape[-1] ** -0.5
        weight_NFH = torch.softmax(score_NFH.float(), dim=1).to(value_NFHE.dtype)
        return x_ND + self.out((weight_NFH[..., None] * value_NFHE).sum(1).flatten(1))


class Perceiver(nn.Module):
    """A few latents attend to ASVs and covariates alike (Jaegle et al. 2021, arXiv:2103.03206); their mean is added."""

    def __init__(self, config):
        super().__init__()
        width, self.heads = config.width, config.attention_heads
        self.latents = nn.Parameter(torch.empty(LATENTS, width))
        self.query = nn.Linear(width, width)
        self.token = nn.Linear(width, 2 * width)
        self.covariate = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, summary_BD, tokens_ND, covariates_BFD, chunk):
        query_KHE = self.query(self.latents).unflatten(-1, (self.heads, -1))
        query_KHE = query_KHE * query_KHE.shape[-1] ** -0.5
        key_NHE, value_NHE = self.token(tokens_ND).unflatten(-1, (2, self.heads, -1)).unbind(1)
        key_BFHE, value_BFHE = self.covariate(covariates_BFD).unflatten(-1, (2, self.heads, -1)).unbind(2)
        of_N, samples = wholes_of(chunk.richness, chunk.asvs.shape[0]), summary_BD.shape[0]
        score_NKH = torch.einsum('khe,nhe->nkh', query_KHE, key_NHE).float()
        score_BFKH = torch.einsum('khe,bfhe->bfkh', query_KHE, key_BFHE).float()
        with torch.no_grad():
            # a softmax over both is the same whatever is taken off first
            most_BKH = largest_of(score_NKH, chunk.richness)
            most_BKH = torch.maximum(most_BKH, score_BFKH.amax(dim=1))
        weight_NKH = (score_NKH - most_BKH.index_select(0, of_N)).exp()
        weight_BFKH = (score_BFKH - most_BKH[:, None]).exp()
        total_BKH = sum_of(weight_NKH, chunk.richness)
        total_BKH = total_BKH + weight_BFKH.sum(1)
        read_NKHE = weight_NKH[..., None] * value_NHE[:, None].float()
        read_BKHE = sum_of(read_NKHE, chunk.richness)
        read_BKHE = read_BKHE + torch.einsum('bfkh,bfhe->bkhe', weight_BFKH, value_BFHE.float())
        x_BKD = self.latents + (read_BKHE / total_BKH[..., None]).reshape(samples, LATENTS, -1)
        x_BKD = x_BKD + self.out(F.gelu(self.hidden(self.norm(x_BKD))))
        return summary_BD + x_BKD.mean(1), mean_of(tokens_ND, chunk.richness)


# By the parameter covariate_fusion: (configuration of the model) -> module that takes the summaries [B, D] and tokens
# [N, D] of a chunk, tokens of covariates [B, F, D] and the chunk, and gives summary and mean, [B, D] each.
FUSIONS: dict[str, type[nn.Module]] = {
    'concat': Concat,
    'add': Add,
    'gmu': GatedUnit,
    'cross_attention': CrossAttention,
    'perceiver': Perceiver,
}


def floats_per_asv(config: ResolvedModel, form: CovariateForm | None) -> int:
    """Return how many floats fusion keeps for each ASV of a sample, at most."""
    if form is None:
        return 0
    columns = len(form.entries) + form.numbers
    of_fusion = {'cross_attention': 3 * (columns + 2), 'perceiver': 2 * LATENTS + 3, 'concat': 4}
    return of_fusion.get(form.fusion, 1) * config.width


def together(covariates_BFD: torch.Tensor) -> torch.Tensor:
    """Return one vector for all covariates of a sample, [B, D], as long as that of one."""
    return covariates_BFD.sum(1) * covariates_BFD.shape[1] ** -0.5
