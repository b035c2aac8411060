"""Every `qiime` command of the pages is one that QIIME 2 would take: its action, options and values; none lacks."""

import pathlib
import re
import shlex

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
# Options of the command line itself, and how many values they take.
COMMON = {'--verbose': 0, '--quiet': 0, '--help': 0, '--citations': 0, '--parallel': 0, '--no-recycle': 0,
          '--output-dir': 1, '--use-cache': 1, '--recycle-pool': 1, '--parallel-config': 1}  # fmt: skip
SHELLS = {'', 'bash', 'sh', 'shell'}
# With these, nothing is computed and nothing need be given.
ASKS = {'--help', '--citations'}


def parts(text):
    """Return the blocks of shell commands of a page (fenced for a shell, or indented), and the rest."""
    fenced, outside, language, mark = [], [], None, ''
    for line in text.splitlines(keepends=True):
        fence = re.match(r' *(`{3,})(.*)', line)
        if language is None and fence:
            mark, language = fence.groups()
            fenced.append('')
        elif fence and fence[1] == mark and not fence[2]:
            if language.strip() not in SHELLS:
                fenced.pop()
            language = None
        elif language is not None:
            fenced[-1] += line
        else:
            outside.append(line)
    rest = ''.join(outside)
    return fenced + re.findall(r'(?:^    .*\n)+', rest, re.MULTILINE), re.sub(r'^    .*$', '', rest, flags=re.MULTILINE)


def commands(text):
    """Return (words, whether it stands in a block) of each command of QIIME 2 on a page."""
    blocks, rest = parts(text)
    found = []
    for block in blocks:
        for line in re.sub(r'\\\n\s*', ' ', block).splitlines():
            # also behind a container's or a cluster's own command
            if place := re.search(r'(?<![\w/.-])qiime [a-z]', line.split('#')[0]):
                found.append((line[place.start() :], True))
    found += [(inline.replace('\n', ' '), False) for inline in re.findall(r'(?<!`)`(qiime\s[a-z][^`]*)`', rest)]
    return [(shlex.split(line, comments=True), block) for line, block in found]


def test_commands_are_found_wherever_they_stand():
    page = """
Say `qiime aam plan --help`, or:

    qiime aam pretrain \\
      --i-table a.qza   # a table
    ls

```bash
srun image qiime tools export \\
  --input-path 'a b.qza'
```

```python
qiime aam never
```
"""
    assert commands(page) == [
        (['qiime', 'tools', 'export', '--input-path', 'a b.qza'], True),
        (['qiime', 'aam', 'pretrain', '--i-table', 'a.qza'], True),
        (['qiime', 'aam', 'plan', '--help'], False),
    ]


def options(words):
    """Return {option: its values} of the words that follow the name of an action."""
    given = {}
    for word in words:
        if word.startswith('--'):
            name, mark, value = word.partition('=')
            given[name] = [value] if mark else []
        elif not given:
            raise ValueError(f'{word} stands before any option')
        else:
            given[list(given)[-1]].append(word)
    return given


def known_options(signature):
    """Return {option: how many values it takes (None: any number above 0)} and those that are required."""
    known, required = dict(COMMON), set()
    for name, spec in signature.inputs.items():
        known[f'--i-{name}'] = None
        required |= set() if spec.has_default() else {f'--i-{name}'}
    for name, spec in signature.parameters.items():
        if 'Metadata' in str(spec.qiime_type):
            column = 'MetadataColumn' in str(spec.qiime_type)
            own = [f'--m-{name}-file', *([f'--m-{name}-column'] if column else [])]
            known |= dict.fromkeys(own)
            required |= set() if spec.has_default() else set(own)
            continue
        boolean = str(spec.qiime_type) == 'Bool'
        known[f'--p-{name}'] = 0 if boolean else None
        if boolean:
            known[f'--p-no-{name}'] = 0
        required |= set() if spec.has_default() else {f'--p-{name}'}
    known |= {f'--o-{name}': 1 for name in signature.outputs}
    return {key.replace('_', '-'): count for key, count in known.items()}, {key.replace('_', '-') for key in required}


def faults_of(action, words, whole):
    """Return what is wrong with the words that follow an action's name; `whole` if none that is required may lack."""
    from qiime2.sdk.util import parse_primitive

    known, required = known_options(action.signature)
    given = options(words)
    faults = [f'{name} is unknown' for name in given if name not in known]
    for name, values in given.items():
        count = known.get(name)
        if name in known and (len(values) != count if count is not None else not values):
            faults.append(f'{name} has {len(values)} values')
            continue
        parameter = action.signature.parameters.get(name.removeprefix('--p-').replace('-', '_'))
        if parameter and values and name.startswith('--p-') and not any('$' in value for value in values):
            many = str(parameter.qiime_type).startswith(('List', 'Set', 'Collection'))
            try:
                value = parse_primitive(parameter.qiime_type, tuple(values) if many else values[0])
            except ValueError as error:
                faults.append(f'{name}: {error}')
                continue
            if value not in parameter.qiime_type:
                faults.append(f'{name} may not be {value}')
    if whole and not ASKS & set(given):
        faults += [f'{name} is missing' for name in sorted(required - set(given))]
        outputs = {name for name in known if name.startswith('--o-')}
        if '--output-dir' not in given:
            faults += [f'{name} is missing' for name in sorted(outputs - set(given))]
    return faults


@pytest.fixture(scope='module')
def plugins():
    sdk = pytest.importorskip('qiime2.sdk', reason='QIIME 2 is not installed: its commands cannot be checked')
    return {name.replace('_', '-'): plugin for name, plugin in sdk.PluginManager().plugins.items()}


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_command_is_one_that_qiime_2_takes(page, plugins):
    wrong = []
    for words, block in commands(page.read_text('utf-8')):
        # commands of the command line itself, and of plugins that are not installed here, are taken as they are
        if len(words) < 3 or words[1] not in plugins or words[2].startswith(('-', '.')) or words[2].isupper():
            continue
        name = words[2].replace('-', '_')
        action = plugins[words[1]].actions.get(name)
        # a redirection ends a command
        rest = words[3:]
        for stop in ('|', '&&', ';', '>', '2>'):
            rest = rest[: rest.index(stop)] if stop in rest else rest
        faults = ['there is no such action'] if action is None else faults_of(action, rest, block)
        wrong += [f'{" ".join(words[:3])}: {fault}' for fault in faults]
    assert wrong == []


def test_a_wrong_command_is_found(plugins):
    action = plugins['aam'].actions['predict']
    right = shlex.split('--i-table a --i-regressor b --o-predictions c --o-details d --p-abstain')
    assert faults_of(action, right, True) == []
    assert faults_of(action, [*right, '--p-depth', '3'], True) == ['--p-depth is unknown']
    assert faults_of(action, right[2:], True) == ['--i-table is missing']
    assert faults_of(action, right[:-3], True) == ['--o-details is missing']
    assert faults_of(action, [*right, 'yes'], True) == ['--p-abstain has 1 values']
    assert len(faults_of(action, ['--p-harmonize', 'often'], False)) == 1
    assert faults_of(action, ['--help'], True) == []


def test_the_pages_hold_many_commands_of_this_plugin():
    found = [words for page in PAGES for words, _ in commands(page.read_text('utf-8')) if words[1] == 'aam']
    assert len(found) > 40
