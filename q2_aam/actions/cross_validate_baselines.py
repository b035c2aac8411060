"""The step of the pipelines in cross_validate that fits baselines on one fold: hidden by a leading underscore."""

import pandas as pd
import qiime2
from q2_types.distance_matrix import DistanceMatrix, LSMatFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, Int, Metadata, MetadataColumn, Numeric, Range

from q2_aam.config import RuntimeConfig
from q2_aam.data.splits import NEW
from q2_aam.runtime.limits import available_cpus
from q2_aam.types import AAMPredictionDetails
from q2_aam.visualizers.citations import cite

from .messages import warnings_to_user
from .shared import TABLE, with_warnings
from .signature import qiime_type

(THREADS,) = (opt for opt in RuntimeConfig.options() if opt.name == 'threads')
SEED = Int % Range(1, 2**31 - 1, inclusive_end=True)
OF_ALL_SAMPLES = 'Covariates of the samples.'


def with_column(covariates, column):
    """Return covariates of the baselines: they are told of the category by which the target of ours is scaled."""
    if column is None:
        return covariates
    frame = pd.DataFrame(index=column.index) if covariates is None else covariates.to_dataframe()
    if column.name in frame:
        return covariates
    return qiime2.Metadata(frame.join(column, how='outer').rename_axis('id'))


def _score_baselines(
    training_table: BIOMV210Format,
    test_table: BIOMV210Format,
    metadata: qiime2.MetadataColumn,
    distance_matrix: LSMatFormat = None,
    random_seed: int = 1,
    threads: int = 0,
    covariates: qiime2.Metadata = None,
    sample_weights: qiime2.NumericMetadataColumn = None,
    extra_targets: qiime2.Metadata = None,
) -> pd.DataFrame:
    # the estimators take a second to load, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.data.counts import read_fold, read_fold_distances
    from q2_aam.data.covariate_schema import columns_of_fold
    from q2_aam.evaluation.baselines import predict_fold
    from q2_aam.evaluation.extra_targets import forests

    # in order of ids: the same samples in another order must give the same forests
    target = metadata.to_series().sort_index()
    ids = list(target.index)
    with warnings_to_user():
        test_ids, counts, new_counts = read_fold(str(training_table), str(test_table), ids)
        distances = None if distance_matrix is None else read_fold_distances(str(distance_matrix), ids, test_ids)
        beside = None if covariates is None else columns_of_fold(covariates.to_dataframe(), ids, test_ids)
        weights = None if sample_weights is None else sample_weights.to_series().loc[ids].to_numpy()
        threads = threads or available_cpus()
        details = predict_fold(counts, target, new_counts, test_ids, random_seed, threads, distances, beside, weights)
        if extra_targets is not None:
            others = extra_targets.to_dataframe().reindex(ids)
            details = details.join(forests(counts, others, new_counts, test_ids, random_seed, threads, beside, weights))
        details.insert(0, 'part', NEW)
        # each method has a column of its own
        details.insert(1, 'prediction', float('nan'))
        return with_warnings(details)


def register_baselines(plugin):
    """Register it with the plugin object."""
    plugin.methods.register_function(
        function=_score_baselines,
        inputs={'training_table': TABLE, 'test_table': TABLE, 'distance_matrix': DistanceMatrix},
        parameters={
            'metadata': MetadataColumn[Numeric | Categorical],
            'random_seed': SEED,
            'threads': qiime_type(THREADS),
            'covariates': Metadata,
            'sample_weights': MetadataColumn[Numeric],
            'extra_targets': Metadata,
        },
        outputs=[('details', SampleData[AAMPredictionDetails])],
        input_descriptions={
            'training_table': 'Training samples.',
            'test_table': 'Test samples.',
            'distance_matrix': 'Distances between the samples of both tables.',
        },
        parameter_descriptions={
            'metadata': 'Target of the training samples.',
            'covariates': OF_ALL_SAMPLES,
            'sample_weights': 'Weight of each training sample.',
            'extra_targets': 'Further numeric columns, which a random forest predicts.',
            'random_seed': 'Seed of the forests.',
            'threads': THREADS.help,
        },
        output_descriptions={'details': 'Predictions for the test samples, one column per method.'},
        name='Predict one fold with baselines',
        description='A step of cross-validate and cross-validate-classifier; use these instead. Fits the baselines on '
        'the training samples of one fold and predicts its test samples.',
        citations=cite('pedregosa2011'),
    )
