"""A study that tests of reading one share."""

import pytest

from q2_aam.data.inputs import read_study


@pytest.fixture
def study(tiny, tmp_path):
    """ASVs of 40 to 60 nucleotides, in tokens of 6."""
    files = tiny.write(tmp_path / 'inputs')
    return read_study(files.table, files.sequences)[0]
