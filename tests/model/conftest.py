"""What tests of the network share: small sizes, weights large enough to matter, and a study of uneven samples."""

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam.config import HeadConfig, ModelConfig
from q2_aam.data.batches import draw_samples, make_batch
from q2_aam.data.study import build_study
from q2_aam.data.table import Table
from q2_aam.model.network import build_network

SIZES = {
    'nucleotides_per_token': 3,
    'width': 16,
    'asv_layers': 2,
    'sample_layers': 2,
    'attention_heads': 2,
    'mlp_ratio': 2,
    'memberships': 12,
    'max_sequence_length': 24,
    'activation': 'gelu',
    'positions': 'learned',
}
HEADS = {
    'distances': HeadConfig('distances'),
    'nucleotides': HeadConfig('nucleotides'),
    'target': HeadConfig('target', 2),
}


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Tensors this small are slower on several threads, and much slower where other work is going on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config_of():
    """Make a small resolved configuration, with any size changed."""
    return lambda **changed: ModelConfig(**SIZES | changed)


@pytest.fixture
def scrambled():
    """Move all weights of a module far from where they begin, so that nothing passes because it is nearly 0."""

    def scramble(module, seed=1, spread=0.3):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
                if parameter.dim() == 1:
                    parameter.add_(0.5)
        return module.eval()

    return scramble


@pytest.fixture
def network(config_of, scrambled):
    """A network with a head of each kind."""
    return scrambled(build_network(config_of(), HEADS, torch.Generator().manual_seed(1)))


@pytest.fixture(scope='session')
def study():
    """Nine samples of 1 to 12 of 15 ASVs, whose sequences have 8 to 24 letters, some of them unknown."""
    generator = np.random.default_rng(5)
    sequences = [''.join(generator.choice(list('ACGTN'), size)) for size in generator.integers(8, 25, 15)]
    counts = np.zeros((9, 15), dtype=np.float32)
    for row, richness in enumerate([1, 12, 3, 5, 2, 8, 4, 12, 6]):
        counts[row, generator.permutation(15)[:richness]] = generator.integers(1, 1000, richness)
    counts[0, counts.sum(0) == 0] = 1
    table = Table([f's{i}' for i in range(9)], sequences, lambda: [scipy.sparse.csr_matrix(counts)])
    return build_study(table, sequences)[0]


@pytest.fixture
def drawn_of(study):
    """Draw samples of the study with their sequences."""
    return lambda rows: draw_samples(study, rows, sequences=True)


@pytest.fixture
def batch_of(drawn_of):
    """Make the batch of samples of the study, for a network and some of its heads."""
    return lambda network, rows, heads=(): make_batch(drawn_of(rows), network.budget(), heads)
