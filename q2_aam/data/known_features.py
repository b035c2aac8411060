"""The features without sequences that a model knows: by their names, and by the clades that they share with others.

A feature is to the network what a sequence is: a few tokens, one for each of its clades from the root on and the last
for itself. One that the model does not know has those of its clades alone.

Shapes: F known features, T tokens of a feature, N tokens that there are, A features of a study.
"""

import dataclasses
import functools
import os

import numpy as np
import pandas as pd

from q2_aam.errors import UserError, counted, shown

from .feature_names import name_keys, normalised
from .lineages import MAX_CLADES, lineages_of_taxa, lineages_of_tips, parents_of, taxa_given, taxa_of_ids
from .phylogeny import read_phylogeny
from .references import Similarity
from .study import Study

# Tokens of a feature: those of its clades and its own.
TOKENS = MAX_CLADES + 1
# Features that a model knows, those that most training samples have: 32 MB of a network of width 128.
MAX_FEATURES = 2**16
# Share of the clades of a feature that must be known for it to be placed among others: of six ranks, three.
MIN_PLACED = 0.5
# Names of the arrays of a bundle.
ARRAYS = {'known_features.names': 'uint8', 'known_features.tokens': 'int32', 'known_features.token_keys': 'int64'}
# What features share.
TAXONOMY, PHYLOGENY, NAMES, NOTHING = 'taxonomy', 'phylogeny', 'names', 'nothing'
SHARED = {
    TAXONOMY: 'their taxonomy',
    PHYLOGENY: 'clades of the phylogeny',
    NAMES: 'the taxa above them in their names',
    NOTHING: 'nothing',
}


