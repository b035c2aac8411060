"""All findings on the inputs of a fit, and the study that they are about."""

import dataclasses
import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pandas as pd

from q2_aam.data.distance_matrix import read_distances
from q2_aam.data.feature_names import are_names, stand_ins
from q2_aam.data.known_features import KnownFeatures
from q2_aam.data.labels import Labels
from q2_aam.data.references import References
from q2_aam.data.sequences import sequences_of
from q2_aam.data.study import Study, build_study
from q2_aam.data.table import read_table
from q2_aam.errors import UserError, counted, have, shown

from .plan import ERROR, NOTE, WARNING, Finding, from_message, sort
from .plan_design import DEPTH, check_confounding, check_duplicates, check_repeats, confounding
from .plan_ids import check_distances, check_hashes, check_sample_ids
from .plan_names import check_kind, check_names
from .plan_reads import (
    Shared,
    check_depth,
    check_encoder,
    check_lengths,
    check_orientation,
    check_starts,
    shared_asvs,
)
from .plan_target import align, check_classes, check_number

SEED = 1
# Of the samples in the metadata, a larger share without a value is worth a warning.
MAX_MISSING = 0.5


@dataclasses.dataclass(frozen=True)
class Looked:
    """What was found.

    Attributes
    ----------
    findings : list of Finding
        The gravest first.
    study : q2_aam.data.study.Study or None
        Of all samples of the table; None where its sequences cannot be read.
    shared : q2_aam.evaluation.plan_reads.Shared or None
    labels : q2_aam.data.labels.Labels or None
        None where there is no target, or none that could be learned.
    grouped : bool
    tested : pandas.DataFrame
        Which columns go with the target; see :func:`q2_aam.evaluation.plan_design.confounding`.
    """

    findings: list[Finding]
    study: Study | None
    shared: Shared | None
    labels: Labels | None
    grouped: bool
    tested: pd.DataFrame

    @property
    def may_train(self) -> bool:
        """Whether a fit would take these inputs."""
        return self.study is not None and not any(one.severity == ERROR for one in self.findings)


@dataclasses.dataclass(frozen=True)
class Given:
    """The inputs of a fit: files by their paths, columns by sample id.

    Attributes
    ----------
    table : path
    sequences, distance_matrix : path, optional
    target, groups : pandas.Series, optional
    batches : pandas.DataFrame, optional
        Columns that should not tell the target.
    references : q2_aam.data.references.References, optional
        Of the encoder.
    max_length : int, optional
        Nucleotides that the encoder reads; None without one.
    known : q2_aam.data.known_features.KnownFeatures, optional
        Of an encoder that knows features by their names.
    """

    table: str | os.PathLike
    sequences: str | os.PathLike | None = None
    distance_matrix: str | os.PathLike | None = None
    target: pd.Series | None = None
    groups: pd.Series | None = None
    batches: pd.DataFrame | None = None
    references: References | None = None
    max_length: int | None = None
    known: KnownFeatures | None = None


def look(given: Given, noting: Callable[[], AbstractContextManager[list[str]]]) -> Looked:
    """Find what speaks against training on these inputs.

    Parameters
    ----------
    given : Given
    noting : callable
        Begins a block whose warnings are not given, but written to the list that it returns. Those of other threads
        must stay what they are, see :func:`q2_aam.runtime.heard.noting`.

    Raises
    ------
    UserError
        If the table cannot be read.
    """
    # torch comes with it
    from q2_aam.data.log_abundances import log_abundances

    table = read_table(given.table)
    labelled = [] if given.target is None else sorted(given.target.dropna().index)
    findings = [] if given.target is None else _check_ids(table.sample_ids, labelled, given.target)
    study, without_reads, found = _read(table, given.sequences, noting)
    findings += found
    if study is None:
        return Looked(sort(findings), None, None, None, given.groups is not None, _nothing())
    generator = np.random.default_rng(SEED)
    groups = _groups(study.sample_ids, given.groups)
    shared = shared_asvs(study, groups)
    findings += check_depth(study, without_reads, shared, given.groups is not None)
    findings += _check_sequences(study, given, generator)
    profiles = log_abundances(study, np.arange(len(study)))
    if given.distance_matrix is not None:
        findings += _check_matrix(given.distance_matrix, study, set(labelled), profiles)
    if given.target is None or not set(labelled) & set(study.sample_ids):
        return Looked(sort(findings), study, shared, None, given.groups is not None, _nothing())
    labels, found = align(study.sample_ids, given.target, given.groups, noting)
    findings += found
    tested = _nothing()
    if labels is not None:
        findings += check_classes(labels) if labels.values.dtype == object else check_number(labels)
        found, tested = _check_design(study, profiles, labels, given, generator)
        findings += found
    return Looked(sort(findings), study, shared, labels, given.groups is not None, tested)


