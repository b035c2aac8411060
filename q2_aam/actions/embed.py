"""The actions `predict_distances` and `embed`: distances and ordinations from an encoder, without labels or a tree."""

import pandas as pd
import skbio
from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from q2_types.ordination import PCoAResults
from q2_types.tree import NewickFormat

from q2_aam.config import DistancesConfig, EmbedConfig
from q2_aam.types import AAMEncoder, AAMModelDirectoryFormat
from q2_aam.visualizers.citations import cite

from .clades import CLADES, CLADES_OF_NEW, clades_of
from .examples_embed import embed_example, predict_distances_example
from .shared import INPUT_DESCRIPTIONS, INPUTS, path_of
from .signature import descriptions, flat, parameters

ENCODER_DESCRIPTION = (
    'The encoder, from pretrain with a distance_matrix or a phylogeny. Without it, the one that comes with this plugin '
    'for 16S V4 is used (default_encoder).'
)

DISTANCES_DESCRIPTION = (
    'Predict the distances between the samples of a feature table, such as UniFrac, with an encoder that was '
    'pretrained on distances. No phylogeny is needed: ASVs that the encoder has never seen are read by their '
    'sequences. The distance between two samples does not depend on the other samples of the table. Samples without '
    'reads are left out.'
)

EMBED_DESCRIPTION = (
    'Embed the samples of a feature table with a pretrained encoder and ordinate them by their principal components '
    '(the principal coordinates of their Euclidean distances), for Emperor. Memory grows with the number of samples, '
    'not with its square. No phylogeny is needed. The axes depend on which samples are ordinated together; the '
    'distance between two samples does not. Samples without reads are left out.'
)


@flat(DistancesConfig)
def predict_distances(
    table: BIOMV210Format,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.Series = None,
    phylogeny: NewickFormat = None,
    encoder: AAMModelDirectoryFormat = None,
    *,
    config: DistancesConfig,
) -> skbio.DistanceMatrix:
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.inference.embed import predict_distances as run

    clades = clades_of(taxonomy, phylogeny)
    return _matrix(run(str(table), path_of(encoder), config, sequences=path_of(sequences), clades=clades))


@flat(EmbedConfig)
def embed(
    table: BIOMV210Format,
    sequences: DNAFASTAFormat = None,
    taxonomy: pd.Series = None,
    phylogeny: NewickFormat = None,
    encoder: AAMModelDirectoryFormat = None,
    *,
    config: EmbedConfig,
) -> (skbio.OrdinationResults, skbio.DistanceMatrix):
    from q2_aam.inference.embed import embed as run

    clades = clades_of(taxonomy, phylogeny)
    ordination, distances = run(str(table), path_of(encoder), config, sequences=path_of(sequences), clades=clades)
    pcoa = skbio.OrdinationResults(
        'PCoA',
        'Principal Coordinate Analysis',
        eigvals=ordination.eigenvalues,
        samples=ordination.samples,
        proportion_explained=ordination.proportions,
    )
    return pcoa, _matrix(distances)


def _matrix(distances):
    # float32 is written in half the digits of float64
    return skbio.DistanceMatrix(distances.to_numpy(), list(distances.index))


def register(plugin):
    """Register the actions with the plugin object."""
    inputs = {'table': INPUTS['table'], 'sequences': INPUTS['sequences'], **CLADES, 'encoder': AAMEncoder}
    input_descriptions = {
        'table': INPUT_DESCRIPTIONS['table'],
        'sequences': INPUT_DESCRIPTIONS['sequences'],
        **CLADES_OF_NEW,
        'encoder': ENCODER_DESCRIPTION,
    }
    plugin.methods.register_function(
        function=predict_distances,
        inputs=inputs,
        parameters=parameters(DistancesConfig),
        outputs=[('distance_matrix', DistanceMatrix)],
        input_descriptions=input_descriptions,
        parameter_descriptions=descriptions(DistancesConfig),
        output_descriptions={
            'distance_matrix': 'Predicted distances between all samples, in the unit of those in pretraining.'
        },
        name='Predict distances between samples without a phylogeny',
        description=DISTANCES_DESCRIPTION,
        citations=cite('lozupone2005'),
        examples={'predict_distances_of_new_samples': predict_distances_example},
    )
    plugin.methods.register_function(
        function=embed,
        inputs=inputs,
        parameters=parameters(EmbedConfig),
        outputs=[('pcoa', PCoAResults), ('distance_matrix', DistanceMatrix)],
        input_descriptions=input_descriptions,
        parameter_descriptions=descriptions(EmbedConfig),
        output_descriptions={
            'pcoa': 'Coordinates of the samples, with the share of the variance that each axis explains.',
            'distance_matrix': 'Euclidean distances between the embeddings of at most max_samples_in_matrix samples.',
        },
        name='Embed and ordinate samples',
        description=EMBED_DESCRIPTION,
        citations=cite('lozupone2005'),
        examples={'embed_samples': embed_example},
    )
