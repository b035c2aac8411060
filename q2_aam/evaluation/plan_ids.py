"""Whether inputs belong together: ids of table, metadata and distance matrix, and sequences under their ids."""

import collections
import hashlib
import re

import numpy as np

from q2_aam.errors import counted, have, listed, shown

from .plan import ERROR, NOTE, WARNING, Finding

# A smaller share of labelled samples is lost in every study: shallow samples are filtered from its table.
MAX_LOST = 0.2
# Samples whose distances are compared with those of the table; below such a correlation they are of other samples
# (unweighted UniFrac and Jaccard distances of ECAM: 0.8).
MAX_COMPARED, MIN_COMPARED, MIN_CORRELATION = 150, 10, 0.2
_MD5 = re.compile(r'[0-9a-f]{32}')


def check_sample_ids(table_ids, labelled_ids, column):
    """Return findings on the samples that table and metadata have in common.

    Parameters
    ----------
    table_ids : list of str
    labelled_ids : list of str
        With a value in the metadata column.
    column : str
    """
    lost = sorted(set(labelled_ids) - set(table_ids))
    if not labelled_ids:
        return []
    near = _near(lost, set(table_ids) - set(labelled_ids))
    if len(lost) == len(labelled_ids):
        return [
            Finding(
                ERROR, 'sample_ids', 'table and metadata',
                f'The feature table and metadata column {shown(column)} share no sample ID (e.g. '
                f'{shown(min(table_ids))} in the table, {shown(lost[0])} in the metadata).{_hint(near)}',
                'Use the same IDs in both: rename them in the metadata, or with feature-table rename-ids.',
            )
        ]  # fmt: skip
    if near or len(lost) > MAX_LOST * len(labelled_ids):
        return [
            Finding(
                WARNING, 'sample_ids', 'table and metadata',
                f'{len(lost):,} of {counted(len(labelled_ids), "labelled sample")} {_are(len(lost))} not in the '
                f'feature table (e.g. {shown(lost[0])}).{_hint(near)}',
                'Use the same IDs in both, or check why these samples were filtered from the table.',
            )
        ]  # fmt: skip
    unlabelled = len(set(table_ids) - set(labelled_ids))
    if not unlabelled:
        return []
    return [
        Finding(
            NOTE, 'unlabelled', 'metadata',
            f'{unlabelled:,} of {counted(len(table_ids), "sample")} in the table have no value of {shown(column)}.',
            'Give all of them to pretrain: an encoder learns from samples without labels.',
        )
    ]  # fmt: skip


def _are(number):
    return 'is' if number == 1 else 'are'


def _near(lost, others):
    """Return pairs (id in the metadata, id in the table) that are the same but for case, punctuation or an affix."""
    found = collections.defaultdict(set)
    for name in others:
        for written in _without_affix(name):
            found[written].add(name)
    whole = {_plain(name): name for name in others}
    pairs = []
    for name in lost:
        same = found.get(_plain(name), set())
        same = same or {whole[written] for written in _without_affix(name) if written in whole}
        if len(same) == 1:
            pairs.append((name, next(iter(same))))
    return pairs


def _plain(name):
    return re.sub('[^a-z0-9]', '', name.lower())


def _without_affix(name):
    """Return a name as it is and without parts before and after, each of small letters and digits alone."""
    parts = re.split('[^a-z0-9]+', name.lower())
    return {''.join(part) for number in range(len(parts)) for part in (parts[number:], parts[: len(parts) - number])}


def _hint(near):
    if not near:
        return ''
    one, other = near[0]
    return (
        f' {counted(len(near), "ID")} would match but for case, punctuation, or something before or after: '
        f'{shown(one)} is {shown(other)} in the table.'
    )


