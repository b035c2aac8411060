"""What a killed run leaves behind, and how the same call resumes from it. Tensors and JSON only, never a pickle."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import time

import torch
from safetensors.torch import load_file, save_file

from .history import History
from .progress import Timer

# Raise it when what is saved changes, or what is drawn at random on the way: no run resumes from another format.
CHECKPOINT_FORMAT = 3
STATE_FILE = 'state.json'
TENSORS_FILE = 'tensors.safetensors'
# A checkpoint of a small model takes milliseconds; writing a large one may cost a twentieth of the time.
SECONDS_BETWEEN = 30.0
SECONDS_PER_SAVE = 1.5


@dataclasses.dataclass
class State:
    """Where a training run stands.

    Attributes
    ----------
    step, epoch : int
        Steps and epochs that are done; `step` may lie within the next epoch.
    best_epoch : int
        The epoch of `best_weights`, 0 before there is one.
    best_score : float
        Its score; the smaller, the better.
    best_weights : dict or None
        ``state_dict`` of the module then.
    history : q2_aam.runtime.history.History
        Its rows are saved; its points, which are added after training, are not.
    sums : dict
        {metric: sum over the samples} of the epoch that has begun, of `samples` samples.
    scale : dict
        ``state_dict`` of the :class:`torch.amp.GradScaler`, plain numbers; empty where nothing is scaled.
    """

    step: int = 0
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = math.inf
    best_weights: dict | None = None
    history: History = dataclasses.field(default_factory=History)
    sums: dict = dataclasses.field(default_factory=dict)
    samples: int = 0
    scale: dict = dataclasses.field(default_factory=dict)


# what JSON holds as it is
NUMBERS = ('step', 'epoch', 'best_epoch', 'sums', 'samples', 'scale')


class Checkpoint:
    """Saves the state of a run in a folder, and resumes from it.

    Parameters
    ----------
    folder : path or None
        None keeps nothing. It need not exist; the folder that it is in does.
    seconds_between : float, optional
        Least time between two saves, default ``SECONDS_BETWEEN``; longer, where a save itself takes long.
    """

    def __init__(self, folder: str | os.PathLike | None, seconds_between: float | None = None):
        self.folder = None if folder is None else pathlib.Path(folder)
        self.seconds_between = SECONDS_BETWEEN if seconds_between is None else seconds_between
        self.timer = Timer(self.seconds_between)

    def save(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
        """Write everything that resuming needs, if it is time; a kill while writing leaves the save before intact.

        That is: parameters and buffers of `module`, the tensors of `optimizer`, and `state`.
        """
        if self.folder is None or not self.timer.rings():
            return
        started = time.monotonic()
        tensors = {f'module.{name}': value for name, value in module.state_dict().items()}
        tensors.update({f'best.{name}': value for name, value in (state.best_weights or {}).items()})
        for index, values in optimizer.state_dict()['state'].items():
            tensors.update({f'optimizer.{index}.{name}': value for name, value in values.items()})
        numbers = {
            'best_score': None if math.isinf(state.best_score) else state.best_score,
            'rows': state.history.rows,
            **{name: getattr(state, name) for name in NUMBERS},
        }
        # the step in the file's name ties the two files together
        name = f'{state.step}.{TENSORS_FILE}'
        self.folder.mkdir(exist_ok=True)
        save_file({key: value.contiguous() for key, value in tensors.items()}, self.folder / f'new.{name}')
        os.replace(self.folder / f'new.{name}', self.folder / name)
        (self.folder / f'new.{STATE_FILE}').write_text(json.dumps(numbers), encoding='utf-8')
        os.replace(self.folder / f'new.{STATE_FILE}', self.folder / STATE_FILE)
        for old in self.folder.glob(f'*.{TENSORS_FILE}'):
            if old.name != name:
                old.unlink()
        self.timer.seconds = self.seconds_between * max(1.0, (time.monotonic() - started) / SECONDS_PER_SAVE)
        self.timer.restart()

    def resume(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> State:
        """Put `module` and `optimizer` where the run stopped; return its :class:`State` (new if there is none)."""
        if self.folder is None or not (self.folder / STATE_FILE).exists():
            return State()
        numbers = json.loads((self.folder / STATE_FILE).read_text(encoding='utf-8'))
        tensors = load_file(self.folder / f'{numbers["step"]}.{TENSORS_FILE}')
        groups: dict[str, dict] = {'module': {}, 'best': {}, 'optimizer': {}}
        for key, value in tensors.items():
            group, name = key.split('.', 1)
            groups[group][name] = value
        module.load_state_dict(groups['module'])
        _restore(optimizer, groups['optimizer'])
        present = module.state_dict()
        return State(
            best_score=math.inf if numbers['best_score'] is None else numbers['best_score'],
            best_weights={name: value.to(present[name].device) for name, value in groups['best'].items()} or None,
            history=History(numbers['rows']),
            **{name: numbers[name] for name in NUMBERS},
        )


def _restore(optimizer, tensors):
    state = {}
    for key, value in tensors.items():
        index, name = key.split('.', 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({'state': state, 'param_groups': optimizer.state_dict()['param_groups']})
