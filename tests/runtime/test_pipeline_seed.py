"""A pipeline that was killed has its seed again, until it is done; another call draws another."""

import pytest

from q2_aam.config import CrossValidateConfig
from q2_aam.errors import AAMWarning, UserError
from q2_aam.runtime.pipeline_seed import forget_seed, seed_of_pipeline
from q2_aam.runtime.run_directory import run_directory, seed_of_run

CONFIG, HASHES = CrossValidateConfig(), {'table': 'a' * 64}


def drawn(hashes=HASHES, config=CONFIG):
    return seed_of_pipeline('cross-validate', config, hashes, 0)


def test_a_given_seed_is_taken_and_leaves_nothing(work_dir):
    assert seed_of_pipeline('cross-validate', CONFIG, HASHES, 5) == 5
    assert not work_dir.exists()


def test_a_drawn_seed_stays_until_the_pipeline_is_done(work_dir):
    seed = drawn()
    assert drawn() == seed
    others = {drawn({'table': 'b' * 64}), drawn(config=CrossValidateConfig.from_flat({'folds': 3}))}
    assert seed not in others and len(others) == 2
    forget_seed(seed)
    assert len(list(work_dir.iterdir())) == 2
    assert drawn() != seed


def test_the_seed_of_a_run_is_not_forgotten(work_dir):
    with run_directory('run') as directory:
        seed = seed_of_run(directory, 0)
        forget_seed(seed)
        assert seed_of_run(directory, 0) == seed


def test_a_damaged_seed_is_drawn_anew(work_dir):
    drawn()
    (path,) = work_dir.glob('*/seed.json')
    path.write_bytes(b'')
    forget_seed(1)
    with pytest.warns(AAMWarning, match='^The seed in the run directory, .* is damaged '):
        drawn()


def test_without_a_place_for_working_files_it_is_one_sentence(monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('no directory')
    monkeypatch.setenv('AAM_WORK_DIR', str(tmp_path / 'file' / 'work'))
    forget_seed(1)
    with pytest.raises(UserError, match='^The directory for working files, .*, cannot be written '):
        drawn()
