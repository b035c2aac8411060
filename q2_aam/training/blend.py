"""Network and abundance ensemble put together: how much each counts, and what out-of-fold samples are told by both.

Shapes: N samples of the study, O outputs.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from q2_aam.bundle import Blend
from q2_aam.bundle.blend import gate_of
from q2_aam.bundle.domain import Domain
from q2_aam.data.signs import Signs
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.model.abundance_ensemble import AbundanceEnsemble
from q2_aam.objectives import TargetObjective
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.recorder import Recorder

from .effort import PRIOR_SHARE
from .ensemble import FittedEnsemble
from .prepare import PreparedFit
from .train import Trained

# Folds of validation groups, each of which is told by the epoch that the others choose.
MAX_FOLDS = 5
# Training samples, of which the network knows the answer, calibrate by the ensemble alone. They do so only where the
# ensemble has most of the say: its gate is this far open, in the mean over validation samples.
OPEN_GATE = 0.75


@dataclasses.dataclass(frozen=True)
class Blended:
    """What the model says of the samples that it was made from.

    Attributes
    ----------
    outputs : float64 [N, O]
        Of test samples, those of the model; of validation samples, those of the network at the epoch that other
        groups choose and of the member that has not learned from their group; of training samples, those of that
        member alone.
    blend : q2_aam.bundle.Blend or None
        None without an ensemble.
    calibrating : int64
        Rows of the study whose outputs calibrate intervals and probabilities.
    network : float64 [N, O]
        Of the network alone.
    signs : q2_aam.data.signs.Signs or None
        Of all samples; None without an ensemble.
    """

    outputs: np.ndarray
    blend: Blend | None
    calibrating: np.ndarray
    network: np.ndarray
    signs: Signs | None = None


def blend(prepared: PreparedFit, trained: Trained, recorder: Recorder) -> Blended:
    """Weigh network and ensemble by stacking out-of-fold outputs of the validation split, and put them together.

    Every member is gated by its own coverage, in weighing, in calibrating and in predicting alike.
    """
    rows, target = prepared.rows, prepared.target
    every = np.arange(len(prepared.study))
    network = with_less_memory(trained.network, lambda: trained.reader.outputs(trained.network, target.name, every))
    network[rows[VALIDATION]] = out_of_fold(target, trained.outputs, network[rows[VALIDATION]], rows[VALIDATION])
    if trained.ensemble is None:
        return Blended(network, None, rows[VALIDATION], network)
    fitted, labelled = trained.ensemble, prepared.labelled
    ensemble, signs = np.zeros_like(network), Signs.unknown(len(network))
    ensemble[labelled] = fitted.outputs
    signs.put(labelled, fitted.signs)
    coverage = signs.vocabulary_coverage
    weights = _weigh(target, network, ensemble, coverage, rows[VALIDATION], trained, recorder)
    outputs = weights.outputs(network, ensemble, coverage)
    outputs[rows[TRAINING]] = weights.ensemble_alone * ensemble[rows[TRAINING]]
    others = np.setdiff1d(every, labelled)
    if len(others):
        model = fitted.model, fitted.vocabulary, weights, fitted.domain
        outputs[others], found = with_less_memory(
            trained.network, lambda: blended_outputs(trained.reader, *model, network, others)
        )
        signs.put(others, found)
    gate = gate_of(coverage[rows[VALIDATION]]).mean()
    return Blended(outputs, weights, labelled if gate >= OPEN_GATE else rows[VALIDATION], network, signs)


def out_of_fold(
    target: TargetObjective, outputs: dict[int, np.ndarray], best: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Return outputs of the network for validation samples of whose group no label had a say in them.

    The epoch that is kept was chosen by these samples, so that its outputs fit them too well: on ECAM, where 20 samples
    choose among 44 epochs, their squared error is 0.52 instead of 0.64. Here each of a few folds of groups has the
    outputs of the epoch that the other folds choose.

    Parameters
    ----------
    target : TargetObjective
    outputs : dict
        {epoch: float64 [rows, O]}; empty where they were not kept.
    best : float64 [rows, O]
        Of the epoch that all of them chose: what is returned where there is no other, or but one group.
    rows : int64
        Rows of the study.

    Returns
    -------
    float64 [rows, O]
    """
    _, group = np.unique(target.groups[rows], return_inverse=True)
    fold = group % MAX_FOLDS
    if not outputs or fold.max() == 0:
        return best
    honest = np.empty_like(best)
    for number in range(fold.max() + 1):
        others = fold != number
        epoch = min(outputs, key=lambda one: target.score_of(outputs[one][others], rows[others]))
        honest[~others] = outputs[epoch][~others]
    return honest


