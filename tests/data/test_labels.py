"""Labels are aligned to the table; what is ignored is warned of, and what cannot be learned is refused."""

import warnings

import biom
import h5py
import numpy as np
import pandas as pd
import pytest

from q2_aam.data.labels import align_classes, align_numbers, labels_with_reads
from q2_aam.errors import AAMWarning, UserError


def column(values, name='age'):
    return pd.Series(values, name=name, dtype=object if name == 'subject' else float)


def test_labels_are_sorted_by_sample_id():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        labels = align_numbers(['b', 'c', 'a'], column({'c': 3, 'a': 1, 'b': 2}))
    assert (labels.name, labels.sample_ids, labels.values.tolist()) == ('age', ['a', 'b', 'c'], [1, 2, 3])
    assert labels.values.dtype == np.float64
    assert labels.groups.tolist() == ['a', 'b', 'c']


def test_groups_are_aligned_by_id_and_become_words():
    labels = align_numbers(['b', 'a'], column({'a': 1, 'b': 2}), column({'b': 7, 'x': 9, 'a': 'one'}, 'subject'))
    assert labels.groups.tolist() == ['one', '7']


def test_what_is_ignored_is_counted_in_one_sentence():
    target = column({'a': 1, 'b': 2, 'c': np.nan, 'x': 5, 'w': np.nan})
    with pytest.warns(AAMWarning) as caught:
        labels = align_numbers(['d', 'c', 'b', 'a'], target)
    assert [str(one.message) for one in caught] == [
        "Ignored: 1 sample without a value of 'age'; 1 sample of the feature table absent from the metadata (e.g. "
        "'d'); 2 samples of the metadata absent from the feature table (e.g. 'w')."
    ]
    assert labels.sample_ids == ['a', 'b']


@pytest.mark.parametrize(
    'target, sentence',
    [
        (
            {'12802.10249.C002': 1, '12802.10249.C001': 2},
            "The feature table and the metadata share no sample IDs (e.g. '10249.C001' in the table, "
            "'12802.10249.C001' in the metadata); use the same IDs in both.",
        ),
        (
            {},
            "The feature table and the metadata share no sample IDs (e.g. '10249.C001' in the table, none in the "
            'metadata); use the same IDs in both.',
        ),
        (
            {'10249.C001': np.nan, '10249.C002': np.nan},
            "Metadata column 'age' has no value for any sample of the feature table; choose another column.",
        ),
        (
            {'10249.C001': 1, '10249.C002': -np.inf},
            "Metadata column 'age' must have finite values: the one of sample '10249.C002' is infinite; correct it or "
            'leave it empty.',
        ),
        (
            {'10249.C001': 2.5, '10249.C002': 2.5},
            "Metadata column 'age' has only the value 2.5 (2 labelled samples); choose a column whose values differ.",
        ),
        (
            {'10249.C001': 2.5, '10249.C002': np.nan},
            "Metadata column 'age' has only the value 2.5 (1 labelled sample); choose a column whose values differ.",
        ),
    ],
)
@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
def test_a_column_that_cannot_be_learned_is_refused_in_one_sentence(target, sentence):
    with pytest.raises(UserError) as error:
        align_numbers(['10249.C002', '10249.C001'], column(target))
    assert str(error.value) == sentence


def test_labelled_samples_without_a_group_are_refused():
    groups = column({'a': 'one', 'b': None, 'd': 'two'}, 'subject')
    with pytest.raises(UserError) as error:
        align_numbers(['a', 'b', 'c'], column({'a': 1, 'b': 2, 'c': 3}), groups)
    assert str(error.value) == (
        "Metadata column 'subject' (groups) has no value for 2 labelled samples (e.g. 'b'); assign every labelled "
        'sample to a group.'
    )


def test_a_sample_without_label_needs_no_group():
    with pytest.warns(AAMWarning, match="^Ignored: 1 sample without a value of 'age'.$"):
        labels = align_numbers(
            ['a', 'b', 'c'], column({'a': 1, 'b': 2, 'c': np.nan}), column({'a': 'x', 'b': 'y'}, 'subject')
        )
    assert labels.groups.tolist() == ['x', 'y']


def words(values, name='stage'):
    return pd.Series(values, name=name, dtype=object)


def test_classes_are_names_sorted_by_sample_id():
    target = words({'c': '10', 'a': 'späte Zeit', 'b': '10', 'd': 'späte Zeit', 'e': None})
    with pytest.warns(AAMWarning, match="^Ignored: 1 sample without a value of 'stage'.$"):
        labels = align_classes(['e', 'd', 'c', 'b', 'a'], target)
    assert (labels.name, labels.sample_ids) == ('stage', ['a', 'b', 'c', 'd'])
    assert labels.values.tolist() == ['späte Zeit', '10', '10', 'späte Zeit']
    assert labels.groups.tolist() == ['a', 'b', 'c', 'd']


