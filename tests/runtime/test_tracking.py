"""Trackers: what they are told, once; what they are never told; and that a run outlives them."""

import dataclasses
import importlib.util
import json
import pathlib
import warnings

import numpy as np
import pytest

from q2_aam.config import PretrainConfig
from q2_aam.config import runtime as options
from q2_aam.data.details import PROBABILITY
from q2_aam.errors import AAMWarning, UserError
from q2_aam.runtime import tracking
from q2_aam.runtime.figures import confusion_table
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import open_run
from q2_aam.runtime.tracking import TRACKERS, Tracked, check_tracker, parameters_of, trackers_of

PNG = b'\x89PNG'
SECRET = 'hunter2'


class Kept:
    """A tracker that keeps what it is told, in the order of tellings."""

    told: list = []
    broken = False

    def __init__(self, name, found):
        self.id = found or 'number-1'
        Kept.told.append(('open', name, found))

    def parameters(self, values):
        Kept.told.append(('parameters', values))

    def metrics(self, step, epoch, values):
        if Kept.broken:
            raise ConnectionError(f'no route to https://me:{SECRET}@host')
        Kept.told.append(('metrics', step, epoch, values))

    def figure(self, name, png, step):
        Kept.told.append(('figure', name, png[:4], step))

    def close(self, finished):
        Kept.told.append(('close', finished))


@pytest.fixture
def kept(monkeypatch):
    """The tracker tensorboard, replaced by one that keeps what it is told; returns the list of that."""
    from q2_aam.runtime.trackers import tensorboard

    monkeypatch.setattr(tensorboard, 'Tracker', Kept)
    monkeypatch.setattr(Kept, 'told', [])
    monkeypatch.setattr(Kept, 'broken', False)
    return Kept.told


def recorder(folder, name='fit-0'):
    return Recorder(lambda line: None, sinks=[Tracked('tensorboard', folder, name)])


def test_every_tracker_is_a_choice_an_extra_and_a_module():
    assert tuple(TRACKERS) == options.TRACKERS
    text = (pathlib.Path(__file__).parents[2] / 'pyproject.toml').read_text('utf-8')
    extras = text.partition('[project.optional-dependencies]')[2].partition('\n[')[0]
    for name in TRACKERS:
        assert f'\n{name} = [' in extras
        assert importlib.util.find_spec(f'q2_aam.runtime.trackers.{name}') is not None


@pytest.mark.parametrize('name', TRACKERS)
def test_a_package_that_is_missing_is_one_sentence_before_anything_begins(name, monkeypatch, work_dir):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda package: None)
    config = PretrainConfig.from_flat({'tracker': name, 'device': 'cpu'})
    package = TRACKERS[name].packages[0]
    expected = (
        f'^Parameter tracker is {name}, but the Python package {package} is not installed; run pip install '
        rf"'q2-aam\[{name}\]', or set tracker to none.$"
    )
    with pytest.raises(UserError, match=expected), open_run('pretrain', config, {}):
        pass
    assert not list(work_dir.iterdir()) if work_dir.exists() else True
    check_tracker('none')
    assert trackers_of('none', work_dir, 1) == []


def test_it_is_opened_at_the_first_report_and_told_metrics_by_step_and_part(kept, tmp_path):
    one = recorder(tmp_path)
    one.say('a line')
    assert kept == []
    with one.closing():
        one.parameters(width=16, epochs=2)
        one.log(4, 1, 'validation', loss=0.5, mae=2)
        one.cost(4, 1, seconds=1.5)
    assert kept == [
        ('open', 'fit-0', None),
        ('parameters', {'width': 16, 'epochs': 2}),
        ('metrics', 4, 1, {'validation/loss': 0.5, 'validation/mae': 2.0}),
        ('metrics', 4, 1, {'run/seconds': 1.5}),
        ('close', True),
    ]


