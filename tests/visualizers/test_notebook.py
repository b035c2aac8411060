"""What a page holds, read back for notebooks: verdict, figures and tables as they were written."""

import pandas as pd
import pytest
import qiime2

from q2_aam.errors import UserError
from q2_aam.visualizers.blocks import Figure, Table, Text
from q2_aam.visualizers.charts import scatter
from q2_aam.visualizers.notebook import figures_of, tables_of, verdict_of
from q2_aam.visualizers.page import write_page

FRAME = pd.DataFrame({'a': [1.0, 2.0, 3.0], 'b': [2.0, 4.0, 5.0]})


@pytest.fixture
def visualization(tmp_path):
    """A page with a verdict, a figure and a table."""
    spec, _ = scatter(FRAME, 'a', 'b', ('a', 'b'), [])
    blocks = [
        Text('Groups <5 & all', 'verdict'),
        Text('not the verdict'),
        Figure('dots', 'Dots & lines', 'What "is" shown', spec),
        Table('numbers', 'Numbers', 'All of them.', FRAME, rows=1),
    ]
    folder = tmp_path / 'page'
    folder.mkdir()
    write_page(folder, 'A page', blocks)
    return qiime2.Visualization._from_data_dir(str(folder), qiime2.core.archive.ImportProvenanceCapture())


def test_a_verdict_is_read_as_it_was_written(visualization):
    assert verdict_of(visualization) == 'Groups <5 & all'


def test_figures_are_read_by_name_and_become_pictures(visualization, tmp_path):
    (figure,) = figures_of(visualization).values()
    assert (figure.name, figure.title, figure.caption) == ('dots', 'Dots & lines', 'What "is" shown')
    assert figure.spec == scatter(FRAME, 'a', 'b', ('a', 'b'), [])[0]
    assert figure._repr_png_().startswith(b'\x89PNG')
    figure.save(tmp_path / 'dots.svg')
    assert '<svg' in (tmp_path / 'dots.svg').read_text('utf-8')


def test_tables_have_all_rows(visualization):
    pd.testing.assert_frame_equal(tables_of(visualization)['numbers'], FRAME)


@pytest.mark.parametrize('read', [figures_of, tables_of, verdict_of])
def test_a_page_of_another_plugin_is_refused(tmp_path, read):
    (tmp_path / 'index.html').write_text('<html></html>')
    other = qiime2.Visualization._from_data_dir(str(tmp_path), qiime2.core.archive.ImportProvenanceCapture())
    with pytest.raises(
        UserError, match=f'^The visualization {other.uuid} is no page of q2-aam; give one that it made.$'
    ):
        read(other)
