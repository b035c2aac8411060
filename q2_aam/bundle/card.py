"""The card of a bundle: what `card.json` tells a reader, without any id of a sample."""

import json
import math
import platform
import time

import numpy as np

import q2_aam
from q2_aam.data.study import Study
from q2_aam.errors import shown

from .schema import FORMAT_VERSION

CARD_FILE = 'card.json'
# The field with the checksum of config.json.
CONFIG_SHA256 = 'config_sha256'
# What every card tells; a reader may rely on these.
CARD_FIELDS = (
    'format_version', 'kind', 'samples', 'asvs', 'amplicon_length', 'input_sha256', 'target', 'unit', 'seed', 'device',
    'precision', 'versions', 'wall_seconds', 'metrics', CONFIG_SHA256,
)  # fmt: skip
# Those that older cards lack: how many devices, of how many machines, trained it, and how.
LATER_FIELDS = ('devices', 'nodes', 'strategy')


def make_card(
    kind: str, study: Study, samples: dict, hashes: dict, metrics: dict, seed: int, started: float, device: str,
    precision, target: str | None = None, devices: int = 1, nodes: int = 1, strategy: str = 'single',
) -> dict:  # fmt: skip
    """Return the card of a model that was just trained, but for the checksum, which saving it adds.

    Parameters
    ----------
    kind : str
    study : q2_aam.data.study.Study
    samples : dict
        Number of samples of each split.
    hashes : dict
        SHA-256 of each input.
    metrics : dict
        {split: {metric: value}}
    seed : int
    started : float
        `time.monotonic()` at the start of the run.
    device : str
        Its name.
    precision : torch.dtype
        In which the encoders computed.
    target : str, optional
        Name of the metadata column.
    devices, nodes : int
        That trained it: devices of all machines, and machines.
    strategy : str
        How: single, ddp or fsdp.
    """
    import torch

    lengths = study.lengths
    return {
        'format_version': FORMAT_VERSION,
        'kind': kind,
        'samples': samples,
        'asvs': len(study.codes),
        # features without sequences have none
        'amplicon_length': None
        if study.named
        else {
            'shortest': int(lengths.min()),
            'median': float(np.median(lengths)),
            'longest': int(lengths.max()),
        },
        'input_sha256': hashes,
        'target': target,
        # QIIME 2 metadata has no units: predictions are in that of the column
        'unit': None if target is None else f'that of the metadata column "{target}"',
        'seed': seed,
        'device': device,
        'devices': devices,
        'nodes': nodes,
        'strategy': strategy,
        'precision': str(precision).removeprefix('torch.'),
        'versions': {
            'q2-aam': q2_aam.__version__,
            'torch': torch.__version__,
            'numpy': np.__version__,
            'python': platform.python_version(),
        },
        'wall_seconds': round(time.monotonic() - started, 1),
        'metrics': metrics,
    }


def card_to_json(card: dict, config_sha256: str) -> str:
    """Return the text of `card.json`, with the checksum of config.json; numbers that are not finite become null."""
    return json.dumps(_finite(card | {CONFIG_SHA256: config_sha256}), indent=1) + '\n'


def check_card(card: dict) -> None:
    """Raise ValueError, which names the first field too many or too few, unless these are CARD_FIELDS."""
    if unknown := sorted(set(card) - {*CARD_FIELDS, *LATER_FIELDS}):
        raise ValueError(
            f"The model's {CARD_FILE} has the unknown field {shown(unknown[0])}; use a model of this plugin."
        )
    if missing := [name for name in CARD_FIELDS if name not in card]:
        raise ValueError(f"The model's {CARD_FILE} lacks the field {missing[0]}; use a model of this plugin.")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
