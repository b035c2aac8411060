"""Warnings of the library reach the user once, in one line, and an error is one sentence."""

import contextlib
import hashlib
import importlib.util
import io
import os
import pathlib
import subprocess
import sys
import threading
import types
import warnings

import click
import pytest
from click.testing import CliRunner

from q2_aam.actions import messages
from q2_aam.actions.messages import one_line, warnings_given, warnings_to_user
from q2_aam.errors import AAMWarning, UserError

TEXT = '2 samples, for example "S01", are ignored.'


def warn_twice(text=TEXT):
    with warnings_to_user():
        for _ in range(2):
            warnings.warn(text, AAMWarning)
        warnings.warn(text, AAMWarning)


@pytest.fixture
def printing():
    """Warnings are printed as outside pytest, which would collect them."""
    with warnings.catch_warnings():
        warnings.simplefilter('default')
        show = warnings.showwarning
        warnings.showwarning = lambda message, category, filename, lineno, file=None, line=None: sys.stderr.write(
            warnings.formatwarning(message, category, filename, lineno, line)
        )
        yield
        warnings.showwarning = show


def test_a_warning_is_one_line_without_file_and_once_a_call(printing, capsys):
    warn_twice()
    assert capsys.readouterr().err == f'Warning: {TEXT}\n'
    warn_twice()
    assert capsys.readouterr().err == f'Warning: {TEXT}\n', 'a second call says it again'


def test_a_warning_of_several_lines_becomes_one():
    assert one_line('two\n   lines') == 'Warning: two lines\n'


def test_warnings_of_other_packages_are_left_as_they_are(printing, capsys):
    with warnings_to_user():
        warnings.warn('not ours', UserWarning)
    assert 'test_messages.py' in capsys.readouterr().err


def test_a_program_can_still_catch_warnings_and_everything_is_put_back():
    before = (warnings.formatwarning, warnings.showwarning)
    with pytest.warns(AAMWarning, match='2 samples') as caught:
        warn_twice()
    assert len(caught) == 1
    with pytest.raises(UserError), warnings_to_user():
        raise UserError('The table is empty; give one with samples.')
    assert (warnings.formatwarning, warnings.showwarning) == before


def test_a_framework_that_shows_a_class_of_its_own_gets_that_class(monkeypatch):
    class Shown(AAMWarning, RuntimeWarning):
        pass

    monkeypatch.setattr(messages, 'Shown', Shown)
    with pytest.warns(RuntimeWarning, match='2 samples') as caught:
        warn_twice()
    assert [warning.category for warning in caught] == [Shown]


