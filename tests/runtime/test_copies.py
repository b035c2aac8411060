"""Several devices, here parts of a CPU, read what one reads, each a part of it."""

import time

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.config.runtime import PredictionRuntime
from q2_aam.errors import UserError
from q2_aam.runtime import encode
from q2_aam.runtime.copies import dealt_out, part_of, place_copies
from q2_aam.runtime.encode import StudyReader, embed_asvs
from q2_aam.runtime.memory import with_less_memory

CPU, DEVICES = torch.device('cpu'), 3


def network_of(run, devices):
    network = bundle.load(run.folder).network.eval()
    return place_copies(network, PredictionRuntime(device='cpu', devices=devices, precision='float32'), CPU)


@pytest.fixture
def networks(tiny_regressor):
    """The network on one device, and on several."""
    return [network_of(tiny_regressor, devices) for devices in (1, DEVICES)]


def test_outputs_are_those_of_one_device_and_each_asv_is_encoded_by_one(study, networks, monkeypatch):
    monkeypatch.setattr(encode, 'SAMPLES_AT_ONCE', 5)
    one, several = networks
    assert (len(one.copies), len(several.copies)) == (0, DEVICES - 1)
    encoded = {network: [] for network in (several, *several.copies)}

    def note(sizes, inputs):
        sizes.append(len(inputs[0].codes))
        # as long as the others need to have had a part
        time.sleep(0.05)

    for network, sizes in encoded.items():
        network.asv_encoder.register_forward_pre_hook(lambda module, inputs, sizes=sizes: note(sizes, inputs))
    rows = np.arange(len(study))
    expected = StudyReader(study).outputs(one, 'target', rows)
    np.testing.assert_allclose(StudyReader(study).outputs(several, 'target', rows), expected, rtol=1e-6, atol=1e-7)
    assert sum(map(sum, encoded.values())) == len(study.codes) and all(encoded.values())


def test_embeddings_are_those_of_one_device(study, networks):
    asvs = np.array([5, 0, 23, 11, 7, 8, 2])
    expected, found = (embed_asvs(network, study, asvs) for network in networks)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert not found.requires_grad


def test_distances_are_those_of_one_device(study, tiny_encoder):
    rows = np.arange(len(study))
    one, several = (
        StudyReader(study).distances(network_of(tiny_encoder, devices), 'distances', rows) for devices in (1, DEVICES)
    )
    np.testing.assert_allclose(several, one, rtol=1e-5, atol=1e-6)


def test_memory_that_runs_out_on_one_device_makes_parts_smaller_on_all(study, networks):
    one, several = networks
    calls, before = [], several.max_floats

    def runs_out(module, inputs):
        calls.append(module)
        if len(calls) == 1:
            raise MemoryError

    several.copies[0].register_forward_pre_hook(runs_out)
    asvs = np.arange(len(study.codes))
    found = with_less_memory(several, lambda: embed_asvs(several, study, asvs))
    torch.testing.assert_close(found, embed_asvs(one, study, asvs), rtol=1e-6, atol=1e-7)
    assert [network.max_floats for network in (several, *several.copies)] == [before // 2] * DEVICES


def test_results_come_in_order_and_an_error_is_raised_in_its_turn(networks):
    def work(network, part):
        time.sleep(0.02 * (part % 3 == 0))
        if part == 20:
            raise UserError('This is wrong; mend it.')
        return part, torch.is_grad_enabled()

    found = dealt_out(networks[1], range(30), work)
    assert [next(found) for _ in range(20)] == [(part, False) for part in range(20)]
    with pytest.raises(UserError, match='^This is wrong; mend it.$'):
        next(found)


@pytest.mark.parametrize('things, part', [(1, 1), (7, 3), (30, 10), (1000, 256)])
def test_each_device_has_a_part_as_long_as_there_are_enough(networks, things, part):
    assert part_of(things, 256, networks[1]) == part
    assert part_of(things, 256, networks[0]) == min(things, 256)


def test_more_devices_than_gpus_are_refused(tiny_regressor, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    network = bundle.load(tiny_regressor.folder).network
    with pytest.raises(UserError) as error:
        place_copies(network, PredictionRuntime(devices=2), CPU)
    assert str(error.value) == 'Parameter devices is 2, but there is 1 GPU; give at most that number, or auto.'
