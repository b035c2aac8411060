"""Covariates: what is learned of them, what is unknown, and how a bad column is refused."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from q2_aam.data.covariate_schema import columns_of_fold, learn_schema, select_covariates, warn_of_leak
from q2_aam.data.covariates import MAX_COLUMNS, CovariateSchema, balancing_scale, beside
from q2_aam.errors import AAMWarning, UserError

IDS = [f's{row:02d}' for row in range(24)]
# each sample is a group of its own
GROUPS = np.array(IDS, dtype=object)


def frame_of(**columns):
    return pd.DataFrame({name: pd.Series(values, IDS) for name, values in columns.items()})


@pytest.fixture
def frame():
    site = ['a'] * 12 + ['b'] * 6 + ['rare'] * 4 + [None, 'not collected']
    dose = [1.0, 3.0] * 11 + [np.nan, np.nan]
    return frame_of(site=site, dose=dose)


@pytest.fixture
def schema(frame):
    return learn_schema(frame, IDS, GROUPS)


def test_codes_of_a_missing_number_are_warned_of():
    frame = frame_of(dose=[1.0, 3.0] * 11 + [-999.0, -999.0])
    with pytest.warns(AAMWarning, match='dose.* has numbers .*-999 \\(2 samples\\), far from all others, .* 1 to 3;'):
        learn_schema(frame, IDS, GROUPS)


def test_categories_means_and_spreads_are_those_of_the_training_samples(schema):
    (site,), (dose,) = schema.categorical, schema.numeric
    assert (site.name, site.categories) == ('site', ('a', 'b'))
    assert site.shares == pytest.approx((2 / 3, 1 / 3))
    assert (dose.name, dose.center, dose.scale) == ('dose', 2.0, 1.0)
    assert schema.names == ['site', 'dose'] and schema.entries == (3,) and schema.width == 5


def test_what_is_missing_rare_or_new_is_unknown(schema):
    given = pd.DataFrame({'site': ['b', 'rare', None, 'new', 'a'], 'dose': [1, 3, np.nan, 2, 1e30]}, list('vwxyz'))
    read = schema.read(given, [*'zyxwv', 'absent'])
    assert read.codes[:, 0].tolist() == [1, 0, 0, 0, 2, 0]
    assert read.numbers[:, 0].tolist() == [10, 0, 0, 1, -1, 0]
    assert read.known[:, 0].tolist() == [True, True, False, True, True, False]
    assert read.describe_unknown(given, [*'zyxwv', 'absent']) == (
        "Covariates that are unknown, as the model was trained for: 'site' (4 samples, with categories that the model "
        "has not learned: 'new', 'rare'), 'dose' (2 samples)."
    )
    assert schema.read(given, ['v']).describe_unknown(given, ['v']) is None
    assert schema.describe() == "Covariates: 'site' (2 categories), 'dose' (numeric)."


def test_columns_of_an_unknown_category_are_the_mean_of_the_training_samples(schema):
    given = pd.DataFrame({'site': ['a', 'b', 'new'], 'dose': [3.0, 1.0, np.nan]}, list('xyz'))
    columns = schema.read(given, list('xyz')).columns()
    assert columns == pytest.approx(np.array([[1, 0, 0, 1, 0], [0, 1, 0, -1, 0], [2 / 3, 1 / 3, 1, 0, 1]]))
    assert schema.read(None, ['x']).columns() == pytest.approx(columns[2:])


def test_numbers_may_be_of_the_types_of_pandas_that_know_missing_values(schema):
    given = pd.DataFrame({'site': ['a', 'b'], 'dose': pd.array([3, None], dtype='Int64')}, list('xy'))
    read = schema.read(given, list('xy'))
    assert read.numbers[:, 0].tolist() == [1, 0] and read.known[:, 0].tolist() == [True, False]


def test_without_metadata_everything_is_unknown(schema):
    read = schema.read(None, IDS)
    assert not read.codes.any() and not read.numbers.any() and not read.known.any()
    assert read.views[0].tolist() == [[0, 1]]


def test_numbers_that_stand_for_categories_are_read_as_such():
    schema = learn_schema(frame_of(plate=['12'] * 12 + ['7'] * 12), IDS, GROUPS)
    read = schema.read(pd.DataFrame({'plate': [7.0, 12.0, np.nan]}, list('xyz')), list('xyz'))
    assert read.codes[:, 0].tolist() == [2, 1, 0]


def test_categories_of_few_samples_or_of_one_group_are_not_learned():
    frame = frame_of(site=['a'] * 10 + ['b'] * 10 + ['c'] * 4)
    assert learn_schema(frame, IDS, GROUPS).categorical[0].categories == ('a', 'b')
    # b is the name of a group, so to say
    groups = np.array(['g'] * 5 + ['h'] * 5 + ['i'] * 10 + ['j'] * 4, dtype=object)
    assert learn_schema(frame, IDS, groups).categorical[0].categories == ('a',)


def test_columns_that_say_nothing_are_told_and_left_out(frame):
    frame = frame.assign(same='x', one=1.0, subject=IDS)
    said = (
        "Covariates that are not used: 'one', 'same', 'subject'; the training samples have no two values of them (a "
        'category counts with 5 samples of 2 groups)'
    )
    with pytest.warns(AAMWarning) as warned:
        assert learn_schema(frame, IDS, GROUPS).names == ['site', 'dose']
    assert [str(one.message) for one in warned] == [f'{said}.']
    with pytest.raises(UserError) as error:
        learn_schema(frame[['one', 'same', 'subject']], IDS, GROUPS)
    assert str(error.value) == f'{said}, so that there is no covariate to learn from; give others, or none.'


def test_dropped_covariates_are_unknown_ones(schema, frame):
    read = schema.read(frame, IDS)
    dropped = read.dropped(0.5, np.random.default_rng(1))
    gone = dropped.codes[:, 0] == 0
    assert 0 < gone[:18].sum() < 18 and (dropped.codes[~gone] == read.codes[~gone]).all()
    lost = read.known & ~dropped.known
    assert 0 < lost.sum() < 22 and not dropped.numbers[lost].any()
    assert (dropped.numbers[dropped.known] == read.numbers[dropped.known]).all()
    again = read.dropped(0.5, np.random.default_rng(1))
    assert np.array_equal(again.codes, dropped.codes) and np.array_equal(again.numbers, dropped.numbers)
    assert np.array_equal(read.dropped(0.0, np.random.default_rng(1)).numbers, read.numbers)


def test_what_samples_teach_tells_unlearned_columns_apart(schema, frame):
    assert schema.read(frame, IDS[:6]).present(False).tolist() == [1, 0, 0, 1, 0]
    assert schema.read(frame, IDS[:6]).present(True).tolist() == [1, 0, 1, 1, 1]
    assert schema.read(frame, IDS[12:]).present(False).tolist() == [0, 1, 1, 1, 1]


def test_columns_stand_behind_abundances_with_their_share_of_the_variance(schema, frame):
    abundances = scipy.sparse.csr_matrix(np.random.default_rng(1).random((24, 7), dtype=np.float32))
    covariates = schema.read(frame, IDS)
    scale = balancing_scale(abundances, covariates.columns(), 0.25)
    variances = [part.var(axis=0).sum() for part in (scale * covariates.columns(), abundances.toarray())]
    assert variances[0] == pytest.approx(variances[1] / 4, rel=1e-5)
    both = beside(abundances, covariates)
    assert both.dtype == np.float32 and np.array_equal(both.toarray()[:, :7], abundances.toarray())
    assert np.array_equal(both.toarray()[:, 7:], covariates.columns())
    assert beside(abundances, None) is abundances
    assert balancing_scale(abundances, np.ones((24, 2)), 0.25) == 1.0


def test_a_fold_learns_its_columns_on_training_samples_alone(frame):
    columns, new = columns_of_fold(frame[['site']], IDS[:12] + IDS[18:], IDS[12:18])
    # b is in no training sample, so that it is unknown
    assert columns[:12].tolist() == [[1, 0]] * 12 and new.tolist() == [[1, 1]] * 6


def test_the_target_and_the_groups_are_no_covariates(frame):
    frame = frame.assign(age=1.0, subject='x')
    assert list(select_covariates(frame, None, 'age', 'subject').columns) == ['site', 'dose']
    assert list(select_covariates(frame, [], 'age').columns) == ['site', 'dose', 'subject']
    assert list(select_covariates(frame, ['subject', 'dose', 'dose'], 'age', 'subject').columns) == ['subject', 'dose']
    assert select_covariates(None, None, 'age') is None


@pytest.mark.parametrize(
    'columns, names, sentence',
    [
        (
            ['size'],
            ['site', 'dose'],
            "The covariates have no column 'size', which covariate_columns names; they have 'site', 'dose'.",
        ),
        (
            ['age', 'site'],
            ['site', 'age'],
            "Column 'age' is the target and cannot be a covariate, too; leave it out of covariate_columns.",
        ),
        (
            None,
            ['age', 'subject'],
            'The covariates have no columns but those of the target and the groups; give others, or no covariates.',
        ),
        (
            ['site'],
            None,
            'Parameter covariate_columns names columns of covariates, but none are given; give both.',
        ),
    ],
)
def test_columns_that_cannot_be_chosen_are_refused(columns, names, sentence):
    frame = None if names is None else pd.DataFrame({name: ['x'] for name in names}, ['s'])
    with pytest.raises(UserError) as error:
        select_covariates(frame, columns, 'age', 'subject')
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    'columns, sentence',
    [
        (
            {'dose': [np.inf] + [1.0] * 23},
            "Covariate 'dose' must have values from -1e+18 to 1e+18, but has inf for sample 's00'; correct it or leave "
            'it empty.',
        ),
        (
            {' site': ['a', 'b'] * 12},
            'Names of covariates must not begin or end with blanks, which QIIME 2 metadata leave out, but the metadata '
            "have ' site'; rename it.",
        ),
        (
            {'site': ['a\tb', 'b'] * 12},
            "Categories of covariate 'site' must not contain tabs, line breaks or other control characters, but it has "
            r"'a\tb'; rename it.",
        ),
        (
            {f'c{number}': [1.0, 2.0] * 12 for number in range(MAX_COLUMNS + 1)},
            'At most 64 covariates can be used, but there are 65; choose some with covariate_columns.',
        ),
    ],
)
def test_columns_that_cannot_be_learned_are_refused(columns, sentence):
    with pytest.raises(UserError) as error:
        learn_schema(frame_of(**columns), IDS, GROUPS)
    assert str(error.value) == sentence


def test_columns_that_are_missing_or_of_another_kind_are_named(schema, frame):
    with pytest.raises(UserError) as error:
        schema.read(frame[['dose']].rename(columns={'dose': 'weight'}), IDS)
    assert str(error.value) == (
        "The covariates lack 2 columns that the model was trained with: 'site', 'dose'; add them, and leave empty what "
        'is not known of a sample.'
    )
    with pytest.raises(UserError) as error:
        schema.read(frame.assign(dose='high'), IDS)
    assert str(error.value) == (
        "Covariate 'dose' is numeric in the model, but categorical in the metadata given; give numbers, and leave "
        'empty what is not known.'
    )
    # nothing is known of it, of whatever kind it is
    assert not schema.read(frame.assign(dose=pd.Series(None, IDS, dtype=object)), IDS).known.any()


@pytest.mark.parametrize(
    'target, leaks',
    [
        (
            [float(row) for row in range(24)],
            "1 covariate has the values of the target 'age' in nearly all samples ('days')",
        ),
        ([float(row % 7) for row in range(24)], None),
        (
            ['x', 'y'] * 12,
            "2 covariates have the values of the target 'age' in nearly all samples ('again', 'copy')",
        ),
    ],
)
def test_a_covariate_that_is_the_target_is_warned_of(target, leaks):
    words = pd.Series(['x', 'y'] * 12, IDS)
    frame = frame_of(
        again=words, copy=words.where(words.index != 's03', 'y'), other=['x', 'y', 'y'] * 8,
        days=[30.4 * row for row in range(24)],
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        warn_of_leak(frame, pd.Series(target, IDS, name='age'))
    rest = (
        ': a model learns to copy what nobody will know of new samples; leave such columns out with covariate_columns.'
    )
    assert [str(one.message) for one in warned] == ([] if leaks is None else [leaks + rest])


def test_an_empty_schema_reads_nothing():
    assert CovariateSchema().read(pd.DataFrame(index=IDS), IDS).columns().shape == (24, 0)
