"""What a killed run leaves behind, and how the same call resumes from it. Tensors and JSON only, never a pickle.

torch.load is never used, here or anywhere in the package: a file made for it can run code, up to torch 2.5 also with
weights_only (CVE-2025-32434), and before 2.10 damage memory (CVE-2026-24747).
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import time
import warnings
from collections.abc import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from q2_aam.data.atomic import check_file, hash_file, read_json, reason, replacing, set_aside, write_json
from q2_aam.errors import AAMWarning

from .history import History
from .progress import Timer
from .sharded import placed_like

# Raise it when what is saved changes, or what is drawn at random on the way: no run resumes from another format.
CHECKPOINT_FORMAT = 6
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
    outputs : dict
        {epoch: tensor} of what was kept of each epoch.
    average : dict
        Moving average of the weights; empty where there is none.
    waited : int
        Epochs since the best one, or since the learning rate was lowered last.
    plateau_share : float
        What the learning rate is multiplied by since then.
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
    outputs: dict = dataclasses.field(default_factory=dict)
    average: dict = dataclasses.field(default_factory=dict)
    waited: int = 0
    plateau_share: float = 1.0


# what JSON holds as it is
NUMBERS = ('step', 'epoch', 'best_epoch', 'sums', 'samples', 'scale', 'waited', 'plateau_share')


class Checkpoint:
    """Saves the state of a run in a folder, and resumes from it.

    Parameters
    ----------
    folder : path or None
        None keeps nothing. It need not exist; the folder that it is in does.
    seconds_between : float, optional
        Least time between two saves, default ``SECONDS_BETWEEN``; longer, where a save itself takes long.
    seed : int
        Of the run: one of another seed does not resume from it.
    """

    def __init__(self, folder: str | os.PathLike | None, seconds_between: float | None = None, seed: int = 0):
        self.folder = None if folder is None else pathlib.Path(folder)
        self.seconds_between = SECONDS_BETWEEN if seconds_between is None else seconds_between
        self.seed = seed
        self.timer = Timer(self.seconds_between)

    def save(
        self,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        state: State,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """Write everything that resuming needs, if it is time; a kill while writing leaves the save before intact.

        That is: parameters and buffers of `module`, the tensors of `optimizer`, and `state`, once `settle` has put into
        it what is not there yet.

        Warns
        -----
        AAMWarning
            If the folder cannot be written: then, and from then on, nothing is saved.
        """
        if self.is_due():
            settle()
            self.write(tensors_of(module, optimizer, state), state)

    def is_due(self) -> bool:
        """Return whether it is time; if so, start to wait again."""
        return self.folder is not None and self.timer.rings()

    def write(self, tensors: dict[str, torch.Tensor], state: State) -> None:
        """Save tensors (:func:`tensors_of`) and state now; see :meth:`save`."""
        if self.folder is None:
            return
        started = time.monotonic()
        try:
            self._write(self.folder, tensors, state)
        except OSError as error:
            warnings.warn(
                f'The run directory {self.folder.parent} cannot be written ({reason(error)}): training goes on without '
                'checkpoints; to have them, free disk space or set the environment variable AAM_WORK_DIR to a folder '
                'that has it.',
                AAMWarning,
            )
            self.folder = None
            return
        self.timer.seconds = self.seconds_between * max(1.0, (time.monotonic() - started) / SECONDS_PER_SAVE)
        self.timer.restart()

    def _write(self, folder, tensors, state):
        numbers = {
            'best_score': None if math.isinf(state.best_score) else state.best_score,
            'rows': state.history.rows,
            **{name: getattr(state, name) for name in NUMBERS},
        }
        # the step in the file's name ties the two files together
        name = f'{state.step}.{TENSORS_FILE}'
        folder.mkdir(exist_ok=True)
        with replacing(folder / name) as temporary:
            save_file({key: value.contiguous() for key, value in tensors.items()}, temporary)
            checksum = hash_file(temporary)
        write_json(folder / STATE_FILE, numbers | {'seed': self.seed, 'tensors': checksum})
        for old in folder.glob(f'*.{TENSORS_FILE}'):
            if old.name != name:
                old.unlink()

    def resume(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> State:
        """Put `module` and `optimizer` where the run stopped; return its :class:`State` (new if there is none).

        Warns
        -----
        AAMWarning
            If what is there cannot be read, or belongs to another run; it is set aside, and the run begins anew.
        """
        # a folder that is empty was made by a run that was killed before its first save
        if self.folder is None or not os.path.lexists(self.folder) or _is_empty(self.folder):
            return State()
        try:
            numbers, groups = _read(self.folder, self.seed)
            for weights in (groups['module'], groups['best'], groups['average']):
                if weights:
                    _check(module.state_dict(), weights)
            best_weights = _placed(module, groups['best']) or None
            average = _placed(module, groups['average'])
            state = State(
                best_score=math.inf if numbers['best_score'] is None else numbers['best_score'],
                best_weights=best_weights,
                average=average,
                history=History(numbers['rows']),
                outputs={int(epoch): groups['outputs'][epoch] for epoch in sorted(groups['outputs'], key=int)},
                **{name: numbers[name] for name in NUMBERS},
            )
            # last: nothing has been changed before it is known that everything fits
            _restore(optimizer, groups['optimizer'])
            module.load_state_dict(_placed(module, groups['module']))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            set_aside(
                self.folder, f'The checkpoint in the run directory, {self.folder},', error, 'its training begins anew'
            )
            return State()
        return state


def tensors_of(module: torch.nn.Module, optimizer: torch.optim.Optimizer, state: State) -> dict[str, torch.Tensor]:
    """Return all tensors that resuming needs: weights, best and average ones, the optimizer's, and outputs."""
    tensors = {f'module.{name}': value for name, value in module.state_dict().items()}
    tensors.update({f'best.{name}': value for name, value in (state.best_weights or {}).items()})
    tensors.update({f'average.{name}': value for name, value in state.average.items()})
    for index, values in optimizer.state_dict()['state'].items():
        tensors.update({f'optimizer.{index}.{name}': value for name, value in values.items()})
    tensors.update({f'outputs.{epoch}': value for epoch, value in state.outputs.items()})
    return tensors


