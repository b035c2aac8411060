"""Inputs and outputs that several actions have, described once."""

from pathlib import Path

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence
from q2_types.feature_table import FeatureTable, Frequency, PresenceAbsence, RelativeFrequency

from q2_aam.config.search import SETTINGS_FILE, read_settings
from q2_aam.runtime.history import History
from q2_aam.types import AAMTrainingHistoryDirectoryFormat

from .messages import warnings_given

# The part of a history, and the metric of a cross-validation, that tells a warning.
WARNING = 'warning'

TABLE = FeatureTable[Frequency | RelativeFrequency | PresenceAbsence]

INPUTS = {
    'table': TABLE,
    'sequences': FeatureData[Sequence],
    'distance_matrix': DistanceMatrix,
}

INPUT_DESCRIPTIONS = {
    'table': 'Feature table of ASVs, as counts, relative frequencies or presence and absence; it need not be rarefied. '
    'Feature IDs may be hashes (sequences is then required), the sequences themselves, or names of features without '
    'sequences (OTUs, genomes, taxa, genes), which are known by their names.',
    'sequences': 'Representative sequences of the features in the table. Not needed where feature IDs are sequences, '
    'or names of features that have none.',
    'distance_matrix': 'Distances between samples, for example unweighted UniFrac; any dissimilarity will do. Samples '
    'that are not in it still serve the other objectives.',
}

GROUPS_DESCRIPTION = (
    'Metadata column with the group of each sample (such as a subject or a site). Samples of one group always stay in '
    'the same {split}.'
)

COVARIATES_DESCRIPTION = (
    'What is known of samples besides their reads, such as site, season, sex or age: numeric and categorical columns. '
    'They are learned on the training samples, with categories that five of these have, in two groups; a missing value '
    'and a category that was not learned are unknown, for which the model is trained, too. {more}'
)
OF_TRAINING = 'predict needs these columns, too.'

EXTRA_TARGETS_DESCRIPTION = (
    'Metadata whose numeric columns, but those of the target and the groups, are learned beside the target, each '
    'scaled on its own; missing values teach nothing. The network alone learns them, and the target alone decides when '
    'training stops. Details have their predictions as columns extra_NAME; predict needs nothing for them.'
)
SCALE_BY_DESCRIPTION = (
    'Metadata column of categories, such as study or instrument, within which the target is scaled: center and spread '
    'of each (of five training samples or more, in two groups) are learned, and undone in predictions. predict needs '
    'this column, too.{more}'
)
SAMPLE_WEIGHTS_DESCRIPTION = (
    'Metadata column with the weight of each labelled sample in the loss of the network and of the abundance ensemble, '
    '0 or more. Metrics, the choice of the best epoch, the shares of both, and intervals or probabilities count all '
    'samples the same.'
)

SETTINGS_DESCRIPTION = (
    'Settings from tune-regressor or tune-classifier: parameters that have their default take their values from them. '
    'A search has seen all samples of its table: errors of the same samples in a fit or a cross-validation with its '
    'settings may be too good, and the metrics of the search are not.'
)

HISTORY_DESCRIPTION = (
    'Training history: first the warnings of the run (part warning, their text in column metric), then losses and '
    'metrics of each split, step by step, and points of predicted against true values. It can be viewed as metadata.'
)

DETAILS_DESCRIPTION = (
    'One row per sample: its split (training, validation, test or new), its prediction, its true value where known, '
    'its prediction interval or class probabilities, the reads and ASVs that were used, how its sequences were '
    'harmonized, and its applicability: the shares of reads in sequences near the training sequences, in reverse '
    'complement, of another region or of another length, and a flag, which is ok where nothing speaks against the '
    'prediction.'
)


def path_of(view):
    """Return the path of a format's file or folder as text, or None where the optional input was not given."""
    return None if view is None else str(view)


def frame_of(metadata):
    """Return metadata as a DataFrame, or None where the optional parameter was not given."""
    return None if metadata is None else metadata.to_dataframe()


def series_of(column):
    """Return a metadata column as a Series, or None where the optional parameter was not given."""
    return None if column is None else column.to_series()


def settings_of(folder):
    """Return the settings in a folder, or None where the optional input was not given."""
    return None if folder is None else read_settings((Path(str(folder)) / SETTINGS_FILE).read_text('utf-8'))


def with_warnings(details):
    """Return details of a fold with a column of what the running action has warned of, one a line, where it has."""
    texts = warnings_given()
    return details.assign(**{WARNING: '\n'.join(texts)}) if texts else details


def saved(logged):
    """Return a history as its format, the warnings of the running action first: one row each, its text as the metric.

    Where the framework runs a pipeline in parallel, nobody reads what its actions print.
    """
    history = AAMTrainingHistoryDirectoryFormat()
    warned = [(0, 0, WARNING, text, 1.0) for text in warnings_given()]
    History([*warned, *logged.rows], logged.points, logged.costs).save(str(history))
    return history
