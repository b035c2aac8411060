"""TensorBoard: event files in a folder, which ``tensorboard --logdir`` shows."""

from __future__ import annotations

import os
import pathlib
import struct
from typing import Any

from q2_aam.runtime.run_root import make_private, make_root, run_root

# Where event files go; without it they are beside the run directories.
VARIABLE, FOLDER = 'TENSORBOARD_LOGGING_DIR', 'tensorboard'


def folder() -> pathlib.Path:
    """Return the folder whose folders are the runs."""
    if given := os.environ.get(VARIABLE):
        return pathlib.Path(given).expanduser().absolute()
    return run_root() / FOLDER


class Tracker:
    """A folder of event files; one that was begun before is gone on with."""

    def __init__(self, name: str, found: str | None):
        from torch.utils.tensorboard import SummaryWriter

        self.id = found or name
        if not os.environ.get(VARIABLE):
            make_root(run_root())
            make_private(folder())
        self.writer = SummaryWriter(str(folder() / self.id))

    def parameters(self, values: dict[str, Any]) -> None:
        """Keep them as a table."""
        lines = [f'| {name} | {value} |' for name, value in values.items()]
        self.writer.add_text('parameters', '\n'.join(['| parameter | value |', '|---|---|', *lines]))

    def metrics(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Keep each as a curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def figure(self, name: str, png: bytes, step: int) -> None:
        """Keep a picture as it is."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        # of its first chunk, after 16 bytes
        width, height = struct.unpack('>II', png[16:24])
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag=f'figures/{name}', image=image)])
        self.writer._get_file_writer().add_summary(summary, step)

    def close(self, finished: bool) -> None:
        """Write what is left."""
        self.writer.close()
