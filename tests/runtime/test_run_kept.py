"""Whole runs against what a machine does: full disks, damaged working files, kills; and results taken a second time."""

import errno
import importlib
import json
import os
import pathlib
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from q2_aam import bundle
from q2_aam.errors import AAMWarning, MachineError, UserError
from q2_aam.runtime import checkpoint, results


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """Results of finished runs are kept, as they are outside of tests; every step has its checkpoint."""
    monkeypatch.setattr('q2_aam.runtime.run_directory.DAYS_KEPT', 7)
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)


@pytest.fixture
def files(tiny, tmp_path):
    return tiny.write(tmp_path / 'inputs')


def bytes_of(run):
    # the card tells when a model was made; a seed of 0 and the one that was drawn for it give the same model
    config = re.sub('"random_seed": [0-9]+', '', (run.folder / bundle.CONFIG_FILE).read_text('utf-8'))
    return (run.folder / bundle.MODEL_FILE).read_bytes(), config


def history_of(run):
    # as text, in which NaN equals NaN and every bit of a number counts
    return repr(run.history.rows), repr(run.history.points)


def taken(run):
    return [line for line in run.lines if 'its result is taken from' in line]


def full(*_, **__):
    raise OSError(errno.ENOSPC, 'No space left on device')


def interrupt(at):
    def say(line):
        if line.startswith(at):
            raise KeyboardInterrupt

    return say


def test_the_same_fit_with_the_same_seed_takes_its_result(tiny, fitted, files, work_dir):
    first, second = fitted(tiny, 'first', files=files), fitted(tiny, 'second', files=files)
    (directory,) = work_dir.iterdir()
    assert sorted(path.name for path in directory.iterdir()) == ['lock', 'result']
    assert not taken(first) and len(second.lines) == 1
    assert taken(second)[0].startswith('This run finished on ')
    assert taken(second)[0].endswith(f': its result is taken from {directory}; delete that directory to train again.')
    assert bytes_of(first) == bytes_of(second) and history_of(first) == history_of(second)
    assert first.details.equals(second.details) and first.predictions.equals(second.predictions)
    assert first.predictions.name == second.predictions.name and first.details.index.name == second.details.index.name
    assert list(first.details.dtypes) == list(second.details.dtypes)
    other = fitted(tiny, 'other', files=files, random_seed=8)
    assert not taken(other) and bytes_of(other) != bytes_of(first)
    shutil.rmtree(directory)
    assert not taken(fitted(tiny, 'again', files=files))


def test_a_classifier_and_an_encoder_are_taken_too(tiny, classified, pretrained, files):
    first, second = classified(tiny, 'first', files=files), classified(tiny, 'second', files=files)
    assert taken(second) and bytes_of(first) == bytes_of(second)
    assert first.probabilities.equals(second.probabilities) and first.details.equals(second.details)
    first, second = pretrained(tiny, 'one', files=files), pretrained(tiny, 'two', files=files)
    assert taken(second) and bytes_of(first) == bytes_of(second) and history_of(first) == history_of(second)


def test_without_a_given_seed_nothing_is_kept(tiny, fitted, files, work_dir):
    first, second = (fitted(tiny, name, files=files, random_seed=0) for name in ('first', 'second'))
    assert not taken(second) and bytes_of(first) != bytes_of(second)
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize('seed', [7, 0])
def test_a_full_output_disk_costs_nothing(tiny, fitted, files, work_dir, monkeypatch, seed):
    with monkeypatch.context() as patch, pytest.raises(MachineError, match='TMPDIR'):
        patch.setattr(results.shutil, 'copyfile', full)
        fitted(tiny, 'full', files=files, random_seed=seed)
    run = fitted(tiny, 'later', files=files, random_seed=seed)
    assert taken(run)
    # a seed that was drawn belongs to that run alone
    assert len(list(work_dir.iterdir())) == (seed > 0)
    drawn = json.loads((run.folder / bundle.CARD_FILE).read_text())['seed']
    shutil.rmtree(work_dir)
    assert bytes_of(run) == bytes_of(fitted(tiny, 'undisturbed', files=files, random_seed=drawn))


