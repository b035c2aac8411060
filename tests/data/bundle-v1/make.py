"""How the frozen bundles of format version 1 were made; it must never be run again.

They show that later code still reads what earlier code has written, and gets the same from it: made again, they would
show nothing. A newer format version has a folder and a script of its own.
"""

import os
import pathlib
import tempfile

import biom
import h5py
import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.config import (
    FitClassifierConfig,
    FitRegressorConfig,
    PredictClassesConfig,
    PredictConfig,
    PretrainConfig,
)
from q2_aam.data.inputs import read_study
from q2_aam.inference.predict import predict, predict_classes
from q2_aam.runtime.encode import StudyReader
from q2_aam.training import ensemble
from q2_aam.training.fit import fit_classifier, fit_regressor
from q2_aam.training.pretrain import pretrain

FOLDER = pathlib.Path(__file__).resolve().parent
SAMPLES, ASVS = 8, 10
FORM = {
    'nucleotides_per_token': 6,
    'width': 8,
    'asv_layers': 1,
    'sample_layers': 1,
    'attention_heads': 2,
    'mlp_ratio': 1,
    'memberships': 8,
}
SCHEDULE = {'epochs': 20, 'batch_size': 4, 'random_seed': 1, 'device': 'cpu', 'threads': 1, 'learning_rate': 0.01}


def write_inputs():
    """Write the table and the matrix; return the target. Feature ids are the sequences, of unequal length."""
    random = np.random.default_rng(1)
    ages = np.linspace(1, 8, SAMPLES)
    expected = 60 * np.exp(-(((ages[:, None] - np.linspace(0, 9, ASVS)) / 1.2) ** 2))
    counts = random.poisson(expected)
    sequences = [''.join(random.choice(list('ACGTN'), 30 + i, p=[0.24] * 4 + [0.04])) for i in range(ASVS)]
    ids = [f'sample{i}' for i in range(SAMPLES)]
    with h5py.File(FOLDER / 'table.biom', 'w') as file:
        biom.Table(counts.T, sequences, ids).to_hdf5(file, 'q2-aam')
    present = counts > 0
    shared = (present[:, None] & present).sum(-1) / (present[:, None] | present).sum(-1)
    pd.DataFrame(1 - shared, index=ids, columns=ids).to_csv(FOLDER / 'distances.tsv', sep='\t')
    return pd.Series(ages, index=ids, name='age')


def main():
    """Write inputs, a bundle of each kind and what they give for the inputs."""
    if (FOLDER / bundle.ENCODER).exists():
        raise SystemExit(f'The bundles in {FOLDER} are frozen: they must never be made again.')
    # what is frozen is the form of an abundance ensemble, for which a small one does
    ensemble.OF_FEW = ensemble.Form(3, 8, 0.1, 0.3)
    target = write_inputs()
    table, matrix = FOLDER / 'table.biom', FOLDER / 'distances.tsv'
    for kind in bundle.CALLS:
        (FOLDER / kind).mkdir()
    pretraining = PretrainConfig.from_flat(FORM | SCHEDULE | {'validation_fraction': 0.25})
    pretrain(table, FOLDER / bundle.ENCODER, pretraining, distance_matrix=matrix)
    longer = SCHEDULE | {'epochs': 60, 'patience': 60}
    encoder = FOLDER / bundle.ENCODER
    fit_regressor(table, target, FOLDER / bundle.REGRESSOR, FitRegressorConfig.from_flat(longer), encoder=encoder)
    stages = pd.Series(np.where(target < 4.5, 'früh', '2'), target.index, name='stage')
    fit_classifier(table, stages, FOLDER / bundle.CLASSIFIER, FitClassifierConfig.from_flat(longer), encoder=encoder)
    _, details = predict(table, FOLDER / bundle.REGRESSOR, PredictConfig())
    details[['prediction', 'lower_bound', 'upper_bound', 'flag']].to_csv(FOLDER / 'predictions.tsv', sep='\t')
    _, probabilities, _ = predict_classes(table, FOLDER / bundle.CLASSIFIER, PredictClassesConfig())
    probabilities.to_csv(FOLDER / 'probabilities.tsv', sep='\t')
    model, (study, _) = bundle.load(encoder), read_study(table)
    distances = StudyReader(study).distances(model.network, 'distances', np.arange(len(study)))
    # the true distances have done their work: what the encoder makes of the samples takes their place
    pd.DataFrame(distances, index=study.sample_ids, columns=study.sample_ids).to_csv(matrix, sep='\t')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as work:
        os.environ['AAM_WORK_DIR'] = work
        main()
