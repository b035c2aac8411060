"""Names that QIIME 2's files refuse or misread are refused when they are read, before any work."""

import io

import pandas as pd
import pytest

from q2_aam.data.names import (
    MEAN_MISSING,
    READ_AS_MISSING,
    check_column_name,
    check_ids_of_matrix,
    check_sample_ids,
    has_control_characters,
    means_missing,
)
from q2_aam.errors import UserError


@pytest.mark.parametrize(
    'name, words',
    [
        ('', 'be blank'),
        ('  ', 'be blank'),
        ('a\tb', 'contain tabs, line breaks or other control characters'),
        ('a\nb', 'contain tabs, line breaks or other control characters'),
        ('a\rb', 'contain tabs, line breaks or other control characters'),
        ('a\x00b', 'contain tabs, line breaks or other control characters'),
        ('a\x1b[2Jb', 'contain tabs, line breaks or other control characters'),
        ('a\u2028b', 'contain tabs, line breaks or other control characters'),
        ('a\ud800b', 'contain tabs, line breaks or other control characters'),
        (' ab', 'begin or end with blanks, which QIIME 2 metadata leave out'),
        ('ab\xa0', 'begin or end with blanks, which QIIME 2 metadata leave out'),
        ('NA', 'be words that QIIME 2 reads as a missing value'),
        ('nan', 'be words that QIIME 2 reads as a missing value'),
        ('ID', 'be names that QIIME 2 metadata reserve for the column of IDs'),
        ('sample-id', 'be names that QIIME 2 metadata reserve for the column of IDs'),
        ('sample_name', 'be names that QIIME 2 metadata reserve for the column of IDs'),
        ('#SampleID', 'be names that QIIME 2 metadata reserve for the column of IDs'),
        ('#abc', 'begin with "#", which QIIME 2 metadata take for a comment'),
    ],
)
def test_sample_ids_that_no_result_could_have_are_refused(name, words):
    with pytest.raises(UserError) as caught:
        check_sample_ids(['S1', name, 'S2'])
    assert str(caught.value) == (
        f'Sample IDs must not {words}: the feature table has 1 such ID ({name!r}); rename such samples or filter them '
        'from the table.'
    )


def test_sample_ids_that_are_refused_are_counted():
    with pytest.raises(UserError, match=r" has 2 such IDs \(e\.g\. '#1'\); "):
        check_sample_ids(['#1', 'S1', '#2'])


def test_all_other_sample_ids_are_taken():
    check_sample_ids(['S1', 'a b', 'a,b', 'a#b', "it's", '"a"', 'é', '試料', 'none', '1', '-inf', 'x' * 1000])


@pytest.mark.parametrize(
    'name, words',
    [
        ('my\tage', 'contain tabs, line breaks or other control characters'),
        ('age\x1b[31m', 'contain tabs, line breaks or other control characters'),
        (' age', 'begin or end with blanks, which QIIME 2 metadata leave out'),
        ('', 'be blank'),
        ('Feature ID', 'be names that QIIME 2 metadata reserve for the column of IDs'),
    ],
)
def test_columns_that_could_not_be_written_are_refused(name, words):
    with pytest.raises(UserError) as caught:
        check_column_name(name)
    assert str(caught.value) == (
        f'Names of metadata columns must not {words}, but the column to predict is named {name!r}; rename it.'
    )


def test_what_pandas_reads_as_missing_is_known():
    text = pd.Series(sorted(READ_AS_MISSING | {'none', 'x'}))
    read = pd.read_csv(io.StringIO('\n'.join(['column', *text])), sep='\t', dtype=str, skip_blank_lines=False)['column']
    # None only since pandas 2.0
    assert set(text[read.isna()]) | {'None'} == READ_AS_MISSING


@pytest.mark.parametrize(
    'word', ['Not applicable', 'not_provided', 'NOT COLLECTED', 'missing: lab stock', 'unknown', '?']
)
def test_words_for_a_missing_value_are_recognised_however_they_are_written(word):
    assert means_missing(word)


def test_words_of_a_real_class_are_no_missing_values():
    assert not any(map(means_missing, ['none', 'control', 'healthy', 'other', 'negative', '0', 'missing teeth', 'nat']))
    assert all(word == word.lower() for word in MEAN_MISSING)


def test_letters_of_any_script_are_no_control_characters():
    assert not any(map(has_control_characters, ['é', '試料', 'a b', 'a\xa0b', '\u200bzero', '😀']))


@pytest.mark.parametrize('ids', [['a'], ['a b', 'c'], ['10.1', '10.2'], ['1', '2', '3'], ['x;1', 'x;2'], ['é', 'ü']])
def test_ids_of_a_matrix_that_can_be_read_back_are_taken(ids):
    check_ids_of_matrix(ids)


def test_ids_that_a_matrix_could_not_be_read_back_with_are_refused():
    with pytest.raises(UserError) as caught:
        check_ids_of_matrix(['a,b', 'S1', 'c,d'])
    assert str(caught.value) == (
        "A distance matrix of these samples could not be read back, because its format would take ',' in the sample "
        "IDs for what separates them (2 IDs, e.g. 'a,b', 'c,d'); rename the samples."
    )


def test_exactly_those_ids_are_refused_that_the_format_cannot_read():
    skbio = pytest.importorskip('skbio')
    sniff = skbio.io.io_registry.get_sniffer('lsmat')
    for ids in (['a,b', 'S1'], ['"a" x', 'b "c"'], ['a b', 'c d'], ["it's", "Bob's"], ['a:b', 'c'], ['a|b', 'c|d']):
        written = io.StringIO()
        skbio.DistanceMatrix([[0, 1], [1, 0]], ids).write(written)
        written.seek(0)
        try:
            check_ids_of_matrix(ids)
            taken = True
        except UserError:
            taken = False
        assert taken == sniff(written)[0], ids