def test_a_run_directory_that_fills_up_costs_nothing_but_checkpoints_and_the_kept_result(
    tiny, fitted, tiny_regressor, files, work_dir, monkeypatch
):
    with monkeypatch.context() as patch, pytest.warns(AAMWarning) as caught:
        patch.setattr(checkpoint, 'save_file', full)
        patch.setattr(results, 'write_json', full)
        run = fitted(tiny, 'full', files=files)
    words = [str(one.message) for one in caught]
    # the network's and the ensemble's are one sentence, which the framework shows once
    assert len(set(words)) == 2
    assert 'training goes on without checkpoints' in words[0] and 'is not kept there for 7 days' in words[-1]
    assert bytes_of(run) == bytes_of(tiny_regressor)
    assert list(work_dir.iterdir()) == []


# tests/runtime/test_checkpoint.py and tests/data/test_study_files.py have every kind of damage of every file
@pytest.mark.parametrize(
    ('seed', 'name', 'damage'),
    [
        (0, 'seed.json', 'bit'),
        (7, 'network/state.json', 'bit'),
        (0, 'tensors', 'bit'),
        (7, 'study/study.json', 'empty'),
        *(
            pytest.param(*damaged, marks=pytest.mark.slow)
            for damaged in (
                (0, 'seed.json', 'missing'),
                (0, 'network/state.json', 'empty'),
                (7, 'tensors', 'missing'),
                (7, 'study/study.json', 'missing'),
                (0, 'study/codes.npy', 'bit'),
            )
        ),
    ],
)
def test_no_damage_ends_a_run_or_gives_another_model(tiny, fitted, files, work_dir, name, damage, seed):
    with pytest.raises(KeyboardInterrupt):
        fitted(tiny, 'killed', files=files, random_seed=seed, epochs=3, say=interrupt('epoch 2/3'))
    (directory,) = work_dir.iterdir()
    path = next((directory / 'network').glob('*.safetensors')) if name == 'tensors' else directory / name
    content = path.read_bytes()
    path.unlink()
    if damage != 'missing':
        path.write_bytes(b'' if damage == 'empty' else content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    if (name, damage) == ('study/study.json', 'missing'):
        run = fitted(tiny, 'resumed', files=files, random_seed=seed, epochs=3)
    else:
        with pytest.warns(AAMWarning, match='in the run directory, .* is damaged '):
            run = fitted(tiny, 'resumed', files=files, random_seed=seed, epochs=3)
    drawn = json.loads((run.folder / bundle.CARD_FILE).read_text())['seed']
    shutil.rmtree(work_dir, ignore_errors=True)
    whole = fitted(tiny, 'whole', files=files, random_seed=drawn, epochs=3)
    assert not taken(whole) and bytes_of(run) == bytes_of(whole) and history_of(run) == history_of(whole)


def test_memory_that_runs_out_is_one_sentence_and_keeps_what_was_learned(tiny, fitted, files, work_dir, monkeypatch):
    def nothing_left(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MachineError, match='^Memory ran out'):
        patch.setattr('q2_aam.training.fit.finish_fit', nothing_left)
        fitted(tiny, 'killed', files=files)
    run = fitted(tiny, 'resumed', files=files)
    assert any(line.startswith('Resumed after ') for line in run.lines)


def once(function):
    """Return `function`, but its first call runs out of memory."""
    calls = []

    def short(*given, **more):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return function(*given, **more)

    return short


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        ('q2_aam.runtime.encode.StudyReader', 'remember'),
        ('q2_aam.runtime.encode.StudyReader', 'outputs'),
        ('q2_aam.model.perceptrons.Perceptrons', 'outputs'),
        ('q2_aam.training.blend', 'blended_outputs'),
    ],
)
def test_every_part_of_a_fit_is_tried_again_with_less_memory(
    tiny, fitted, tiny_encoder, files, monkeypatch, module, name
):
    target = pkgutil.resolve_name(module)
    call = {'files': files, 'encoder': tiny_encoder.folder, 'epochs': 1}
    with monkeypatch.context() as patch:
        patch.setattr('q2_aam.runtime.run_directory.DAYS_KEPT', 0)
        whole = fitted(tiny, 'whole', **call)
        patch.setattr(target, name, once(getattr(target, name)))
        run = fitted(tiny, 'short', **call)
    assert bytes_of(run) == bytes_of(whole)


