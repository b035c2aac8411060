"""Where training starts from: the spread of every weight, and memberships that already tell samples apart."""

import torch
from torch import nn

from q2_aam.data.batches import SampleChunk

from .heads import OwnBranchDistanceHead, membership_distances
from .sample_encoder import features_of

# Directions in which ASVs differ by less than this share of the largest variance count as noise when memberships begin.
NOISE_FLOOR = 0.01
# Spread of the logits of memberships over ASVs: wide enough for most to be nearly 0 and few nearly 1, as branches are.
MEMBERSHIP_SPREAD = 3.0
BISECTIONS = 30
# Logit of the length of an ASV's own branch: 0.1, where memberships have a weight of 0.7 to begin with. In studies that
# an encoder never saw, added to its memberships afterwards, this gave the best distances (docs/encoders.md).
OWN_BRANCH = -2.25


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of a :class:`~q2_aam.model.network.Network`.

    Matrices as in GPT-2: normal, 0.02, the last of each residual branch divided by the square root of the number of
    branches.
    """
    layers = {'asv_encoder': network.config.asv_layers, 'sample_encoder': network.config.sample_layers}
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        if hasattr(module, 'output_scale'):
            nn.init.ones_(module.output_scale)
    for name, parameter in network.named_parameters():
        if name.endswith(('attention_out.weight', 'mlp_out.weight')):
            spread = 0.02 / (2 * layers[name.split('.')[0]]) ** 0.5
        else:
            spread = parameter.shape[-1] ** -0.5 if _reads_embeddings(name) else 0.02
        if parameter.dim() >= 2:
            parameter.normal_(0.0, spread, generator=generator)
        elif not name.endswith(('norm.weight', 'output_scale')):
            nn.init.zeros_(parameter)
    embedding, spread = network.asv_encoder.embedding
    embedding.normal_(0.0, spread, generator=generator)
    network.asv_encoder.position_binding.normal_(0.0, 1.0, generator=generator)
    if network.covariates is not None:
        # of the size of tokens
        for embedding in ('category', 'number', 'number_bias'):
            getattr(network.covariates, embedding).normal_(0.0, 1.0, generator=generator)
    for head in network.heads.values():
        if isinstance(head, OwnBranchDistanceHead):
            nn.init.zeros_(head.own.weight)
            nn.init.constant_(head.own.bias, OWN_BRANCH)
    memberships = network.memberships
    nn.init.zeros_(memberships.context.weight)
    nn.init.zeros_(memberships.presence.weight)
    # an ASV that is there counts nearly whole
    nn.init.constant_(memberships.presence.bias, 2.0)
    memberships.asv.weight.normal_(0.0, MEMBERSHIP_SPREAD * network.config.width**-0.5, generator=generator)


def _reads_embeddings(name):
    return name.startswith(
        (
            'heads.',
            'covariates.',
            'sample_encoder.asv_in',
            'sample_encoder.abundance_in',
            'sample_encoder.abundance_fused',
        )
    )


@torch.no_grad()
def initialise_memberships(
    network: nn.Module, asvs_UD: torch.Tensor, chunk: SampleChunk, mean_distance: float, generator: torch.Generator
) -> None:
    """Begin with memberships that spread over the ASVs of the data, and with samples as far apart as they are.

    The embeddings of an untrained encoder differ in few directions around a large mean. Memberships are drawn as random
    directions of the whitened embeddings, and their common bias is found by bisection so that the mean predicted
    distance is the mean true one. Without this the first hundreds of steps only undo a bad start.

    Parameters
    ----------
    network : q2_aam.model.network.Network
    asvs_UD : [U, D]
        Embeddings of the ASVs.
    chunk : q2_aam.data.batches.SampleChunk
        Two samples or more.
    mean_distance : float
        Mean true distance among samples.
    generator : torch.Generator
        On the CPU.
    """
    memberships = network.memberships
    mean_D = asvs_UD.mean(0)
    variances_D, directions_DD = torch.linalg.eigh((asvs_UD - mean_D).T @ (asvs_UD - mean_D) / len(asvs_UD))
    scale_D = (variances_D.clamp_min(0) + NOISE_FLOOR * variances_D.max()).clamp_min(1e-12).rsqrt()
    directions = torch.randn(len(mean_D), network.config.memberships, generator=generator)
    random_DK = directions.to(asvs_UD) * MEMBERSHIP_SPREAD / len(mean_D) ** 0.5
    weight_DK = (directions_DD * scale_D) @ random_DK
    memberships.asv.weight.copy_(weight_DK.T)
    features_N = features_of(chunk, network.config.abundance_as)
    tokens_ND = torch.zeros(len(features_N), len(mean_D)).to(asvs_UD)
    even_K = torch.ones(network.config.memberships).to(asvs_UD)
    first, second = torch.triu_indices(len(chunk.richness), len(chunk.richness), 1, device=asvs_UD.device)
    # lower, memberships would vanish altogether where samples are too much alike to be that far apart
    low, high = -10.0, 20.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        memberships.asv.bias.copy_(middle - mean_D @ weight_DK)
        # the sample encoder has no say yet: its weights are 0
        samples_BK = memberships(asvs_UD, tokens_ND, features_N, chunk)
        # the fewer memberships, the farther apart
        if membership_distances(samples_BK, samples_BK, even_K)[first, second].mean() > mean_distance:
            low = middle
        else:
            high = middle
