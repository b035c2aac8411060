"""What tests of the library share: a tiny study, written as the files that a call takes, and quick calls on it.

Nothing here imports QIIME 2 or, when it is loaded, torch.
"""

import contextlib
import dataclasses
import importlib.util
import pathlib
import types

import numpy as np
import pandas as pd
import pytest

# The rooms of QIIME 2, and those of their tests that do without it: recipe/test.sh runs these on today's stack, too.
WITH_QIIME2 = {'types', 'actions', 'visualizers'}
WITHOUT_QIIME2 = {'test_loading.py', 'test_messages.py', 'test_study.py'}

SAMPLES, ASVS = 24, 30
# long enough not to turn up by chance among the bytes of weights
SAMPLE, SUBJECT = 'sample-of-visit-{:02d}', 'subject-number-{:02d}'

TINY = {
    'nucleotides_per_token': 6,
    'width': 16,
    'asv_layers': 1,
    'sample_layers': 1,
    'attention_heads': 2,
    'mlp_ratio': 1,
    'memberships': 16,
    'epochs': 2,
    'batch_size': 8,
    'random_seed': 7,
    'threads': 1,
    'device': 'cpu',
}


@dataclasses.dataclass
class Tiny:
    """Counts [samples, features], sequences by feature, distances [samples, samples], target and groups by sample."""

    counts: pd.DataFrame
    sequences: dict
    distances: pd.DataFrame
    target: pd.Series
    groups: pd.Series

    @property
    def stages(self):
        """The target as classes, whose names are not only of letters: the first third, the rest up to 9, the end."""
        names = np.array(['10 weeks', 'mid way', 'später'], dtype=object)
        stages = names[np.digitize(self.target, [4.0, 9.0])]
        return pd.Series(stages, self.target.index, name='stage').where(self.target.notna())

    def shuffled(self):
        """The same study with samples and features in another order, in every input."""
        random = np.random.default_rng(5)
        samples, features = random.permutation(self.counts.index), random.permutation(self.counts.columns)
        others = random.permutation(self.distances.index)
        return Tiny(
            self.counts.loc[samples, features],
            {name: self.sequences[name] for name in random.permutation(features)},
            self.distances.loc[others, others],
            self.target.loc[random.permutation(samples)],
            self.groups.loc[random.permutation(samples)],
        )

    def repeated(self, times):
        """As many copies of every sample, each under an id of its own."""
        names = [f'{name}.{copy}' for copy in range(times) for name in self.counts.index]
        return Tiny(
            pd.DataFrame(np.tile(self.counts, (times, 1)), names, self.counts.columns),
            self.sequences,
            pd.DataFrame(np.tile(self.distances, (times, times)), names, names),
            pd.Series(np.tile(self.target, times), names, name=self.target.name),
            pd.Series(np.tile(self.groups, times), names, name=self.groups.name),
        )

    def write(self, folder, hashed=True):
        """Write the files into a new folder; return their paths by the names of the inputs of a call."""
        import biom
        import h5py

        folder.mkdir(parents=True)
        counts = self.counts if hashed else self.counts.rename(columns=self.sequences)
        table = biom.Table(counts.to_numpy().T, list(counts.columns), list(counts.index))
        with h5py.File(folder / 'table.biom', 'w') as file:
            table.to_hdf5(file, 'test')
        text = ''.join(f'>{name}\n{sequence}\n' for name, sequence in self.sequences.items())
        (folder / 'sequences.fasta').write_text(text)
        self.distances.to_csv(folder / 'distances.tsv', sep='\t', na_rep='nan')
        return types.SimpleNamespace(
            table=folder / 'table.biom',
            sequences=folder / 'sequences.fasta' if hashed else None,
            distance_matrix=folder / 'distances.tsv',
        )