def blended_outputs(
    reader: StudyReader,
    ensemble: AbundanceEnsemble,
    vocabulary: Vocabulary,
    weights: Blend,
    domain: Domain | None,
    network: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, Signs]:
    """Return the outputs of a model for `rows` of a study, the mean over members, each gated, and their signs.

    Parameters
    ----------
    reader, ensemble, vocabulary, weights, domain
        Of the study and of the model.
    network : float64 [N, O]
        Outputs of the network for all samples of the study.
    rows : int64 [B]

    Returns
    -------
    outputs : float64 [B, O]
    signs : Signs
    """
    outputs, signs = np.empty((len(rows), network.shape[1])), Signs.unknown(len(rows))
    shares = ensemble.shares.astype(np.float64)
    done = 0
    for part in reader.ensemble_outputs(ensemble, vocabulary, rows):
        block = np.arange(done, done + len(part.rows))
        parts = weights.outputs(network[part.rows], ensemble.combine(part.by_kind), part.coverage)
        outputs[block] = np.average(parts, axis=0, weights=shares)
        coverage, reads = (np.average(each, axis=0, weights=shares) for each in (part.coverage, part.reads))
        familiarity = np.full(len(block), np.nan)
        if domain is not None:
            familiarity = domain.familiarity.distance(part.abundances, part.outside)
        signs.put(block, Signs(coverage, reads, familiarity, ensemble.disagreement(part.by_kind)))
        done += len(block)
    return outputs, signs


def thinned_outputs(
    prepared: PreparedFit, blended: Blended, fitted: FittedEnsemble, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, Signs]]:
    """Yield outputs [N, O] and signs of the samples that calibrate, where a share of the vocabulary is hidden.

    The network, which knows the answers of training samples, is silent there: they get the mean of the target instead.
    """
    labelled, rows, weights = prepared.labelled, blended.calibrating, blended.blend
    assert weights is not None
    place = np.searchsorted(labelled, rows)
    network = np.zeros_like(blended.network[rows])
    validation = np.isin(rows, prepared.rows[VALIDATION])
    network[validation] = blended.network[rows[validation]]
    for ensemble, signs in fitted.thinned(generator):
        signs = signs.of(place)
        outputs = weights.outputs(network, ensemble[place], signs.vocabulary_coverage)
        alone = gate_of(signs.vocabulary_coverage)[:, None] * weights.ensemble_alone * ensemble[place]
        yield np.where(validation[:, None], outputs, alone), signs


def _weigh(target, network, ensemble, coverage, rows, trained, recorder):
    """Return the blend that stacking finds on `rows`, and log what the network contributes to it."""
    gate = gate_of(coverage[rows])
    share, of_network, of_ensemble = target.share(network[rows], ensemble[rows], gate, rows, PRIOR_SHARE)
    if not trained.worthwhile:
        # that one epoch is better by chance is no reason to heed it
        share = 0.0
    model = trained.ensemble.model
    weights = Blend(
        share * of_network, (1 - share) * of_ensemble, of_network, of_ensemble, len(model.shares), model.weights
    )
    without = dataclasses.replace(weights, network=0.0, ensemble=of_ensemble)
    errors = {}
    for name, outputs in (
        ('network', of_network * network[rows]),
        ('ensemble', without.outputs(network[rows], ensemble[rows], coverage[rows])),
        ('blend', weights.outputs(network[rows], ensemble[rows], coverage[rows])),
    ):
        errors[name] = target.metrics_of(target.target, outputs, rows)[target.score]
    recorder.log(0, 0, 'run', network_weight=share, ensemble_weight=1 - share)
    recorder.log(0, 0, 'validation', **{f'{name}_{target.score}': value for name, value in errors.items()})
    score = target.score.replace('_', ' ')
    recorder.say(
        f'Blend: {share:.0%} network, {1 - share:.0%} abundance ensemble; {score} of validation samples: network '
        f'{errors["network"]:.3g}, ensemble {errors["ensemble"]:.3g}, both {errors["blend"]:.3g}.'
    )
    return weights
