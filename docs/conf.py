"""How Sphinx makes the documentation site; `bash recipe/docs.sh` runs it. QIIME 2 is not needed."""

import pathlib
import pkgutil
import re
import sys

import numpydoc.docscrape_sphinx
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import q2_aam  # noqa: E402

REPOSITORY = 'https://github.com/q2-aam/q2-aam'
# Files of the repository that pages link to and that are no pages themselves.
BESIDE = f'{REPOSITORY}/blob/main/'

project = 'q2-aam'
author = copyright = 'The q2-aam developers'
release = version = q2_aam.__version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.linkcode', 'numpydoc', 'sphinx_copybutton']
exclude_patterns = ['_build']

# Notebooks are shown as they are stored; tests/docs/test_notebooks.py runs them.
nb_execution_mode = 'off'
# A notebook shows what its reader sees: the newest lines of progress alone would say less than all of them.
nb_merge_streams = True
myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 4

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = 'furo'
html_title = 'q2-aam'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    'source_repository': f'{REPOSITORY}/',
    'source_branch': 'main',
    'source_directory': 'docs/',
    'light_css_variables': {'color-brand-primary': '#2b5d8a', 'color-brand-content': '#2b5d8a'},
    'dark_css_variables': {'color-brand-primary': '#8fbce6', 'color-brand-content': '#8fbce6'},
}
pygments_style, pygments_dark_style = 'friendly', 'github-dark'
# $ is no prompt here: commands are written without one
copybutton_exclude = '.linenos, .gp, .go'
linkcheck_ignore = [r'http://localhost.*', r'http://127\.0\.0\.1.*']
linkcheck_retries = 3


def linkcode_resolve(domain, info):
    """Return the address of a module's source."""
    if domain != 'py' or not info['module']:
        return None
    path = ROOT / pathlib.Path(*info['module'].split('.'))
    file = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
    return BESIDE + file.relative_to(ROOT).as_posix()


def modules_of(room):
    """Return the names of the modules of a room, the room itself first where it says something."""
    path = ROOT / 'q2_aam' / room
    if not path.is_dir():
        return [f'q2_aam.{room}']
    found = [one.name for one in pkgutil.walk_packages([str(path)], f'q2_aam.{room}.') if not one.ispkg]
    return [f'q2_aam.{room}', *sorted(found)]


class _Templates(numpydoc.docscrape_sphinx.SandboxedEnvironment):
    """numpydoc compiles its template anew for each docstring, in a third of the time of a build; once is enough."""

    compiled = {}

    def get_template(self, name, *args, **options):
        if name not in self.compiled:
            self.compiled[name] = super().get_template(name, *args, **options)
        return self.compiled[name]


numpydoc.docscrape_sphinx.SandboxedEnvironment = _Templates


class Room(SphinxDirective):
    """All modules of a room of the house, each under a heading: ``.. room:: stats``."""

    required_arguments = 1

    def run(self):
        room, *modules = modules_of(self.arguments[0])
        lines = [f'.. automodule:: {room}', *(['   :members:'] if not modules else []), '']
        for module in modules:
            title = module.removeprefix(f'{room}.').replace('.', '/')
            lines += [title, '-' * len(title), '', f'.. automodule:: {module}', '   :members:', '']
        section = nodes.section()
        section.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, source=room), section)
        return section.children


def leave_the_site(app, docname, source):
    """Let links to files of the repository that are no pages of the site lead to the repository."""
    folder = (ROOT / 'docs' / docname).parent

    def absolute(found):
        path, mark, place = found[2].partition('#')
        target = (folder / path).resolve()
        if not target.exists() or target.is_relative_to(ROOT / 'docs'):
            return found[0]
        return found[1] + BESIDE + target.relative_to(ROOT).as_posix() + mark + place

    source[0] = re.sub(r'(\]\()(\.\./[^)\s]+)', absolute, source[0])


def setup(app):
    app.add_directive('room', Room)
    app.connect('source-read', leave_the_site)
    return {'parallel_read_safe': True}
