"""Usage examples of the actions that take an encoder and no labels: predict_distances and embed."""

import tempfile
from pathlib import Path

from .examples import SHORT_TRAINING, SMALL_MODEL, distances_factory, sequences_factory, table_factory


def encoder_factory():
    """Pretrain a tiny encoder on distances with the library: the actions need a real one."""
    import qiime2
    from q2_types.distance_matrix import LSMatFormat
    from q2_types.feature_data import DNAFASTAFormat
    from q2_types.feature_table import BIOMV210Format

    from q2_aam.config import PretrainConfig
    from q2_aam.training.pretrain import pretrain
    from q2_aam.types import AAMModelDirectoryFormat

    table, sequences = table_factory().view(BIOMV210Format), sequences_factory().view(DNAFASTAFormat)
    distances = distances_factory().view(LSMatFormat)
    config = PretrainConfig.from_flat({**SMALL_MODEL, **SHORT_TRAINING})
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / 'model'
        folder.mkdir()
        pretrain(str(table), str(folder), config, sequences=str(sequences), distance_matrix=str(distances))
        return qiime2.Artifact.import_data('AAMEncoder', AAMModelDirectoryFormat(str(folder), mode='r'))


def predict_distances_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    encoder = use.init_artifact('encoder', encoder_factory)

    (distance_matrix,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='predict_distances'),
        use.UsageInputs(table=table, sequences=sequences, encoder=encoder, device='cpu', threads=1),
        use.UsageOutputNames(distance_matrix='distance_matrix'),
    )

    distance_matrix.assert_output_type('DistanceMatrix')
    distance_matrix.assert_has_line_matching(path='distance-matrix.tsv', expression=r'^S00\t0\.0\t0\..*$')


def embed_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    encoder = use.init_artifact('encoder', encoder_factory)

    pcoa, distance_matrix = use.action(
        use.UsageAction(plugin_id='aam', action_id='embed'),
        use.UsageInputs(table=table, sequences=sequences, encoder=encoder, device='cpu', threads=1),
        use.UsageOutputNames(pcoa='pcoa', distance_matrix='distance_matrix'),
    )

    pcoa.assert_output_type('PCoAResults')
    pcoa.assert_has_line_matching(path='ordination.txt', expression=r'^Proportion explained\t.*$')
    distance_matrix.assert_output_type('DistanceMatrix')
