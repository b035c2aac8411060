"""What a finished run gives comes back exactly, or not at all."""

import errno

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.atomic import read_json, write_json
from q2_aam.errors import AAMWarning, MachineError
from q2_aam.runtime import results
from q2_aam.runtime.heard import hear, hearing
from q2_aam.runtime.history import History
from q2_aam.runtime.results import BUNDLE, TABLES, deliver, keep, load, save_bundle
from q2_aam.runtime.run_root import FINISHED, RESULT

WEIGHTS = bytes(range(256))


def save(folder):
    (folder / 'model.safetensors').write_bytes(WEIGHTS)
    (folder / 'config.json').write_text('{"name": "später"}', encoding='utf-8')


@pytest.fixture
def details():
    index = pd.Index(['s1', 'später', '3'], name='id', dtype=object)
    return pd.DataFrame(
        {
            'part': np.array(['training', 'test', 'new'], dtype=object),
            'prediction': np.array([0.1 + 0.2, np.nan, -np.inf]),
            'true': np.array(['gut', np.nan, None], dtype=object),
            'single': np.array([1 / 3, np.nan, 3e38], dtype=np.float32),
            'reads': np.array([1, 2**60, -3]),
            'ok': [True, False, True],
        },
        index,
    )


@pytest.fixture
def history():
    history = History()
    history.log(3, 1, 'training', loss=1 / 3, r=float('nan'))
    history.add_points('target', 'test', [1.0, np.float32(0.1)], [2, 3])
    return history


@pytest.fixture
def output(tmp_path):
    (tmp_path / 'output').mkdir()
    return tmp_path / 'output'


@pytest.fixture
def directory(tmp_path):
    (tmp_path / 'run').mkdir()
    return tmp_path / 'run'


@pytest.fixture
def kept(directory, output, details, history):
    save_bundle(directory, output, save)
    keep(directory, 7, details, history)
    return directory


def test_a_result_comes_back_exactly(kept, details, history, output):
    assert list(output.iterdir()) == []
    result = load(kept, 7)
    pd.testing.assert_frame_equal(result.details, details, check_exact=True)
    assert list(map(repr, result.details['true'])) == list(map(repr, details['true']))
    assert repr(result.history.rows) == repr(history.rows) and result.history.points == history.points
    assert isinstance(result.history.rows[0], tuple)
    deliver(result, output)
    assert (output / 'model.safetensors').read_bytes() == WEIGHTS
    assert sorted(path.name for path in output.iterdir()) == ['config.json', 'model.safetensors']


def test_what_the_run_warned_of_is_warned_of_again(directory, output, details, history):
    texts = ['Ignored: 2 samples (e.g. "S1").', 'Few groups.']
    with hearing():
        for text in texts:
            hear(text)
        save_bundle(directory, output, save)
        keep(directory, 7, details, history)
    for _ in range(2):
        with pytest.warns(AAMWarning) as caught:
            assert load(directory, 7) is not None
        assert [str(one.message) for one in caught] == texts


def test_a_run_without_warnings_gives_none(kept, recwarn):
    assert load(kept, 7) is not None and not recwarn.list


def test_a_result_that_was_kept_before_warnings_were_is_taken(kept, recwarn):
    tables = read_json(kept / RESULT / TABLES)
    del tables['warnings']
    write_json(kept / RESULT / TABLES, tables)
    assert load(kept, 7) is not None and not recwarn.list


def test_pretraining_has_no_details(directory, output, history):
    save_bundle(directory, output, save)
    keep(directory, 7, None, history)
    assert load(directory, 7).details is None


def test_a_run_that_was_not_finished_has_no_result(directory, output):
    assert load(directory, 7) is None
    save_bundle(directory, output, save)
    assert load(directory, 7) is None


@pytest.mark.parametrize('name', [FINISHED, TABLES, f'{BUNDLE}/model.safetensors', f'{BUNDLE}/config.json'])
@pytest.mark.parametrize('damage', ['empty', 'bit', 'missing'])
def test_a_damaged_result_is_set_aside(kept, name, damage):
    path = kept / RESULT / name
    content = path.read_bytes()
    path.unlink()
    if damage != 'missing':
        path.write_bytes(b'' if damage == 'empty' else content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    if (name, damage) == (FINISHED, 'missing'):
        assert load(kept, 7) is None
        return
    with pytest.warns(AAMWarning) as caught:
        assert load(kept, 7) is None
    (message,) = (str(one.message) for one in caught)
    assert message.startswith(f'The result in the run directory, {kept}, is damaged ({path.name} ')
    assert message.endswith('; set aside as result.damaged); the model is trained again.')
    assert load(kept, 7) is None


@pytest.mark.parametrize('change', [{'seed': 8}, {'bundle': None}, {'bundle': {'../../x': ''}}, {'finished': 3}])
def test_a_result_that_cannot_be_is_set_aside(kept, change):
    values = read_json(kept / RESULT / FINISHED) | change
    write_json(kept / RESULT / FINISHED, values)
    if 'finished' in change:
        assert load(kept, 7) is not None
    else:
        with pytest.warns(AAMWarning, match='the model is trained again'):
            assert load(kept, 7) is None


def full(*_, **__):
    raise OSError(errno.ENOSPC, 'No space left on device')


def test_without_room_in_the_run_directory_the_bundle_goes_where_it_is_wanted(
    directory, output, details, history, monkeypatch
):
    def save_elsewhere(folder):
        full() if folder != output else save(folder)

    with pytest.warns(AAMWarning) as caught:
        save_bundle(directory, output, save_elsewhere)
    assert [str(one.message) for one in caught] == [
        f'The run directory {directory} cannot be written (No space left on device): the result of this run is not '
        'kept there for 7 days.'
    ]
    result = keep(directory, 7, details, history)
    assert result.bundle is None and result.details is details and load(directory, 7) is None
    deliver(result, output)
    assert (output / 'model.safetensors').read_bytes() == WEIGHTS


def test_without_room_for_the_tables_the_result_is_given_all_the_same(directory, output, details, history, monkeypatch):
    save_bundle(directory, output, save)
    with monkeypatch.context() as patch, pytest.warns(AAMWarning, match='is not kept there'):
        patch.setattr(results, 'write_json', full)
        result = keep(directory, 7, details, history)
    deliver(result, output)
    assert (output / 'model.safetensors').read_bytes() == WEIGHTS and load(directory, 7) is None


def test_details_that_json_cannot_hold_do_not_cost_the_result(directory, output, history):
    save_bundle(directory, output, save)
    with pytest.warns(AAMWarning, match='is not kept there'):
        result = keep(directory, 7, pd.DataFrame({'a': [object()]}), history)
    deliver(result, output)
    assert (output / 'model.safetensors').exists()


def test_an_output_without_room_says_where_the_result_is_kept(kept, output, monkeypatch):
    monkeypatch.setattr(results.shutil, 'copyfile', full)
    with pytest.raises(MachineError) as error:
        deliver(load(kept, 7), output)
    assert str(error.value) == (
        f'The result cannot be written into {output} (No space left on device); free space on its disk, or set the '
        'environment variable TMPDIR to a folder on another disk, and give the same command again: it takes its result '
        f'from {kept}.'
    )


def test_no_room_anywhere_is_one_sentence(directory, output):
    with pytest.warns(AAMWarning), pytest.raises(MachineError, match=f'^The result cannot be written into {output} '):
        save_bundle(directory, output, full)
