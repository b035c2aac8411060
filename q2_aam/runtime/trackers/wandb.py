"""Weights & Biases: a run as its own variables say (WANDB_API_KEY, WANDB_MODE, WANDB_PROJECT, WANDB_DIR)."""

from __future__ import annotations

import contextlib
import hashlib
import netrc
import os
import pathlib
import tempfile
import urllib.parse
from typing import Any

PROJECT = 'q2-aam'


class Tracker:
    """A run of Weights & Biases; without a key it is kept on this machine, for ``wandb sync``."""

    def __init__(self, name: str, found: str | None):
        # no errors of ours go to its makers where the user says nothing else
        os.environ.setdefault('WANDB_ERROR_REPORTING', 'false')
        import wandb

        self.id = found or hashlib.sha256(f'{name}-{os.urandom(8).hex()}'.encode()).hexdigest()[:16]
        mode: Any = os.environ.get('WANDB_MODE')
        if not mode and not _knows_key():
            mode = 'offline'
        settings = wandb.Settings(
            silent=True,
            console='off',
            disable_git=True,
            save_code=False,
            init_timeout=20,
            # nothing of the machine and its other packages
            x_disable_meta=True,
            x_disable_stats=True,
        )
        self.run = wandb.init(
            project=os.environ.get('WANDB_PROJECT') or PROJECT,
            name=name,
            id=self.id,
            # what is kept here comes together by its id, with `wandb sync --append`
            resume=None if mode == 'offline' else 'allow',
            mode=mode or None,
            reinit='create_new',
            settings=settings,
        )
        # steps of other parts may come later and be smaller
        self.run.define_metric('*', step_metric='step')

    def parameters(self, values: dict[str, Any]) -> None:
        """Keep them as the configuration."""
        self.run.config.update(values, allow_val_change=True)

    def metrics(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Keep them as one row of the history."""
        self.run.log({**values, 'step': step, 'epoch': epoch})

    def figure(self, name: str, png: bytes, step: int) -> None:
        """Keep a picture."""
        import wandb

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / 'figure.png'
            path.write_bytes(png)
            self.run.log({f'figures/{name}': wandb.Image(str(path)), 'step': step})

    def close(self, finished: bool) -> None:
        """Send what is left."""
        self.run.finish(exit_code=0 if finished else 1)


def _knows_key():
    """Tell whether there is a key, where `wandb login` puts it or in the environment, without asking anybody."""
    if os.environ.get('WANDB_API_KEY'):
        return True
    address = os.environ.get('WANDB_BASE_URL') or 'https://api.wandb.ai'
    for path in filter(None, (os.environ.get('NETRC'), '~/.netrc', '~/_netrc')):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(os.path.expanduser(path)).authenticators(urllib.parse.urlsplit(address).hostname or ''):
                return True
    return False
