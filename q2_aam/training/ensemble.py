"""Fitting the profile head: every member learns from all groups but some, and is asked about those.

Shapes: N labelled samples, M members, B samples of a batch, A ASVs of the study, C known ASVs, O outputs.
"""

import dataclasses
import itertools
import warnings

import numpy as np
import torch

from q2_aam.data.log_abundances import known_asvs, most_common, profiles_of
from q2_aam.model.abundance_ensemble import ProfileHead, dense
from q2_aam.runtime.checkpoint import Checkpoint
from q2_aam.runtime.progress import Clock


@dataclasses.dataclass(frozen=True)
class Form:
    """What a head is like: each of its members leaves out a share of the groups."""

    members: int
    width: int
    asv_dropout: float
    dropout: float


# With more samples, fewer members that are wider and less held back do better (docs/accuracy.md).
OF_FEW, OF_MANY, MANY_SAMPLES = Form(10, 128, 0.1, 0.3), Form(5, 256, 0.05, 0.1), 1000
# ASVs that a head knows at most: those found in most samples. The others are left to the transformer.
MOST_ASVS = 8192
EPOCHS, FEWEST_STEPS, MOST_STEPS = 80, 200, 10000
LARGEST_BATCH, BATCHES_AN_EPOCH = 64, 4
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
# Relative to their mean, what numbers that are the same may seem to differ by: they are float32.
ROUNDING = 1e-7
# streams of random numbers that must not be confused with those of the loop and of fitting
PROFILE, BATCHES, DROPOUT = 20, 21, 22


def fit_profile_head(goal, study, rows, reading, seed, device, say, checkpoint=None):
    """Fit the head.

    Parameters
    ----------
    goal : q2_aam.training.goals.NumericGoal or CategoricalGoal
    study : q2_aam.data.study.Study
    rows : int64 [N]
        Rows of the study that may be learned from, of two groups or more.
    reading : callable or None
        See :func:`q2_aam.data.batches.make_batch`.
    seed : int
        The caller makes torch reproducible (:func:`q2_aam.training.loop.reproducible`).
    device : torch.device
    say : callable
        Takes one line of progress.
    checkpoint : q2_aam.runtime.checkpoint.Checkpoint, optional
        Where to save and to resume from.

    Returns
    -------
    head : q2_aam.model.abundance_ensemble.ProfileHead
    left_out : float64 [N, O]
        Outputs for the same samples, each of the member that has learned neither from it nor from others of its group.
    """
    generator = np.random.default_rng([seed, PROFILE])
    profiles_NA = profiles_of(study, rows, reading)
    keys_C = np.unique(study.keys[most_common(profiles_NA, MOST_ASVS)])
    profiles_NC = known_asvs(profiles_NA, study.keys, keys_C)
    form = OF_FEW if len(rows) < MANY_SAMPLES else OF_MANY
    part_N = deal(goal.groups[rows], form.members, generator)
    members = part_N.max() + 1
    # weights must not depend on how much was drawn before
    torch.manual_seed(int(generator.integers(2**31)))
    head = ProfileHead(keys_C, members, goal.outputs, form.width, form.asv_dropout, form.dropout).to(device)
    head.scale.fill_(_standard_deviation(profiles_NC))
    own = [np.flatnonzero(part_N != member) for member in range(members)]
    # one that had to leave out a large group knows less than the others
    sizes_M = torch.tensor([len(samples) for samples in own], device=device)
    head.shares.copy_(sizes_M / sizes_M.sum())
    _train(head, goal, profiles_NC, rows, own, seed, say, checkpoint or Checkpoint(None))
    return head, head.outputs(profiles_NC)[part_N, np.arange(len(rows))]


def deal(groups, parts, generator):
    """Deal whole groups to parts at random: part of each sample, int64 [N]; as many parts as groups at most."""
    _, group_N = np.unique(groups, return_inverse=True)
    numbers = group_N.max() + 1
    return (generator.permutation(numbers) % min(parts, numbers))[group_N]


def _train(head, goal, profiles_NC, rows, own, seed, say, checkpoint):
    """Train all members side by side, each on the samples that are its `own`; all chance follows from (seed, step)."""
    batch = min(LARGEST_BATCH, max(2, len(rows) // BATCHES_AN_EPOCH))
    steps = int(np.clip(EPOCHS * max(len(samples) for samples in own) // batch, FEWEST_STEPS, MOST_STEPS))
    say(f'Profile head: {len(own)} members on {len(head.keys_C):,} ASVs, {steps:,} steps of {batch} samples each.')
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    state = checkpoint.resume(head, optimizer)
    if state.step:
        say(f'Resumed after {state.step:,} of {steps:,} steps.')
        _run_ahead(schedule, state.step)
    batches = [_batches(samples, batch, [seed, BATCHES, member], state.step) for member, samples in enumerate(own)]
    clock = Clock(say, state.step, steps)
    head.train()
    for step in range(state.step, steps):
        samples = np.concatenate([next(of_member) for of_member in batches])
        profiles_MBC = dense(profiles_NC[samples], head.scale.device).unflatten(0, (len(own), batch))
        torch.manual_seed(int(np.random.default_rng([seed, DROPOUT, step]).integers(2**31)))
        # a mean over members would make each learn from a share of its gradient
        loss = len(own) * goal.loss(head(profiles_MBC).flatten(0, 1), rows[samples])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        state.step = step + 1
        checkpoint.save(head, optimizer, state)
        if clock.is_time():
            clock.tell(f'Profile head, step {state.step:,}/{steps:,}', loss.item() / len(own), state.step)


def _run_ahead(schedule, steps):
    with warnings.catch_warnings():
        # PyTorch warns of a schedule that is ahead of its optimizer, which here it is not: that one was resumed
        warnings.simplefilter('ignore', UserWarning)
        for _ in range(steps):
            schedule.step()


def _batches(samples, batch, seed, passed_over):
    """Yield batches without end: all samples in random order, then anew; what is left of an order is passed over.

    So are the first batches, as many as `passed_over`.
    """
    # samples that are fewer than a batch are in it several times
    size = max(len(samples), batch)
    first, begin = divmod(passed_over, size // batch)
    for number in itertools.count(first):
        order = np.resize(np.random.default_rng([*seed, number]).permutation(samples), size)
        yield from order[: size - size % batch].reshape(-1, batch)[begin:]
        begin = 0


def _standard_deviation(profiles_NC):
    """Return that of all numbers of a sparse matrix, those that are 0 too; 1.0 where they are all the same."""
    size = np.prod(profiles_NC.shape, dtype=np.float64)
    values = profiles_NC.data.astype(np.float64)
    mean = values.sum() / size
    # a difference of squares would be lost in rounding where numbers are nearly the same
    found = np.sqrt((np.square(values - mean).sum() + (size - len(values)) * mean**2) / size)
    return float(found) if found > ROUNDING * mean else 1.0
