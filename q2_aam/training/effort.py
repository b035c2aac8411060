"""How much a fit is worth: steps from what one costs, and when the network is not worth training on.

Shapes: N validation samples, O outputs, D width.
"""

import dataclasses

import numpy as np

from q2_aam.bundle import Blend
from q2_aam.bundle.blend import gate_of
from q2_aam.config import ModelConfig
from q2_aam.data.study import Study
from q2_aam.objectives import TargetObjective

# Steps of a fit from an encoder, and of one from random weights, whose every step reads sequences too: on few labels it
# gains nothing from more.
STEPS, STEPS_FROM_SCRATCH, MIN_STEPS = 400, 200, 40
# Multiplications in the forward passes of all steps: about a minute of one core, and from random weights no more than
# so many for each training sample. Where batches are rich in ASVs they become smaller first, then fewer.
MAX_WORK, WORK_PER_SAMPLE, MIN_BATCH = 4e11, 1e9, 8
# Share of the network where there is no telling: on ECAM and on oral-age any share costs accuracy. Where ASVs are new,
# the gate gives the network its say all the same.
PRIOR_SHARE = 0.0
# After this share of the steps, the network must have shown that the blend's validation error can fall by so much.
TRIAL_SHARE, MIN_GAIN = 0.15, 0.02
# ... and by so much more, divided by the number of groups: where they are few, an error falls by chance.
GAIN_BY_CHANCE = 0.5
# Matrix products of a layer of width D are this many times D squared, beside those of its perceptron.
ATTENTION_PRODUCTS = 4


def batch_and_steps(
    model: ModelConfig, study: Study, rows: np.ndarray, batch_size: int, encoder: bool, frozen: bool
) -> tuple[int, int]:
    """Return the batch size and the number of steps of a fit.

    Parameters
    ----------
    model : ModelConfig
        With every 'auto' resolved.
    study : Study
    rows : int64
        Training samples.
    batch_size : int
        What may not be exceeded.
    encoder : bool
        Whether the network starts from an encoder.
    frozen : bool
        Whether ASVs are encoded once, and not in every step.
    """
    steps = STEPS if encoder else STEPS_FROM_SCRATCH
    most = MAX_WORK if encoder else min(MAX_WORK, len(rows) * WORK_PER_SAMPLE)
    while batch_size > MIN_BATCH and MIN_STEPS * _work(model, study, rows, batch_size, frozen) > most:
        batch_size = max(MIN_BATCH, batch_size // 2)
    affordable = int(most / _work(model, study, rows, batch_size, frozen))
    return batch_size, min(steps, max(MIN_STEPS, affordable))


def _work(model, study, rows, batch_size, frozen):
    """Return about how many multiplications the forward pass of a batch takes."""
    # samples from end to end, which are as good as drawn ones
    batch = rows[np.linspace(0, len(rows) - 1, min(batch_size, len(rows))).astype(np.int64)]
    held = [study.asvs[study.offsets[row] : study.offsets[row + 1]] for row in batch]
    layer = (ATTENTION_PRODUCTS + 2 * model.mlp_ratio) * model.width**2
    work = sum(map(len, held)) * model.sample_layers * layer
    if not frozen:
        tokens = -(-study.longest // model.nucleotides_per_token)
        work += len(np.unique(np.concatenate(held))) * tokens * model.asv_layers * layer
    return max(work, 1.0)


@dataclasses.dataclass(frozen=True)
class Trial:
    """Tells when training the network on is not worth it: beside the ensemble it would have next to no say.

    Attributes
    ----------
    target : TargetObjective
    rows : int64 [N]
        Validation samples.
    ensemble : float64 [N, O]
        Out-of-fold outputs of the abundance ensemble for them.
    coverage : float64 [N]
    steps : int
        From which on it is asked.
    """

    target: TargetObjective
    rows: np.ndarray
    ensemble: np.ndarray
    coverage: np.ndarray
    steps: int

    def gain(self, network: np.ndarray) -> float:
        """Return the share of the ensemble's error that goes when outputs [N, O] of the network are blended in.

        They are weighed by these very samples, so that the gain is rather too large than too small.
        """
        alone = self.target.score_of(self.ensemble, self.rows)
        gate = gate_of(self.coverage)
        share, scale, other = self.target.share(network, self.ensemble, gate, self.rows, PRIOR_SHARE)
        blend = Blend(share * scale, (1 - share) * other, scale, other, 1)
        together = self.target.score_of(blend.outputs(network, self.ensemble, self.coverage), self.rows)
        return 1 - together / alone if alone > 0 else 0.0

    def verdict(self, step: int, outputs: dict) -> str | None:
        """Return why to stop, or None; `outputs` is {epoch: tensor [N, O]} of the network so far."""
        return None if step < self.steps else self.reason(outputs)

    def reason(self, outputs: dict) -> str | None:
        """Return why the network is to have no say where ASVs are in the vocabulary, or None; see :meth:`verdict`."""
        if not outputs:
            return None
        # one epoch alone may look better than it is; those at the beginning know nothing yet
        recent = [np.asarray(values, dtype=np.float64) for epoch, values in outputs.items() if 2 * epoch > max(outputs)]
        network = np.mean(recent, axis=0)
        if not np.isfinite(network).all():
            return 'the network gives no finite numbers, which cannot be blended with the abundance ensemble'
        gain = self.gain(network)
        groups = len(np.unique(self.target.groups[self.rows]))
        if gain >= MIN_GAIN + GAIN_BY_CHANCE / groups:
            return None
        return (
            f'the network would lower the error of the abundance ensemble by {max(gain, 0):.1%}, too little to train on'
        )


def gain_of_kind(
    target: TargetObjective, rows: np.ndarray, others: list[np.ndarray], outputs: np.ndarray, noise: np.ndarray
) -> float:
    """Return the share of the error of several kinds of members that goes when one more is combined with them.

    Parameters
    ----------
    target : TargetObjective
    rows : int64 [N]
    others : list of float64 [N, O]
        Out-of-fold outputs for `rows` of each of the other kinds.
    outputs : float64 [N, O]
        Of the one more.
    noise : float64 [kinds]
        See :meth:`q2_aam.objectives.protocol.TargetObjective.combine`; the last is that of the one more.
    """
    without, together = (target.combine(parts, rows, noise[: len(parts)])[-1] for parts in (others, [*others, outputs]))
    return 1 - together / without if without > 0 else 0.0
