"""The smallest network that the loop can train, and a run of the loop over it."""

import numpy as np
import torch
from torch import nn

from q2_aam.data.epochs import batches_of_epoch
from q2_aam.runtime.recorder import Recorder
from q2_aam.training.loop import Task, run_loop
from q2_aam.training.optimizer import make_optimizer, warmup_cosine

ROWS = np.arange(3, 20)


class Line(nn.Module):
    """The smallest network that the loop can train."""

    def __init__(self):
        super().__init__()
        self.max_floats = 2**20
        self.slope = nn.Parameter(torch.tensor([[0.5]]))
        self.offset = nn.Parameter(torch.tensor([0.0]))

    def loss(self, rows, step):
        noise = np.random.default_rng([1, step]).random(len(rows))
        x = torch.tensor(rows, dtype=torch.float32) / 20 + 0.01 * torch.from_numpy(noise).float()
        loss = (self.slope[0] * x + self.offset - 3 * x).square().mean()
        return loss, {'double': loss.detach() * 2}, len(rows)


def scripted(scores, weights=None, network=None):
    """A validation whose score is given epoch by epoch; `weights` collects those of the network at each."""
    left = iter(scores)

    def validate():
        if weights is not None:
            weights.append(network.slope.item())
        return {'mae': next(left)}

    return validate


def run(network=None, seed=1, checkpoint=None, say=None, loss=None, **options):
    network, lines = network or Line(), []

    def batches(epoch, skip):
        every = list(batches_of_epoch(ROWS, 5, np.random.default_rng([seed, epoch])))
        return iter(every[skip:])

    task = {
        'name': '',
        'optimizer': make_optimizer(network, 0.05, 0.05),
        'schedule': warmup_cosine,
        'steps_per_epoch': 4,
        'epochs': 6,
        'batches': batches,
        'loss': loss or network.loss,
        'gradient_clip': 1.0,
    }
    recorder = Recorder(say or lines.append)
    state = run_loop(network, Task(**task | options), recorder, checkpoint)
    return network, recorder.history, lines, state
