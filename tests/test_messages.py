"""Names that others have chosen are harmless in messages: quoted, on one line, escaped and short."""

import pytest

from q2_aam.data.labels import align_classes, align_numbers
from q2_aam.data.sequences import read_fasta, sequences_of
from q2_aam.data.table import _check_ids
from q2_aam.errors import AAMWarning, UserError, listed, shown

HOSTILE = '\x1b[2J\r\nForged: all is well\u2028' + 'A' * 10_000_000


@pytest.mark.parametrize(
    'name, written',
    [
        ('S1', "'S1'"),
        ('試料', "'試料'"),
        ("it's", '"it\'s"'),
        ('a\x1b[2J\r\nb', r"'a\x1b[2J\r\nb'"),
        ('a\u2028\ud800', r"'a\u2028\ud800'"),
        ('x' * 78, "'" + 'x' * 78 + "'"),
        ('x' * 79, "'" + 'x' * 75 + "'..."),
        (5, '5'),
        (None, 'None'),
        ([1] * 1000, '[' + '1, ' * 25 + '1...'),
    ],
)
def test_a_name_is_quoted_escaped_and_cut(name, written):
    assert shown(name) == written
    assert len(shown(name)) <= 80 and shown(name).isprintable()


def test_a_name_of_a_class_that_writes_itself_otherwise_is_written_as_text():
    numpy = pytest.importorskip('numpy')
    assert shown(numpy.str_('gut')) == "'gut'"


def test_names_that_grow_when_escaped_are_cut_too():
    assert len(shown('\U000e0001' * 80)) == 80


def test_a_long_list_is_counted():
    assert listed('abc') == 'a, b, c'
    assert listed(str(number) for number in range(1234)) == '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1,224 more'


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / 'sequences.fasta'
    path.write_text(f'>\x1b[2J{"A" * 1000}\nAC\n>\x1b[2J{"A" * 1000}\nAC\n')
    return path


def series(values, name='age'):
    import pandas as pd

    return pd.Series(values, name=name, dtype=object if isinstance(next(iter(values.values())), str) else float)


CALLS = {
    'an id that is there twice': lambda: _check_ids('feature', [HOSTILE, HOSTILE]),
    'no sample in common': lambda: align_numbers([HOSTILE], series({HOSTILE + 'x': 1.0})),
    'the name of a column': lambda: align_numbers(['a'], series({'a': 1.0}, HOSTILE)),
    'a value that is infinite': lambda: align_numbers([HOSTILE], series({HOSTILE: float('inf')})),
    'a class': lambda: align_classes(['a', 'b'], series({'a': HOSTILE, 'b': 'x'})),
    'a feature without a sequence': lambda: sequences_of([HOSTILE], {'x': 'ACGT'}),
    'a feature that is no sequence': lambda: sequences_of([HOSTILE]),
    'a letter that is no nucleotide': lambda: sequences_of([HOSTILE], {HOSTILE: 'AC\x1bGT'}),
}


@pytest.mark.parametrize('call', CALLS)
@pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')
def test_messages_about_hostile_names_are_one_short_printable_line(call):
    with pytest.raises(UserError) as caught:
        CALLS[call]()
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_messages_about_a_hostile_file_are_too(fasta):
    with pytest.raises(UserError) as caught:
        read_fasta(fasta)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_warnings_about_hostile_names_are_too():
    with pytest.warns(AAMWarning) as caught:
        align_numbers(['a', 'b', HOSTILE], series({'a': 1.0, 'b': 2.0}))
    assert all(str(one.message).isprintable() and len(str(one.message)) < 300 for one in caught)
