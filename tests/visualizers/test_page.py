"""A page: its blocks, its files, and text from anywhere that stays text."""

import html.parser
import json
import re
import subprocess
import sys

import pandas as pd
import pytest

from q2_aam.visualizers import charts
from q2_aam.visualizers.blocks import Facts, Figure, Heading, Table, Text
from q2_aam.visualizers.page import body, inline_json, picture, write_page

PAYLOAD = '</script><script>window.attacked = true</script><img src=x onerror="window.attacked = true">&amp;'


class Tags(html.parser.HTMLParser):
    """Count the elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.counts, self.attributes = {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [name for name, _ in attrs]


def figure(names=('a', 'b')):
    frame = pd.DataFrame({'label': names, 'value': [1.0, 2.0], 'lower': [0.5, 1.5], 'upper': [2.0, 3.0]})
    return Figure('one', names[0], names[1], charts.intervals({'': frame}, names[0])[0])


def blocks(text):
    frame = pd.DataFrame({text: [text, 'x'], 'number': [1.5, float('nan')]}, index=pd.Index([text, 'y'], name='id'))
    return [
        Text(text, 'verdict'), Facts([(text, text, text)]), Heading(text), figure((text, 'other')),
        Table('table', text, text, frame),
    ]  # fmt: skip


def test_text_from_metadata_adds_no_element_to_a_page():
    # as long and with spaces, so that it is laid out alike
    harmless = re.sub(r'\S', 'x', PAYLOAD)
    plain, attacked = Tags(body(harmless, blocks(harmless))), Tags(body(PAYLOAD, blocks(PAYLOAD)))
    assert attacked.counts == plain.counts
    assert attacked.attributes == plain.attributes and 'onerror' not in attacked.attributes


@pytest.mark.slow
def test_a_page_with_the_payload_runs_none_of_it(tmp_path, browser):
    write_page(tmp_path, PAYLOAD, blocks(PAYLOAD))
    asked = browser(tmp_path, 'return [window.attacked ?? false, document.querySelectorAll("svg.marks").length];')
    assert asked.answer == [False, 1] and asked.faults == []


def test_json_in_a_page_has_no_character_of_html_and_reads_back():
    value = {'text': PAYLOAD + '\u2028ä'}
    written = inline_json(value)
    assert not set('<>&') & set(written) and written.isascii()
    assert json.loads(written) == value


def test_a_page_is_ascii_whatever_its_text_is(tmp_path):
    write_page(tmp_path, 'später', blocks('später 東'))
    text = (tmp_path / 'index.html').read_bytes().decode('ascii')
    assert 'sp&#228;ter' in text and '<title>sp&#228;ter</title>' in text


def test_a_page_needs_no_network(tmp_path):
    write_page(tmp_path, 'title', blocks('plain'))
    text = (tmp_path / 'index.html').read_text('ascii')
    sources = [
        part.split('"')[0] for mark in (' src="', '<link rel="stylesheet" href="') for part in text.split(mark)[1:]
    ]
    assert len(sources) >= 8 and all((tmp_path / source).is_file() for source in sources)


def test_every_row_of_a_table_is_in_its_file(tmp_path):
    frame = pd.DataFrame({'value': range(50)}, index=pd.Index([f'S{row}' for row in range(50)], name='id'))
    write_page(tmp_path, 'title', [Table('long', 'Long', 'All.', frame, 10)])
    assert len(pd.read_csv(tmp_path / 'tables' / 'long.tsv', sep='\t')) == 50
    text = (tmp_path / 'index.html').read_text('ascii')
    assert text.count('<tr>') == 11 and 'The first 10 of 50 rows; the TSV file has all of them.' in text


def test_a_column_of_sentences_is_not_pressed_to_one_word_a_line(tmp_path):
    frame = pd.DataFrame({'id': ['a'], 'said': ['It lies farther from the training samples than nearly all.']})
    write_page(tmp_path, 'title', [Table('said', 'Said', 'All.', frame)])
    text = (tmp_path / 'index.html').read_text('ascii')
    assert 'class="aam-roomy aam-long" style="--room: 31ch">It lies farther' in text
    assert '.aam-roomy { min-width: var(--room); }' in ''.join(path.read_text() for path in tmp_path.rglob('*.css'))


# Of each row of a table that is drawn: its height, where the rightmost of its cells ends, and what is beyond a cell.
ROWS = """
  return [...document.querySelectorAll('tbody tr')].map((row) => [
    row.getBoundingClientRect().height, Math.max(...[...row.cells].map((cell) => cell.getBoundingClientRect().right)),
    Math.max(...[...row.cells].map((cell) => cell.scrollWidth - cell.clientWidth)),
  ]);
"""


@pytest.mark.slow
def test_on_a_phone_a_row_with_a_sentence_is_a_card_that_is_read_without_scrolling_sideways(tmp_path, browser):
    sentence = 'Errors are larger where it is higher, and samples of one group are permuted together.'
    frame = pd.DataFrame(
        {
            'column': ['age'],
            **{f'number {n}': [n / 3] for n in range(5)},
            'mean_share_of_reads': [2.0],
            'said': [sentence],
        }
    )
    write_page(tmp_path, 'title', [Table('said', 'Said', 'All.', frame)])
    for width, card in ((500, True), (1200, False)):
        asked = browser(tmp_path, ROWS, width)
        ((height, right, beyond),) = asked.answer
        assert asked.faults == [] and right <= width and (height > 100) == card and beyond <= 1


def test_cells_are_labelled_where_rows_become_cards_and_nowhere_else(tmp_path):
    frame = pd.DataFrame({'id': ['a'], 'n': [3], 'said': ['It lies farther from the training samples than all.']})
    write_page(tmp_path, 'title', [Table('said', 'Said', 'All.', frame), Table('short', 'Short', '', frame[['id']])])
    said, short = (tmp_path / 'index.html').read_text('ascii').split('id="table-short"')
    assert '<td role="cell" data-label="n" class="aam-number" data-sort="3">3</td>' in said
    assert 'aam-wordy' in said and said.count('role="row"') == 2
    assert 'data-label' not in short and 'role="row"' not in short


@pytest.mark.parametrize('ending, start', [('.svg', b'<svg'), ('.png', b'\x89PNG')])
def test_a_figure_becomes_a_picture(tmp_path, ending, start):
    path = tmp_path / f'picture{ending}'
    picture(figure(), path)
    assert path.read_bytes().startswith(start)


def test_loading_the_plugin_imports_none_of_what_makes_pages():
    code = "import sys, q2_aam.plugin_setup; print(*{'altair', 'vl_convert', 'q2templates'} & set(sys.modules))"
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