def _nothing():
    return pd.DataFrame(columns=['column', 'test', 'units', 'strength', 'p', 'p_adjusted'])


def _check_ids(table_ids, labelled, target):
    found = check_sample_ids(table_ids, labelled, str(target.name))
    without = target.index[target.isna()]
    without = without[without.isin(table_ids)]
    if len(without):
        many = len(without) > MAX_MISSING * (len(without) + len(labelled))
        found.append(
            Finding(
                WARNING if many else NOTE, 'missing', f'column {target.name}',
                f'{counted(len(without), "sample")} of the table {have(len(without))} no value '
                f'(e.g. {shown(without[0])}).',
                'If values are missing for a reason that has to do with them, the others are no fair sample.',
            )
        )  # fmt: skip
    return found


def _read(table, sequences, noting):
    """Return the study or None, samples without reads, and findings."""
    with noting() as said:
        try:
            if sequences is None and are_names(table.feature_ids):
                study, without_reads = build_study(table, stand_ins(table.feature_ids))
                return dataclasses.replace(study, named=True), without_reads, []
            of_features = sequences_of(table.feature_ids, sequences)
            found = check_hashes(table.feature_ids, of_features)
            study, without_reads = build_study(table, of_features)
        except UserError as error:
            return None, [], [from_message(ERROR, 'sequences', 'sequences', error)]
    found += [from_message(NOTE, 'sequences', 'sequences', text) for text in said if not text.startswith('Ignored: ')]
    return study, without_reads, found


def _groups(sample_ids, groups):
    """Return the group of each sample, object; that of one without is the sample itself."""
    own = pd.Series(sample_ids, sample_ids, dtype=object)
    return (own if groups is None else groups.reindex(sample_ids).fillna(own)).to_numpy(dtype=object)


def _check_sequences(study, given, generator):
    if study.named:
        return check_names(study, given.max_length is not None, given.known)
    weights = np.bincount(study.asvs, study.abundances, minlength=len(study.codes)) / len(study)
    found = check_kind(given.known) + check_lengths(study, weights)
    found += check_orientation(study, weights, generator)
    found += check_starts(study, weights)
    if given.max_length is not None and not check_kind(given.known):
        found += check_encoder(study, weights, given.references, given.max_length)
    return found


def _check_matrix(path, study, labelled, profiles):
    try:
        matrix = read_distances(path)
    except UserError as error:
        return [from_message(ERROR, 'distance_matrix', 'distance_matrix', error)]
    ids = [name for name in study.sample_ids if name in labelled]
    return check_distances(matrix, study.sample_ids, ids, profiles)


def _check_design(study, profiles, labels, given, generator):
    """Return findings on what else could tell the target, and the table of columns that go with it."""
    rows = study.rows_of(labels.sample_ids)
    index = pd.Index(labels.sample_ids)
    target = pd.Series(labels.values, index, name=labels.name)
    columns = pd.DataFrame(index=index) if given.batches is None else given.batches.reindex(index)
    names = [] if given.groups is None else [given.groups.name]
    columns = columns.drop(columns=[labels.name, *names], errors='ignore')
    groups = None if given.groups is None else labels.groups
    found = check_repeats(profiles[rows], labels.sample_ids, columns, target, groups, generator)
    # copies of samples without a label do no harm
    found += check_duplicates(_rows_of(study, rows), labels.groups)
    reads = pd.Series(study.reads[rows], index)
    if reads.nunique() > 1:
        columns = columns.assign(**{DEPTH: reads})
    tested = confounding(target, columns, labels.groups)
    return found + check_confounding(tested), tested


def _rows_of(study, rows):
    """Return the study of some of its samples, in this order."""
    places = [np.arange(study.offsets[row], study.offsets[row + 1]) for row in rows]
    where = np.concatenate(places)
    return dataclasses.replace(
        study,
        sample_ids=[study.sample_ids[row] for row in rows],
        offsets=np.r_[0, np.cumsum([len(place) for place in places])],
        asvs=study.asvs[where],
        abundances=study.abundances[where],
        reads=study.reads[rows],
    )
