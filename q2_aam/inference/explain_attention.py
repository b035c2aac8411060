"""What the sample level of the network attends to, read out without changing what it computes.

Attention is computed by a kernel that gives no weights. They are computed again here, from the input of each layer as
the layer had it: a hook looks at it and gives nothing back.

Shapes: S ASVs of one sample, Q = S + 1 tokens (the summary token first), H heads, E width of a head, D width.
"""

import dataclasses

import numpy as np
import torch

from q2_aam.data.batches import make_batch
from q2_aam.data.readable import draw_readable
from q2_aam.model.layers import Block
from q2_aam.runtime.encode import device_of


@dataclasses.dataclass(frozen=True, eq=False)
class SampleAttention:
    """What the summary token of one sample attends to.

    Attributes
    ----------
    asvs : int [S]
        Rows of the study's ASVs, as the sample holds them.
    shares : float32 [S]
        Of the sample's reads.
    weights : float64 [layers, H, S]
        Attention of the summary token to each ASV, by layer and head; what is missing to 1 goes to itself.
    rollout : float64 [S]
        Share of the summary that comes from each ASV, if attention and the path around it counted the same in every
        layer (Abnar and Zuidema 2020, doi:10.18653/v1/2020.acl-main.385).
    """

    asvs: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    rollout: np.ndarray


@torch.no_grad()
def sample_attention(network, reader, row: int) -> SampleAttention:
    """Return what the network attends to in one sample of a study; `reader` has remembered its ASVs."""
    drawn = draw_readable(reader.study, np.array([row]), reader.augment)
    asvs_UD = reader.asvs[torch.from_numpy(drawn.distinct).to(device_of(network))]
    batch = make_batch(drawn, network.budget(), (), asvs_UD).to(device_of(network))
    inputs: list[torch.Tensor] = []
    blocks = network.sample_encoder.blocks
    # a single sample is not padded: its tokens stand as they are
    hooks = [block.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for block in blocks]
    try:
        network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    weights_LHQQ = torch.stack([attention_weights(block, x_QD) for block, x_QD in zip(blocks, inputs)])
    rolled_Q = rollout(weights_LHQQ)[0]
    return SampleAttention(
        drawn.asvs, drawn.abundances, weights_LHQQ[:, :, 0, 1:].double().cpu().numpy(), rolled_Q[1:].cpu().numpy()
    )


def attention_weights(block: Block, x_QD: torch.Tensor) -> torch.Tensor:
    """Return the attention of every token of one sequence to every other, [H, Q, Q]; rows sum to 1."""
    qkv_Q3HE = block.query_key_value(block.attention_norm(x_QD.float())).unflatten(-1, (3, block.heads, -1))
    q_HQE, k_HQE, _ = qkv_Q3HE.permute(1, 2, 0, 3)
    return torch.softmax(q_HQE @ k_HQE.transpose(1, 2) / q_HQE.shape[-1] ** 0.5, dim=-1)


def rollout(weights_LHQQ: torch.Tensor) -> torch.Tensor:
    """Return how much of each token after the last layer comes from each before the first, float64 [Q, Q]."""
    mean_LQQ = weights_LHQQ.double().mean(dim=1)
    around_QQ = torch.eye(mean_LQQ.shape[-1], dtype=torch.float64, device=mean_LQQ.device)
    total_QQ = around_QQ
    for layer_QQ in mean_LQQ:
        total_QQ = (layer_QQ + around_QQ) / 2 @ total_QQ
    return total_QQ
