"""What a killed run leaves behind, and how the same call goes on from it. Tensors and JSON only, never a pickle."""

import dataclasses
import json
import math
import os
import pathlib
import time

from safetensors.torch import load_file, save_file

from .history import History

STATE_FILE = 'state.json'
TENSORS_FILE = 'tensors.safetensors'
# A checkpoint of a small model takes milliseconds; this bounds what writing a large one may cost.
SECONDS_BETWEEN = 30.0


@dataclasses.dataclass
class State:
    """Where a training run stands after `epoch` epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = math.inf
    best_weights: dict | None = None
    history: History = dataclasses.field(default_factory=History)


class Checkpoint:
    """Saves and finds the state of a run in a folder.

    Parameters
    ----------
    folder : path or None
        None keeps nothing.
    seconds_between : float, optional
        Least time between two saves, default ``SECONDS_BETWEEN``.
    """

    def __init__(self, folder, seconds_between=None):
        self.folder = None if folder is None else pathlib.Path(folder)
        self.seconds_between = SECONDS_BETWEEN if seconds_between is None else seconds_between
        self.last_save = time.monotonic()

    def save(self, network, optimizer, state):
        """Write everything that resuming needs, if it is time; a kill while writing leaves the save before intact."""
        if self.folder is None or time.monotonic() - self.last_save < self.seconds_between:
            return
        tensors = {f'network.{name}': value for name, value in network.state_dict().items()}
        tensors.update({f'best.{name}': value for name, value in (state.best_weights or {}).items()})
        for index, values in optimizer.state_dict()['state'].items():
            tensors.update({f'optimizer.{index}.{name}': value for name, value in values.items()})
        numbers = {
            'epoch': state.epoch,
            'best_epoch': state.best_epoch,
            'best_score': None if math.isinf(state.best_score) else state.best_score,
            'rows': state.history.rows,
        }
        # the epoch in the file's name ties the two files together
        name = f'{state.epoch}.{TENSORS_FILE}'
        save_file({key: value.contiguous() for key, value in tensors.items()}, self.folder / f'new.{name}')
        os.replace(self.folder / f'new.{name}', self.folder / name)
        (self.folder / f'new.{STATE_FILE}').write_text(json.dumps(numbers), encoding='utf-8')
        os.replace(self.folder / f'new.{STATE_FILE}', self.folder / STATE_FILE)
        for old in self.folder.glob(f'*.{TENSORS_FILE}'):
            if old.name != name:
                old.unlink()
        self.last_save = time.monotonic()

    def resume(self, network, optimizer):
        """Put `network` and `optimizer` where the run stopped; return its :class:`State` (new if there is none)."""
        if self.folder is None or not (self.folder / STATE_FILE).exists():
            return State()
        numbers = json.loads((self.folder / STATE_FILE).read_text(encoding='utf-8'))
        tensors = load_file(self.folder / f'{numbers["epoch"]}.{TENSORS_FILE}')
        parts = {'network': {}, 'best': {}, 'optimizer': {}}
        for key, value in tensors.items():
            part, name = key.split('.', 1)
            parts[part][name] = value
        network.load_state_dict(parts['network'])
        _restore(optimizer, parts['optimizer'])
        score = math.inf if numbers['best_score'] is None else numbers['best_score']
        device = next(network.parameters()).device
        best = {name: value.to(device) for name, value in parts['best'].items()} or None
        return State(numbers['epoch'], numbers['best_epoch'], score, best, History(numbers['rows']))


def _restore(optimizer, tensors):
    state = {}
    for key, value in tensors.items():
        index, name = key.split('.', 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({'state': state, 'param_groups': optimizer.state_dict()['param_groups']})
