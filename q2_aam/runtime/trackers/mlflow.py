"""MLflow: a run in the store that its own variables name (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME)."""

from __future__ import annotations

import os
import pathlib
import posixpath
import re
import tempfile
import time
from typing import Any

EXPERIMENT = 'q2-aam'
# What MLflow takes at once, how long a value may be, and what a name may not hold.
MAX_PARAMETERS, MAX_METRICS, MAX_VALUE = 100, 1000, 500
NOT_IN_NAMES = re.compile(r'[^\w\-./ ]', re.ASCII)
# Where the user says nothing else: no use is reported to the makers of MLflow, no address is printed, a folder that she
# names is written to, though newer versions of MLflow ask for a word more, and a server that cannot be reached keeps
# training waiting for seconds, not minutes.
DEFAULTS = {
    'MLFLOW_ALLOW_FILE_STORE': 'true',
    'MLFLOW_DISABLE_TELEMETRY': 'true',
    'MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT': 'true',
    'MLFLOW_HTTP_REQUEST_MAX_RETRIES': '1',
    'MLFLOW_HTTP_REQUEST_TIMEOUT': '20',
}


class Tracker:
    """A run of MLflow; one that was begun before is gone on with."""

    def __init__(self, name: str, found: str | None):
        for variable, value in DEFAULTS.items():
            os.environ.setdefault(variable, value)
        from mlflow import MlflowClient

        # no run of the process's own is touched, as mlflow.start_run would
        self.client = MlflowClient()
        if found is not None:
            self.id = found
            self.client.update_run(found, status='RUNNING')
            return
        experiment = os.environ.get('MLFLOW_EXPERIMENT_NAME') or EXPERIMENT
        known = self.client.get_experiment_by_name(experiment)
        number = self.client.create_experiment(experiment) if known is None else known.experiment_id
        self.id = self.client.create_run(number, run_name=name).info.run_id

    def parameters(self, values: dict[str, Any]) -> None:
        """Keep them as parameters, of which long ones are cut."""
        from mlflow.entities import Param

        every = [Param(_name(name), str(value)[:MAX_VALUE]) for name, value in values.items()]
        for start in range(0, len(every), MAX_PARAMETERS):
            self.client.log_batch(self.id, params=every[start : start + MAX_PARAMETERS])

    def metrics(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Keep them as metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        every = [Metric(_name(name), value, now, step) for name, value in {**values, 'epoch': epoch}.items()]
        for start in range(0, len(every), MAX_METRICS):
            self.client.log_batch(self.id, metrics=every[start : start + MAX_METRICS])

    def figure(self, name: str, png: bytes, step: int) -> None:
        """Keep a picture as an artifact."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f'{_name(name).replace("/", "_")}.png'
            path.write_bytes(png)
            self.client.log_artifact(self.id, str(path), 'figures')

    def close(self, finished: bool) -> None:
        """Say that the run has ended."""
        self.client.set_terminated(self.id, 'FINISHED' if finished else 'FAILED')


def _name(name):
    """Return a name with such characters only as MLflow takes."""
    # nor may a name go up or end in a folder, as paths do
    return posixpath.normpath(NOT_IN_NAMES.sub('_', name)).lstrip('/.')[:250]
