"""Categories by which a target is scaled, where a model is asked."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.bundle import NumericTarget
from q2_aam.bundle.scales import ByCategory
from q2_aam.errors import AAMWarning
from q2_aam.inference.categories import read_categories

SCALED = NumericTarget('age', 0.0, 1.0, by_category=ByCategory('site', ('a', 'b'), (0.0, 1.0), (1.0, 1.0)))


def test_categories_are_numbered_as_in_training_and_nothing_is_said_where_all_are_known():
    said, column = [], pd.Series(['b', 'a', 'c'], ['s1', 's2', 's3'], name='place')
    assert read_categories(SCALED, column, ['s2', 's1'], said.append).tolist() == [1, 2] and said == []
    with pytest.warns(AAMWarning) as warned:
        assert np.array_equal(read_categories(SCALED, column, ['s3', 's4'], said.append), [0, 0])
    assert [str(one.message) for one in warned] == [
        "Metadata column 'place' (scale_by) has no category that the model has learned: its target is scaled by 'site' "
        "('a', 'b'); give that column, unless all samples are of new categories."
    ]
    assert said == [
        "Scaling: that of all samples for 2 samples whose category of 'place' is unknown (not learned: 'c')."
    ]
    assert read_categories(NumericTarget('age', 0.0, 1.0), column, ['s1'], said.append) is None
