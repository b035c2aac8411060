"""Which ASVs, and which clades, a model's predictions depend on.

Shapes: N samples, A ASVs of the study, G groups of ASVs, K cells, Q quantities that are told (see explain_removal).
"""

import numpy as np

from q2_aam.bundle.finite import GIVEN, check_finite
from q2_aam.data.importance import Importance
from q2_aam.data.taxonomy import clades_of, grouped
from q2_aam.errors import UserError, counted, shown
from q2_aam.runtime.device import use_threads
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run_directory import temporary_directory
from q2_aam.runtime.screen import print_line

from .explain_gradients import gradients
from .explain_open import open_model, taxa_of
from .explain_removal import changes, predict_members, weight_of
from .explain_tables import MAX_CLASSES, tables

# Which samples are used is drawn, but the same at each call.
SEED = 16


def importance(
    table, model, config, sequences=None, taxonomy=None, say=print_line, covariates=None, scale_by=None
) -> Importance:
    """Work out how the predictions of some samples depend on each ASV, and on each clade.

    The reads of an ASV are taken away from a sample, as if they had not been sequenced (what is left makes up the whole
    sample again), and the sample is predicted anew, by network and abundance ensemble together: the change is the
    effect of the ASV in this sample (explaining by removing: Covert et al. 2021, arXiv:2011.14878). Where several ASVs
    tell the same, one may replace another, so that each seems to matter little: so all ASVs of a clade are taken away
    at once, too. Whatever prediction is made of, trees included, is explained this way; integrated gradients stand
    beside it for the network alone (:mod:`q2_aam.inference.explain_gradients`).

    Give samples that the model was not trained on: on its training samples it may depend on what it has learned by
    heart.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    model : path
        Bundle of a regressor or a classifier.
    config : q2_aam.config.FeatureImportanceConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    taxonomy : pandas.Series, optional
        Taxon by feature id, ranks separated by ';'.
    say : callable
        Takes one line of progress.
    covariates : pandas.DataFrame, optional
        Metadata by sample id, where the model was trained with some; they stay as they are where ASVs are taken away.
    scale_by : pandas.Series, optional
        Category by sample id, where the target of the model is scaled by one: effects are in the scaling of the own
        category of each sample, and in that of all samples where the model has not learned it.

    Returns
    -------
    Importance
        Its details have one row an ASV that was taken away from a sample:

        - importance: mean over all samples of the absolute change of the prediction, 0 for samples without the ASV; of
          classes, of the total variation distance (half the sum over classes of absolute changes);
        - effect: mean over samples that have the ASV of the prediction with it less that without; of classes, of the
          probability of the class in column ``class``, the one that is changed most (of two
          classes always the first); ``effect_on_...`` of each class;
        - effect_sd: standard deviation of the effect over samples; missing of a single one;
        - effect_sd_members: standard deviation over the members of the abundance ensemble, each alone with the network;
        - samples: from how many it was taken away; share_of_samples: how many of the samples have it;
        - mean_share_of_reads: in those;
        - in_vocabulary: 1 where the abundance ensemble knows the ASV, else 0: then the network alone reads it;
        - network_gradient: mean integrated gradient of the network over the samples that have it, of the first
          ``max_samples_per_asv`` that are used; missing where none of them has it;
        - clade, clade_importance, clade_effect: of the deepest named taxon at or above the taxonomic level, whose ASVs
          were taken away at once;
        - taxonomy, target.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, if the model knows nothing like the table's ASVs, if `feature_ids` has some that the
        table lacks, or if the taxonomy has no ASV of the table.
    """
    with temporary_directory() as directory, use_threads(config.runtime.threads):
        opened = open_model(
            table, model, config.runtime, config.data.harmonize, sequences, covariates, directory, say, taxonomy,
            scale_by,
        )  # fmt: skip
        study = opened.study
        every = np.arange(len(study))
        taxa = None if taxonomy is None else taxa_of(study.feature_ids, taxonomy)
        levels = _levels(study, taxa)
        whole = with_less_memory(
            opened.model.network, lambda: predict_members(opened.model, opened.reader, opened.device, opened.codes)
        )
        check_finite(whole.blended, study.sample_ids, GIVEN)
        chosen = config.importance
        order = np.random.default_rng(SEED).permutation(every)[: chosen.max_samples]
        limits = _limits(study, order, levels, chosen.max_asvs, chosen.feature_ids)
        _say_what(say, opened, levels, limits, order, chosen)
        cells = changes(
            opened.model, opened.reader, whole, levels, limits, order, chosen.max_samples_per_asv, opened.device,
            opened.codes,
        )  # fmt: skip
        if not cells[0].chosen.any():
            raise UserError(
                'Nothing is left of any sample without the ASVs that importance is asked for: each has a single one; '
                'give samples with more ASVs.'
            )
        slopes = _gradients(opened, order[: chosen.max_samples_per_asv], levels[0], chosen.gradient_steps)
        return tables(opened, levels, cells, whole, order, slopes, taxa, chosen.taxonomy_level)


