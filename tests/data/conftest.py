"""What tests of the data room share: a small table written down by sample, and its study."""

import numpy as np
import pytest
import scipy.sparse

from q2_aam.data.study import build_study
from q2_aam.data.table import Table


@pytest.fixture
def table_of():
    """Make a table and its sequences from {sample: {sequence: count}} or, with ids, {sample: {feature: count}}."""

    def make(samples, sequences=None):
        features = list(dict.fromkeys(feature for row in samples.values() for feature in row))
        counts = scipy.sparse.csr_matrix(
            np.array([[row.get(feature, 0) for feature in features] for row in samples.values()], dtype=np.float32)
        )
        table = Table(list(samples), features, lambda: [counts])
        return table, [(sequences or {}).get(feature, feature) for feature in features]

    return make


@pytest.fixture
def study_of(table_of):
    """Make the study of {sample: {sequence: count}}."""

    def make(samples, max_length=None):
        return build_study(*table_of(samples), max_length)[0]

    return make
