"""Usage examples of the actions, on a small study made in memory; QIIME 2 shows them in help and runs them as tests."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

# enough for every split to hold whole groups, few enough to train in a second
N_GROUPS, SAMPLES_PER_GROUP, N_ASVS, SEQUENCE_LENGTH = 10, 2, 20, 48

SMALL_MODEL = {
    'width': 16,
    'asv_layers': 1,
    'sample_layers': 1,
    'attention_heads': 2,
    'memberships': 16,
}
SHORT_TRAINING = {'epochs': 2, 'batch_size': 8, 'random_seed': 42, 'device': 'cpu', 'threads': 1}


def study():
    """Return (counts, sequences, metadata) of a small study, the same at each call.

    Counts (samples by ASVs) come from two communities, one of which replaces the other as the target, `age`, grows
    (`stage` is young below 12); each group (`subject`) has two samples. The sequences of a community have one ancestor.
    """
    random = np.random.default_rng(7)
    samples = [f'S{number:02}' for number in range(N_GROUPS * SAMPLES_PER_GROUP)]
    asvs = [f'asv{number:02}' for number in range(N_ASVS)]
    age = np.round(random.uniform(1, 24, len(samples)), 1)
    old = np.arange(N_ASVS) >= N_ASVS // 2
    share = np.where(old, age[:, None] / 25, 1 - age[:, None] / 25) * random.gamma(1.0, 1.0, (len(samples), N_ASVS))
    counts = random.poisson(2000 * share / share.sum(axis=1, keepdims=True)).astype(float)
    letters = np.array(list('ACGT'))
    ancestors = random.integers(0, 4, (2, SEQUENCE_LENGTH))
    changed = random.random((N_ASVS, SEQUENCE_LENGTH)) < 0.15
    codes = np.where(changed, random.integers(0, 4, changed.shape), ancestors[old.astype(int)])
    metadata = pd.DataFrame(
        {
            'age': age,
            'stage': np.where(age < 12, 'young', 'old'),
            'subject': [f'P{number // SAMPLES_PER_GROUP}' for number in range(len(samples))],
        },
        index=pd.Index(samples, name='sample-id'),
    )
    sequences = pd.Series([''.join(row) for row in letters[codes]], index=asvs)
    return pd.DataFrame(counts, index=samples, columns=asvs), sequences, metadata


def table_factory():
    import biom
    import qiime2

    counts = study()[0]
    table = biom.Table(counts.to_numpy().T, observation_ids=list(counts.columns), sample_ids=list(counts.index))
    return qiime2.Artifact.import_data('FeatureTable[Frequency]', table)


def sequences_factory():
    import qiime2
    from q2_types.feature_data import DNAFASTAFormat

    fasta = DNAFASTAFormat()
    with fasta.open() as handle:
        handle.writelines(f'>{name}\n{letters}\n' for name, letters in study()[1].items())
    return qiime2.Artifact.import_data('FeatureData[Sequence]', fasta)


def distances_factory():
    import qiime2
    import skbio

    present = study()[0] > 0
    distances = np.zeros((len(present), len(present)))
    for (i, one), (j, other) in itertools.combinations(enumerate(present.to_numpy()), 2):
        # Jaccard: the share of ASVs of either sample that only one of them has
        distances[i, j] = distances[j, i] = (one ^ other).sum() / (one | other).sum()
    return qiime2.Artifact.import_data('DistanceMatrix', skbio.DistanceMatrix(distances, list(present.index)))


def metadata_factory():
    import qiime2

    return qiime2.Metadata(study()[2])


def regressor_factory():
    from q2_aam.config import FitRegressorConfig

    return _fitted('AAMRegressor', 'fit_regressor', FitRegressorConfig, 'age')


def classifier_factory():
    from q2_aam.config import FitClassifierConfig

    return _fitted('AAMClassifier', 'fit_classifier', FitClassifierConfig, 'stage')


def _fitted(kind, function, call, column):
    """Train a tiny model with the library: predict needs a real one."""
    import qiime2
    from q2_types.feature_data import DNAFASTAFormat
    from q2_types.feature_table import BIOMV210Format

    from q2_aam.training import fit
    from q2_aam.types import AAMModelDirectoryFormat

    metadata = study()[2]
    table, sequences = table_factory().view(BIOMV210Format), sequences_factory().view(DNAFASTAFormat)
    config = call.from_flat({**SMALL_MODEL, **SHORT_TRAINING})
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / 'model'
        folder.mkdir()
        train = getattr(fit, function)
        train(str(table), metadata[column], str(folder), config, sequences=str(sequences), groups=metadata['subject'])
        return qiime2.Artifact.import_data(kind, AAMModelDirectoryFormat(str(folder), mode='r'))


def pretrain_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    distance_matrix = use.init_artifact('distance_matrix', distances_factory)

    encoder, history = use.action(
        use.UsageAction(plugin_id='aam', action_id='pretrain'),
        use.UsageInputs(
            table=table, sequences=sequences, distance_matrix=distance_matrix, **SMALL_MODEL, **SHORT_TRAINING
        ),
        use.UsageOutputNames(encoder='encoder', history='history'),
    )

    encoder.assert_output_type('AAMEncoder')
    encoder.assert_has_line_matching(path='card.json', expression=r'^\s*"format_version": \d+,?$')
    history.assert_output_type('AAMTrainingHistory')
    history.assert_has_line_matching(path='history.tsv', expression=r'^.*\tvalidation\t.*$')


def fit_regressor_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    metadata = use.init_metadata('sample_metadata', metadata_factory)
    age = use.get_metadata_column('age', 'age', metadata)
    subject = use.get_metadata_column('subject', 'subject', metadata)

    regressor, predictions, details, history = use.action(
        use.UsageAction(plugin_id='aam', action_id='fit_regressor'),
        use.UsageInputs(
            table=table, sequences=sequences, metadata=age, groups=subject, **SMALL_MODEL, **SHORT_TRAINING
        ),
        use.UsageOutputNames(regressor='regressor', predictions='predictions', details='details', history='history'),
    )

    regressor.assert_output_type('AAMRegressor')
    predictions.assert_output_type('SampleData[RegressorPredictions]')
    predictions.assert_has_line_matching(path='predictions.tsv', expression=r'^S\d\d\t-?\d.*$')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    details.assert_has_line_matching(path='details.tsv', expression=r'^id\tpart\tprediction\t.*$')
    history.assert_output_type('AAMTrainingHistory')
    history.assert_has_line_matching(path='history.tsv', expression=r'^.*\ttest\t.*$')


def fit_classifier_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    metadata = use.init_metadata('sample_metadata', metadata_factory)
    stage = use.get_metadata_column('stage', 'stage', metadata)
    subject = use.get_metadata_column('subject', 'subject', metadata)

    classifier, predictions, probabilities, details, history = use.action(
        use.UsageAction(plugin_id='aam', action_id='fit_classifier'),
        use.UsageInputs(
            table=table, sequences=sequences, metadata=stage, groups=subject, **SMALL_MODEL, **SHORT_TRAINING
        ),
        use.UsageOutputNames(
            classifier='classifier',
            predictions='predictions',
            probabilities='probabilities',
            details='details',
            history='history',
        ),
    )

    classifier.assert_output_type('AAMClassifier')
    predictions.assert_output_type('SampleData[ClassifierPredictions]')
    predictions.assert_has_line_matching(path='predictions.tsv', expression=r'^S\d\d\t(old|young)$')
    probabilities.assert_output_type('SampleData[Probabilities]')
    probabilities.assert_has_line_matching(path='class_probabilities.tsv', expression=r'^id\told\tyoung$')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    details.assert_has_line_matching(path='details.tsv', expression=r'^id\tpart\tprediction\t.*$')
    history.assert_output_type('AAMTrainingHistory')
    history.assert_has_line_matching(path='history.tsv', expression=r'^.*\ttest\tfinal_balanced_accuracy\t.*$')


def predict_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    regressor = use.init_artifact('regressor', regressor_factory)

    predictions, details = use.action(
        use.UsageAction(plugin_id='aam', action_id='predict'),
        use.UsageInputs(table=table, sequences=sequences, regressor=regressor, device='cpu', threads=1),
        use.UsageOutputNames(predictions='predictions', details='details'),
    )

    predictions.assert_output_type('SampleData[RegressorPredictions]')
    predictions.assert_has_line_matching(path='predictions.tsv', expression=r'^S00\t-?\d.*$')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    details.assert_has_line_matching(path='details.tsv', expression=r'^id\tpart\tprediction\t.*$')


def predict_classes_example(use):
    table = use.init_artifact('table', table_factory)
    sequences = use.init_artifact('sequences', sequences_factory)
    classifier = use.init_artifact('classifier', classifier_factory)

    predictions, probabilities, details = use.action(
        use.UsageAction(plugin_id='aam', action_id='predict_classes'),
        use.UsageInputs(table=table, sequences=sequences, classifier=classifier, device='cpu', threads=1),
        use.UsageOutputNames(predictions='predictions', probabilities='probabilities', details='details'),
    )

    predictions.assert_output_type('SampleData[ClassifierPredictions]')
    predictions.assert_has_line_matching(path='predictions.tsv', expression=r'^S00\t(old|young)$')
    probabilities.assert_output_type('SampleData[Probabilities]')
    details.assert_output_type('SampleData[AAMPredictionDetails]')
    details.assert_has_line_matching(path='details.tsv', expression=r'^id\tpart\tprediction\t.*$')