@pytest.mark.parametrize('newer', [True, False])
def test_the_class_of_newer_frameworks_is_used_where_it_exists(monkeypatch, newer):
    exceptions = types.ModuleType('qiime2.core.exceptions')
    if newer:
        exceptions.RachisWarning = type('RachisWarning', (UserWarning,), {})
    monkeypatch.setitem(sys.modules, 'qiime2.core.exceptions', exceptions)
    spec = importlib.util.spec_from_file_location('messages_again', messages.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert issubclass(again.Shown, AAMWarning)
    assert (again.Shown is AAMWarning) is not newer
    assert not newer or issubclass(again.Shown, exceptions.RachisWarning)


@pytest.mark.parametrize('flag, screen', [([], 1), (['--quiet'], 0), (['--verbose'], 1)])
def test_the_command_line_shows_a_warning_once_and_with_quiet_not_at_all(printing, monkeypatch, flag, screen):
    monkeypatch.setattr(messages, 'Shown', AAMWarning)

    @click.command()
    @click.option('--verbose/--quiet', default=None)
    def command(verbose):
        # as q2cli does: without --verbose an action writes into a log
        with contextlib.nullcontext() if verbose else contextlib.redirect_stderr(io.StringIO()):
            # a pipeline, inside which an action gives the same warning
            with warnings_to_user():
                warn_twice()
        click.echo('Saved', err=True)

    result = CliRunner().invoke(command, flag)
    assert result.exit_code == 0
    assert result.output.count(f'Warning: {TEXT}\n') == screen


def test_an_error_of_the_library_reaches_the_caller_as_it_is(plugin, small, recorded, monkeypatch):
    sentence = 'The feature table holds no sample; give one that does.'

    def refuse(*given, **more):
        raise UserError(sentence)

    monkeypatch.setattr(sys.modules['q2_aam.training.pretrain'], 'pretrain', refuse)
    with pytest.raises(UserError) as caught:
        plugin.actions['pretrain'](table=small.table)
    assert str(caught.value) == sentence


def test_the_command_line_prints_an_error_as_one_sentence(small, tmp_path):
    """Hashed ids without sequences, through the real command."""
    program = pathlib.Path(sys.executable).parent / 'qiime'
    if not program.exists():
        pytest.skip('there is no command qiime beside this interpreter')
    import biom
    import qiime2

    table = small.table.view(biom.Table)
    hashes = {name: hashlib.md5(name.encode()).hexdigest() for name in table.ids('observation')}
    hashed = table.update_ids(hashes, axis='observation', inplace=False)
    qiime2.Artifact.import_data('FeatureTable[Frequency]', hashed).save(str(tmp_path / 'table.qza'))
    command = ['aam', 'pretrain', '--i-table', 'table.qza', '--o-encoder', 'e.qza', '--o-history', 'h.qza']
    run = subprocess.run(
        [str(program), *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'HOME': str(tmp_path)},
        timeout=300,
    )
    printed = ' '.join((run.stdout + run.stderr).split())
    assert run.returncode == 1
    assert 'Plugin error from aam:' in printed and 'sequences' in printed
    assert any(name in printed for name in hashes.values())
    assert 'Traceback' not in printed


def test_the_running_action_knows_what_it_has_warned_of_each_once_and_on_one_line():
    assert warnings_given() == []
    with pytest.warns(AAMWarning), warnings_to_user():
        warnings.warn('of a\n  pipeline', AAMWarning)
        warnings.warn('not ours', UserWarning)
        with warnings_to_user():
            assert warnings_given() == []
            warn_twice('of its action')
            assert warnings_given() == ['of its action']
        # the pipeline heard it, too
        assert warnings_given() == ['of a pipeline', 'of its action']
    assert warnings_given() == []


def test_words_that_mean_missing_are_warned_of_once_though_each_fold_counts_its_own(printing, capsys):
    def warn(samples):
        text = f"Metadata column 'stage' has classes that mean a missing value: 'unknown' ({samples} samples)."
        with warnings_to_user():
            warnings.warn(text, AAMWarning)

    with warnings_to_user():
        for samples in (5, 3, 2):
            warn(samples)
    assert capsys.readouterr().err.count('that mean a missing value') == 1


@pytest.fixture
def shown(monkeypatch):
    """The texts that are shown where nobody has chosen what to show, as in a new interpreter."""
    texts = []
    with warnings.catch_warnings():
        warnings.resetwarnings()
        monkeypatch.setattr(warnings, 'showwarning', lambda message, *where, **more: texts.append(str(message)))
        yield texts


def test_actions_in_two_threads_hear_their_own_warnings_and_put_everything_back(shown):
    before = (warnings.formatwarning, warnings.showwarning)
    given, first_is_in, second_is_in, first_is_out = {}, *(threading.Event() for _ in range(3))

    def warn(name):
        for text in ('of both', f'of the {name}'):
            warnings.warn(text, AAMWarning)
        given[name] = warnings_given()

    def first():
        with warnings_to_user():
            first_is_in.set()
            second_is_in.wait(10)
            warn('first')
        first_is_out.set()

    def second():
        first_is_in.wait(10)
        with warnings_to_user():
            second_is_in.set()
            # the first ends while the second still runs
            first_is_out.wait(10)
            warn('second')

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == {name: ['of both', f'of the {name}'] for name in ('first', 'second')}
    assert shown == [*given['first'], *given['second']]
    assert (warnings.formatwarning, warnings.showwarning) == before


def test_what_the_user_filters_stays_filtered(shown):
    warnings.simplefilter('ignore', AAMWarning)
    warn_twice()
    warnings.simplefilter('error', AAMWarning)
    with pytest.raises(AAMWarning):
        warn_twice()
    assert shown == []
