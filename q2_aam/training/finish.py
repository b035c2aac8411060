"""From a trained network to a bundle: blended, calibrated, scored, compared with a random forest, saved."""

import functools
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl

from q2_aam import bundle
from q2_aam.bundle.card import make_card
from q2_aam.bundle.files import heads_to_save
from q2_aam.bundle.finite import TRAINED, check_finite
from q2_aam.bundle.named import NamedFeatures
from q2_aam.data.applicability import applicability, least_coverage
from q2_aam.data.batches import positions_of
from q2_aam.data.counts import counts_of
from q2_aam.data.covariates import beside
from q2_aam.data.details import LOWER, UPPER, details_of
from q2_aam.data.references import References, build_references
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.runtime.device import device_name
from q2_aam.runtime.limits import available_cpus
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run import Run
from q2_aam.runtime.seeds import Stream, numpy_generator

from .beside_target import extra_outputs, with_categories
from .blend import Blended, blend, thinned_outputs
from .prepare import Prepared, PreparedFit
from .skill import check_skill
from .token_branches import token_branches_of
from .train import Trained

# Samples by which an encoder is tried that may have no validation split.
TRIED = 256
# The part of a history that names the samples that were held out, each as a metric.
HELD_OUT = 'held_out'
# Test samples from which on one split is taken at its word.
MANY_SAMPLES = 200


def finish_pretraining(prepared: Prepared, trained: Trained, run: Run, folder) -> None:
    """Write the bundle of an encoder into `folder`, and the points of its objectives into the history."""
    tried = np.arange(min(TRIED, len(prepared.study)))
    embeddings = with_less_memory(trained.network, lambda: trained.reader.embeddings(trained.network, tried))
    check_finite(embeddings.summary.cpu().numpy(), prepared.study.sample_ids, TRAINED)
    check_finite(embeddings.memberships.cpu().numpy(), prepared.study.sample_ids, TRAINED)
    recorder = run.recorder
    generator = numpy_generator(run.seed, Stream.POINTS)
    for objective in prepared.objectives:
        for plot, predicted, true in with_less_memory(trained.network, functools.partial(_points, objective, trained)):
            recorder.add_points(plot, VALIDATION, predicted, true, generator)
    ids = prepared.study.sample_ids
    recorder.log(0, 0, HELD_OUT, **{ids[row]: 1.0 for row in prepared.rows[VALIDATION]})
    recorder.log(0, 0, 'run', random_seed=run.seed)
    metrics = {VALIDATION: recorder.history.last(VALIDATION)}
    references = references_of(prepared, run.seed)
    config = _config(prepared, trained, references)
    tokens = token_branches_of(prepared)
    model = bundle.Bundle(config, trained.network, references, known_features=prepared.known, token_branches=tokens)
    _save(folder, model, prepared, run, metrics, None)


def _points(objective, trained):
    return list(objective.points(trained.network, trained.reader))


def finish_fit(prepared: PreparedFit, trained: Trained, run: Run, folder):
    """Write the bundle of a regressor or classifier into `folder`.

    Returns
    -------
    target : q2_aam.bundle.NumericTarget or ClassTarget
    details : pandas.DataFrame
        One row for each labelled sample.
    """
    sample_ids, fitted = prepared.study.sample_ids, trained.ensemble
    if fitted is not None:
        # before anything is made of them
        check_finite(fitted.outputs, [sample_ids[row] for row in prepared.labelled], TRAINED)
    blended = blend(prepared, trained, run.recorder)
    check_finite(blended.outputs, sample_ids, TRAINED)
    target = _calibrated(prepared, blended, fitted, run)
    check_skill(prepared.target, target, blended, run.recorder)
    references = references_of(prepared, run.seed)
    metrics = _score(prepared, trained, blended, target, run)
    _compare_with_forest(prepared, run, metrics)
    run.recorder.log(0, 0, 'run', random_seed=run.seed)
    least = _min_coverage(prepared, blended)
    extra, said = extra_outputs(prepared, trained, run)
    config = _config(
        prepared,
        trained,
        references,
        target=target,
        blend=blended.blend,
        min_coverage=least,
        extra_targets=extra,
    )
    model = bundle.Bundle(
        config,
        trained.network,
        references,
        None if fitted is None else fitted.model,
        None if fitted is None else fitted.vocabulary,
        None if fitted is None else fitted.domain,
        known_features=prepared.known,
    )
    _save(folder, model, prepared, run, metrics, prepared.labels.name)
    return target, _details(prepared, target, blended, references, least, said)


def _calibrated(prepared, blended, fitted, run):
    """Return the target with what its intervals or probabilities are made from."""
    rows = blended.calibrating
    if fitted is None:
        return prepared.target.calibrated(blended.outputs[rows], rows)
    thinned = thinned_outputs(prepared, blended, fitted, numpy_generator(run.seed, Stream.THINNED))
    generator = numpy_generator(run.seed, Stream.DIFFICULTY)
    # sums in another order are other sums: the number of threads must change nothing
    with threadpoolctl.threadpool_limits(1, 'blas'):
        return prepared.target.calibrated(blended.outputs[rows], rows, blended.signs.of(rows), thinned, generator)


def _min_coverage(prepared, blended):
    """Return the coverage by logarithms and by reads below which a sample is flagged."""
    if blended.signs is None:
        return (0.0, 0.0)
    rows, signs = prepared.labelled, blended.signs
    return tuple(
        least_coverage(shares[rows], prepared.target.groups[rows])
        for shares in (signs.vocabulary_coverage, signs.share_of_reads_in_vocabulary)
    )


