"""What tests of formats share: a disk without room."""

import errno
import io
import os
import tempfile

import pytest


@pytest.fixture
def full_disk(monkeypatch):
    """(moment): from then on, files of text formats cannot be made, written or closed."""
    # not at the top: this file is loaded where QIIME 2 is absent, too
    from qiime2.plugin import model

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Handle(io.StringIO):
        # what is left in the buffer of a file is written when it is closed
        def close(self):
            super().close()
            full()

    def fill(moment):
        if moment == 'make':
            monkeypatch.setattr(tempfile, 'mkstemp', full)
            return
        handle = Handle()
        if moment == 'write':
            handle.write = full
        monkeypatch.setattr(model.TextFileFormat, 'open', lambda self: handle)

    return fill