def _is_empty(folder):
    return folder.is_dir() and not any(folder.iterdir())


def _read(folder, seed):
    """Return the numbers and the tensors, by group, of a checkpoint; an error says what is wrong with it."""
    numbers = read_json(folder / STATE_FILE)
    if numbers['seed'] != seed:
        raise ValueError('it belongs to a run with another seed')
    path = folder / f'{numbers["step"]}.{TENSORS_FILE}'
    check_file(path, numbers['tensors'])
    groups: dict[str, dict] = {'module': {}, 'best': {}, 'average': {}, 'optimizer': {}, 'outputs': {}}
    for key, value in load_file(path).items():
        group, name = key.split('.', 1)
        groups[group][name] = value
    return numbers, groups


def _check(expected, tensors):
    """Raise ValueError unless both have the same names and shapes."""
    if {name: value.shape for name, value in expected.items()} != {
        name: value.shape for name, value in tensors.items()
    }:
        raise ValueError('its tensors are those of another model')


def _placed(module, tensors):
    """Return tensors where those of the module are, divided as those are."""
    present = module.state_dict()
    return {name: placed_like(value, present[name]) for name, value in tensors.items()}


def _restore(optimizer, tensors):
    """Put the state of the optimizer back; ValueError if it is that of other parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    state: dict[int, dict] = {}
    for key, value in tensors.items():
        index, name = key.split('.', 1)
        # steps are counted in a number of their own
        if int(index) >= len(parameters) or (value.ndim and value.shape != parameters[int(index)].shape):
            raise ValueError('its optimizer is that of another model')
        state.setdefault(int(index), {})[name] = placed_like(value, parameters[int(index)]) if value.ndim else value
    optimizer.load_state_dict({'state': state, 'param_groups': optimizer.state_dict()['param_groups']})
