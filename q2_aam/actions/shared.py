"""What several actions take and give, described once."""

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence
from q2_types.feature_table import FeatureTable, Frequency, RelativeFrequency
from qiime2.plugin import Citations

CITATIONS = Citations.load('citations.bib', package='q2_aam')

TABLE = FeatureTable[Frequency | RelativeFrequency]

INPUTS = {
    'table': TABLE,
    'sequences': FeatureData[Sequence],
    'distance_matrix': DistanceMatrix,
}

INPUT_DESCRIPTIONS = {
    'table': 'Feature table of ASVs: counts or proportions; it need not be rarefied. Feature ids may be hashes (then '
    'sequences are needed) or the sequences themselves.',
    'sequences': 'Representative sequences of the features of the table. Not needed where feature ids are sequences.',
    'distance_matrix': 'Distances between samples, for example unweighted UniFrac; any dissimilarity will do. Samples '
    'that are not in it still train the other tasks.',
}

HISTORY_DESCRIPTION = (
    'What training logged: losses and figures of each part, step by step, and points of predicted against true values. '
    'It can be viewed as metadata.'
)

DETAILS_DESCRIPTION = (
    'One row a sample: its part (training, validation, test or new), its prediction, the true value where it is known, '
    'the bounds of its prediction interval or the probability of each class, how much of the sample the model could '
    'read, and how like it is to the training samples: the share of its reads in sequences near theirs, reversed, of '
    'another region or of another length, and a flag, ok where nothing speaks against the prediction.'
)


def path_of(view):
    """Return the path of a format's file or folder as text, or None where the optional input was not given."""
    return None if view is None else str(view)


def cite(*keys):
    """Return the citations with these keys of citations.bib, as the framework wants them."""
    return [CITATIONS[key] for key in keys]
