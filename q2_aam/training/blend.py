"""The kernel head beside the network: fitted, weighed, and put together with it."""

import numpy as np

from q2_aam.bundle import Blend
from q2_aam.config import AUTO
from q2_aam.data.composition import composition_of, sequence_keys
from q2_aam.data.parts import TRAINING, VALIDATION
from q2_aam.errors import UserError

from .evaluate import kernel_outputs_of
from .goals import scaling_of
from .kernel import fit_kernel_head, left_out_error

# A square root must predict this much better before it is taken: on few samples it may look better by chance.
LEAST_GAIN = 0.02
# Weight of the network where there is no telling: on ECAM anything from 0.1 to 0.4 does (docs/accuracy.md).
NETWORK_WEIGHT = 0.2
# streams of random numbers that must not be confused with those of the loop and of fitting
LANDMARKS, CHOICE = 20, 21


def choose_scaling(study, labels, rows, how, reading, seed):
    """Return `how` a numeric target is to be scaled, with 'auto' resolved.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    labels : q2_aam.data.targets.Labels
    rows : dict of str to int64 [samples]
        Rows of the study by part; the test part is not looked at.
    how : str
        The parameter target_scaling.
    reading : callable or None
        See :func:`q2_aam.data.batches.make_batch`.
    seed : int

    Raises
    ------
    UserError
        If the square root is asked for, but there are values below 0.
    """
    learned = _learned(rows)
    values = labels.values[learned]
    if how == 'root' and values.min() < 0:
        raise UserError(
            f'Parameter target_scaling is root, but "{labels.name}" is {values.min():g} for sample '
            f'{labels.sample_ids[learned[values.argmin()]]}; choose standard.'
        )
    if how != AUTO:
        return how
    if values.min() < 0 or values.min() == values.max():
        return 'standard'
    composition = composition_of(study, learned, sequence_keys(study.codes, study.lengths), reading=reading)
    errors = {}
    for name in ('standard', 'root'):
        target = scaling_of(labels.name, values, name)
        errors[name] = left_out_error(
            composition, target.scaled(values), labels.groups[learned], target.unscaled,
            np.random.default_rng([seed, CHOICE]),
        )  # fmt: skip
    return 'root' if errors['root'] < (1 - LEAST_GAIN) * errors['standard'] else 'standard'


def blend_in_kernel_head(goal, study, outputs, rows, asvs_AD, reading, seed):
    """Fit a kernel head and put its outputs together with those of the network.

    Parameters
    ----------
    goal : NumericGoal or CategoricalGoal
    study : q2_aam.data.study.Study
    outputs : float64 [samples, outputs]
        Of the network, for every sample of the study.
    rows : dict of str to int64 [samples]
        Rows of the study by part. The head learns from the training and validation parts, and those two get outputs of
        a head that was fitted without their group.
    asvs_AD : float32 [A, D] or None
        Embeddings of all ASVs, if they were the same before the network learned.
    reading : callable or None
    seed : int

    Returns
    -------
    blend : q2_aam.bundle.Blend
    head : q2_aam.model.kernel_head.KernelHead
    outputs : float64 [samples, outputs]
        Of both.
    """
    learned = _learned(rows)
    keys_A = sequence_keys(study.codes, study.lengths)
    head, left_out = fit_kernel_head(
        composition_of(study, learned, keys_A, asvs_AD, reading),
        goal.kernel_targets(learned),
        goal.groups[learned],
        np.random.default_rng([seed, LANDMARKS]),
    )
    kernel = kernel_outputs_of(head, study, np.arange(len(study)), asvs_AD, reading)
    kernel[learned] = left_out
    kernel = goal.target.from_kernel(kernel)
    own = rows[VALIDATION]
    network_weight, kernel_weight = goal.weights(outputs[own], kernel[own], own, NETWORK_WEIGHT)
    blend = Blend(float(network_weight), float(kernel_weight), tuple(head.views))
    return blend, head, blend.outputs(outputs, kernel)


def _learned(rows):
    return np.sort(np.concatenate([rows[TRAINING], rows[VALIDATION]]))
