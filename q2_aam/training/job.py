"""What a training is to do, as it crosses into its processes: configuration, inputs and the run directory."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import pandas as pd

from q2_aam.bundle import CALLS
from q2_aam.data.atomic import read_json, remove, write_json
from q2_aam.errors import MachineError
from q2_aam.objectives import Inputs
from q2_aam.runtime import results
from q2_aam.runtime.launch import Processes, launch
from q2_aam.runtime.run import Run, open_run

# In the run directory: the job, what its processes report, their logs and, of several machines, the inputs.
FOLDER, JOB, INPUTS = 'processes', 'job.json', 'inputs'
WORKER = 'q2_aam.training.worker'


@dataclasses.dataclass(frozen=True)
class Job:
    """One training.

    Attributes
    ----------
    kind : str
        Of the bundle that it makes.
    inputs : q2_aam.objectives.Inputs
    config : q2_aam.config.Call
    folder : path
        Where the bundle goes where the run directory has no room.
    """

    kind: str
    inputs: Inputs
    config: Any
    folder: str | os.PathLike


def done(
    action: str,
    job: Job,
    hashes: dict[str, str],
    processes: Processes,
    train: Callable[[Job, Run], results.Result],
    say: Callable[[str], None],
) -> results.Result:
    """Do a job, or take its result where the same has been done before; its bundle is delivered into its folder.

    Parameters
    ----------
    action : str
        By which its run directory is called.
    hashes : dict
        Of all inputs, by name.
    processes : Processes
        With one of them, the job is done here.
    train : callable
        Does it.
    say : callable
        Takes one line of progress.
    """
    alone = processes.number == 1
    with open_run(action, job.config, hashes, say, alone) as run:
        result = run.result()
        if result is None:
            result = train(job, run) if alone else do_in_processes(job, run, processes)
        results.deliver(result, job.folder)
    return result


def do_in_processes(job: Job, run: Run, processes: Processes) -> results.Result:
    """Let several processes do a job, and return its result from the run directory that they share with this one.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, or as :func:`q2_aam.runtime.launch.launch` says.
    """
    folder = run.directory / FOLDER
    remove(folder)
    folder.mkdir()
    if processes.nodes > 1:
        job = dataclasses.replace(job, inputs=_copied(job.inputs, folder / INPUTS))
    write_json(folder / JOB, _to_json(job, run))
    launch(WORKER, folder, processes, run.recorder.say)
    result = results.load(run.directory, run.seed)
    if result is None:
        raise MachineError(
            f'The run directory {run.directory} has no room for the result of several processes; free disk space, or '
            'set the environment variable AAM_WORK_DIR to a folder that has it.'
        )
    return result


def _copied(inputs, folder):
    """Copy the files of a call to where all machines see them."""
    folder.mkdir()
    copies = {}
    for field in dataclasses.fields(Inputs):
        path = getattr(inputs, field.name)
        if path is None or isinstance(path, (pd.Series, pd.DataFrame)):
            continue
        copies[field.name] = folder / field.name
        (shutil.copytree if os.path.isdir(path) else shutil.copyfile)(path, copies[field.name])
    return dataclasses.replace(inputs, **copies)


def read_job(folder: pathlib.Path) -> tuple[Job, dict[str, Any]]:
    """Return the job in a folder, and of its run: directory, seed, hashes and when it started."""
    content = read_json(folder / JOB)
    values = {name: _from_json(value) for name, value in content['inputs'].items()}
    config = CALLS[content['kind']].from_dict(content['config'])
    # clocks that count from a machine's start are not the same on all machines
    started = time.monotonic() - (time.time() - content['started'])
    run = {'directory': folder.parent, 'seed': content['seed'], 'hashes': content['hashes'], 'started': started}
    return Job(content['kind'], Inputs(**values), config, content['folder']), run


def _to_json(job, run):
    inputs = {field.name: getattr(job.inputs, field.name) for field in dataclasses.fields(Inputs)}
    return {
        'kind': job.kind,
        'config': dataclasses.asdict(job.config),
        'inputs': {name: _one_to_json(value) for name, value in inputs.items()},
        'folder': os.path.abspath(job.folder),
        'seed': run.seed,
        'hashes': run.hashes,
        'started': time.time() - (time.monotonic() - run.started),
    }


def _one_to_json(value):
    """Return an input as JSON has it: a path, or metadata, nothing of which is rounded."""
    if isinstance(value, pd.DataFrame):
        return {'frame': results.to_json(value)}
    if isinstance(value, pd.Series):
        # its name may be any text, or none
        return {'series': results.to_json(value.to_frame('values')), 'name': value.name}
    return None if value is None else os.path.abspath(value)


def _from_json(value):
    if isinstance(value, dict):
        if 'frame' in value:
            return results.from_json(value['frame'])
        return results.from_json(value['series'])['values'].rename(value['name'])
    return value