@dataclasses.dataclass(frozen=True, eq=False)
class KnownFeatures:
    """The features that a model knows; of samples, nothing is here.

    Attributes
    ----------
    ids : list of str
        None twice.
    tokens : int32 [F, T]
        Of each feature: numbers from 1 on, its own behind those of its clades, 0 after the end.
    token_keys : int64 [N]
        By which the feature or the clade of each token is known, that of token 1 first.
    shared : str
        What tells the clades of features.

    Raises
    ------
    ValueError
        If they are something else.
    """

    ids: list[str]
    tokens: np.ndarray
    token_keys: np.ndarray
    shared: str

    def __post_init__(self):
        tokens, number = self.tokens, self.token_keys.size
        sound = (
            tokens.ndim == 2 and tokens.shape == (len(self.ids), TOKENS) and tokens.size and tokens.dtype == np.int32
        )
        # no gaps, and each feature has one
        sound = sound and (tokens[:, 0] > 0).all() and (tokens[:, 1:] * (tokens[:, :-1] == 0) == 0).all()
        # a number for each token
        sound = sound and self.token_keys.ndim == 1
        if not (sound and 0 <= tokens.min() <= tokens.max() <= number and len(set(self.ids)) == len(self.ids)):
            raise ValueError("The model's known features are damaged: they must be names with tokens; train it again.")

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """Of each feature, int64 [F]."""
        return name_keys(self.ids)

    @property
    def lineages(self) -> list[list[int]]:
        """The tokens of the clades of each feature."""
        return [row[row > 0][:-1].tolist() for row in self.tokens]

    def on(self, study: Study, taxonomy: pd.Series | None = None, phylogeny: str | os.PathLike | None = None) -> Study:
        """Return a study of named features whose features have tokens: none of those that are unknown.

        Features that the model knows have the clades that they were learned with. Others are placed by a taxonomy or a
        phylogeny of the kind that the model was trained with, where half of their clades are known.

        Parameters
        ----------
        study : Study
        taxonomy : pandas.Series, optional
            Taxon by feature id.
        phylogeny : path, optional
            Newick, with features that the model knows; not all of the study need be in it.
        """
        tokens = np.zeros((len(study.feature_ids), TOKENS), dtype=np.int32)
        row = dict(zip(self.keys.tolist(), range(len(self.ids))))
        at = np.array([row.get(key, -1) for key in study.keys.tolist()], dtype=np.int64)
        tokens[at >= 0] = self.tokens[at[at >= 0]]
        unknown = np.flatnonzero(at < 0)
        ids = [study.feature_ids[feature] for feature in unknown]
        for feature, lineage in zip(unknown, self._placed(ids, taxonomy, phylogeny) if ids else ()):
            tokens[feature, : len(lineage)] = lineage
        return dataclasses.replace(study, tokens=tokens)

    def _placed(self, ids, taxonomy, phylogeny):
        """Return the tokens of the clades of features that are unknown."""
        if self.shared == PHYLOGENY and phylogeny is not None:
            return self._placed_in_tree(ids, phylogeny)
        if self.shared == TAXONOMY and taxonomy is not None:
            lineages = lineages_of_taxa(taxa_given(taxonomy, ids))
        elif self.shared == NAMES:
            lineages = lineages_of_taxa(taxa_of_ids(ids))
        else:
            return [[] for _ in ids]
        number = {key: token for token, key in enumerate(self.token_keys.tolist(), start=1)}
        return [_known_part(lineage, number) for lineage in lineages]

    def _placed_in_tree(self, ids, phylogeny):
        """Return the tokens that those known features share which are below the same smallest node."""
        tree = read_phylogeny(phylogeny, [*ids, *self.ids], all_of_them=False)
        parents, lineages = parents_of(tree), self.lineages
        # by the number of the tip: the known feature, -1 of others
        known = np.full(int((tree.position >= 0).sum()), -1, dtype=np.int64)
        of_known = tree.position[len(ids) :]
        known[of_known[of_known >= 0]] = np.flatnonzero(of_known >= 0)
        before = np.concatenate([[0], np.cumsum(known >= 0)])
        any_known = before[tree.last] > before[tree.first]
        is_tip = np.flatnonzero(tree.last - tree.first == 1)
        node_of_tip = np.empty(len(known), dtype=np.int64)
        node_of_tip[tree.first[is_tip]] = is_tip
        # the smallest node above each, itself included, that has known features below it; those above come last
        nearest = np.arange(len(parents))
        for node in np.flatnonzero(~any_known)[::-1]:
            nearest[node] = nearest[parents[node]] if parents[node] >= 0 else -1

        @functools.cache
        def placed_below(node):
            below = known[tree.first[node] : tree.last[node]] if node >= 0 else np.zeros(0, dtype=np.int64)
            return _in_common([lineages[feature] for feature in below[below >= 0]])

        positions = tree.position[: len(ids)].tolist()
        return [placed_below(int(nearest[node_of_tip[place]])) if place >= 0 else [] for place in positions]

    def of_study(self, study: Study) -> Similarity:
        """Tell features that the model knows or has placed from others, as it would compare sequences."""
        near = study.readable
        never = np.zeros(len(near), dtype=bool)
        return Similarity(near.astype(np.float32), near, never, never, never)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return {name: array} as a bundle has them."""
        names = np.frombuffer('\n'.join(self.ids).encode(), dtype=np.uint8).copy()
        return dict(zip(ARRAYS, (names, self.tokens, self.token_keys)))

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], shared: str) -> 'KnownFeatures':
        """Read what :meth:`arrays` gave."""
        names, tokens, token_keys = (arrays[name] for name in ARRAYS)
        try:
            ids = names.tobytes().decode().split('\n')
        except UnicodeDecodeError as error:
            raise ValueError("The names of the model's known features are damaged; train the model again.") from error
        return cls(ids, tokens, token_keys, shared)

    def share(self, study: Study) -> float:
        """Return the share of the reads of a study that are in features that a network reads."""
        return _shares(study, study.readable)[0]

    def describe(self, study: Study) -> str:
        """Return one line on the reads of a study that are in features that the model knows, has placed or lacks."""
        near, own_names = study.readable, np.isin(study.keys, self.keys)
        own, placed, lacking = _shares(study, own_names, near & ~own_names, ~near)
        by = f', {_percent(placed)} in others that are placed by {SHARED[self.shared]}' if placed else ''
        unknown = counted(int((~near).sum()), 'unknown feature')
        rest = f'{_percent(lacking)} in {unknown}, which {"is" if (~near).sum() == 1 else "are"} left out'
        return (
            f'Known features: {_percent(own)} of the reads are in features that the model knows by their names{by}; '
            f'{rest if lacking else "none is unknown"}.'
        )


def _percent(share):
    return f'{share:.0%}' if share == 0 or share >= 0.005 else 'less than 1%'


def _shares(study, *kinds):
    """Return the share of the reads of a study that are in features of each kind, bool [A]."""
    weights = np.bincount(study.asvs, study.abundances * np.repeat(study.reads, study.richness), len(study.codes))
    return [float(weights[which].sum() / weights.sum()) for which in kinds]


def learn_features(
    study: Study,
    rows: np.ndarray,
    taxonomy: pd.Series | None = None,
    phylogeny: str | os.PathLike | None = None,
    before: KnownFeatures | None = None,
) -> KnownFeatures:
    """Return the features of some samples, those that most of them have, with their clades.

    Parameters
    ----------
    study : Study
        Of named features.
    rows : int64
        Training samples.
    taxonomy : pandas.Series, optional
        Taxon by feature id.
    phylogeny : path, optional
        Newick; in place of a taxonomy.
    before : KnownFeatures, optional
        Those of the encoder that training goes on from, which stay as they are, tokens included.

    Raises
    ------
    UserError
        If the taxonomy has none of the features.
    """
    samples = np.zeros(len(study.feature_ids), dtype=np.int64)
    for row in rows:
        samples[study.asvs[study.offsets[row] : study.offsets[row + 1]]] += 1
    if before is not None:
        samples[np.isin(study.keys, before.keys)] = 0
    room = MAX_FEATURES - (0 if before is None else len(before.ids))
    order = np.argsort(-samples, kind='stable')[: max(0, room)]
    chosen = np.sort(order[samples[order] > 0])
    ids = [study.feature_ids[feature] for feature in chosen]
    shared, lineages = _lineages(ids, study.keys[chosen], taxonomy, phylogeny)
    number = {} if before is None else {key: token for token, key in enumerate(before.token_keys.tolist(), start=1)}
    tokens = np.zeros((len(ids), TOKENS), dtype=np.int32)
    for row, (lineage, own) in enumerate(zip(lineages, study.keys[chosen].tolist())):
        for place, key in enumerate([*lineage[:MAX_CLADES], own]):
            tokens[row, place] = number.setdefault(key, len(number) + 1)
    keys = np.fromiter(number, dtype=np.int64, count=len(number))
    ids = [normalised(name) for name in ids]
    if before is None:
        return KnownFeatures(ids, tokens, keys, shared)
    shared = shared if before.shared == NOTHING else before.shared
    return KnownFeatures([*before.ids, *ids], np.concatenate([before.tokens, tokens]), keys, shared)


def _lineages(ids, keys, taxonomy, phylogeny):
    """Return what tells the clades of features, and the keys of these."""
    if taxonomy is not None:
        taxa = taxa_given(taxonomy, ids)
        if ids and not any(taxa):
            raise UserError(
                f'The taxonomy names none of the {counted(len(ids), "feature")} of the training samples (e.g. '
                f'{shown(ids[0])}); give the taxonomy of these features, or leave it out.'
            )
        return TAXONOMY, lineages_of_taxa(taxa)
    if phylogeny is not None and ids:
        return PHYLOGENY, lineages_of_tips(read_phylogeny(phylogeny, ids, all_of_them=False), keys)
    taxa = taxa_of_ids(ids)
    return (NAMES, lineages_of_taxa(taxa)) if any(taxa) else (NOTHING, [[] for _ in ids])


def _known_part(lineage, number):
    """Return the tokens of the clades of one feature down to the first that is unknown; none where these are few."""
    known = []
    for key in lineage:
        if key not in number:
            break
        known.append(number[key])
    return known if len(known) >= MIN_PLACED * len(lineage) else []


def _in_common(lineages):
    """Return the first tokens that lineages share; none where these are few."""
    if not lineages:
        return []
    common = [of_level[0] for of_level in zip(*lineages)]
    same = [len(set(of_level)) == 1 for of_level in zip(*lineages)]
    depth = same.index(False) if False in same else len(same)
    return common[:depth] if depth >= MIN_PLACED * min(map(len, lineages)) else []
