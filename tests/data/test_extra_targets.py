"""Which columns of metadata are extra targets, and what is refused of them."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.extra_targets import MAX_EXTRA_TARGETS, select_extra_targets
from q2_aam.errors import UserError

FRAME = pd.DataFrame(
    {'age': [1.0, 2.0], 'subject': [1.0, 2.0], 'weight': [3, 4], 'site': ['a', 'b'], 'empty': [np.nan, np.nan]},
    ['s1', 's2'],
)


def test_numeric_columns_are_taken_but_those_of_target_and_groups():
    chosen = select_extra_targets(FRAME, 'age', 'subject')
    assert list(chosen.columns) == ['weight'] and chosen['weight'].dtype == np.float64
    assert select_extra_targets(None, 'age') is None


@pytest.mark.parametrize(
    'frame, covariates, sentence',
    [
        (
            FRAME[['age', 'site', 'empty']],
            (),
            'The extra targets have no numeric column but those of the target and the groups; give others, or no '
            'extra targets.',
        ),
        (
            FRAME,
            ('weight', 'site'),
            "The extra targets have columns that are covariates, too ('weight'), so that the model would read what it "
            'is to predict; leave such columns out of one of them.',
        ),
        (
            FRAME.assign(weight=[3, np.inf]),
            (),
            "Extra target 'weight' must have values from -1e+18 to 1e+18, but has inf for sample 's2'; correct it or "
            'leave it empty.',
        ),
        (
            FRAME.rename(columns={'weight': 'a\tb'}),
            (),
            'Names of extra targets must not contain tabs, line breaks or other control characters, but the metadata '
            "have 'a\\tb'; rename it.",
        ),
        (
            pd.DataFrame(1.0, ['s1'], [f'c{number}' for number in range(MAX_EXTRA_TARGETS + 1)]),
            (),
            'At most 64 extra targets can be learned, but the metadata have 65 numeric columns; give fewer.',
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_sentence(frame, covariates, sentence):
    with pytest.raises(UserError) as error:
        select_extra_targets(frame, 'age', 'subject', covariates)
    assert str(error.value) == sentence