@pytest.mark.parametrize('part', ['train.initialise_memberships', 'finish._points'])
def test_every_part_of_pretraining_is_tried_again_with_less_memory(tiny, pretrained, files, monkeypatch, part):
    module, name = part.split('.')
    module = importlib.import_module(f'q2_aam.training.{module}')
    monkeypatch.setattr('q2_aam.runtime.run_directory.DAYS_KEPT', 0)
    whole = pretrained(tiny, 'whole', files=files)
    monkeypatch.setattr(module, name, once(getattr(module, name)))
    assert bytes_of(pretrained(tiny, 'short', files=files)) == bytes_of(whole)


def test_a_run_that_will_not_fit_says_so_before_it_starts(tiny, fitted, files, work_dir, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.memory.available_memory_gb', lambda: 0.1)
    lines = []
    with pytest.raises(
        UserError, match=r'^Training this model of [0-9,]+ weights takes at least 0\.1 GB of memory, but '
    ):
        fitted(tiny, files=files, say=lines.append)
    assert not any(line.startswith('epoch') for line in lines)
    assert list(work_dir.iterdir()) == []


SCRIPT = """
import sys
from conftest import make_tiny, run_fit
from q2_aam.runtime import checkpoint
import pathlib, types
checkpoint.SECONDS_BETWEEN = 0.0
place = pathlib.Path(sys.argv[1])
files = types.SimpleNamespace(
    table=place / 'table.biom', sequences=place / 'sequences.fasta', distance_matrix=place / 'distances.tsv'
)
say = lambda line: print(line, flush=True)
run_fit(make_tiny(), pathlib.Path(sys.argv[2]), files=files, epochs=40, patience=40, say=say)
"""


@pytest.fixture
def for_all():
    """A folder that any user can write: folders of pytest are for one alone."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield pathlib.Path(folder)


def test_a_container_without_home_and_with_an_unknown_user_trains(tiny, for_all):
    if os.geteuid():
        pytest.skip('only root can become another user')
    files = tiny.write(for_all / 'inputs')
    for path in (for_all, *for_all.rglob('*')):
        path.chmod(0o777)
    environment = {name: os.environ[name] for name in ('PATH', 'OMP_NUM_THREADS') if name in os.environ}
    code = f'import os\nos.setgid(54321)\nos.setuid(54321)\n{SCRIPT.replace("40", "2")}'
    done = subprocess.run(
        [sys.executable, '-c', code, str(files.table.parent), str(for_all / 'run')],
        capture_output=True,
        text=True,
        env=environment | {'PYTHONPATH': os.pathsep.join(path_of_tests()), 'TMPDIR': str(for_all)},
    )
    if 'No module named ' in done.stderr:
        pytest.skip('another user cannot read the package, or Python itself')
    assert done.returncode == 0, done.stderr
    assert f'working files are kept in {for_all}/q2-aam-54321' in done.stderr
    assert (for_all / 'q2-aam-54321').stat().st_mode & 0o777 == 0o700


def test_a_run_that_is_killed_at_any_moment_gives_the_undisturbed_model(tiny, fitted, files, tmp_path, work_dir):
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(path_of_tests())}
    for moment in (0.0, 0.05, 0.2):
        process = subprocess.Popen(
            [sys.executable, '-c', SCRIPT, str(files.table.parent), str(tmp_path / 'killed')],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        # the first epoch is over
        for line in process.stdout:
            if line.startswith('epoch '):
                break
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.stdout.close()
    resumed = fitted(tiny, 'resumed', files=files, epochs=40, patience=40)
    assert any(line.startswith('Resumed after ') for line in resumed.lines)
    shutil.rmtree(work_dir)
    assert bytes_of(resumed) == bytes_of(fitted(tiny, 'whole', files=files, epochs=40, patience=40))


def path_of_tests():
    root = pathlib.Path(__file__).parents[2]
    return str(root), str(root / 'tests')
