"""A plainly written padded baseline with the layers and weights of q2_aam's network.

    python tests/benchmarks/padded.py [--data FOLDER] [--seed 1] [--quick]

It follows the reference implementation's procedure: every ASV of every sample is encoded anew (rows that are all
padding are skipped there), the sample level is padded to 1,024 ASVs or to the largest sample of the batch, tokens are
masked in every ASV of the batch, and logits are computed for every token. Run as a script it checks that its outputs
are those of q2_aam for the same samples.

Shapes: B samples, S places for ASVs in each, M ASVs of all samples, L nucleotides, T tokens of P nucleotides, D width.
"""

import dataclasses

import bench
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from q2_aam.data.batches import draw_samples, make_batch, sequence_chunks
from q2_aam.data.masking import choose_masked_tokens
from q2_aam.model.asv_encoder import CODES
from q2_aam.model.heads import HEADS, SampleEmbeddings
from q2_aam.model.losses import distance_loss, nucleotide_loss
from q2_aam.model.sample_encoder import ABUNDANCE_FEATURES, Memberships, abundance_features
from q2_aam.runtime.encode import device_of

# the reference implementation's defaults
REFERENCE_TOKENS, REFERENCE_BATCH, REFERENCE_PAD, REFERENCE_CHUNK = 1, 8, 1024, 256
REFERENCE_FORM = {'nucleotides_per_token': REFERENCE_TOKENS, 'mlp_ratio': 4, 'precision': 'float32'}
# on a GPU TF32 keeps 10 bits of what is multiplied
TOLERANCES = {'cpu': 1e-4, 'cuda': 2e-3}


@dataclasses.dataclass
class Procedure:
    """How the baseline runs: places a sample is padded to (None: most in the batch), ASVs in a chunk (None: all)."""

    pad_to: int | None = None
    asvs_a_chunk: int | None = None
    checkpointing: bool = False


REFERENCE = Procedure(REFERENCE_PAD, REFERENCE_CHUNK, True)


@dataclasses.dataclass
class PaddedBatch:
    """codes uint8 [B, S, L], lengths int64 [B, S], abundances [B, S], real bool [B, S]."""

    codes: torch.Tensor
    lengths: torch.Tensor
    abundances: torch.Tensor
    real: torch.Tensor


def make_padded(study, rows, pad_to=None, device=bench.CPU):
    """Gather samples into a :class:`PaddedBatch`; no sample has more than `pad_to` ASVs."""
    places = pad_to or int(study.richness[rows].max())
    codes = np.zeros((len(rows), places, study.codes.shape[1]), dtype=np.uint8)
    lengths = np.zeros((len(rows), places), dtype=np.int64)
    abundances = np.zeros((len(rows), places), dtype=np.float32)
    for place, row in enumerate(rows):
        inside = slice(study.offsets[row], study.offsets[row + 1])
        asvs = study.asvs[inside]
        codes[place, : len(asvs)] = study.codes[asvs]
        lengths[place, : len(asvs)] = study.lengths[asvs]
        abundances[place, : len(asvs)] = study.abundances[inside]
    tensors = [torch.from_numpy(array).to(device) for array in (codes, lengths, abundances)]
    return PaddedBatch(*tensors, tensors[1] > 0)


class PaddedBlock(nn.Module):
    """A pre-norm transformer layer on padded sequences [R, S, D]; real bool [R, S], or None without padding."""

    def __init__(self, config):
        super().__init__()
        width = config.width
        self.heads = config.attention_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, config.mlp_ratio * width)
        self.mlp_out = nn.Linear(config.mlp_ratio * width, width)

    def forward(self, x_RSD, real_RS):
        qkv = self.query_key_value(self.attention_norm(x_RSD)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mask = None if real_RS is None else real_RS[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x_RSD = x_RSD + self.attention_out(out)
        return x_RSD + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x_RSD))))


class PaddedASVEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, self.per_token = config.width, config.nucleotides_per_token
        tokens = -(-config.max_sequence_length // self.per_token)
        self.nucleotide_embedding = nn.Parameter(torch.empty(self.per_token * CODES, width))
        self.position_binding = nn.Parameter(torch.empty(tokens, width))
        self.position_embedding = nn.Parameter(torch.empty(tokens, width))
        self.mask_embedding = nn.Parameter(torch.empty(1, width))
        self.blocks = nn.ModuleList(PaddedBlock(config) for _ in range(config.asv_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, codes_ML, lengths_M, masked_MT, checkpointing):
        """Return embeddings [M, D] and outputs of every token [M, T, D]."""
        codes_MTP = F.pad(codes_ML, (0, -codes_ML.shape[1] % self.per_token)).unflatten(1, (-1, self.per_token)).long()
        rows_MTP = codes_MTP + CODES * torch.arange(self.per_token, device=codes_ML.device)
        weights = (codes_MTP > 0).to(self.nucleotide_embedding.dtype).flatten(0, 1)
        x_MTD = F.embedding_bag(
            rows_MTP.flatten(0, 1), self.nucleotide_embedding, mode='sum', per_sample_weights=weights
        ).unflatten(0, rows_MTP.shape[:2])
        if masked_MT is not None:
            x_MTD = torch.where(masked_MT[..., None], self.mask_embedding, x_MTD)
        tokens = x_MTD.shape[1]
        x_MTD = x_MTD * self.position_binding[:tokens] + self.position_embedding[:tokens]
        real_MT = torch.arange(tokens, device=x_MTD.device) < -(-lengths_M // self.per_token)[:, None]
        x_MTD = self.norm(_through(self.blocks, x_MTD, real_MT, checkpointing))
        share_MT = real_MT / real_MT.sum(1, keepdim=True)
        return (x_MTD * share_MT[..., None]).sum(1), x_MTD


class PaddedSampleEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.width
        self.asv_in = nn.Linear(width, width)
        self.abundance_in = nn.Linear(ABUNDANCE_FEATURES, width)
        self.abundance_scale = nn.Linear(ABUNDANCE_FEATURES, width)
        self.summary_embedding = nn.Parameter(torch.empty(1, width))
        self.blocks = nn.ModuleList(PaddedBlock(config) for _ in range(config.sample_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, asvs_BSD, features_BSF, real_BS, checkpointing):
        x_BSD = self.asv_in(asvs_BSD) * (1 + self.abundance_scale(features_BSF)) + self.abundance_in(features_BSF)
        x_BSD = torch.cat([self.summary_embedding.expand(len(x_BSD), 1, -1), x_BSD], dim=1)
        x_BSD = self.norm(_through(self.blocks, x_BSD, F.pad(real_BS, (1, 0), value=True), checkpointing))
        return x_BSD[:, 0], x_BSD[:, 1:]


def _through(blocks, x_RSD, real_RS, checkpointing):
    real_RS = None if real_RS.all() else real_RS
    for block in blocks:
        if checkpointing and torch.is_grad_enabled():
            x_RSD = checkpoint(block, x_RSD, real_RS, use_reentrant=False, preserve_rng_state=False)
        else:
            x_RSD = block(x_RSD, real_RS)
    return x_RSD


class PaddedNetwork(nn.Module):
    """The weights of `network`, a q2_aam Network with heads for nucleotides and a target, run by `procedure`."""

    def __init__(self, network, procedure):
        super().__init__()
        self.config, self.procedure = network.config, procedure
        self.asv_encoder = PaddedASVEncoder(network.config)
        self.sample_encoder = PaddedSampleEncoder(network.config)
        self.memberships = Memberships(network.config)
        self.heads = nn.ModuleDict(
            {name: HEADS[head.kind](network.config, head) for name, head in network.head_configs.items()}
        )
        self.load_state_dict(network.state_dict())

    def forward(self, batch, masked_MT=None, logits=False):
        """Return the SampleEmbeddings of B samples, and logits [M, T, P, 4] of every token of every ASV or None."""
        codes_ML, lengths_M = batch.codes[batch.real], batch.lengths[batch.real]
        asvs_MD, logits_MTP4 = self.encode_asvs(codes_ML, lengths_M, masked_MT, logits)
        asvs_BSD = asvs_MD.new_zeros(*batch.real.shape, asvs_MD.shape[-1])
        asvs_BSD[batch.real] = asvs_MD
        features_BSF = abundance_features(batch.abundances)
        summary_BD, tokens_BSD = self.sample_encoder(asvs_BSD, features_BSF, batch.real, self.procedure.checkpointing)
        part = self.memberships
        members_BSK = torch.sigmoid(part.asv(asvs_BSD) + part.context(tokens_BSD))
        members_BSK = members_BSK * torch.sigmoid(part.presence(features_BSF))
        memberships_BK = members_BSK.masked_fill(~batch.real[..., None], 0).amax(1)
        share_BS = batch.real / batch.real.sum(1, keepdim=True)
        return SampleEmbeddings(summary_BD, (tokens_BSD * share_BS[..., None]).sum(1), memberships_BK), logits_MTP4

    def encode_asvs(self, codes_ML, lengths_M, masked_MT=None, logits=False):
        """Return embeddings [M, D] and, if asked for, the logits of every token; chunk by chunk."""
        step = self.procedure.asvs_a_chunk or len(codes_ML)
        embeddings, all_logits = [], []
        for start in range(0, len(codes_ML), step):
            chunk = slice(start, start + step)
            masked = None if masked_MT is None else masked_MT[chunk]
            asvs, tokens = self.asv_encoder(codes_ML[chunk], lengths_M[chunk], masked, self.procedure.checkpointing)
            embeddings.append(asvs)
            if logits:
                all_logits.append(self.heads['nucleotides'](tokens))
        return torch.cat(embeddings), torch.cat(all_logits) if logits else None


def padded_loss(study, pairs, config, procedure, device=bench.CPU):
    """Return the baseline's loss of a batch, (network, rows, generator) -> scalar: both tasks from one reading."""

    def loss(network, rows, generator):
        batch = make_padded(study, rows, procedure.pad_to, device)
        codes_ML, lengths_M = batch.codes[batch.real], batch.lengths[batch.real]
        per_token = config.model.nucleotides_per_token
        masked_MT = masked_tokens(codes_ML, lengths_M, per_token, config.training.mask_ratio, generator)
        embeddings, logits_MTP4 = network(batch, masked_MT, logits=True)
        true_BB = torch.from_numpy(pairs.among(rows)).to(device)
        distance = distance_loss(network.heads['distances'](embeddings), true_BB, pairs.variance)
        codes_MTP = F.pad(codes_ML, (0, -codes_ML.shape[1] % per_token)).unflatten(1, (-1, per_token)).long()
        return distance + nucleotide_loss(logits_MTP4[masked_MT], codes_MTP[masked_MT])[0]

    return loss


def masked_tokens(codes_ML, lengths_M, per_token, ratio, generator):
    """Choose tokens to mask as q2_aam does; return bool [M, T] with a place for every token of the padded codes."""
    masked_MT = torch.from_numpy(choose_masked_tokens(lengths_M.cpu().numpy(), per_token, ratio, generator))
    return F.pad(masked_MT, (0, -(-codes_ML.shape[1] // per_token) - masked_MT.shape[1])).to(codes_ML.device)


def predict(network, study, rows, batch_size, device=bench.CPU):
    """Return the outputs of the baseline's head of a target for `rows`, [rows, outputs]."""
    with torch.no_grad():
        pieces = []
        for start in range(0, len(rows), batch_size):
            batch = make_padded(study, rows[start : start + batch_size], network.procedure.pad_to, device)
            pieces.append(network.heads['target'](network(batch)[0]))
        return torch.cat(pieces)


def largest_difference(network, padded, study, rows):
    """Return the largest difference between the outputs of q2_aam and of the baseline for the same samples.

    It covers the embeddings of samples, predicted distances, outputs for a target, and the logits of masked tokens.
    """
    with torch.no_grad():
        device = device_of(network)
        drawn = draw_samples(study, rows, sequences=True)
        batch = make_batch(drawn, network.budget(), tuple(network.heads))
        codes_UL, lengths_U = torch.from_numpy(drawn.codes).to(device), torch.from_numpy(drawn.lengths).to(device)
        per_token = network.config.nucleotides_per_token
        masked_UT = masked_tokens(codes_UL, lengths_U, per_token, 0.15, np.random.default_rng(0))
        batch.masked = sequence_chunks(drawn.codes, drawn.lengths, network.budget(), masked_UT.cpu().numpy())
        ours = network(batch.to(device))
        theirs, _ = padded(make_padded(study, rows, padded.procedure.pad_to, device))
        logits_UTP4 = padded.encode_asvs(codes_UL, lengths_U, masked_UT, logits=True)[1]
        pairs = [(getattr(ours.samples, f.name), getattr(theirs, f.name)) for f in dataclasses.fields(theirs)]
        pairs += [(ours.heads[name], padded.heads[name](theirs)) for name in ('distances', 'target')]
        pairs.append((ours.heads['nucleotides'], logits_UTP4[masked_UT]))
        return max(float((one - two).abs().max()) for one, two in pairs)


def check_equal(network, padded, study, rows):
    """Print the largest difference, and stop where it is above the tolerance: no speed is compared then."""
    difference = largest_difference(network, padded, study, rows)
    print(f'largest difference from the baseline on {len(rows)} samples: {difference:.1e}', flush=True)
    tolerance = TOLERANCES[next(network.parameters()).device.type]
    if not difference <= tolerance:
        raise SystemExit(f'The baseline and q2_aam differ by {difference:.1e}, more than {tolerance:g}.')


def main():
    options = bench.arguments(__doc__)
    study = bench.read_data(options.data)
    rows = bench.spread_rows(study, 4 if options.quick else 16)
    for form in ({}, REFERENCE_FORM):
        config = bench.configuration(study, **form)
        network, _ = bench.our_network(study, config, options.seed, options.device)
        for procedure in (Procedure(), Procedure(pad_to=REFERENCE_PAD), REFERENCE):
            print(f'{config.model.nucleotides_per_token} nucleotides a token, {procedure}')
            check_equal(network, PaddedNetwork(network, procedure).to(options.device), study, rows)


if __name__ == '__main__':
    main()
