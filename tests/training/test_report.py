"""What a run tells its user at the start, and the card at its end."""

import json
import time

import torch

from q2_aam.config import FitConfig
from q2_aam.data.inputs import read_study
from q2_aam.model.network import Network
from q2_aam.training.report import device_name, make_card, say_model, say_study

CPU = torch.device('cpu')


def test_the_data_are_said_with_their_parts(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    said = []
    say_study(read_study(files.table, files.sequences)[0], {'training': 1200, 'test': 4}, said.append)
    richness = (tiny.counts > 0).sum(axis=1).median()
    assert said == [
        f'Samples: 24 (1,200 training, 4 test); median richness {richness:.0f}.',
        'ASVs: 30 distinct, of 40 to 60 nucleotides.',
    ]


def test_sequences_of_one_length_are_said_as_such(tiny, tmp_path):
    tiny.sequences = {name: sequence[:40] for name, sequence in tiny.sequences.items()}
    files = tiny.write(tmp_path / 'inputs')
    said = []
    say_study(read_study(files.table, files.sequences)[0], {'new': 24}, said.append)
    assert said[1] == 'ASVs: 30 distinct, of 40 nucleotides.'


def test_the_model_and_what_was_derived_are_said():
    config = FitConfig.from_flat(
        {'width': 16, 'memberships': 8, 'asv_layers': 1, 'sample_layers': 2, 'epochs': 9, 'learning_rate': 0.004}
    )
    config = FitConfig(model=config.model.resolved(60, 100), training=config.training)
    network, said = Network(config.model, outputs=1), []
    say_model(network, config, CPU, 12, said.append)
    parameters = sum(value.numel() for value in network.state_dict().values())
    assert said == [
        'Model: width 16, 1 ASV layer on tokens of 10 nucleotides, 2 sample layers, 1 head, 8 memberships; '
        f'{parameters:,} parameters.',
        'Training: 9 epochs at most, batches of up to 64 samples, highest learning rate 0.004, seed 12, on cpu.',
    ]


def test_a_gpu_is_called_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Some GPU')
    assert device_name(torch.device('cuda')) == 'Some GPU'
    assert device_name(CPU) == 'cpu'


def test_a_card_is_json_without_any_id(tiny, tmp_path):
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)
    card = make_card(
        study,
        {'training': 24},
        {'table': 'a' * 64},
        3,
        CPU,
        {'test': {'mae': 1.0}},
        time.monotonic() - 2,
        'age',
        precision=torch.bfloat16,
    )
    assert card['precision'] == 'bfloat16'
    text = json.dumps(card)
    assert not [name for name in (*tiny.counts.index, *tiny.counts.columns) if name in text]
    assert card['amplicon_length'] == {
        'shortest': min(map(len, tiny.sequences.values())),
        'median': sorted(map(len, tiny.sequences.values()))[15],
        'longest': max(map(len, tiny.sequences.values())),
    }
    assert card['asvs'] == 30 and card['samples'] == {'training': 24}
    assert card['unit'] == 'that of the metadata column "age"'
    assert 2 <= card['wall_seconds'] < 10
    assert set(card['versions']) == {'q2-aam', 'torch', 'numpy', 'python'}
