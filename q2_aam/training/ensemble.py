"""Fitting the abundance ensemble: every member learns from all groups but some, and is asked about those.

Shapes: N labelled samples, M members, A ASVs of the study, C ASVs of the vocabulary, F of them and of columns of
covariates, O outputs.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import threadpoolctl

from q2_aam.bundle.domain import Domain
from q2_aam.data.batches import positions_of
from q2_aam.data.log_abundances import (
    log_abundances,
    most_common,
    shares_of,
    squares_outside,
    to_vocabulary,
)
from q2_aam.data.signs import Signs
from q2_aam.data.study import Study
from q2_aam.data.thinning import thinned
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.model.abundance_ensemble import AbundanceEnsemble, Members
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.runtime.encode import sums
from q2_aam.runtime.limits import available_cpus
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.stats.familiarity import Familiarity
from q2_aam.stats.separation import distance_quantiles

from .members import MemberData, deal, fit_extra_trees, fit_linear
from .out_of_fold import SAMPLES_AT_ONCE, out_of_fold
from .perceptrons import fit_perceptrons
from .prepare import PreparedFit

# Members of each kind. With more samples, fewer that leave out more do as well.
MEMBERS_OF_FEW, MEMBERS_OF_MANY, MANY_SAMPLES = 10, 5, 1000
# The vocabulary: those found in most samples. Other ASVs are left to the transformer.
MAX_VOCABULARY = 8192
# How each kind of members is fitted, the cheapest first: (data, known [M, F], prepared, run,
# out-of-fold outputs of the kinds before it, their noise) -> members, and the variance of the outputs of one that the
# mean over all has not; or None where they are not worth it.
FITS: dict[str, Callable[..., tuple[Members, float] | None]] = {
    LINEAR: lambda data, *_: _with_noise(fit_linear(data), lambda members: 0.0),
    EXTRA_TREES: lambda data, *_: _with_noise(
        fit_extra_trees(data), lambda members: members.noise(data.features, data.fold)
    ),
    PERCEPTRONS: fit_perceptrons,
}


@dataclasses.dataclass(frozen=True)
class FittedEnsemble:
    """An ensemble, and what it says of labelled samples out of fold.

    Attributes
    ----------
    model : q2_aam.model.abundance_ensemble.AbundanceEnsemble
    vocabulary : q2_aam.data.vocabulary.Vocabulary
    data : MemberData
        Of the N labelled samples.
    by_kind : dict
        {kind: float64 [N, O]}: of each sample, outputs of the member that has learned neither from it nor from others
        of its group.
    signs : q2_aam.data.signs.Signs
        Of each labelled sample, as of one that this member has not seen.
    domain : q2_aam.bundle.domain.Domain or None
        None with too few groups.
    totals, outside : float64 [N]
        Sum of the logarithms of each sample, and of their squares outside the vocabulary.
    """

    model: AbundanceEnsemble
    vocabulary: Vocabulary
    data: MemberData
    by_kind: dict[str, np.ndarray]
    signs: Signs
    domain: Domain | None
    totals: np.ndarray
    outside: np.ndarray

    @property
    def outputs(self) -> np.ndarray:
        """Those of all kinds together, float64 [N, O]."""
        return self.model.combine(self.by_kind)

    def thinned(self, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, Signs]]:
        """Yield out-of-fold outputs [N, O] and signs where a share of the vocabulary is hidden, several times."""
        whole = self.data.abundances
        for _, abundances in thinned(whole, generator):
            data = dataclasses.replace(self.data, abundances=abundances)
            by_kind = {kind: out_of_fold(members, data) for kind, members in self.model.members.items()}
            familiarity = np.full(len(self.totals), np.nan)
            if self.domain is not None:
                outside = self.outside + squares_outside(whole, abundances)
                familiarity = self.domain.familiarity.distance(abundances, outside)
            coverage = data.out_of_fold(self.model.coverage(abundances, self.totals))
            reads = self.signs.share_of_reads_in_vocabulary
            yield self.model.combine(by_kind), Signs(coverage, reads, familiarity, _disagreement(self.model, by_kind))


def fit_ensemble(prepared: PreparedFit, run: Run) -> FittedEnsemble:
    """Fit the ensemble on the training and validation samples, which are of two groups or more."""
    study, rows = prepared.study, prepared.labelled
    all_NA = log_abundances(study, rows, prepared.augment)
    chosen = most_common(all_NA, MAX_VOCABULARY)
    abundance = mean_abundances(study, rows)
    vocabulary = Vocabulary.of(study.codes[chosen], study.lengths[chosen], abundance[chosen])
    data = _data(prepared, to_vocabulary(all_NA, study.keys, vocabulary.keys), run)
    samples_of = [data.learned(member) for member in range(data.members)]
    known_MC = np.stack(
        [np.bincount(data.abundances[samples].indices, minlength=len(vocabulary)) > 0 for samples in samples_of]
    ).astype(np.uint8)
    known_MF, schema = known_MC, None
    if data.covariates is not None:
        schema, dropped = data.covariates.schema, prepared.config.covariates.covariate_dropout > 0
        present = [data.covariates.of(samples).present(dropped) for samples in samples_of]
        known_MF = np.hstack([known_MC, np.stack(present)])
    members: dict[str, Members] = {}
    by_kind: dict[str, np.ndarray] = {}
    noises: dict[str, float] = {}
    for kind in prepared.target.kinds:
        made = FITS[kind](data, known_MF, prepared, run, by_kind, noises)
        if made is not None:
            members[kind], noises[kind] = made
            by_kind[kind] = out_of_fold(members[kind], data)
    noise = np.array(list(noises.values())) * (1 - 1 / data.members)
    weights = _weigh(prepared.target, rows, by_kind, noise, run.recorder)
    # one that had to leave out a large group knows less than the others
    sizes_M = np.array([len(samples) for samples in samples_of])
    shares_M = (sizes_M / sizes_M.sum()).astype(np.float32)
    model = AbundanceEnsemble({kind: members[kind] for kind in weights}, weights, shares_M, known_MF, schema)
    by_kind = {kind: by_kind[kind] for kind in weights}
    totals, outside = sums(all_NA), squares_outside(all_NA, data.abundances)
    domain, familiarity = _domain(data, prepared.target.groups[rows], outside, run)
    signs = Signs(
        data.out_of_fold(model.coverage(data.abundances, totals)),
        data.out_of_fold(model.coverage(shares_of(data.abundances), sums(shares_of(all_NA)))),
        familiarity,
        _disagreement(model, by_kind),
    )
    return FittedEnsemble(model, vocabulary, data, by_kind, signs, domain, totals, outside)


def _domain(data, groups, outside, run):
    """Return how far new samples may lie, and how far labelled ones lie where their group is left out, [N]."""
    generator = numpy_generator(run.seed, Stream.FAMILIARITY)
    # sums in another order are other sums: the number of threads must change nothing
    with threadpoolctl.threadpool_limits(1, 'blas'):
        familiarity, distances = Familiarity.fit(data.abundances, groups, generator, outside, unit_length=True)
    if familiarity is None:
        return None, distances
    return Domain(familiarity, distance_quantiles(distances, groups)), distances


def mean_abundances(study: Study, rows: np.ndarray) -> np.ndarray:
    """Return the mean share of each ASV of a study in samples, float64 [A]."""
    where, _ = positions_of(study.offsets, rows)
    return np.bincount(study.asvs[where], study.abundances[where], minlength=len(study.codes)) / len(rows)


def _data(prepared, known_NC, run):
    """Return what members learn from, whole groups dealt to them."""
    rows, target = prepared.labelled, prepared.target
    members = MEMBERS_OF_FEW if len(rows) < MANY_SAMPLES else MEMBERS_OF_MANY
    fold = deal(target.groups[rows], members, numpy_generator(run.seed, Stream.ENSEMBLE))
    values, classes, balanced = target.learned(rows)
    seeds = numpy_generator(run.seed, Stream.ENSEMBLE_TREES).integers(2**31, size=fold.max() + 1)
    threads = prepared.config.runtime.threads or available_cpus()
    covariates = prepared.study.covariates
    covariates = None if covariates is None else covariates.of(rows)
    weights = None if target.weights is None else target.weights[rows].astype(np.float64)
    return MemberData(known_NC, values, classes, balanced, fold, seeds, threads, covariates, weights)


def _with_noise(members, noise):
    return None if members is None else (members, noise(members))


def _disagreement(model, by_kind):
    """Return how far the kinds are apart in out-of-fold outputs, float64 [N]."""
    # block by block, as the outputs are computed
    return np.concatenate(
        [
            model.disagreement({kind: outputs[start : start + SAMPLES_AT_ONCE] for kind, outputs in by_kind.items()})
            for start in range(0, len(next(iter(by_kind.values()))), SAMPLES_AT_ONCE)
        ]
    )


def _weigh(target, rows, by_kind, noise, recorder: Recorder):
    """Return {kind: weight} by stacking out-of-fold outputs, without kinds that have no share, and log all shares."""
    prior = np.array([target.priors[kind] for kind in by_kind])
    shares, scales, _ = target.combine(list(by_kind.values()), rows, noise, prior)
    weights = {kind: share * scale for kind, share, scale in zip(by_kind, shares, scales) if share > 0}
    outputs = by_kind | {'ensemble': sum(weight * by_kind[kind] for kind, weight in weights.items())}
    errors = {name: target.score_of(values, rows) for name, values in outputs.items()}
    recorder.log(0, 0, 'run', **{f'{kind}_share': share for kind, share in zip(by_kind, shares)})
    recorder.log(0, 0, 'run', **{f'out_of_fold_{name}_{target.score}': error for name, error in errors.items()})
    parts = ', '.join(
        f'{share:.0%} {kind.replace("_", " ")} ({errors[kind]:.3g})' for kind, share in zip(by_kind, shares)
    )
    recorder.say(
        f'Abundance ensemble: {parts}; out-of-fold {target.score.replace("_", " ")} together {errors["ensemble"]:.3g}.'
    )
    return weights
