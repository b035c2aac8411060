"""The categories by which a target is scaled."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.categories import codes_of, describe_unknown, learn_categories, warn_of_no_shared_samples
from q2_aam.errors import AAMWarning, UserError

IDS = [f's{number:02d}' for number in range(13)]
COLUMN = pd.Series(['b'] * 5 + ['a'] * 5 + ['few', 'few', None], IDS, name='site', dtype=object)


def test_categories_of_five_samples_in_two_groups_are_learned():
    groups = np.array([f'g{number % 3}' for number in range(13)], dtype=object)
    assert learn_categories(COLUMN, IDS, groups) == ('a', 'b')
    groups[5:10] = 'one'
    assert learn_categories(COLUMN, IDS, groups) == ('b',)


def test_other_categories_are_unknown_and_are_told_of():
    codes = codes_of(COLUMN, IDS, ('a', 'b'))
    assert codes.tolist() == [2] * 5 + [1] * 5 + [0] * 3
    assert describe_unknown(COLUMN, IDS, codes) == (
        "Scaling: that of all samples for 3 samples whose category of 'site' is unknown (not learned: 'few')."
    )
    assert describe_unknown(COLUMN, IDS[:10], codes[:10]) is None
    assert codes_of(None, IDS, ('a', 'b')).tolist() == [0] * 13


@pytest.mark.parametrize(
    'column, sentence',
    [
        (
            pd.Series([f'c{number}' for number in range(13)], IDS, name='site'),
            "Metadata column 'site' (scale_by) has no category with 5 training samples of 2 groups, so that no target "
            'can be scaled by it; choose another column, or none.',
        ),
        (
            COLUMN.replace('a', 'a\tb'),
            'The metadata column that is given as scale_by and its categories must not contain tabs, line breaks or '
            "other control characters, but one is named 'a\\tb'; rename it.",
        ),
    ],
)
def test_what_nothing_can_be_scaled_by_is_refused_in_one_sentence(column, sentence):
    with pytest.raises(UserError) as error:
        learn_categories(column, IDS, np.array(IDS, dtype=object))
    assert str(error.value) == sentence


def test_a_column_without_any_of_the_samples_is_warned_of():
    with pytest.warns(AAMWarning) as warned:
        warn_of_no_shared_samples(COLUMN, ['t1'])
    assert str(warned[0].message) == (
        "The feature table and metadata column 'site' (scale_by) share no sample IDs (e.g. 't1' in the table, 's00' "
        'in the metadata), so that every category is unknown; use the same IDs in both.'
    )