def make_tiny():
    """A community that turns over with age: each ASV has its time, so that presence and counts tell the target."""
    random = np.random.default_rng(42)
    ages = np.linspace(0, 12, SAMPLES)
    times = np.linspace(-1, 13, ASVS)
    expected = 200 * np.exp(-(((ages[:, None] - times) / 2.5) ** 2))
    counts = random.poisson(expected).astype(float)
    names = [SAMPLE.format(i) for i in range(SAMPLES)]
    sequences = {f'feature{i:02d}': ''.join(random.choice(list('ACGT'), random.integers(40, 61))) for i in range(ASVS)}
    present = counts > 0
    either = (present[:, None] | present).sum(-1)
    distances = 1 - (present[:, None] & present).sum(-1) / either
    return Tiny(
        pd.DataFrame(counts, index=names, columns=list(sequences)),
        sequences,
        pd.DataFrame(distances, index=names, columns=names),
        pd.Series(ages, index=names, name='age'),
        pd.Series([SUBJECT.format(i // 2) for i in range(SAMPLES)], index=names, name='subject'),
    )


def run_pretrain(tiny, place, matrix=True, hashed=True, files=None, say=None, groups=None, **options):
    """Pretrain on a tiny study in the folder `place`; return the bundle's folder, history and lines of progress.

    `files` are those that were written before, where a call must be the same as another: BIOM files hold their date.
    """
    from q2_aam.config import PretrainConfig
    from q2_aam.training.pretrain import pretrain

    files, folder, lines = _prepare(tiny, place, hashed, files)
    config = PretrainConfig.from_flat(TINY | options)
    history = pretrain(
        files.table, folder, config, files.sequences, files.distance_matrix if matrix else None,
        say=say or lines.append, groups=groups,
    )  # fmt: skip
    return types.SimpleNamespace(folder=folder, history=history, lines=lines, files=files)


def few_steps(patch):
    """Let perceptrons take 20 steps instead of hundreds, and make few trees, until `patch` is undone.

    Perceptrons and the network are then trained to the end however little they give, so that tests see all there is.
    """
    from q2_aam.model.member_arrays import EXTRA_TREES
    from q2_aam.training import effort, ensemble, members, perceptrons

    for name in ('MIN_STEPS', 'MAX_STEPS'):
        patch.setattr(perceptrons, name, 20)
    for module in (perceptrons, effort):
        patch.setattr(module, 'MIN_GAIN', float('-inf'))
    patch.setattr(members, 'QUICK_TREES', 10)
    patch.setitem(
        ensemble.FITS,
        EXTRA_TREES,
        lambda data, *_: ensemble._with_noise(members.fit_extra_trees(data, 20), lambda made: 0.0),
    )


@contextlib.contextmanager
def _perhaps_few_steps(quick):
    with pytest.MonkeyPatch.context() as patch:
        if quick:
            few_steps(patch)
        yield


def run_fit(
    tiny,
    place,
    encoder=None,
    groups=True,
    matrix=False,
    hashed=True,
    files=None,
    say=None,
    quick=True,
    covariates=None,
    split=None,
    settings=None,
    more=None,
    **options,
):
    """Fit a regressor on a tiny study in the folder `place`; return all that it gives and what was reported."""
    from q2_aam.config import FitRegressorConfig
    from q2_aam.training.fit import fit_regressor

    files, folder, lines = _prepare(tiny, place, hashed, files)
    form = {name: value for name, value in TINY.items() if encoder is None or name not in _form_options()}
    form['random_forest'] = False
    with _perhaps_few_steps(quick):
        predictions, details, history = fit_regressor(
            files.table, tiny.target, folder, FitRegressorConfig.from_flat(form | options), files.sequences, encoder,
            tiny.groups if groups else None, files.distance_matrix if matrix else None, say=say or lines.append,
            covariates=covariates, split=split, settings=settings, **(more or {}),
        )  # fmt: skip
    return types.SimpleNamespace(
        folder=folder, predictions=predictions, details=details, history=history, lines=lines, files=files
    )


def run_fit_classifier(
    tiny,
    place,
    encoder=None,
    groups=True,
    matrix=False,
    files=None,
    say=None,
    target=None,
    quick=True,
    covariates=None,
    more=None,
    **options,
):
    """Fit a classifier of the tiny study's stages, or of `target`; return all that it gives and what was reported."""
    from q2_aam.config import FitClassifierConfig
    from q2_aam.training.fit import fit_classifier

    files, folder, lines = _prepare(tiny, place, True, files)
    form = {name: value for name, value in TINY.items() if encoder is None or name not in _form_options()}
    form['random_forest'] = False
    with _perhaps_few_steps(quick):
        predictions, probabilities, details, history = fit_classifier(
            files.table, tiny.stages if target is None else target, folder,
            FitClassifierConfig.from_flat(form | options), files.sequences, encoder, tiny.groups if groups else None,
            files.distance_matrix if matrix else None, say=say or lines.append, covariates=covariates,
            **(more or {}),
        )  # fmt: skip
    return types.SimpleNamespace(
        folder=folder, predictions=predictions, probabilities=probabilities, details=details, history=history,
        lines=lines, files=files,
    )  # fmt: skip


def run_predict_classes(tiny, place, model, covariates=None, **options):
    """Predict the classes of a tiny study written into the folder `place`; return all that comes of it."""
    from q2_aam.config import PredictClassesConfig
    from q2_aam.inference.predict import predict_classes

    files = tiny.write(place / 'inputs')
    config = PredictClassesConfig.from_flat({'threads': 1, 'device': 'cpu'} | options)
    return predict_classes(files.table, model, config, files.sequences, say=lambda line: None, covariates=covariates)


def run_predict(tiny, place, model, hashed=True, say=lambda line: None, covariates=None, scale_by=None, **options):
    """Predict a tiny study written into the folder `place`; return predictions and details."""
    from q2_aam.config import PredictConfig
    from q2_aam.inference.predict import predict

    files = tiny.write(place / 'inputs', hashed)
    config = PredictConfig.from_flat({'threads': 1, 'device': 'cpu'} | options)
    given = {'covariates': covariates, 'scale_by': scale_by}
    return predict(files.table, model, config, files.sequences, say=say, **given)


def _prepare(tiny, place, hashed, files):
    files = files or tiny.write(place / 'inputs', hashed)
    folder = place / 'bundle'
    folder.mkdir(parents=True, exist_ok=True)
    return files, folder, []


def _form_options():
    from q2_aam.config import ModelConfig

    return {opt.name for opt in ModelConfig.options()}


@pytest.fixture(autouse=True)
def work_dir(tmp_path, monkeypatch):
    """Keep working files of runs out of the user's cache folder; a test that trains twice is to train twice."""
    monkeypatch.setenv('AAM_WORK_DIR', str(tmp_path / 'work'))
    monkeypatch.setattr('q2_aam.runtime.run_directory.DAYS_KEPT', 0)
    return tmp_path / 'work'


@pytest.fixture
def quick_members(monkeypatch):
    """Few steps and few trees (:func:`few_steps`) in all that a test does."""
    few_steps(monkeypatch)


@pytest.fixture
def tiny():
    """24 samples of 12 subjects on 30 ASVs of 40 to 60 nucleotides."""
    return make_tiny()


@pytest.fixture
def pretrained(tmp_path):
    """Pretrain on a tiny study: (tiny, name of a new folder, options) -> what :func:`run_pretrain` returns."""
    return lambda tiny, name='pretrained', **options: run_pretrain(tiny, tmp_path / name, **options)


@pytest.fixture
def fitted(tmp_path):
    """Fit on a tiny study: (tiny, name of a new folder, options) -> what :func:`run_fit` returns."""
    return lambda tiny, name='fitted', **options: run_fit(tiny, tmp_path / name, **options)


@pytest.fixture
def classified(tmp_path):
    """Fit a classifier: (tiny, name of a new folder, options) -> what :func:`run_fit_classifier` returns."""
    return lambda tiny, name='classified', **options: run_fit_classifier(tiny, tmp_path / name, **options)


@pytest.fixture
def predicted_classes(tmp_path):
    """Predict classes: (tiny, model, name of a new folder, options) -> predictions, probabilities, details."""
    return lambda tiny, model, name='predicted', **options: run_predict_classes(tiny, tmp_path / name, model, **options)


@pytest.fixture
def predicted(tmp_path):
    """Predict a tiny study: (tiny, model, name of a new folder, options) -> predictions, details."""
    return lambda tiny, model, name='predicted', **options: run_predict(tiny, tmp_path / name, model, **options)


@pytest.fixture(scope='session')
def tiny_encoder(tmp_path_factory):
    """A run of pretraining that every test may read and none may change."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp('encoder')
        patch.setenv('AAM_WORK_DIR', str(place / 'work'))
        return run_pretrain(make_tiny(), place / 'run')


@pytest.fixture(scope='session')
def tiny_regressor(tmp_path_factory):
    """A fitted regressor that every test may read and none may change."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp('regressor')
        patch.setenv('AAM_WORK_DIR', str(place / 'work'))
        return run_fit(make_tiny(), place / 'run')


@pytest.fixture(scope='session')
def facility_regressor(tmp_path_factory):
    """A regressor fitted with covariates, its study and these, that every test may read and none may change."""
    from tests.facilities import make_facilities

    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp('facilities')
        patch.setenv('AAM_WORK_DIR', str(place / 'work'))
        tiny, covariates = make_facilities()
        run = run_fit(tiny, place / 'run', covariates=covariates, learning_rate=0.01)
        return types.SimpleNamespace(run=run, folder=run.folder, tiny=tiny, covariates=covariates)


@pytest.fixture(scope='session')
def tiny_classifier(tmp_path_factory):
    """A fitted classifier that every test may read and none may change."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp('classifier')
        patch.setenv('AAM_WORK_DIR', str(place / 'work'))
        return run_fit_classifier(make_tiny(), place / 'run')


class _NeedsQiime2(pytest.Module):
    """A file of tests that cannot be imported here; it is skipped with a line."""

    def collect(self):
        pytest.skip('q2-types is not installed; it is not on PyPI', allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    room = pathlib.Path(module_path).parent.name
    if room not in WITH_QIIME2 or pathlib.Path(module_path).name in WITHOUT_QIIME2:
        return None
    if importlib.util.find_spec('q2_types') is not None:
        return None
    return _NeedsQiime2.from_parent(parent, path=module_path)
