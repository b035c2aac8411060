"""What the README, CONTRIBUTING.md and docs/ say: it runs, it names every file, and its messages are the code's."""

import ast
import pathlib
import re
import sys
import types

import pytest
import qiime2
import qiime2.sdk

from q2_aam.actions import examples

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text('utf-8')
TUTORIAL = (ROOT / 'docs' / 'tutorial.md').read_text('utf-8')
OUTPUTS = (ROOT / 'docs' / 'outputs.md').read_text('utf-8')
HOUSE = (ROOT / 'docs' / 'house.md').read_text('utf-8')
TROUBLESHOOTING = (ROOT / 'docs' / 'troubleshooting.md').read_text('utf-8')
CONTRIBUTING = (ROOT / 'CONTRIBUTING.md').read_text('utf-8')
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
REPOSITORY = 'https://github.com/q2-aam/q2-aam/'


def section(heading):
    """Return the text of README.md under `heading`, up to the next one."""
    return re.split(r'^## ', README.split(f'\n## {heading}\n')[1], flags=re.MULTILINE)[0]


def code_block(text, language=''):
    return re.search(rf'^```{language}\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)[1]


def test_the_python_of_the_readme_runs_from_artifacts_to_saved_predictions(tmp_path, monkeypatch):
    # a few steps instead of some hundred: what is tried is the reader's code, not the training
    monkeypatch.setattr('q2_aam.training.prepare.PRETRAINING_STEPS', 2)
    monkeypatch.setattr('q2_aam.training.effort.STEPS', 2)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.chdir(tmp_path)
    for name, factory in (
        ('table.qza', examples.table_factory),
        ('rarefied.qza', examples.table_factory),
        ('rep-seqs.qza', examples.sequences_factory),
        ('unweighted-unifrac.qza', examples.distances_factory),
        ('metadata.tsv', examples.metadata_factory),
    ):
        factory().save(name)
    code = code_block(README, 'python')
    assert len(code.replace('\n\n', '\n').splitlines()) == 9
    made = {}
    exec(compile(code, 'README.md', 'exec'), made)
    predictions = qiime2.Artifact.load('predictions.qza')
    assert str(predictions.type) == 'SampleData[RegressorPredictions]'
    assert sorted(predictions.view(qiime2.Metadata).ids) == sorted(examples.metadata_factory().ids)
    for details in (made['fitted'].details, made['predicted'].details):
        assert [name for name in details.view(qiime2.Metadata).columns if f'`{name}`' not in OUTPUTS] == []


def test_the_worked_example_of_an_objective_passes_its_own_test(monkeypatch):
    objective, _, registration, test, *_ = re.findall(r'^```python\n(.*?)^```$', CONTRIBUTING, re.MULTILINE | re.DOTALL)
    module = types.ModuleType('q2_aam.objectives.richness')
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(objective, 'richness.py', 'exec'), vars(module))
    made = {}
    exec(compile(test, 'test_richness.py', 'exec'), made)
    tests = [function for name, function in made.items() if name.startswith('test_')]
    assert len(tests) == 4
    for function in tests:
        function()
    # the registration is that of the code, and one line more
    line = registration.strip().removesuffix('    Richness,\n)')
    assert line != registration.strip()
    assert line in (ROOT / 'q2_aam' / 'objectives' / '__init__.py').read_text('utf-8')


def test_the_map_names_every_file_of_the_house_and_no_other():
    named = re.findall(r'^(\S+\.py) +\S', code_block(HOUSE), re.MULTILINE)
    package = ROOT / 'q2_aam'
    files = {path.relative_to(package).as_posix() for path in package.rglob('*.py') if path.name != '__init__.py'}
    assert set(named) == files
    assert len(named) == len(files)


def test_the_readme_names_every_room():
    named = re.findall(r'^(\w+)(?:/|\.py) ', code_block(section('The map of the house')), re.MULTILINE)
    package = ROOT / 'q2_aam'
    rooms = {path.parent.name for path in package.glob('*/__init__.py')}
    assert sorted(named) == sorted(rooms | {path.stem for path in package.glob('*.py')} - {'__init__'})


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 250


def test_the_table_of_methods_names_every_method_with_all_that_it_takes_and_gives():
    rows = {row.split('`')[1]: row for row in section('The methods').splitlines() if row.startswith('| `')}
    del rows['qiime aam ...']
    methods = qiime2.sdk.PluginManager().plugins['aam'].actions
    # those that begin with an underscore are steps of a pipeline, which users never call
    methods = {name: action for name, action in methods.items() if not name.startswith('_')}
    assert set(rows) == {name.replace('_', '-') for name in methods}
    for name, action in methods.items():
        metadata = [key for key, spec in action.signature.parameters.items() if 'Metadata' in str(spec.qiime_type)]
        words = [*action.signature.inputs, *metadata, *action.signature.outputs]
        assert [word for word in words if f'`{word}`' not in rows[name.replace('_', '-')]] == [], name


def test_parameters_that_the_pages_spell_as_options_exist():
    known = {'--i-tabulated-artifact'}
    for action in qiime2.sdk.PluginManager().plugins['aam'].actions.values():
        known |= {f'--p-{name}'.replace('_', '-') for name in action.signature.parameters}
        known |= {f'--i-{name}'.replace('_', '-') for name in action.signature.inputs}
        known |= {f'--o-{name}'.replace('_', '-') for name in action.signature.outputs}
    ours = re.findall(r'qiime aam [a-z-]+ (?:\\\n|[^\n\\])+', TUTORIAL + README)
    assert ours
    for command in ours:
        assert set(re.findall(r'--[pio]-[a-z-]+', command)) <= known, command


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_and_images_are_absolute(page):
    for image, target in re.findall(r'(!?)\[[^\]]*\]\(([^)#\s]+)[^)]*\)', page.read_text('utf-8')):
        path = re.sub(f'^{REPOSITORY}(?:raw|blob)/main/', '', target)
        if path != target:
            assert (ROOT / path).exists(), target
        elif not target.startswith('https://'):
            # the QIIME 2 Library shows the README, and no file beside it
            assert not image or page.name != 'README.md', f'the link to the image {target} must be absolute'
            assert (page.parent / target).exists(), target


def texts_of_the_code():
    """Return all fixed pieces of text of the package, one after the other."""
    pieces = []
    for path in (ROOT / 'q2_aam').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces.append(node.value)
    return '\n'.join(pieces)


def test_every_message_that_is_explained_is_one_of_the_code():
    explained = re.findall(r'^\| (?:Warning: )?"(.+?)" \|', TROUBLESHOOTING, re.MULTILINE)
    assert len(explained) > 10
    known = texts_of_the_code()
    for message in explained:
        for piece in message.split('…'):
            assert piece.strip() in known, f'{piece!r} of {message!r}'
