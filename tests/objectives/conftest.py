"""What tests of objectives share: what an objective is aligned with, made without the files of a call."""

import numpy as np
import pytest

from q2_aam.data.splits import TEST, TRAINING, VALIDATION


@pytest.fixture(scope='session')
def context_of():
    """Make a Context of labels: (values, training rows, validation rows, groups, kind of model, parameters)."""
    from q2_aam.bundle import CALLS
    from q2_aam.data.labels import Labels
    from q2_aam.objectives import Context, Inputs

    def make(values, training=None, validation=(), groups=None, kind='regressor', **options):
        ids = [f's{row}' for row in range(len(values))]
        labels = Labels('stage', ids, np.asarray(values), np.array(ids if groups is None else groups))
        training = np.arange(len(values)) if training is None else np.asarray(training)
        validation = np.asarray(validation, dtype=np.int64)
        test = np.setdiff1d(np.arange(len(values)), np.concatenate([training, validation]))
        rows = {TRAINING: training, VALIDATION: validation, TEST: test}
        return Context(Inputs('table.biom'), None, rows, CALLS[kind].from_flat(options), 1, labels)

    return make


@pytest.fixture
def study_context(tiny, tmp_path):
    """Make a Context of pretraining on the tiny study: (rows of the validation split, inputs and parameters)."""
    from q2_aam.config import PretrainConfig
    from q2_aam.data.inputs import read_study
    from q2_aam.objectives import Context, Inputs

    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)

    def make(validation=(3, 10, 17), **options):
        inputs = {name: options.pop(name) for name in ('distance_matrix', 'phylogeny') if name in options}
        config = PretrainConfig.from_flat({'batch_size': 8, 'masked_asv_ratio': 0.5} | options)
        held_out = np.array(validation, dtype=np.int64)
        rows = {TRAINING: np.setdiff1d(np.arange(24), held_out), VALIDATION: held_out}
        return Context(Inputs(files.table, files.sequences, **inputs), study, rows, config, 7)

    make.files = files
    return make


@pytest.fixture
def network_of():
    """Make a network of one head: (name, HeadConfig) -> network; its tokens are of 6 nucleotides."""
    import torch

    from q2_aam.config import ModelConfig
    from q2_aam.model.network import build_network

    def make(name, head):
        sizes = {'width': 16, 'memberships': 16, 'asv_layers': 1, 'sample_layers': 1, 'nucleotides_per_token': 6}
        config = ModelConfig(**sizes).resolved(60, 24)
        return build_network(config, {name: head}, torch.Generator().manual_seed(5)).eval()

    return make
