"""Where training starts from: the spread of every weight, and memberships that already tell samples apart."""

import torch
from torch import nn

from .sample_encoder import abundance_features

# Directions in which ASVs differ by less than this share of the largest variance count as noise when memberships begin.
NOISE_FLOOR = 0.01
# Spread of the logits of memberships over ASVs: wide enough for most to be nearly 0 and few nearly 1, as branches are.
MEMBERSHIP_SPREAD = 3.0
BISECTIONS = 30


@torch.no_grad()
def initialise(network):
    """Draw all weights of a :class:`~q2_aam.model.network.Network` from torch's default generator.

    Matrices as in GPT-2: normal, 0.02, the last of each residual branch divided by the root of the number of branches.
    """
    layers = {'asv_encoder': network.config.asv_layers, 'sample_encoder': network.config.sample_layers}
    for name, parameter in network.named_parameters():
        if name.endswith(('attention_out.weight', 'feed_forward_out.weight')):
            nn.init.normal_(parameter, std=0.02 / (2 * layers[name.split('.')[0]]) ** 0.5)
        elif parameter.dim() >= 2:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 if _is_head(name) else 0.02)
        elif name.endswith('bias'):
            nn.init.zeros_(parameter)
    nn.init.normal_(network.asv_encoder.nucleotide_embedding, std=0.5)
    nn.init.normal_(network.asv_encoder.position_binding, std=1.0)
    head = network.distance_head
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.context.weight)
    nn.init.zeros_(head.presence.weight)
    # an ASV that is there counts nearly whole
    nn.init.constant_(head.presence.bias, 2.0)
    nn.init.normal_(head.membership.weight, std=MEMBERSHIP_SPREAD * network.config.width**-0.5)


def _is_head(name):
    return name.startswith(('regression_head', 'sample_encoder.asv_in', 'sample_encoder.abundance_in'))


@torch.no_grad()
def initialise_memberships(network, asvs_UD, batch, mean_distance):
    """Begin with memberships that spread over the ASVs of the data, and with samples as far apart as they are.

    The embeddings of an untrained encoder differ in few directions around a large mean. Memberships are drawn as random
    directions of the whitened embeddings, and their common bias is found by bisection so that the mean predicted
    distance is the mean true one. Without this the first hundreds of steps only undo a bad start.

    Parameters
    ----------
    network : q2_aam.model.network.Network
    asvs_UD : [U, D]
        Embeddings of the batch's ASVs.
    batch : q2_aam.data.batches.Batch
        Samples, two at least.
    mean_distance : float
        Mean true distance among samples.
    """
    head = network.distance_head
    mean_D = asvs_UD.mean(0)
    variances_D, directions_DD = torch.linalg.eigh((asvs_UD - mean_D).T @ (asvs_UD - mean_D) / len(asvs_UD))
    scale_D = (variances_D.clamp_min(0) + NOISE_FLOOR * variances_D.max()).clamp_min(1e-12).rsqrt()
    random_DK = torch.randn(len(mean_D), len(head.weight)).to(asvs_UD) * MEMBERSHIP_SPREAD / len(mean_D) ** 0.5
    weight_DK = (directions_DD * scale_D) @ random_DK
    head.membership.weight.copy_(weight_DK.T)
    features_N = abundance_features(batch.abundances)
    tokens_ND = torch.zeros(len(features_N), len(mean_D)).to(asvs_UD)
    first, second = torch.triu_indices(len(batch.samples), len(batch.samples), 1, device=asvs_UD.device)
    # lower, memberships would vanish altogether where samples are too much alike to be that far apart
    low, high = -10.0, 20.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        head.membership.bias.copy_(middle - mean_D @ weight_DK)
        # the sample encoder has no say yet: its weights in the head are 0
        unions_BK = head.unions(asvs_UD, batch.asvs, tokens_ND, features_N, batch.offsets)
        # the fewer memberships, the farther apart
        if head(unions_BK, unions_BK)[first, second].mean() > mean_distance:
            low = middle
        else:
            high = middle
