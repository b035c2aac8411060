"""What crosses into the processes of a training is what the call was given."""

import dataclasses
import pathlib
import time

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam.config import FitClassifierConfig, FitRegressorConfig
from q2_aam.errors import MachineError
from q2_aam.objectives import Inputs
from q2_aam.runtime.launch import Processes
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import Run
from q2_aam.training import job as module
from q2_aam.training import node
from q2_aam.training.job import Job, do_in_processes, read_job

IDS = pd.Index(['a', 'b', 'c'], name='id')


@pytest.fixture
def crossed(tmp_path, monkeypatch):
    """Give a job to processes that do nothing; return what they would read."""

    def cross(job, processes=None):
        seen = []

        def launch(worker, folder, processes, say):
            assert worker == 'q2_aam.training.worker'
            seen.append(read_job(folder))

        monkeypatch.setattr(module, 'launch', launch)
        run = Run(tmp_path, 7, torch.device('cpu'), Recorder(print), {'table': '0f'}, time.monotonic() - 100)
        with pytest.raises(MachineError) as error:
            do_in_processes(job, run, processes or Processes(2))
        assert str(error.value) == (
            f'The run directory {tmp_path} has no room for the result of several processes; free disk space, or set '
            'the environment variable AAM_WORK_DIR to a folder that has it.'
        )
        return seen[0]

    return cross


def test_a_job_is_read_as_it_was_written(crossed, tmp_path):
    numbers = pd.Series([0.1, np.nan, 1 / 3], IDS, name="age of 'it'")
    groups = pd.Series(['x', None, 'z'], IDS, dtype=object)
    covariates = pd.DataFrame({'ph': [7.0, np.nan, 1e-300], 'site': ['ä', 'b', None]}, IDS)
    inputs = Inputs('table.biom', None, numbers, groups, covariates=covariates)
    config = FitRegressorConfig.from_flat({'width': 64, 'devices': 2, 'quantiles': (0.25, 0.75), 'loss': 'quantile'})
    job, run = crossed(Job('regressor', inputs, config, 'bundle'))
    assert (job.kind, job.config, job.folder) == ('regressor', config, str(pathlib.Path('bundle').absolute()))
    # the processes may work elsewhere
    assert job.inputs.table == str(pathlib.Path('table.biom').absolute()) and job.inputs.sequences is None
    pd.testing.assert_series_equal(job.inputs.target, numbers, check_exact=True)
    pd.testing.assert_series_equal(job.inputs.groups, groups)
    pd.testing.assert_frame_equal(job.inputs.covariates, covariates, check_exact=True)
    assert (run['directory'], run['seed'], run['hashes']) == (tmp_path, 7, {'table': '0f'})
    assert time.monotonic() - run['started'] == pytest.approx(100, abs=5)


def test_inputs_of_several_machines_are_copied_to_where_all_see_them(crossed, tmp_path):
    (tmp_path / 'table').write_text('counts')
    (tmp_path / 'encoder').mkdir()
    (tmp_path / 'encoder' / 'config.json').write_text('{}')
    classes = pd.Series(['x', 'y', 'x'], IDS, name='kind')
    inputs = Inputs(tmp_path / 'table', None, classes, encoder=tmp_path / 'encoder')
    job, run = crossed(Job('classifier', inputs, FitClassifierConfig(), 'bundle'), Processes(1, 0, 2, 'one:1'))
    folder = run['directory'] / 'processes' / 'inputs'
    assert dataclasses.replace(job.inputs, target=None) == Inputs(
        str(folder / 'table'), encoder=str(folder / 'encoder')
    )
    assert (folder / 'table').read_text() == 'counts' and (folder / 'encoder' / 'config.json').read_text() == '{}'


def test_another_machine_starts_as_many_processes_as_it_is_told(monkeypatch, capsys):
    started = []

    def launch_beside(worker, processes, logs):
        started.append(processes)
        if processes.max_restarts == 0:
            raise MachineError('Rank 1 of 6 ended.')

    monkeypatch.setattr(node, 'launch_beside', launch_beside)
    given = ['--rendezvous', 'one:29400', '--nodes', '2', '--devices', '3', '--device', 'cpu']
    assert node.main(given) == 0 and started == [Processes(3, 2, 2, 'one:29400', least_nodes=2)]
    assert node.main([*given, '--max-restarts', '0']) == 1 and capsys.readouterr().err == 'Rank 1 of 6 ended.\n'
    assert node.main([*given, '--nodes', '2:4']) == 0
    assert started[-1] == Processes(3, 2, 4, 'one:29400', least_nodes=2)
    for nodes in ('1', '0', '4:2', 'two', '2:', '1.5'):
        with pytest.raises(SystemExit):
            node.main([*given, '--nodes', nodes])
        assert capsys.readouterr().err.endswith(
            '--nodes must be a number of machines above 1 or a range of it, such as 2 or 2:4\n'
        )
    with pytest.raises(SystemExit):
        node.main([*given, '--rendezvous', 'one'])
    assert capsys.readouterr().err.endswith(
        '--rendezvous must be the name of a machine and a port, such as node-1:29400\n'
    )