def test_names_of_samples_and_texts_of_warnings_are_not_told(kept, tmp_path):
    with recorder(tmp_path).closing() as one:
        one.log(0, 0, 'held_out', **{'patient-7': 1.0})
        one.log(0, 0, 'encoder', **{'a' * 64: 1.0})
    assert kept == []


def test_a_run_that_resumes_goes_on_with_its_run_and_is_told_nothing_twice(kept, tmp_path):
    first = recorder(tmp_path)
    first.parameters(width=16)
    first.log(4, 1, 'validation', loss=0.5)
    first.log(8, 2, 'validation', loss=0.4)
    kept.clear()
    with recorder(tmp_path).closing() as second:
        second.parameters(width=16, more=1)
        # its checkpoint was older
        second.log(8, 2, 'validation', loss=0.4)
        second.log(12, 3, 'validation', loss=0.3)
    assert kept == [
        ('open', 'fit-0', 'number-1'),
        ('parameters', {'more': 1}),
        ('metrics', 12, 3, {'validation/loss': 0.3}),
        ('close', True),
    ]
    # of another seed it is another run
    kept.clear()
    recorder(tmp_path, 'fit-1').log(4, 1, 'validation', loss=0.5)
    assert kept[0] == ('open', 'fit-1', None) and len(kept) == 2


def test_a_damaged_state_begins_a_run_anew(kept, tmp_path):
    (tmp_path / tracking.STATE_FILE).write_text('{')
    recorder(tmp_path).log(4, 1, 'validation', loss=0.5)
    assert kept[0] == ('open', 'fit-0', None)


def test_a_tracker_that_fails_warns_once_without_its_words_and_the_run_goes_on(kept, tmp_path):
    one = recorder(tmp_path)
    one.log(4, 1, 'validation', loss=0.5)
    Kept.broken = True
    with pytest.warns(AAMWarning) as caught, one.closing():
        one.log(8, 2, 'validation', loss=0.4)
        one.log(12, 3, 'validation', loss=0.3)
    assert [str(one.message) for one in caught] == [
        'The tracker tensorboard failed (ConnectionError), so that training goes on without it; check the disk and the '
        'environment variable TENSORBOARD_LOGGING_DIR.'
    ]
    assert len(one.history.rows) == 3 and ('close', True) not in kept


def test_figures_are_drawn_at_the_end_of_a_run_that_succeeds(kept, tmp_path):
    pytest.importorskip('vl_convert', reason='figures are drawn by vl-convert-python')
    random = np.random.default_rng(1)
    with recorder(tmp_path).closing() as one:
        one.log(8, 2, 'test', final_mae=0.4)
        one.add_points('target', 'test', np.array([1.0, 2.0, np.nan]), np.array([1.5, 2.5, 3.0]), random)
        for name, probabilities in (('a', [0.9, 0.2, 0.3]), ('b', [0.1, 0.8, 0.7])):
            true = np.array([1.0, 0.0, 1.0]) if name == 'a' else np.array([0.0, 1.0, 0.0])
            one.add_points(PROBABILITY + name, 'validation', np.array(probabilities), true, random)
    assert [told for told in kept if told[0] == 'figure'] == [
        ('figure', 'target_test', PNG, 8),
        ('figure', 'confusion_validation', PNG, 8),
    ]
    kept.clear()
    with pytest.raises(KeyError), recorder(tmp_path, 'fit-1').closing() as one:
        one.log(8, 2, 'test', final_mae=0.4)
        one.add_points('target', 'test', np.array([1.0]), np.array([1.5]), random)
        raise KeyError
    assert kept[-1] == ('close', False) and not any(told[0] == 'figure' for told in kept)


