"""Tables of results keep their numbers and text, and metadata get only what they take, on every version of pandas."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.frames import for_metadata, is_number, numbered, read_frame
from q2_aam.errors import AAMWarning


def read(text):
    return read_frame(io.StringIO(text))


def quietly(frame):
    """What metadata are given; a warning, ours or of pandas, is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return for_metadata(frame)


def indexed(ids, **columns):
    return pd.DataFrame(columns, index=pd.Index(ids, name='id'))


@pytest.mark.parametrize('cell', ['1', '-2.5', '.5', '1e-7', '+3.'])
def test_numbers_are_numbers(cell):
    assert is_number(cell)


@pytest.mark.parametrize('cell', ['', ' 1', '1_2', '0x10', 'nan', '-inf', '1e', '٣'])
def test_labels_are_no_numbers(cell):
    assert not is_number(cell)


def test_numbers_that_are_not_finite_are_numbers_only_where_they_may_be():
    assert is_number('NaN', finite=False) and is_number('-inf', finite=False) and not is_number('none', finite=False)


def test_columns_of_numbers_become_numbers_and_others_stay_text():
    frame = read('id\twhole\tshare\tword\tgap\n007\t1\t0.5\t1_2\t\n8\t20\t-inf\tNA\t3\n')
    assert frame['id'].tolist() == ['007', '8'] and frame['word'].tolist() == ['1_2', 'NA']
    assert frame.dtypes.astype(str).to_dict() == {
        'id': 'object', 'whole': 'int64', 'share': 'float64', 'word': 'object', 'gap': 'float64',
    }  # fmt: skip


def test_numbers_too_long_for_a_float_are_not_rounded_to_an_integer():
    assert read('id\tn\na\t1234567890123456789\n')['n'].dtype == float


def test_classes_that_look_like_numbers_stay_text():
    frame = read('id\tprediction\ttrue\tprobability_01\na\t01\t1.0\t0.5\n')
    assert frame.loc[0].tolist() == ['a', '01', '1.0', 0.5]
    assert read('id\tprediction\ttrue\na\t01\t1.0\n').loc[0].tolist() == ['a', 1, 1.0]


def test_rows_are_numbered_so_that_text_sorts_like_numbers():
    frame = pd.DataFrame({'value': range(12)})
    assert list(numbered(frame).index)[::11] == ['01', '12'] and numbered(frame).index.name == 'id'
    assert list(frame.index) == list(range(12)), 'the frame itself is left as it is'


def test_samples_whose_id_metadata_refuse_are_left_out_and_counted():
    frame = indexed(['#1', 'fine', 'Sample-ID', ' fine'], prediction=[1.0, 2, 3, 4])
    with pytest.warns(AAMWarning, match=r"^The metadata leave out 3 samples whose ID .* \(e.g. '#1'\)\.$") as caught:
        kept = for_metadata(frame)
    assert kept.index.tolist() == ['fine'] and len(caught) == 1


def test_what_metadata_refuse_becomes_missing_without_a_warning():
    frame = indexed([*'abcd'], true=[1.0, np.inf, -np.inf, np.nan], flag=['x', '  ', '', np.nan], n=[1, 2, 3, 4])
    given = quietly(frame)
    assert given['true'].isna().tolist() == given['flag'].isna().tolist() == [False, True, True, True]
    assert given['n'].tolist() == [1, 2, 3, 4] and given['n'].dtype == 'int64'
    assert frame['true'].tolist()[1:3] == [np.inf, -np.inf], 'the frame itself is left as it is'


def test_text_of_which_nothing_remains_stays_text_without_a_warning():
    given = quietly(indexed([*'ab'], true=np.array([np.nan, np.nan], object), flag=[' ', '']))
    assert given.dtypes.tolist() == [object, object] and given.isna().all(axis=None)


def test_columns_of_reserved_names_are_renamed_in_their_place():
    given = quietly(indexed(['a'], first=[1], SampleID=['x'], last=[2]))
    assert list(given) == ['first', 'SampleID (column)', 'last'] and given.index.name == 'id'
