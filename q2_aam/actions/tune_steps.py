"""The steps of the pipelines in tune: actions that are not for users, hidden by a leading underscore."""

import pandas as pd
import qiime2
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import SampleData
from q2_types.tree import NewickFormat
from qiime2.plugin import Categorical, Int, List, Metadata, MetadataColumn, Numeric, Range, Str

from q2_aam.config import TuneClassifierConfig, TuneRegressorConfig
from q2_aam.data.details import PROBABILITY
from q2_aam.evaluation.out_of_fold import gather_classes, gather_numbers
from q2_aam.evaluation.search import FOLDS, as_baselines, judge, with_warnings
from q2_aam.runtime.pipeline_seed import forget_seed
from q2_aam.runtime.screen import print_line
from q2_aam.types import (
    AAMEncoder,
    AAMMetrics,
    AAMModelDirectoryFormat,
    AAMPredictionDetails,
    AAMSettings,
    AAMSettingsDirectoryFormat,
)
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_TRAINING
from .cross_validate_baselines import SEED
from .fit import group_names
from .messages import print_when_command_ends, warnings_given, warnings_to_user
from .shared import COVARIATES_DESCRIPTION, GROUPS_DESCRIPTION, INPUT_DESCRIPTIONS, INPUTS, WARNING, frame_of, path_of
from .signature import descriptions, flat, parameters

OUTPUT_DESCRIPTIONS = {
    'settings': 'The best parameters of the search on all samples.',
    'metrics': 'The verdict (whether tuning helped), the difference between tuned and default parameters on the outer '
    'folds with its 95 % confidence interval, the metrics of both, and every trial (metric inner_..., its parameters '
    'in column note; column fold tells which outer fold its search did not see). It can be viewed as metadata.',
}


ENCODER_DESCRIPTION = 'Encoder from pretrain that every model starts from.'


def _search_of(kind, call, column):
    """Return the step that searches parameters of models of one kind, whose target is a metadata column of one type."""

    def search_step(
        table: BIOMV210Format,
        metadata: column,
        sequences: DNAFASTAFormat = None,
        encoder: AAMModelDirectoryFormat = None,
        distance_matrix: LSMatFormat = None,
        groups: qiime2.MetadataColumn = None,
        covariates: qiime2.Metadata = None,
        taxonomy: pd.Series = None,
        phylogeny: NewickFormat = None,
        fold: int = 0,
        *,
        config: call,
    ) -> (AAMSettingsDirectoryFormat, pd.DataFrame):
        # torch comes with them, and QIIME 2 loads this file to run any action of any plugin
        from q2_aam.objectives import Inputs
        from q2_aam.training.search import search

        inputs = Inputs(
            str(table),
            path_of(sequences),
            metadata.to_series(),
            None if groups is None else group_names(groups),
            path_of(encoder),
            path_of(distance_matrix),
            covariates=frame_of(covariates),
            taxonomy=taxonomy,
            phylogeny=path_of(phylogeny),
        )
        settings = AAMSettingsDirectoryFormat()
        # where searches run in parallel, their lines may be between each other
        where = f'Outer fold {fold} of {FOLDS}' if fold else 'All samples'
        trials = search(
            kind, inputs, str(settings), config, lambda line: print_line(f'{where}: {line}'), whole=not fold
        )
        # where searches run in parallel, nobody reads what they print
        return settings, with_warnings(trials, warnings_given())

    search_step.__name__ = f'_search_{kind}'
    return flat(call)(search_step)


_search_regressor = _search_of('regressor', TuneRegressorConfig, qiime2.NumericMetadataColumn)
_search_classifier = _search_of('classifier', TuneClassifierConfig, qiime2.CategoricalMetadataColumn)


