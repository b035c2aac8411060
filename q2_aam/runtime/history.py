"""What training logged: one row a figure, and a sample of points for a plot of predicted against true."""

import csv
import pathlib

HISTORY_FILE = 'history.tsv'
POINTS_FILE = 'points.tsv'
HISTORY_COLUMNS = ('step', 'epoch', 'part', 'metric', 'value')
POINTS_COLUMNS = ('plot', 'part', 'predicted', 'true')
MAX_POINTS = 1000


class History:
    """Rows of figures and of points, in the order in which they were logged.

    Attributes
    ----------
    rows : list of (step, epoch, part, metric, value)
    points : list of (plot, part, predicted, true), at most ``MAX_POINTS`` for each plot and part
    """

    def __init__(self, rows=(), points=()):
        self.rows = [tuple(row) for row in rows]
        self.points = [tuple(row) for row in points]

    def log(self, step, epoch, part, **figures):
        """Add one row for each figure."""
        self.rows.extend((step, epoch, part, metric, float(value)) for metric, value in figures.items())

    def add_points(self, plot, part, predicted, true, generator):
        """Add points for a plot; more than ``MAX_POINTS`` are thinned by the numpy `generator`."""
        keep = list(range(len(predicted)))
        if len(predicted) > MAX_POINTS:
            keep = sorted(generator.choice(len(predicted), MAX_POINTS, replace=False))
        self.points.extend((plot, part, float(predicted[i]), float(true[i])) for i in keep)

    def series(self, part, metric):
        """Return the values of one metric in one part, in order."""
        return [row[4] for row in self.rows if row[2] == part and row[3] == metric]

    def last(self, part):
        """Return {metric: value} of a part: of each metric the last value."""
        return {row[3]: row[4] for row in self.rows if row[2] == part}

    def save(self, folder):
        """Write both files into `folder`, which exists."""
        for name, columns, rows in (
            (HISTORY_FILE, HISTORY_COLUMNS, self.rows),
            (POINTS_FILE, POINTS_COLUMNS, self.points),
        ):
            with open(pathlib.Path(folder) / name, 'w', newline='', encoding='utf-8') as handle:
                writer = csv.writer(handle, delimiter='\t', lineterminator='\n')
                writer.writerow(columns)
                writer.writerows(rows)