def check_hashes(feature_ids, sequences):
    """Return findings on feature ids that are hashes of sequences, or sequences themselves, but of others.

    DADA2 and Deblur name features by the MD5 of their sequence (q2-dada2, q2-deblur: hashed_feature_ids).

    Parameters
    ----------
    feature_ids, sequences : list of str
        In the same order.
    """
    hashed = [place for place, name in enumerate(feature_ids) if _MD5.fullmatch(name)]
    digests = [hashlib.md5(sequences[place].encode(), usedforsecurity=False).hexdigest() for place in hashed]
    wrong = [place for place, digest in zip(hashed, digests) if feature_ids[place] != digest]
    if not wrong:
        return []
    names = set(feature_ids)
    swapped = [place for place, digest in zip(hashed, digests) if feature_ids[place] != digest and digest in names]
    if swapped:
        return [
            Finding(
                ERROR, 'hashes', 'sequences',
                f'{counted(len(swapped), "feature")} of {len(feature_ids):,} {have(len(swapped))} the sequence of '
                f'another feature: ID {shown(feature_ids[swapped[0]])} is the MD5 of another sequence.',
                'Give the representative sequences that came with this table.',
            )
        ]  # fmt: skip
    severity = NOTE if len(wrong) == len(hashed) else WARNING
    return [
        Finding(
            severity, 'hashes', 'sequences',
            f'{len(wrong):,} of {counted(len(hashed), "feature")} whose IDs look like the MD5 of their sequence have '
            f'another one (e.g. {shown(feature_ids[wrong[0]])}).',
            'If sequences were trimmed after they were named, all is well; else give those that came with this table.',
        )
    ]  # fmt: skip


def check_distances(matrix, table_ids, labelled_ids, profiles):
    """Return findings on a distance matrix: whether it is of the samples of the table.

    Parameters
    ----------
    matrix : q2_aam.data.distance_matrix.Distances
    table_ids : list of str
        Those with reads, in the order of `profiles`.
    labelled_ids : list of str
        May be empty.
    profiles : csr float32 [samples, ASVs]
        Above 0 where a sample has an ASV.
    """
    place = {name: number for number, name in enumerate(matrix.ids)}
    shared = [(number, place[name]) for number, name in enumerate(table_ids) if name in place]
    if len(shared) < 2:
        return [
            Finding(
                ERROR, 'distance_matrix', 'distance_matrix',
                f'The distance matrix has {counted(len(shared), "sample")} of the feature table (e.g. '
                f'{shown(matrix.ids[0])} is in the matrix, {shown(table_ids[0])} in the table).',
                'Give the distance matrix that was computed from this table.',
            )
        ]  # fmt: skip
    found = []
    correlation = _correlation(matrix.values, shared, profiles)
    if correlation < MIN_CORRELATION:
        found.append(
            Finding(
                WARNING, 'distance_matrix', 'distance_matrix',
                f'The distances do not follow the table: their rank correlation with the Jaccard distances of '
                f'{counted(min(len(shared), MAX_COMPARED), "sample")} is {correlation:.2f}.',
                'Check that the matrix is of these samples under these IDs, and not of others.',
            )
        )  # fmt: skip
    without = sorted(set(labelled_ids or table_ids) - set(matrix.ids))
    if without:
        found.append(
            Finding(
                NOTE, 'without_distances', 'distance_matrix',
                f'{counted(len(without), "labelled sample" if labelled_ids else "sample")} {_are(len(without))} not in '
                f'the distance matrix ({listed(map(shown, without), 2)}).',
                'Rarefying drops shallow samples; these serve the other objectives.',
            )
        )  # fmt: skip
    return found


def _correlation(values, shared, profiles):
    """Return the rank correlation with Jaccard distances, 1 where there is no telling."""
    rows, places = np.array(shared)[np.linspace(0, len(shared) - 1, min(len(shared), MAX_COMPARED)).astype(int)].T
    if len(rows) < MIN_COMPARED:
        return 1.0
    present = (profiles[rows] > 0).astype(np.float32)
    both = (present @ present.T).toarray()
    sizes = np.diagonal(both)
    jaccard = 1 - both / np.maximum(sizes[:, None] + sizes - both, 1)
    pairs = np.triu_indices(len(rows), 1)
    given = values[np.ix_(places, places)][pairs]
    if np.ptp(given) == 0 or np.ptp(jaccard[pairs]) == 0:
        return 1.0
    import scipy.stats

    return float(scipy.stats.spearmanr(given, jaccard[pairs])[0])