def _collate_search(
    tuned: pd.DataFrame,
    default: pd.DataFrame,
    trials: pd.DataFrame,
    metadata: qiime2.MetadataColumn,
    random_seed: int,
    groups: qiime2.MetadataColumn = None,
    warned: str = None,
) -> pd.DataFrame:
    tuned, default = ([frame.drop(columns=WARNING, errors='ignore') for frame in frames] for frames in (tuned, default))
    names = None if groups is None else group_names(groups)
    if isinstance(metadata, qiime2.NumericMetadataColumn):
        gather, ours = gather_numbers, tuned
    else:
        gather, ours = gather_classes, [_probabilities(frame) for frame in tuned]
    out_of_fold = gather(metadata.to_series(), names, ours, as_baselines(default, PROBABILITY), FOLDS)
    metrics, verdict = judge(out_of_fold, trials, random_seed, tuple(warned or ()))
    print_line(verdict)
    print_when_command_ends(f'{verdict}\n')
    # the next call without a seed is another search
    with warnings_to_user():
        forget_seed(random_seed)
    return metrics


def _probabilities(details):
    return details.filter(regex=f'^{PROBABILITY}').rename(columns=lambda name: name[len(PROBABILITY) :])


def columns(kind):
    """Return the columns that a search takes, for a target of this kind."""
    return {
        'metadata': MetadataColumn[kind],
        'groups': MetadataColumn[Categorical | Numeric],
        'covariates': Metadata,
    }


def column_descriptions(what):
    """Describe them."""
    return {
        'metadata': f'{what[2:].capitalize()} to predict (the target). Samples without a value are ignored.',
        'groups': GROUPS_DESCRIPTION.format(split='fold and split'),
        'covariates': COVARIATES_DESCRIPTION.format(more=''),
    }


def register_steps(plugin):
    """Register them with the plugin object."""
    use = 'A step of tune-regressor and tune-classifier; use these instead.'
    for function, config, kind in (
        (_search_regressor, TuneRegressorConfig, Numeric),
        (_search_classifier, TuneClassifierConfig, Categorical),
    ):
        plugin.methods.register_function(
            function=function,
            inputs={**INPUTS, 'encoder': AAMEncoder, **CLADES},
            parameters={**columns(kind), 'fold': Int % Range(0, FOLDS, inclusive_end=True), **parameters(config)},
            outputs=[('settings', AAMSettings), ('tried', AAMMetrics)],
            input_descriptions={**INPUT_DESCRIPTIONS, 'encoder': ENCODER_DESCRIPTION, **CLADES_OF_TRAINING},
            parameter_descriptions={
                **column_descriptions('a metadata column'),
                'fold': 'Number of the outer fold that the samples lie outside of; 0: these are all samples.',
                **descriptions(config),
            },
            output_descriptions={'settings': 'The best parameters.', 'tried': 'One row a trial.'},
            name='Search parameters on some samples',
            description=f'{use} Makes the trials of one search, and gives the parameters of the best.',
            citations=cite('akiba2019', 'bergstra2011'),
        )
    plugin.methods.register_function(
        function=_collate_search,
        inputs={
            'tuned': List[SampleData[AAMPredictionDetails]],
            'default': List[SampleData[AAMPredictionDetails]],
            'trials': List[AAMMetrics],
        },
        parameters={
            'metadata': MetadataColumn[Numeric | Categorical],
            'random_seed': SEED,
            'groups': MetadataColumn[Categorical | Numeric],
            'warned': List[Str],
        },
        outputs=[('metrics', AAMMetrics)],
        input_descriptions={
            'tuned': 'Predictions of each outer fold with the parameters that were found without it.',
            'default': 'Predictions of each outer fold with default parameters.',
            'trials': 'Trials of each search, that of all samples last.',
        },
        parameter_descriptions={
            'metadata': 'Target of all labelled samples.',
            'random_seed': 'Seed of the bootstrap.',
            'groups': 'Metadata column with the group of each sample.',
            'warned': 'Warnings about the labelled samples.',
        },
        output_descriptions={'metrics': OUTPUT_DESCRIPTIONS['metrics']},
        name='Compare tuned with default parameters',
        description=f'{use} Scores both on the outer folds, and tells whether tuning helped.',
        citations=cite('hesterberg2015'),
    )
