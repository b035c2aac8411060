"""A distance matrix is read as it is, or refused in one sentence with the line or the samples."""

import warnings

import numpy as np
import pytest

from q2_aam.data.distance_matrix import read_distances
from q2_aam.errors import UserError

GOOD = '\ta\tb\tc\na\t0.0\t0.5\t1.25\nb\t0.5\t0\t1e-3\nc\t1.25\t0.001\t0.0\n'


@pytest.fixture
def read(tmp_path):
    def write_and_read(text):
        path = tmp_path / 'distance-matrix.tsv'
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_distances(path)

    return write_and_read


def test_ids_and_values_are_read(read):
    distances = read(GOOD)
    assert distances.ids == ['a', 'b', 'c']
    assert distances.values.dtype == np.float32
    np.testing.assert_array_equal(distances.values, np.float32([[0, 0.5, 1.25], [0.5, 0, 1e-3], [1.25, 1e-3, 0]]))


@pytest.mark.parametrize('text', ['# a comment\n\n' + GOOD + '\n\n', GOOD.replace('\n', '\r\n'), GOOD.rstrip('\n')])
def test_comments_blank_lines_and_line_ends_do_not_matter(read, text):
    assert read(text).ids == ['a', 'b', 'c']


def test_a_single_sample_is_a_matrix(read):
    assert read('\ta\na\t0\n').values.tolist() == [[0]]


def test_what_rounding_leaves_behind_is_accepted_and_the_diagonal_is_0(read):
    values = read(GOOD.replace('a\t0.0\t0.5', 'a\t1e-7\t0.500001')).values
    assert values[0, 0] == 0


def test_what_skbio_writes_is_read_back(tmp_path):
    skbio = pytest.importorskip('skbio')
    values = np.random.default_rng(1).random((300, 300))
    values = (values + values.T) / 2
    np.fill_diagonal(values, 0)
    ids = [f'10249.C{i:03d}' for i in range(300)]
    skbio.DistanceMatrix(values, ids).write(str(tmp_path / 'matrix.tsv'))
    distances = read_distances(tmp_path / 'matrix.tsv')
    assert distances.ids == ids
    np.testing.assert_array_equal(distances.values, values.astype(np.float32))


@pytest.mark.parametrize(
    'old, new, sentence',
    [
        ('\ta\tb', 'id\ta\tb', 'The distance matrix is not a matrix: line 1 should be a tab followed by '),
        (GOOD, '', 'The distance matrix is not a matrix: line 1 '),
        (
            '\ta\tb\tc',
            '\ta\tb\tb',
            "Sample IDs must be unique: 'b' occurs twice in the distance matrix; rename one of them.",
        ),
        (
            '\nb\t',
            '\nx\t',
            'Rows and columns of the distance matrix must have the same IDs in the same order: line 3 is for '
            "'x', but column 2 is for 'b'; create it again.",
        ),
        (
            '0.001\t0.0\n',
            '0.0\n',
            'The distance matrix is damaged at line 4: it has 2 distances, but the header names 3',
        ),
        ('\t0.001\t0.0\n', '\t0.0', 'The distance matrix is damaged at line 4: it has 2 distances, '),
        ('c\t1.25\t0.001\t0.0\n', 'c', 'The distance matrix is damaged at line 4: it has 0 distances, '),
        (
            'c\t1.25\t0.001\t0.0\n',
            '',
            'The distance matrix is damaged at line 3: it ends there, after 2 of the 3 samples',
        ),
        ('0.001\t0.0\n', '0.001\t0.0\nd\t1\t1\t1\n', 'The distance matrix is damaged at line 5: the header names 3 '),
        ('1e-3', 'far', "The distance matrix is damaged at line 3: it has 'far' where a distance should be; "),
        ('1e-3', '1_0', "The distance matrix is damaged at line 3: it has '1_0' where a distance should be; "),
        ('1e-3', '', "The distance matrix is damaged at line 3: it has '' where a distance should be; "),
        ('0.5\t0\t', '0.5x\t0\t', "The distance matrix is damaged at line 3: it has '0.5x' where "),
        ('1e-3', '1e-3x', "The distance matrix is damaged at line 3: it has '1e-3x' where "),
        (
            '1e-3',
            'nan',
            "Distances must be finite: the distance matrix has nan between 'b' and 'c'; provide a distance for ",
        ),
        (
            '1e-3',
            'inf',
            "Distances must be finite: the distance matrix has inf between 'b' and 'c'; provide a distance for ",
        ),
        ('1e-3', '1e300', "Distances must be finite: the distance matrix has inf between 'b' and 'c'; "),
        ('1e-3', '１', "The distance matrix is damaged at line 3: it has '１' where a distance should be; "),
        ('1e-3', '0.1 0.2', "The distance matrix is damaged at line 3: it has '0.1 0.2' where a distance should be; "),
        ('1e-3', '-0.1', "Distances must not be negative: the distance matrix has -0.1 between 'b' and 'c'; "),
        (
            '1e-3',
            '2e-3',
            "The distance matrix must be symmetric: it has 0.002 from 'b' to 'c', but another value from 'c' to 'b'; ",
        ),
        (
            '0.5\t0\t',
            '0.5\t0.25\t',
            "The distance between a sample and itself must be 0: the distance matrix has 0.25 for 'b'; ",
        ),
    ],
)
def test_a_damaged_matrix_is_refused_with_its_place(read, old, new, sentence):
    with pytest.raises(UserError) as error:
        read(GOOD.replace(old, new, 1))
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith('.') and '\n' not in str(error.value)


@pytest.mark.parametrize('cell', ['1e-3', 'far', '1e300'])
def test_reading_neither_warns_nor_touches_the_filters_of_warnings(read, cell, monkeypatch, recwarn):
    with monkeypatch.context() as patch:
        # they are those of the whole process, in which other threads may run
        patch.setattr(warnings, 'catch_warnings', None)
        if cell == '1e-3':
            read(GOOD)
        else:
            with pytest.raises(UserError):
                read(GOOD.replace('1e-3', cell, 1))
    assert recwarn.list == []


def test_binary_data_are_refused(read):
    with pytest.raises(UserError, match='^The distance matrix is damaged: it is not text; '):
        read(b'\x89HDF\xff\xfe')


def test_a_defect_beyond_the_first_rows_is_found(read):
    size = 600
    values = np.ones((size, size)) - np.eye(size)
    values[550, 3] = 0.5
    ids = [f's{i}' for i in range(size)]
    rows = ['\t'.join([name, *map(str, row)]) for name, row in zip(ids, values)]
    with pytest.raises(UserError, match="must be symmetric: it has 1 from 's3' to 's550'"):
        read('\n'.join(['\t' + '\t'.join(ids), *rows]))
