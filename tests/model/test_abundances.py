"""How abundances enter the sample encoder, and what the network is told of them."""

import numpy as np
import pytest
import torch

from q2_aam.data.batches import Drawn, make_batch
from q2_aam.model.network import build_network
from tests.model.conftest import HEADS

WEIGHTS = {'film': {'abundance_in', 'abundance_scale'}, 'add': {'abundance_in'}, 'concat': {'abundance_fused'}}


@pytest.fixture
def outputs_of(config_of, scrambled, drawn_of):
    """Outputs of the target's head for three samples whose abundances are multiplied and turned round, or not."""

    def make(changed=False, **options):
        network = scrambled(build_network(config_of(**options), HEADS, torch.Generator().manual_seed(1)))
        drawn = drawn_of(np.array([1, 3, 7]))
        if changed:
            ends = zip(drawn.offsets[:-1], drawn.offsets[1:])
            turned = np.concatenate([drawn.abundances[start:end][::-1] for start, end in ends])
            drawn = Drawn(drawn.rows, drawn.asvs, turned, drawn.offsets, drawn.codes, drawn.lengths)
        with torch.no_grad():
            return network(make_batch(drawn, network.budget(), ('target',))).heads['target']

    return make


@pytest.mark.parametrize('fusion', WEIGHTS)
def test_each_fusion_has_its_own_weights_and_reads_abundances(outputs_of, config_of, fusion):
    network = build_network(config_of(abundance_fusion=fusion), HEADS)
    names = {name.split('.')[0] for name, _ in network.sample_encoder.named_parameters() if 'abundance' in name}
    assert names == WEIGHTS[fusion]
    first, changed = (outputs_of(turned, abundance_fusion=fusion) for turned in (False, True))
    assert (first - changed).abs().max() > 1e-3
    others = [outputs_of(abundance_fusion=other) for other in WEIGHTS if other != fusion]
    assert all((first - other).abs().max() > 1e-3 for other in others)


@pytest.mark.parametrize('fusion', WEIGHTS)
def test_of_presence_alone_abundances_change_nothing(outputs_of, fusion):
    options = {'abundance_fusion': fusion, 'abundance_as': 'presence'}
    assert torch.equal(outputs_of(False, **options), outputs_of(True, **options))
    assert not torch.equal(outputs_of(False, **options), outputs_of(False, abundance_fusion=fusion))


def test_film_is_what_is_derived(outputs_of, config_of):
    resolved = config_of(abundance_fusion='auto', abundance_as='auto').resolved(60, 24)
    assert (resolved.abundance_fusion, resolved.abundance_as) == ('film', 'shares')
    assert torch.equal(outputs_of(), outputs_of(abundance_fusion='film', abundance_as='shares'))
