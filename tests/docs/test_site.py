"""The documentation site: it is built without a warning, holds every page and room, and its links lead somewhere."""

import html.parser
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

from tests.recipe.test_house import ROOMS

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / 'docs'
# Rooms that QIIME 2 documents by itself, and those with a page of their own
ELSEWHERE = {'types', 'visualizers', 'actions', 'plugin_setup', 'estimators', 'serve'}
QUICK = ['-D', 'exclude_patterns=_build,api/rooms/*', '-D', 'suppress_warnings=toc.excluded']


def build(folder, *options):
    """Make the site; return what Sphinx says of it and the folder of its pages."""
    pytest.importorskip('sphinx', reason='Sphinx is not installed: the site is built on the newest stack only')
    for name in ('myst_nb', 'furo', 'numpydoc', 'sphinx_copybutton'):
        pytest.importorskip(name, reason=f'{name} is not installed: the site is built on the newest stack only')
    command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-b', 'html', *options]
    command += ['-d', str(folder / 'doctrees'), str(DOCS), str(folder / 'html')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr, folder / 'html'


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site without the pages of rooms, which take most of the time."""
    return build(tmp_path_factory.mktemp('site'), *QUICK)[1]


class Links(html.parser.HTMLParser):
    """Links and anchors of a page."""

    def __init__(self):
        super().__init__()
        self.targets, self.anchors = [], set()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.add(attrs.get('id'))
        for name in ('href', 'src'):
            if attrs.get(name):
                self.targets.append(attrs[name])


def read(page):
    found = Links()
    found.feed(page.read_text('utf-8'))
    return found


def test_every_page_and_notebook_is_there_and_links_within_lead_somewhere(site):
    sources = [path for kind in ('*.md', '*.ipynb', '*.rst') for path in DOCS.rglob(kind) if '_build' not in path.parts]
    for source in sources:
        if source.parent.name != 'rooms':
            assert (site / source.relative_to(DOCS).with_suffix('.html')).exists(), source
    pages = {path: read(path) for path in site.rglob('*.html')}
    broken = []
    for page, found in pages.items():
        for target in found.targets:
            path, _, anchor = urllib.parse.unquote(target).partition('#')
            if re.match(r'[a-z]+:', target) or 'api/rooms/' in target or 'rooms/' in path:
                continue
            other = (page.parent / path.split('?')[0]).resolve() if path else page
            if not other.exists() or (anchor and other in pages and anchor not in pages[other].anchors):
                broken.append(f'{page.relative_to(site)}: {target}')
    assert broken == []


def test_notebooks_are_shown_with_their_pictures(site):
    pictures = re.findall(r'src="[^"]*_images/[^"]+\.png"', (site / 'notebooks' / 'audit.html').read_text('utf-8'))
    assert len(pictures) == 4


def test_estimators_are_documented_with_their_parameters(site):
    text = (site / 'api' / 'estimators.html').read_text('utf-8')
    for name in ('Regressor.predict_interval', 'Classifier.predict_proba', 'Encoder.distances', 'Regressor.details'):
        assert f'id="q2_aam.estimators.{name}"' in text
    assert 'Parameters' in text and 'Raises' in text


def test_the_api_reference_has_a_page_for_every_room():
    documented = {path.stem for path in (DOCS / 'api' / 'rooms').glob('*.rst')}
    assert documented == set(ROOMS) - ELSEWHERE
    index = (DOCS / 'api' / 'index.rst').read_text('utf-8')
    for room in documented:
        assert f'.. room:: {room}\n' in (DOCS / 'api' / 'rooms' / f'{room}.rst').read_text('utf-8')
        assert f'   rooms/{room}\n' in index


@pytest.mark.slow
def test_the_whole_site_is_built_without_a_warning_and_documents_every_module(tmp_path):
    warnings, pages = build(tmp_path)
    assert warnings == ''
    for path in (ROOT / 'q2_aam').rglob('*.py'):
        module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        room = path.relative_to(ROOT / 'q2_aam').parts[0].removesuffix('.py')
        if path.name != '__init__.py' and room not in ELSEWHERE:
            assert f'id="module-{module}"' in (pages / 'api' / 'rooms' / f'{room}.html').read_text('utf-8'), module