def test_samples_are_counted_by_true_and_most_probable_class():
    a, b = np.array([0.9, 0.2, 0.3]), np.array([0.1, 0.8, 0.7])
    true = np.array([1.0, 0.0, 1.0])
    points = {PROBABILITY + 'a': (a, true), PROBABILITY + 'b': (b, 1 - true)}
    names, counts = confusion_table(points)
    assert names == ['a', 'b'] and counts.tolist() == [[1, 1], [0, 1]]
    # points that were thinned are of different samples
    assert confusion_table({PROBABILITY + 'a': (a, true), PROBABILITY + 'b': (b, true)}) is None
    assert confusion_table({'target': (a, true), 'distance': (b, true)}) is None


def test_parameters_hold_the_configuration_hashes_and_uuids_where_paths_tell_them():
    @dataclasses.dataclass
    class Inputs:
        table: str = '/tmp/qiime2/me/data/a0a19f2b-3719-4cd3-9fb2-7fc0af17a479/data/feature-table.biom'
        sequences: str = '/home/me/sequences.fasta'
        groups: object = None

    options = {'width': 16, 'nodes': 2, 'rendezvous': 'node-of-mine:29400'}
    known = parameters_of(PretrainConfig.from_flat(options), {'table': 'ab'}, Inputs())
    assert known['width'] == 16 and known['table_sha256'] == 'ab'
    assert known['table_uuid'] == 'a0a19f2b-3719-4cd3-9fb2-7fc0af17a479'
    assert 'sequences_uuid' not in known and not any('/home' in str(value) for value in known.values())
    assert known['nodes'] == 2 and not any('node-of-mine' in str(value) for value in known.values())


# The trackers themselves, in stores of their own.


def report(folder, kind, seed=7):
    """Report as a run does, with a kill in its middle."""
    first = Tracked(kind, folder, f'fit-{seed}')
    first.parameters(width=16, note='')
    first.log(4, 1, 'validation', mae=2.0, loss=float('nan'))
    # one process has a run of W&B once
    (first.tracker.run.finish if kind == 'wandb' else lambda: None)()
    again = Tracked(kind, folder, f'fit-{seed}')
    again.log(4, 1, 'validation', mae=2.0)
    again.log(8, 2, 'validation', mae=1.0)
    # smaller than those before
    again.log(0, 0, 'run', random_seed=seed)
    again.add_points('target', 'test', np.array([1.0, 2.0]), np.array([1.5, 2.5]))
    if first.tracker is not None and kind == 'tensorboard':
        first.tracker.writer.flush()
    again.close(True)


@pytest.fixture
def strict():
    """No warning of a tracker that failed goes unseen."""
    pytest.importorskip('vl_convert', reason='figures are drawn by vl-convert-python')
    with warnings.catch_warnings():
        warnings.simplefilter('error', AAMWarning)
        yield


@pytest.mark.parametrize('own', [True, False])
def test_tensorboard_shows_curves_parameters_and_figures(own, tmp_path, work_dir, monkeypatch, strict):
    pytest.importorskip('tensorboard', reason='tensorboard is an extra')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / 'events' if own else work_dir / 'tensorboard'
    monkeypatch.setenv('TENSORBOARD_LOGGING_DIR', str(folder) if own else '')
    report(tmp_path, 'tensorboard')
    events = EventAccumulator(str(folder / 'fit-7'))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars('validation/mae')] == [(4, 2.0), (8, 1.0)]
    assert [(one.step, one.value) for one in events.Scalars('run/random_seed')] == [(0, 7.0)]
    (image,) = events.Images('figures/target_test')
    assert image.encoded_image_string.startswith(PNG) and image.width > 320 and image.step == 8
    (text,) = events.Tensors('parameters/text_summary')
    assert b'| width | 16 |' in text.tensor_proto.string_val[0]


