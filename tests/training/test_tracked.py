"""Training with a tracker: the same model, bit for bit; the tracker is told what the history holds, and no secret."""

import json
import warnings

import pytest

from q2_aam import bundle
from q2_aam.errors import AAMWarning
from q2_aam.runtime import checkpoint

SECRET = 'hunter2'


@pytest.fixture
def events(tmp_path, monkeypatch):
    """What TensorBoard holds of the runs of a test: a function that returns their event accumulators."""
    pytest.importorskip('tensorboard', reason='tensorboard is an extra')
    pytest.importorskip('vl_convert', reason='figures are drawn by vl-convert-python')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / 'events'
    monkeypatch.setenv('TENSORBOARD_LOGGING_DIR', str(folder))

    def read():
        found = [EventAccumulator(str(path)) for path in sorted(folder.iterdir())]
        for one in found:
            one.Reload()
        return found

    return read


def without_tracker(folder):
    config = json.loads((folder / bundle.CONFIG_FILE).read_text('utf-8'))
    assert config['call']['runtime'].pop('tracker') in ('none', 'tensorboard', 'mlflow')
    return config


def test_a_tracker_changes_no_bit_of_a_model_and_is_told_its_history(tiny, fitted, tiny_regressor, events):
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'The tracker', AAMWarning)
        run = fitted(tiny, tracker='tensorboard')
    assert (run.folder / bundle.MODEL_FILE).read_bytes() == (tiny_regressor.folder / bundle.MODEL_FILE).read_bytes()
    assert without_tracker(run.folder) == without_tracker(tiny_regressor.folder)
    assert repr(run.history.rows) == repr(tiny_regressor.history.rows)
    assert run.details.equals(tiny_regressor.details)
    (told,) = events()
    for name in ('mae', 'rmse'):
        assert [one.value for one in told.Scalars(f'validation/{name}')] == pytest.approx(
            run.history.series('validation', name)
        )
    assert {'figures/target_test', 'figures/target_validation'} <= set(told.Tags()['images'])
    text = told.Tensors('parameters/text_summary')[0].tensor_proto.string_val[0].decode()
    digest = json.loads((run.folder / bundle.CARD_FILE).read_text('utf-8'))['input_sha256']['table']
    assert f'| table_sha256 | {digest} |' in text and '| freeze | none |' in text


def test_a_classifier_shows_its_confusion_and_an_encoder_its_distances(tiny, classified, pretrained, events):
    classified(tiny, tracker='tensorboard')
    pretrained(tiny, tracker='tensorboard')
    of_classifier, of_encoder = events()
    assert 'figures/confusion_test' in of_classifier.Tags()['images']
    assert of_encoder.Tags()['images'] == ['figures/distance_validation']
    # samples that were held out are named in the history alone
    assert not any('held_out' in tag for tag in of_encoder.Tags()['scalars'])


def test_a_run_that_was_killed_and_resumed_is_one_run_whose_epochs_come_once(
    tiny, fitted, tmp_path, events, monkeypatch
):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    call = {'files': tiny.write(tmp_path / 'inputs'), 'epochs': 4, 'patience': 4, 'abundance_ensemble': False}

    def kill(line):
        if line.startswith('epoch 3/4'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tiny, 'killed', tracker='tensorboard', say=kill, **call)
    run = fitted(tiny, 'resumed', tracker='tensorboard', **call)
    assert any(line.startswith('Resumed after') for line in run.lines)
    (told,) = events()
    steps = [row[0] for row in run.history.rows if row[2:4] == ('validation', 'mae')]
    assert [one.step for one in told.Scalars('validation/mae')] == steps and len(steps) == 4


def test_a_run_whose_result_is_kept_is_not_told_again_and_says_so(tiny, fitted, tmp_path, events, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.run_directory.DAYS_KEPT', 7)
    call = {'files': tiny.write(tmp_path / 'inputs'), 'abundance_ensemble': False, 'tracker': 'tensorboard'}
    fitted(tiny, 'first', **call)
    before = [len(one.Scalars('validation/mae')) for one in events()]
    again = fitted(tiny, 'again', **call)
    assert [len(one.Scalars('validation/mae')) for one in events()] == before and len(before) == 1
    assert any(', and the tracker is told nothing; delete that directory to train again.' in one for one in again.lines)


def test_an_address_with_a_password_enters_no_file_no_history_and_no_line(tiny, fitted, monkeypatch, capfd, tmp_path):
    pytest.importorskip('mlflow', reason='mlflow is an extra')
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'http://me:{SECRET}@127.0.0.1:9')
    monkeypatch.setenv('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '0')
    with pytest.warns(AAMWarning, match=r'^The tracker mlflow failed \(MlflowException\), so that training goes on '):
        run = fitted(tiny, tracker='mlflow', abundance_ensemble=False)
    out = ''.join([*capfd.readouterr(), *run.lines, repr(run.history.rows)])
    assert SECRET not in out and '127.0.0.1' not in out
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob('*') if path.is_file())


@pytest.mark.slow
def test_of_several_processes_the_first_one_reports(tiny, fitted, events):
    run = fitted(tiny, tracker='tensorboard', devices=2, abundance_ensemble=False)
    (told,) = events()
    assert [one.value for one in told.Scalars('validation/mae')] == pytest.approx(
        run.history.series('validation', 'mae')
    )
    assert 'figures/target_test' in told.Tags()['images']