@pytest.mark.parametrize(
    'values, sentence',
    [
        (
            ['x', 'x', 'x', 'x'],
            "Metadata column 'stage' has only the class 'x' (4 labelled samples); choose a column with at least two "
            'classes.',
        ),
        (
            ['x', 'x', 'x', 'y'],
            'Every class needs labelled samples in at least two groups (two samples where no groups are given): too '
            "small in metadata column 'stage' is 'y' (1 labelled sample in 1 group); merge with other classes or leave "
            'such samples without a value.',
        ),
        (
            ['x', 'a\tb', 'x', 'a\tb'],
            'Class names must not contain tabs, line breaks or other control characters: metadata column '
            "'stage' has 'a\\tb' (2 samples); rename them or leave their samples without a value.",
        ),
        (
            [' ', 'x', 'x', ' '],
            "Class names must not be blank: metadata column 'stage' has ' ' (2 samples); rename them or leave their "
            'samples without a value.',
        ),
        (
            [None] * 4,
            "Metadata column 'stage' has no value for any sample of the feature table; choose another column.",
        ),
    ],
)
@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
def test_classes_that_cannot_be_learned_are_refused_in_one_sentence(values, sentence):
    ids = [f's{i}' for i in range(4)]
    with pytest.raises(UserError) as error:
        align_classes(ids, pd.Series(values, ids, name='stage', dtype=object))
    assert str(error.value) == sentence


def test_a_class_of_one_group_is_refused_however_many_samples_it_has():
    ids = [f's{i}' for i in range(5)]
    target = pd.Series(['x', 'x', 'y', 'y', 'y'], ids, name='stage', dtype=object)
    with pytest.raises(UserError, match="in metadata column 'stage' is 'y' .3 labelled samples in 1 group.; "):
        align_classes(ids, target, pd.Series(['1', '2', '3', '3', '3'], ids, name='subject'))


def test_labelled_samples_without_reads_are_ignored(tmp_path):
    path = tmp_path / 'table.biom'
    with h5py.File(path, 'w') as file:
        biom.Table(np.array([[3, 0, 1, 2], [1, 0, 0, 2]]), ['AC', 'GT'], ['d', 'c', 'b', 'a']).to_hdf5(file, 'test')
    with pytest.warns(AAMWarning) as caught:
        labels = labels_with_reads(path, column({'a': 1, 'b': 2, 'c': 3, 'd': np.nan}))
    assert labels.sample_ids == ['a', 'b'] and labels.values.tolist() == [1, 2]
    assert [str(one.message) for one in caught] == [
        "Ignored: 1 sample without a value of 'age'.",
        "Ignored: 1 sample without reads (e.g. 'c').",
    ]


def test_labels_of_samples_with_reads_may_be_classes(tmp_path):
    path = tmp_path / 'table.biom'
    with h5py.File(path, 'w') as file:
        biom.Table(np.array([[3, 1, 1, 2]]), ['AC'], list('dcba')).to_hdf5(file, 'test')
    labels = labels_with_reads(path, words({'a': 'x', 'b': 'x', 'c': 'y', 'd': 'y'}), align=align_classes)
    assert labels.values.tolist() == ['x', 'x', 'y', 'y']


@pytest.mark.parametrize(
    'names, sentence',
    [
        (
            ['gut', 'NA', 'n/a', 'gut'],
            "Class names must not be words that QIIME 2 reads as a missing value: metadata column 'stage' has 'NA' (2 "
            "samples), 'n/a' (2 samples); rename them or leave their samples without a value.",
        ),
        (
            ['gut', 'ID', 'sample-id', 'gut'],
            'Class names must not be names that QIIME 2 metadata reserve for the column of IDs: metadata column '
            "'stage' has 'ID' (2 samples), 'sample-id' (2 samples); rename them or leave their samples without "
            'a value.',
        ),
        (
            ['gut', 'gut ', 'gut', 'oral'],
            "Class names must not begin or end with blanks, which QIIME 2 metadata leave out: metadata column 'stage' "
            "has 'gut ' (2 samples); rename them or leave their samples without a value.",
        ),
        (
            ['gut', 'Gut', 'oral', 'GUT'],
            "Class names must differ by more than upper and lower case: metadata column 'stage' has 'GUT' (2 samples), "
            "'Gut' (2 samples), 'gut' (2 samples); give the same class one name, or rename one of them.",
        ),
        (
            ['1', '1.0', '2', '01'],
            "Class names must differ by more than the way a number is written: metadata column 'stage' has '01' (2 "
            "samples), '1' (2 samples), '1.0' (2 samples); give the same class one name, or rename one of them.",
        ),
    ],
)
def test_classes_that_are_read_back_as_something_else_are_refused_together(names, sentence):
    values = dict(zip('abcdefgh', names * 2))
    with pytest.raises(UserError) as error:
        align_classes(list(values), words(values))
    assert str(error.value) == sentence


