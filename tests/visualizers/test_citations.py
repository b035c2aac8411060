"""Citations: read as the framework's own parser reads them, and written so that they can be."""

import pytest
from qiime2.plugin import Citations

from q2_aam.visualizers.citations import CITATIONS, cite, read

ONE = '@article{one2020,\n  title = {{BERT} of Renés},\n  year = {2020}\n}\n'


def test_the_file_says_the_same_to_the_parser_of_the_framework():
    expected = Citations.load('citations.bib', package='q2_aam')
    assert len(CITATIONS) > 20 and list(CITATIONS) == list(expected.keys())
    for key, found in CITATIONS.items():
        assert (found.type, found.fields) == (expected[key].type, dict(expected[key].fields)), key


def test_citations_are_given_by_their_keys_in_order():
    first, second = cite('vaswani2017', 'akiba2019')
    assert first.fields['title'] == 'Attention Is All You Need' and second.fields['doi'] == '10.1145/3292500.3330701'


@pytest.mark.parametrize(
    'text, line',
    [
        (ONE + ONE, 5),
        (ONE.replace('Renés', r'Ren{\'e}s'), 2),
        (ONE.replace('{2020}', '2020'), 3),
        (ONE.replace('  year', 'year'), 3),
        ('% a comment\n' + ONE, 1),
    ],
)
def test_what_would_be_read_otherwise_is_refused(text, line):
    assert read(ONE)['one2020'].fields == {'title': 'BERT of Renés', 'year': '2020'}
    with pytest.raises(ValueError, match=f'^Line {line} of the citations is not written as the others'):
        read(text)
