"""What features without sequences share, as inputs of the actions that read them."""

import pandas as pd
from q2_types.feature_data import FeatureData, Taxonomy
from q2_types.tree import NewickFormat, Phylogeny, Rooted

from q2_aam.runtime.content import hash_files, hash_series

from .shared import path_of

CLADES = {'taxonomy': FeatureData[Taxonomy], 'phylogeny': Phylogeny[Rooted]}

CLADES_OF_TRAINING = {
    'taxonomy': 'Taxonomy of features without sequences: those of one clade share what is learned of it, and new ones '
    'are placed by it. Features with sequences do not need it.',
    'phylogeny': 'Rooted tree of features without sequences: the same where there is no taxonomy.',
}
CLADES_OF_NEW = {
    'taxonomy': 'Taxonomy of the features, where the model was trained without sequences and with a taxonomy: features '
    'that it does not know are placed by their clades.',
    'phylogeny': 'Rooted tree with these features and those of the model, where it was trained without sequences and '
    'with a phylogeny: features that it does not know are placed by their nearest relatives.',
}


def clades_of(taxonomy, phylogeny):
    """Return what features are placed by, as the library takes it."""
    # QIIME 2 loads this file to run any action of any plugin
    from q2_aam.inference.read import Clades

    return Clades(taxonomy, path_of(phylogeny))


def hashes_of_clades(taxonomy, phylogeny):
    """Return what the artifacts of these inputs are known by."""
    hashes = hash_files(phylogeny=path_of(phylogeny and phylogeny.view(NewickFormat)))
    return hashes if taxonomy is None else hashes | {'taxonomy': hash_series(taxonomy.view(pd.Series))}