@pytest.mark.parametrize('one, other', [('café', 'cafe\u0301'), ('gut wall', 'gut\xa0 wall'), ('oral', 'or\u200bal')])
def test_classes_that_look_the_same_are_refused_and_groups_warned_of(one, other):
    how = 'kinds of blanks, invisible characters or the way accents are encoded'
    values = dict(zip('abcdef', [one, other, 'skin'] * 2))
    with pytest.raises(UserError) as error:
        align_classes(list(values), words(values))
    assert str(error.value).startswith(f"Class names must differ by more than {how}: metadata column 'stage' has ")
    assert f'{other!r} (2 samples)' in str(error.value) and 'skin' not in str(error.value)
    # of the same subject, samples would be in training and in test
    groups = words(values, 'subject')
    with pytest.warns(AAMWarning) as caught:
        align_numbers(list(values), column(dict(zip(values, range(6)))), groups)
    (warning,) = caught
    assert str(warning.message).startswith(
        f"Metadata column 'subject' (groups) has names that differ only by upper and lower case, {how}: "
    )
    assert f'{one!r}' in str(warning.message) and f'{other!r}' in str(warning.message)
    assert str(warning.message).endswith(
        '; they are different groups, so give the same group one name if that is not meant.'
    )


def test_classes_that_look_like_numbers_among_words_are_text():
    labels = align_classes(list('abcdef'), words(dict(zip('abcdef', ['1', '1.0', 'none'] * 2))))
    assert set(labels.values) == {'1', '1.0', 'none'}


def test_classes_that_mean_a_missing_value_are_warned_of_with_their_numbers():
    values = dict(zip('abcdefg', ['gut', 'gut', 'Not applicable', 'unknown', 'unknown', 'Not applicable', 'unknown']))
    with pytest.warns(AAMWarning) as caught:
        align_classes(list(values), words(values))
    assert [str(one.message) for one in caught] == [
        "Metadata column 'stage' has classes that mean a missing value: 'Not applicable' (2 samples), 'unknown' (3 "
        'samples); they are learned as classes, so leave such samples without a value if that is not meant.'
    ]


def test_groups_that_mean_a_missing_value_are_warned_of_where_they_join_samples():
    groups = words(dict(zip('abcd', ['missing', 'p1', 'missing', 'not provided'])), 'subject')
    with pytest.warns(AAMWarning) as caught:
        align_numbers(list('abcd'), column(dict(zip('abcd', range(4)))), groups)
    assert [str(one.message) for one in caught] == [
        "Metadata column 'subject' (groups) has names that mean a missing value: 'missing' (2 samples); the samples of "
        'each are one group, so leave such samples without a value if that is not meant.'
    ]


def test_all_classes_that_are_too_small_are_named():
    values = {f's{i:02}': name for i, name in enumerate(['x'] * 3 + ['y', 'z'] + [f'rare{i:02}' for i in range(20)])}
    with pytest.raises(UserError) as error:
        align_classes(list(values), words(values))
    assert "metadata column 'stage' are 'rare00' (1 labelled sample in 1 group), 'rare01' (1 " in str(error.value)
    assert "'rare09' (1 labelled sample in 1 group) and 12 more; merge " in str(error.value)


def test_a_column_whose_name_cannot_be_written_is_refused():
    with pytest.raises(
        UserError, match="^Names of metadata columns must not contain tabs.* is named 'a.tb'; rename it.$"
    ):
        align_numbers(['a', 'b'], column({'a': 1, 'b': 2}, 'a\tb'))


def test_dates_and_values_beyond_computing_are_told_of():
    with pytest.warns(AAMWarning, match="^Metadata column 'age' has numbers that mean a missing value, it seems: -9 "):
        align_numbers(list('abcd'), column(dict(zip('abcd', [-9, 3, 4, -9]))))
    dates = dict(zip('abc', [20210301, 20210402, 20210505]))
    with pytest.warns(AAMWarning, match="^The values of metadata column 'age' seem to be dates written as numbers "):
        align_numbers(list(dates), column(dates))
    with pytest.raises(UserError, match="has 1e.200 for sample 'b' "):
        align_numbers(['a', 'b'], column({'a': 1, 'b': 1e200}))