def _levels(study, taxa):
    """Return the groups of ASVs that are taken away: first each ASV, then clades, the deepest first."""
    # reads of one feature may be read as several ASVs, which have its id
    levels = [grouped(study.feature_ids)]
    return levels if taxa is None else [*levels, *clades_of(taxa)[::-1]]


def _limits(study, order, levels, max_asvs, feature_ids):
    """Return of each level which groups are taken away: those that make up most of the samples."""
    limits = []
    for level in levels:
        weight = weight_of(study, order, level.codes, len(level.names))
        limit = np.zeros(len(weight), dtype=bool)
        limit[np.argsort(-weight, kind='stable')[:max_asvs]] = True
        limits.append(limit & (weight > 0))
    if feature_ids:
        limits[0] = asked(levels[0].names, feature_ids)
        asvs = limits[0][levels[0].codes]
        for level, limit in zip(levels[1:], limits[1:]):
            limit &= np.isin(np.arange(len(limit)), level.codes[asvs])
    return limits


def asked(names, feature_ids) -> np.ndarray:
    """Return which ASVs are asked for, bool, in the order of `names`; refuse ids that the table lacks."""
    known = set(names)
    if missing := [name for name in dict.fromkeys(feature_ids) if name not in known]:
        raise UserError(
            f'An explanation is asked for {counted(len(missing), "feature ID")} that the table does not have with '
            f'reads of its own (e.g. {shown(missing[0])}); give IDs of the table, and of features with the same '
            'sequence the first in alphabetical order.'
        )
    return np.isin(names, list(feature_ids))


def _say_what(say, opened, levels, limits, order, config):
    asvs, most = len(levels[0].names), int(limits[0].sum())
    used, samples = len(order), len(opened.study)
    said = f'Importance: {counted(most, "ASV")}'
    if most < asvs and not config.feature_ids:
        said += f' of {asvs:,}, those that make up most of the samples (max_asvs)'
    if len(levels) > 1:
        said += f', and {counted(sum(int(limit.sum()) for limit in limits[1:]), "clade")}'
    limit = config.max_samples_per_asv
    # a limit above the number of samples is none
    of_each = (
        f'at most {counted(limit, "sample")} (max_samples_per_asv)' if limit < used else 'all samples that have it'
    )
    said += f', each taken away from {of_each}'
    if used < samples:
        said += f'{" of" if limit < used else ", of"} {used:,} drawn from {samples:,} (max_samples)'
    say(f'{said}.')
    if len(opened.classes) > MAX_CLASSES:
        say(
            f'Effects on each of {len(opened.classes)} classes are not in the details: with more than {MAX_CLASSES} '
            'classes, only the one that changes most is.'
        )


def _gradients(opened, order, level, steps):
    """Return the mean integrated gradient of each group over the samples that have it, float64 [G]; NaN: none."""
    total, samples = np.zeros(len(level.names)), np.zeros(len(level.names))
    if not steps:
        return np.full(len(total), np.nan)
    for drawn, attributions in gradients(opened.model, opened.reader, np.sort(order), steps, opened.codes):
        groups = level.codes[drawn.asvs]
        np.add.at(total, groups, attributions)
        row = np.repeat(np.arange(len(drawn.rows)), np.diff(drawn.offsets))
        np.add.at(samples, np.unique(row * len(total) + groups) % len(total), 1)
    return np.divide(total, samples, out=np.full(len(total), np.nan), where=samples > 0)