def _config(prepared: Prepared, trained: Trained, references: References | None, **more) -> bundle.BundleConfig:
    divisor = None if prepared.distances is None else prepared.distances.pairs.divisor
    if prepared.study.covariates is not None:
        more['covariates'] = prepared.study.covariates.schema
    if references is not None:
        more['references'] = references.numbers
    if prepared.known is not None:
        more['features'] = NamedFeatures(len(prepared.known.token_keys), prepared.known.shared)
    return bundle.BundleConfig(prepared.kind, prepared.config, heads_to_save(trained.network), divisor, **more)


def _save(folder, model, prepared, run, metrics, target):
    card = make_card(
        prepared.kind,
        prepared.study,
        {part: len(rows) for part, rows in prepared.rows.items()},
        run.hashes,
        metrics,
        run.seed,
        run.started,
        device_name(run.device),
        model.network.precision,
        target,
        run.ranks.size,
        run.ranks.nodes,
        run.ranks.strategy,
    )
    run.save_bundle(folder, lambda into: bundle.save(into, model, card))


def references_of(prepared: Prepared, seed: int) -> References | None:
    """Return what stands for the ASVs of the training samples; None where features have no sequences."""
    if prepared.known is not None:
        return None
    study = prepared.study
    where, _ = positions_of(study.offsets, prepared.rows[TRAINING])
    asvs = np.unique(study.asvs[where])
    return build_references(study.codes[asvs], study.lengths[asvs], numpy_generator(seed, Stream.REFERENCES))


def _score(prepared: PreparedFit, trained: Trained, blended: Blended, target, run: Run) -> dict:
    """Log metrics and points of every split; return the metrics for the card."""
    metrics = {}
    generator = numpy_generator(run.seed, Stream.POINTS)
    for part, rows in prepared.rows.items():
        if not len(rows):
            continue
        outputs = blended.outputs[rows]
        metrics[part] = prepared.target.metrics_of(target, outputs, rows)
        if part == TEST:
            signs = None if blended.signs is None else blended.signs.of(rows)
            metrics[part] |= prepared.target.test_metrics(target, outputs, rows, signs)
        final = {f'final_{name}': value for name, value in metrics[part].items()}
        run.recorder.log(trained.step, trained.epoch, part, **final)
        for plot, predicted, true in prepared.target.points_of(target, outputs, rows):
            run.recorder.add_points(plot, part, predicted, true, generator)
    return metrics


def _compare_with_forest(prepared: PreparedFit, run: Run, metrics: dict) -> None:
    """Say, log and add to the metrics of the test split what a random forest makes of it."""
    tested = prepared.rows[TEST]
    if not prepared.config.data.random_forest or not len(tested):
        return
    # scikit-learn takes a second to load
    from q2_aam.evaluation.baselines import limit_asvs, limit_samples

    learned, limit = limit_samples(prepared.labelled, numpy_generator(run.seed, Stream.FOREST))
    counts, new_counts, other = limit_asvs(counts_of(prepared.study, learned), counts_of(prepared.study, tested))
    if prepared.study.covariates is not None:
        # as they stand beside counts: their scale says nothing to a tree
        counts = beside(counts, prepared.study.covariates.of(learned))
        new_counts = beside(new_counts, prepared.study.covariates.of(tested))
    if (codes := prepared.target.codes) is not None:
        # it knows what the model knows
        categories = codes.max() + 1
        counts = with_categories(counts, codes[learned], categories)
        new_counts = with_categories(new_counts, codes[tested], categories)
    target, threads = prepared.target, prepared.config.runtime.threads or available_cpus()
    baseline = target.random_forest(counts, learned, new_counts, tested, run.seed, threads)
    limits = ' and '.join(filter(None, (limit, other)))
    ours = metrics[TEST][target.headline]
    metrics[TEST] |= {f'random_forest_{name}': value for name, value in baseline.items()}
    run.recorder.log(0, 0, TEST, **{f'final_random_forest_{name}': value for name, value in baseline.items()})
    # of samples or categories; those of classes it has anyway
    alike = ' with the same weights' if target.weights is not None else ''
    doubt = ' One split of few samples proves little: use cross-validate.' if len(tested) < MANY_SAMPLES else ''
    run.recorder.say(
        f'Test samples: {target.headline.replace("_", " ")} {ours:.3g}; a random forest'
        f'{alike}{f" on {limits}" if limits else ""}: {baseline[target.headline]:.3g}.{doubt}'
    )


def _details(prepared: PreparedFit, target, blended: Blended, references, least, more) -> pd.DataFrame:
    """Return one row a sample, with how well the training samples cover it."""
    study, parts = prepared.study, prepared.parts
    columns = prepared.target.read_as(target, np.arange(len(study))).columns(blended.outputs, blended.signs)
    for name in {LOWER, UPPER} & set(columns):
        # training samples taught the model and helped to calibrate it: an interval for them would promise nothing
        columns[name] = np.where(parts == TRAINING, np.nan, columns[name])
    details = details_of(study, parts, columns | more, prepared.labels.values, prepared.augment)
    known: Any = prepared.known if references is None else references
    similarity, signs = known.of_study(study), blended.signs
    return details.join(
        applicability(study, similarity, prepared.augment, min_coverage=least, **({} if signs is None else vars(signs)))
    )
