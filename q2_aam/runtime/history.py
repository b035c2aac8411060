"""What training logged: one row per metric, and a sample of points for a plot of predicted against true."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from q2_aam.data.atomic import writing_output

if TYPE_CHECKING:
    import os

    import numpy as np

HISTORY_FILE = 'history.tsv'
POINTS_FILE = 'points.tsv'
HISTORY_COLUMNS = ('step', 'epoch', 'part', 'metric', 'value')
POINTS_COLUMNS = ('plot', 'part', 'predicted', 'true')
MAX_POINTS = 1000


class History:
    """Rows of metrics and of points, in the order in which they were logged.

    Attributes
    ----------
    rows : list of (step, epoch, part, metric, value)
    points : list of (plot, part, predicted, true), at most ``MAX_POINTS`` for each plot and part
    costs : list of (step, epoch, part, metric, value)
        What each epoch took; unlike rows, they differ from run to run.
    """

    def __init__(self, rows: Iterable[Iterable] = (), points: Iterable[Iterable] = (), costs: Iterable[Iterable] = ()):
        self.rows = [tuple(row) for row in rows]
        self.points = [tuple(row) for row in points]
        self.costs = [tuple(row) for row in costs]

    def log(self, step: int, epoch: int, part: str, **metrics: float) -> None:
        """Add one row for each metric."""
        self.rows.extend((step, epoch, part, metric, float(value)) for metric, value in metrics.items())

    def cost(self, step: int, epoch: int, **metrics: float) -> None:
        """Add one row for each thing that an epoch took: seconds, memory."""
        self.costs.extend((step, epoch, 'run', metric, float(value)) for metric, value in metrics.items())

    def add_points(
        self, plot: str, part: str, predicted: Any, true: Any, generator: np.random.Generator | None = None
    ) -> None:
        """Add points for a plot; more than ``MAX_POINTS`` are thinned by the numpy `generator`, which they need."""
        predicted, true = thin(predicted, true, generator)
        self.points.extend((plot, part, float(one), float(other)) for one, other in zip(predicted, true))

    def series(self, part: str, metric: str) -> list[float]:
        """Return the values of one metric in one part, in order."""
        return [row[4] for row in self.rows if row[2] == part and row[3] == metric]

    def last(self, part: str) -> dict[str, float]:
        """Return {metric: value} of a part: the last value of each metric."""
        return {row[3]: row[4] for row in self.rows if row[2] == part}

    def save(self, folder: str | os.PathLike) -> None:
        """Write both files into `folder`, which exists.

        Raises
        ------
        q2_aam.errors.MachineError
            If they cannot be written.
        """
        for name, columns, rows in (
            (HISTORY_FILE, HISTORY_COLUMNS, self.rows + self.costs),
            (POINTS_FILE, POINTS_COLUMNS, self.points),
        ):
            path = pathlib.Path(folder) / name
            with writing_output(folder), open(path, 'w', newline='', encoding='utf-8') as handle:
                writer = csv.writer(handle, delimiter='\t', lineterminator='\n')
                writer.writerow(columns)
                writer.writerows(rows)


def thin(predicted: Any, true: Any, generator: np.random.Generator | None) -> tuple[Any, Any]:
    """Return the points, in order; of more than ``MAX_POINTS`` as many, drawn by `generator`."""
    if len(predicted) <= MAX_POINTS:
        return predicted, true
    if generator is None:
        raise ValueError(f'{len(predicted):,} points need a generator that draws {MAX_POINTS:,} of them')
    kept = sorted(generator.choice(len(predicted), MAX_POINTS, replace=False))
    return [predicted[i] for i in kept], [true[i] for i in kept]
