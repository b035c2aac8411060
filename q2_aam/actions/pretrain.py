"""The action `pretrain`: an encoder from samples without labels."""

import pandas as pd
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat, FeatureData, Taxonomy
from q2_types.feature_table import BIOMV210Format
from q2_types.sample_data import AlphaDiversity, SampleData
from q2_types.tree import NewickFormat, Phylogeny, Rooted
from qiime2.plugin import List

from q2_aam.config import PretrainConfig
from q2_aam.types import (
    AAMEncoder,
    AAMModelDirectoryFormat,
    AAMTrainingHistory,
    AAMTrainingHistoryDirectoryFormat,
)
from q2_aam.visualizers.citations import cite

from .examples import pretrain_example
from .shared import HISTORY_DESCRIPTION, INPUT_DESCRIPTIONS, INPUTS, path_of, saved
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Train an encoder on samples without labels. A transformer encodes each ASV from its nucleotides and each sample '
    'from its ASVs and their abundances. It learns several objectives at once: masked nucleotides and, where they are '
    'given, distances between samples (from a distance matrix or a phylogeny), the taxonomy of ASVs and the alpha '
    'diversity of samples. Some samples are held out: the history names them and reports all objectives on them, and '
    'they choose the best epoch. Give the encoder to fit-regressor or fit-classifier, which then need fewer labels. '
    'The samples should resemble those that you will predict: the same body site or habitat and the same amplicon.'
)


@flat(PretrainConfig)
def pretrain(
    table: BIOMV210Format,
    sequences: DNAFASTAFormat = None,
    distance_matrix: LSMatFormat = None,
    phylogeny: NewickFormat = None,
    taxonomy: pd.Series = None,
    alpha_diversity: pd.Series = None,
    initial_encoder: AAMModelDirectoryFormat = None,
    *,
    config: PretrainConfig,
) -> (AAMModelDirectoryFormat, AAMTrainingHistoryDirectoryFormat):
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.training.pretrain import pretrain as train

    encoder = AAMModelDirectoryFormat()
    logged = train(
        str(table),
        str(encoder),
        config,
        sequences=path_of(sequences),
        distance_matrix=path_of(distance_matrix),
        phylogeny=path_of(phylogeny),
        taxonomy=taxonomy,
        alpha_diversity=alpha_diversity or (),
        initial_encoder=path_of(initial_encoder),
    )
    return encoder, saved(logged)


def register(plugin):
    """Register the action with the plugin object."""
    plugin.methods.register_function(
        function=pretrain,
        inputs={
            **INPUTS,
            'phylogeny': Phylogeny[Rooted],
            'taxonomy': FeatureData[Taxonomy],
            'alpha_diversity': List[SampleData[AlphaDiversity]],
            'initial_encoder': AAMEncoder,
        },
        parameters=parameters(PretrainConfig),
        outputs=[('encoder', AAMEncoder), ('history', AAMTrainingHistory)],
        input_descriptions={
            **INPUT_DESCRIPTIONS,
            'distance_matrix': f'{INPUT_DESCRIPTIONS["distance_matrix"]} Use the (rarefied) table that the distances '
            'were computed from: from other reads they are harder to predict.',
            'phylogeny': 'Rooted tree with all features of the table, instead of a distance matrix: the UniFrac '
            'distances of each batch are then computed during training, so that no matrix of all samples is needed. '
            'With rarefaction_depth, they are those of the resampled reads.',
            'initial_encoder': 'Encoder to go on from, such as one from load-encoder: the new one has its form and its '
            'branches of tokens, and it is said how much of what it knew is kept.',
            'taxonomy': 'Taxonomy of the features: the clade of each ASV at taxonomy_level is learned from its '
            'sequence. Features without sequences share what is learned of their clades instead.',
            'alpha_diversity': 'Alpha diversities of the samples, one or several, which are learned.',
        },
        parameter_descriptions=descriptions(PretrainConfig),
        output_descriptions={
            'encoder': 'The pretrained encoder: weights, configuration and a card that describes its training.',
            'history': HISTORY_DESCRIPTION,
        },
        name='Pretrain an encoder on unlabelled samples',
        description=DESCRIPTION,
        citations=cite('devlin2019', 'lozupone2005', 'loshchilov2019'),
        examples={'pretrain_on_a_table': pretrain_example},
    )
