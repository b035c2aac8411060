"""The scripts of recipe/: set-up, constraints, measuring, and what the demonstration reports."""

import importlib.util
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy
import pandas
import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / 'recipe').glob('*.sh'), ROOT / '.ci' / 'run'])


def load(name):
    """Import recipe/`name`.py, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'recipe' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


constraints = load('constraints')
demo_report = load('demo_report')
measure = load('measure')


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_valid_bash_and_stops_at_the_first_error(path):
    subprocess.run(['bash', '-n', path], check=True)
    # common.sh is sourced by scripts that have said so
    assert path.name == 'common.sh' or 'set -euo pipefail' in path.read_text('utf-8')


def test_continuous_integration_runs_the_tests():
    assert os.access(ROOT / '.ci' / 'run', os.X_OK)
    assert 'bash recipe/test.sh' in (ROOT / '.ci' / 'run').read_text('utf-8')


@pytest.fixture
def foreign_machine(tmp_path):
    """An environment in which neither conda nor apt-get is found."""
    for tool in ('bash', 'cat', 'dirname'):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    return {'PATH': str(tmp_path), 'HOME': str(tmp_path)}


def test_setup_stops_with_one_sentence_where_there_is_neither_conda_nor_debian(foreign_machine):
    done = subprocess.run(
        ['bash', ROOT / 'recipe' / 'setup.sh'], env=foreign_machine, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ''
    assert done.stderr == (
        'q2-aam: QIIME 2 was not found: activate a conda environment with QIIME 2, or use Debian or Ubuntu with '
        'apt-get.\n'
    )


def test_the_command_of_an_environment_takes_nothing_from_the_folder_where_it_is_called(tmp_path):
    text = (ROOT / 'recipe' / 'setup.sh').read_text('utf-8')
    write = re.search(r'^write_qiime_command\(\) \{.*?^\}$', text, re.MULTILINE | re.DOTALL)[0]
    environment = os.environ | {'qiime': str(tmp_path / 'qiime'), 'python': sys.executable}
    subprocess.run(['bash', '-c', f'{write}\nwrite_qiime_command'], env=environment, check=True, timeout=60)
    for name, says in (('installed', 'prog_name'), ('data', "'of the data'")):
        folder = tmp_path / name / 'q2cli'
        folder.mkdir(parents=True)
        (folder / '__init__.py').touch()
        (folder / '__main__.py').write_text(f'def qiime(prog_name):\n    print({says})\n', 'utf-8')
    environment = os.environ | {'PYTHONPATH': str(tmp_path / 'installed')}
    done = subprocess.run(
        [tmp_path / 'qiime'], cwd=tmp_path / 'data', env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ('qiime\n', '')


def test_a_conda_environment_without_qiime2_is_not_taken(foreign_machine, tmp_path):
    (tmp_path / 'prefix' / 'bin').mkdir(parents=True)
    python = tmp_path / 'prefix' / 'bin' / 'python'
    python.write_text('#!/bin/sh\nexit 1\n')
    python.chmod(0o755)
    foreign_machine['CONDA_PREFIX'] = str(tmp_path / 'prefix')
    done = subprocess.run(
        ['bash', ROOT / 'recipe' / 'setup.sh'], env=foreign_machine, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert 'QIIME 2 was not found' in done.stderr


def test_test_script_names_an_option_it_does_not_know():
    done = subprocess.run(['bash', ROOT / 'recipe' / 'test.sh', '--fast'], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == 'q2-aam: recipe/test.sh knows only --slow, not --fast.\n'


def test_constraints_pin_what_is_installed():
    lines = constraints.constraints()
    assert f'numpy=={numpy.__version__}' in lines
    assert lines == sorted(lines, key=str.lower)
    assert not [line for line in lines if '+' in line]


@pytest.mark.parametrize(
    'installed, rule',
    [
        (None, 'setuptools>=77.0.3,<80.9'),
        ('66.1.1', 'setuptools>=77.0.3,<80.9'),
        ('77.0.3', 'setuptools==77.0.3'),
        ('80.8.0', 'setuptools==80.8.0'),
        ('82.0.1', 'setuptools==82.0.1'),
    ],
)
def test_setuptools_rises_far_enough_for_torch_and_keeps_pkg_resources(installed, rule):
    assert constraints.setuptools_rule(installed) == rule


def test_a_module_tells_its_version_where_the_distribution_has_another_name(monkeypatch):
    def unknown(name):
        raise constraints.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(constraints.importlib.metadata, 'version', unknown)
    assert constraints.installed_version('numpy-of-debian', 'numpy') == numpy.__version__
    assert constraints.installed_version('absent', 'no_such_module') is None


def test_measuring_notes_seconds_and_memory_and_keeps_the_exit_status(tmp_path):
    record = tmp_path / 'steps.tsv'

    def run(name, code):
        # in a process of its own: a child begins with the memory of its parent, here that of all tests before
        command = [sys.executable, measure.__file__, str(record), name, '--', sys.executable, '-c', code]
        return subprocess.run(command, check=False).returncode

    assert run('ok', 'x = bytearray(200_000_000)') == 0
    assert run('bad', 'raise SystemExit(3)') == 3
    first, second = demo_report.read_rows(record)
    assert (first['step'], second['step']) == ('ok', 'bad')
    assert 190 < float(first['megabytes']) < 1000
    assert float(second['megabytes']) < 100
    assert 0 <= float(first['seconds']) < 60


def test_measuring_without_a_command_is_refused(tmp_path):
    with pytest.raises(SystemExit, match='usage: measure.py'):
        measure.main([str(tmp_path / 'steps.tsv'), 'name', '--'])


def test_scores_are_mean_absolute_error_and_explained_variance():
    assert demo_report.scores([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (0.0, 1.0)
    mae, r2 = demo_report.scores([0.0, 2.0, 4.0], [1.0, 2.0, 2.0])
    assert mae == 1.0
    assert r2 == pytest.approx(1 - 5 / 8)
    assert math.isnan(demo_report.scores([1.0, 1.0], [1.0, 2.0])[1])


def test_the_last_epoch_counts():
    rows = [
        {'epoch': epoch, 'part': part, 'metric': metric, 'value': value}
        for epoch, part, metric, value in [
            ('9', 'validation', 'distance_r', '0.5'),
            ('10', 'validation', 'distance_r', '0.7'),
            ('10', 'training', 'distance_r', '0.9'),
            ('11', 'validation', 'loss', '0.1'),
        ]
    ]
    assert demo_report.last_metric(rows, 'validation', 'distance_r') == 0.7
    assert math.isnan(demo_report.last_metric(rows, 'test', 'distance_r'))


def test_all_methods_are_scored_on_the_same_samples_the_best_first():
    true = {'a': 0.0, 'b': 2.0, 'c': 4.0}
    ours, forest = {'c': 4.0, 'b': 2.0, 'a': 0.0}, {'a': 1.0, 'b': 2.0, 'c': 2.0}
    lines = demo_report.score_table(true, {'random forest': forest, 'AAM': ours})
    assert lines[0].startswith('Age in months of all 3 labelled samples')
    assert lines[2].split() == ['AAM', '0.00', '1.00']
    assert lines[3].split() == ['random', 'forest', '1.00', '0.38']
    with pytest.raises(ValueError, match='of forest and the true values are not of the same samples'):
        demo_report.score_table(true, {'AAM': ours, 'forest': {'a': 1.0}})


def test_costs_add_up_in_seconds_and_peak_in_memory():
    rows = [
        {'step': 'one', 'seconds': '1.5', 'megabytes': '300'},
        {'step': 'two', 'seconds': '2.0', 'megabytes': '200'},
    ]
    assert demo_report.cost_table(rows)[-1].split() == ['all', '3.5', '300']


def test_pictures_are_figures_of_the_page(tmp_path):
    pytest.importorskip('vl_convert')
    random = numpy.random.default_rng(1)
    ids = pandas.Index([f'S{number}' for number in range(30)], name='id')
    true = pandas.Series(random.uniform(0, 24, 30), ids, name='month_of_life')
    predicted = (true + random.normal(size=30)).rename('month_of_life')
    details = pandas.DataFrame(
        {'part': 'test', 'prediction': predicted, 'true': true, 'lower_bound': predicted - 2,
         'upper_bound': predicted + 2, 'random_forest': true + 3, 'reads_used': 1000.0, 'flag': 'ok'}
    )  # fmt: skip
    groups = pandas.Series([f'P{number // 2}' for number in range(30)], ids, name='subject')
    paths = demo_report.draw(tmp_path, predicted, details, None, groups)
    assert [path.name for path in paths] == ['ecam-predictions.png', 'ecam-baselines.png']
    assert all(path.read_bytes().startswith(b'\x89PNG') for path in paths)


def test_the_demonstration_ends_with_the_page_of_all_labelled_samples():
    demo = (ROOT / 'recipe' / 'demo.sh').read_text('utf-8')
    steps = [line.split("'")[1] for line in demo.splitlines() if line.startswith("step '")]
    assert steps[-1] == 'aam evaluate-regressor'
    # the page is that of out-of-fold predictions, and not of one split
    assert 'sample-classifier' not in demo and '--o-evaluation "$out/evaluation.qzv"' in demo