@pytest.mark.parametrize('store', ['sqlite', 'files'])
def test_mlflow_keeps_one_run_in_a_store_of_this_machine(store, tmp_path, monkeypatch, capfd, strict):
    mlflow = pytest.importorskip('mlflow', reason='mlflow is an extra')
    # a folder that the user names needs no word more
    monkeypatch.delenv('MLFLOW_ALLOW_FILE_STORE', raising=False)
    monkeypatch.setenv('MLFLOW_EXPERIMENT_NAME', 'infants')
    uri = f'sqlite:///{tmp_path}/mlflow.db' if store == 'sqlite' else f'{tmp_path}/mlruns'
    if store == 'sqlite':
        pytest.importorskip('sqlalchemy', reason='SQLite needs sqlalchemy and alembic')
        # artifacts are in the current directory else
        monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    report(tmp_path, 'mlflow')
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name('infants').experiment_id])
    assert run.info.status == 'FINISHED' and run.info.run_name == 'fit-7'
    assert run.data.params['width'] == '16' and run.data.metrics['run/random_seed'] == 7
    steps = client.get_metric_history(run.info.run_id, 'validation/mae')
    assert sorted((one.step, one.value) for one in steps) == [(4, 2.0), (8, 1.0)]
    assert [one.path for one in client.list_artifacts(run.info.run_id, 'figures')] == ['figures/target_test.png']
    assert capfd.readouterr() == ('', '')


def test_mlflow_without_its_server_costs_a_warning_and_no_secret(tmp_path, monkeypatch, capfd):
    pytest.importorskip('mlflow', reason='mlflow is an extra')
    # nothing listens there
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'http://me:{SECRET}@127.0.0.1:9')
    monkeypatch.setenv('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '0')
    with pytest.warns(AAMWarning) as caught, recorder_of('mlflow', tmp_path).closing() as one:
        one.parameters(width=16)
        one.log(4, 1, 'validation', mae=2.0)
    assert [str(one.message) for one in caught] == [
        'The tracker mlflow failed (MlflowException), so that training goes on without it; check its server, the '
        'network and its environment variables (MLFLOW_TRACKING_URI).'
    ]
    out = ''.join(capfd.readouterr())
    assert SECRET not in out and '127.0.0.1' not in out
    assert not any(SECRET in path.read_text('utf-8') for path in tmp_path.rglob('*') if path.is_file())


def recorder_of(kind, folder):
    return Recorder(lambda line: None, sinks=[Tracked(kind, folder, 'fit-7')])


def test_wandb_keeps_a_run_offline_where_there_is_no_key(tmp_path, monkeypatch, capfd, strict):
    pytest.importorskip('wandb', reason='wandb is an extra')
    pytest.importorskip('PIL', reason='its figures need Pillow')
    for name in ('WANDB_API_KEY', 'WANDB_MODE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    report(tmp_path, 'wandb')
    runs = sorted((tmp_path / 'wandb').glob('offline-run-*'))
    # the one that was killed, and what goes on with it, by the same id: `wandb sync --append` makes one of them
    known = json.loads((tmp_path / tracking.STATE_FILE).read_text('utf-8'))
    assert runs and all(known['id'] in path.name for path in runs)
    content = b''.join(path.read_bytes() for run in runs for path in run.glob('*.wandb'))
    assert b'validation/mae' in content and b'width' in content
    assert any(path.suffix == '.png' for run in runs for path in run.rglob('*'))
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('how', ['nowhere', 'environment', 'file', 'file of another server'])
def test_a_key_of_wandb_is_found_where_its_login_puts_it(how, tmp_path, monkeypatch):
    from q2_aam.runtime.trackers import wandb

    for name in ('NETRC', 'WANDB_BASE_URL', 'WANDB_API_KEY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    if how == 'environment':
        monkeypatch.setenv('WANDB_API_KEY', SECRET)
    elif how != 'nowhere':
        (tmp_path / '.netrc').write_text(f'machine api.wandb.ai login user password {SECRET}')
        (tmp_path / '.netrc').chmod(0o600)
    if how == 'file of another server':
        monkeypatch.setenv('WANDB_BASE_URL', 'https://wandb.example.org')
    assert wandb._knows_key() is (how in ('environment', 'file'))
