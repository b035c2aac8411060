"""The estimators: the library's models bit for bit, on tables in memory, by the rules of scikit-learn."""

import io
import pathlib
import pickle
import re
import subprocess
import sys
import types
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.utils import estimator_checks

from q2_aam import bundle, encoders
from q2_aam.config import EmbedConfig, FitClassifierConfig, FitRegressorConfig, PredictConfig, PretrainConfig
from q2_aam.config.data import FitData, FoldData
from q2_aam.errors import AAMWarning, UserError
from q2_aam.estimators import Classifier, Encoder, Regressor
from q2_aam.estimators.base import Estimator
from q2_aam.estimators.predictors import HELD_OUT
from tests.conftest import TINY, few_steps, make_tiny, run_fit, run_fit_classifier, run_predict, run_predict_classes

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'python.md').read_text('utf-8')
ALL = (Regressor, Classifier, Encoder)
CALLS = (FitRegressorConfig, FitClassifierConfig, PretrainConfig)
# Checks that every scikit-learn has, and those of later ones. Left out are those that fit an estimator: they do so on
# bare arrays, and a table without ids is refused: a sample is looked up in groups by its id, a feature in sequences.
CHECKS = (
    'check_parameters_default_constructible',
    'check_no_attributes_set_in_init',
    'check_get_params_invariance',
    'check_set_params',
    'check_estimators_unfitted',
)
LATER = (
    'check_do_not_raise_errors_in_init_or_set_params',
    'check_estimator_cloneable',
    'check_estimator_repr',
    'check_estimator_tags_renamed',
    'check_mixin_order',
    'check_valid_tag_types',
)
NO_ENSEMBLE = TINY | {'abundance_ensemble': False}


def inputs(tiny):
    return {'sequences': tiny.sequences, 'groups': tiny.groups}


@pytest.fixture(scope='module')
def fitted(tmp_path_factory):
    """A Regressor that every test may read and none may change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AAM_WORK_DIR', str(tmp_path_factory.mktemp('estimators')))
        few_steps(patch)
        tiny = make_tiny()
        return Regressor(**TINY, **inputs(tiny)).fit(tiny.counts, tiny.target)


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """An Encoder that learned distances, and that every test may read and none may change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AAM_WORK_DIR', str(tmp_path_factory.mktemp('encoders')))
        tiny = make_tiny()
        return Encoder(**TINY, sequences=tiny.sequences, distance_matrix=tiny.distances).fit(tiny.counts)


@pytest.mark.parametrize('estimator', ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize('name', [*CHECKS, *(name for name in LATER if hasattr(estimator_checks, name))])
def test_the_checks_of_scikit_learn_pass(name, estimator):
    with warnings.catch_warnings():
        # check_set_params warns of an estimator that refuses values before it is fitted
        warnings.simplefilter('error', UserWarning)
        getattr(estimator_checks, name)(estimator.__name__, estimator())


def test_the_check_of_a_transformer_that_is_not_fitted_passes():
    estimator_checks.check_transformers_unfitted('Encoder', Encoder())


@pytest.mark.parametrize('estimator, call', zip(ALL, CALLS), ids=lambda kind: kind.__name__)
def test_parameters_and_defaults_are_those_of_the_configuration(estimator, call):
    given = estimator().get_params()
    expected = {opt.name: opt.default for opt in call.options() if opt.name not in HELD_OUT}
    assert {name: given[name] for name in expected} == expected
    assert given['harmonize'] == 'auto' and given['verbose'] is False
    assert all(f'\n{name} : default ' in estimator.__init__.__doc__ for name in given)


def test_no_samples_are_held_out_of_a_fit_for_a_test():
    assert set(HELD_OUT) == {opt.name for opt in FitData.options()} - {opt.name for opt in FoldData.options()}
    with pytest.raises(UserError, match="^Regressor has no parameter 'test_fraction'; all samples that fit is given"):
        Regressor(test_fraction=0.2)


def test_neither_torch_nor_qiime2_is_loaded_before_a_model_is_fitted():
    code = (
        'import sys; from q2_aam.estimators import Regressor; from sklearn.base import clone; '
        'print(clone(Regressor(width=32))); '
        'print(sorted({"torch", "qiime2", "rachis", "q2_types", "anndata"} & set(sys.modules)))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == 'Regressor(width=32)\n[]\n'


def test_a_regressor_is_that_of_the_library_bit_for_bit(tiny, fitted, tmp_path):
    run = run_fit(tiny, tmp_path / 'library', test_fraction=0.0)
    for name in (bundle.MODEL_FILE, bundle.CONFIG_FILE):
        assert fitted.bundle_.files[name] == (run.folder / name).read_bytes(), name
    assert fitted.details_.equals(run.details) and repr(fitted.history_.rows) == repr(run.history.rows)
    predictions, details = run_predict(tiny, tmp_path / 'predicted', run.folder)
    reversed_table = tiny.counts[::-1]
    assert list(fitted.predict(reversed_table)) == list(predictions[reversed_table.index])
    assert fitted.details(reversed_table).equals(details.loc[reversed_table.index])
    expected = details[['lower_bound', 'upper_bound']].to_numpy()
    assert fitted.predict_interval(tiny.counts).tobytes() == expected.tobytes()
    narrower = fitted.predict_interval(tiny.counts, coverage=0.5)
    assert (np.diff(narrower) < np.diff(expected)).all()


def test_a_classifier_is_that_of_the_library_bit_for_bit(tiny, tmp_path, quick_members):
    run = run_fit_classifier(tiny, tmp_path / 'library', test_fraction=0.0, abundance_ensemble=False)
    # as a list, in the order of the table
    model = Classifier(**NO_ENSEMBLE, **inputs(tiny)).fit(tiny.counts, tiny.stages.rename(None))
    for name in (bundle.MODEL_FILE, bundle.CONFIG_FILE):
        ours, theirs = model.bundle_.files[name], (run.folder / name).read_bytes()
        assert ours == theirs.replace(b'"name": "stage"', b'"name": "target"'), name
    predictions, probabilities, _ = run_predict_classes(tiny, tmp_path / 'predicted', run.folder)
    assert list(model.classes_) == list(probabilities.columns)
    assert list(model.predict(tiny.counts)) == list(predictions)
    assert model.predict_proba(tiny.counts).tobytes() == probabilities.to_numpy().tobytes()
    assert model.score(tiny.counts, tiny.stages) == np.mean(predictions == tiny.stages)
    assert not hasattr(Classifier(), 'classes_')


def test_a_score_is_r2_of_samples_that_have_a_value_and_a_prediction(tiny, fitted):
    residuals = tiny.target - fitted.predict(tiny.counts)
    r2 = 1 - (residuals**2).sum() / ((tiny.target - tiny.target.mean()) ** 2).sum()
    assert fitted.score(tiny.counts, tiny.target) == pytest.approx(r2)
    ends = np.r_[np.ones(4), np.zeros(20)]
    young = tiny.counts.index[:4]
    assert fitted.score(tiny.counts, tiny.target, ends) == pytest.approx(
        fitted.score(tiny.counts.loc[young], tiny.target[young]), abs=1e-4
    )
    counts = tiny.counts.copy()
    counts.iloc[3] = 0
    rest = tiny.counts.index.delete(3)
    expected = fitted.score(tiny.counts.loc[rest], tiny.target[rest])
    with pytest.warns(AAMWarning, match="^1 sample of the table has no prediction .*'sample-of-visit-03'"):
        assert fitted.score(counts, list(tiny.target)) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UserError, match='^No sample of the table has both a value in y and a prediction'):
        fitted.score(tiny.counts, [None] * len(tiny.counts))


def test_cross_validation_of_scikit_learn_leaves_groups_out(tiny):
    model = Regressor(**NO_ENSEMBLE, **inputs(tiny))
    shuffled = tiny.shuffled()
    found = cross_val_score(
        model, shuffled.counts, tiny.target[shuffled.counts.index], groups=tiny.groups[shuffled.counts.index],
        cv=GroupKFold(2), scoring='neg_mean_absolute_error', error_score='raise',
    )  # fmt: skip
    folds = GroupKFold(2).split(shuffled.counts, groups=tiny.groups[shuffled.counts.index])
    train, test = next(folds)
    table = shuffled.counts
    by_hand = clone(model).fit(table.iloc[train], tiny.target[table.index[train]])
    assert not hasattr(model, 'bundle_') and set(by_hand.details_.index) == set(table.index[train])
    error = np.abs(by_hand.predict(table.iloc[test]) - tiny.target[table.index[test]]).mean()
    assert len(found) == 2 and -found[0] == pytest.approx(error)


def test_an_encoder_is_that_of_the_library_bit_for_bit(tiny, pretrained, tiny_encoder, tmp_path):
    from q2_aam.inference.embed import embed, embed_samples

    for name in (bundle.MODEL_FILE, bundle.CONFIG_FILE):
        assert pretrained.bundle_.files[name] == (tiny_encoder.folder / name).read_bytes(), name
    files = tiny.write(tmp_path / 'inputs')
    config = EmbedConfig.from_flat({'threads': 1, 'device': 'cpu'})
    embedded = embed_samples(files.table, tiny_encoder.folder, config, files.sequences, [].append)
    ours = pretrained.transform(tiny.counts[::-1])
    assert ours.dtype == np.float32 and ours.tobytes() == embedded.to_numpy()[::-1].tobytes()
    # the ordination and its matrix are made of these
    _, distances = embed(files.table, tiny_encoder.folder, config, files.sequences, [].append)
    between = np.linalg.norm(embedded.to_numpy()[:, None] - embedded.to_numpy(), axis=-1)
    np.testing.assert_allclose(between, distances, atol=1e-4)
    predicted = pretrained.distances(tiny.counts)
    assert predicted.shape == distances.shape and not predicted.equals(distances)


def test_samples_are_embedded_as_in_any_table_and_those_without_reads_are_nan(tiny, pretrained):
    model = clone(pretrained).set_params(embedding='mean')
    model.bundle_ = pretrained.bundle_
    together = model.transform(tiny.counts)
    assert together.shape == (24, TINY['width'])
    np.testing.assert_allclose(model.transform(tiny.counts.iloc[[5]]), together[[5]], atol=1e-5)
    counts = tiny.counts.iloc[:3].copy()
    counts.iloc[1] = 0
    with pytest.warns(AAMWarning, match="^1 sample of the table has no embedding .*'sample-of-visit-01'"):
        empty = model.transform(counts)
    assert np.isnan(empty[1]).all() and not np.isnan(empty[[0, 2]]).any()


def test_a_model_starts_from_an_encoder_in_memory_or_in_a_folder(tiny, pretrained, tmp_path):
    pretrained.save(tmp_path / 'encoder')
    form = {opt.name for opt in PretrainConfig.groups()['model'].options()}
    quick = {name: value for name, value in NO_ENSEMBLE.items() if name not in form} | {'epochs': 1}
    one, two = (
        clone(Regressor(**quick, **inputs(tiny), encoder=encoder)).fit(tiny.counts, tiny.target)
        for encoder in (pretrained.bundle_, tmp_path / 'encoder')
    )
    assert one.bundle_.files[bundle.MODEL_FILE] == two.bundle_.files[bundle.MODEL_FILE]
    assert one.bundle_.config.call.model.width == TINY['width']


def test_a_model_is_saved_and_loaded_with_its_parameters(tiny, fitted, tmp_path):
    fitted.save(tmp_path / 'model')
    bundle.check(tmp_path / 'model')
    again = Regressor.load(tmp_path / 'model')
    assert list(again.predict(tiny.counts, sequences=tiny.sequences)) == list(fitted.predict(tiny.counts))
    assert again.width == TINY['width'] and again.quantiles == () and again.freeze in ('none', 'asv', 'auto')
    # those of the machine are not the model's
    assert (again.device, again.threads) == ('auto', 0)
    assert clone(again).get_params() == again.get_params()
    with pytest.raises(UserError, match='is there already and is no empty folder; give a new one'):
        fitted.save(tmp_path / 'model')
    with pytest.raises(UserError, match='^The model is of the kind regressor, but classifier is needed'):
        Classifier.load(tmp_path / 'model')
    with pytest.raises(UserError, match='^The model lacks its file'):
        Regressor.load(tmp_path / 'nowhere')


def test_features_without_sequences_are_known_by_name_and_placed_by_their_taxonomy(tiny):
    names = [f'OTU{number}' for number in range(tiny.counts.shape[1])]
    counts = tiny.counts.set_axis(names, axis=1)
    taxonomy = pd.Series([f'k__A; g__{number // 3}' for number in range(len(names))], names)
    form = {name: value for name, value in NO_ENSEMBLE.items() if name != 'nucleotides_per_token'}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AAMWarning)
        model = Regressor(**form, taxonomy=taxonomy).fit(counts, tiny.target)
        predictions = model.predict(counts)
        new = counts.rename(columns={'OTU0': 'new'})
        model.taxonomy = taxonomy.rename({'OTU0': 'new'})
        placed = model.details(new)
        model.taxonomy = None
        left_out = model.details(new)
    assert np.isfinite(predictions).all() and (placed['share_of_reads_near'] == 1).all()
    assert left_out['share_of_reads_near'].min() < 1
    with pytest.raises(UserError, match='^taxonomy must be a pandas.Series by feature ID, but it is of '):
        Regressor(**form, taxonomy={'OTU0': 'k__A'}).fit(counts, tiny.target)


def test_an_encoder_that_comes_with_the_package_is_loaded(tiny):
    model = Encoder.load(encoders.path_of('v4'))
    assert model.bundle_.config.distance_divisor is not None


def test_a_pickle_goes_through_the_bundle_and_holds_no_object_of_torch(tiny, fitted):
    modules = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            modules.add(module.partition('.')[0])
            return super().find_class(module, name)

    again = Unpickler(io.BytesIO(pickle.dumps(fitted))).load()
    assert 'q2_aam' in modules and not {'torch', 'safetensors'} & modules
    assert list(again.predict(tiny.counts)) == list(fitted.predict(tiny.counts))
    again.bundle_.files[bundle.MODEL_FILE] = again.bundle_.files[bundle.MODEL_FILE][:-1] + b'!'
    with pytest.raises(UserError, match="^The model's model.safetensors does not match the checksum"):
        again.predict(tiny.counts)


def test_a_clone_has_the_parameters_and_no_model(fitted):
    copy = clone(fitted)
    assert not hasattr(copy, 'bundle_')
    assert copy.width == TINY['width'] and copy.groups.equals(fitted.groups) and copy.sequences == fitted.sequences
    assert 'width=16' in repr(copy)


def test_files_are_removed_and_lines_are_printed_if_asked_for(tiny, fitted, work_dir, capsys):
    model = clone(fitted)
    model.bundle_ = fitted.bundle_
    model.predict(tiny.counts)
    assert capsys.readouterr().out == ''
    model.set_params(verbose=True).predict(tiny.counts)
    assert "Model: predicts 'age', on cpu" in capsys.readouterr().out
    with pytest.raises(UserError):
        model.predict(tiny.counts, sequences={'feature00': 'ACGT'})
    assert list(work_dir.iterdir()) == []


def test_the_same_call_takes_the_result_of_the_first_one(tiny, monkeypatch, capsys):
    monkeypatch.setattr('q2_aam.runtime.run_directory.DAYS_KEPT', 7)
    model = Regressor(**NO_ENSEMBLE | {'epochs': 1}, **inputs(tiny))
    first = clone(model).fit(tiny.counts, tiny.target)
    again = clone(model).set_params(verbose=True).fit(tiny.counts, tiny.target)
    assert 'This run finished on ' in capsys.readouterr().out
    assert again.bundle_.files == first.bundle_.files


def test_covariates_are_found_by_id_and_asked_for(tiny):
    covariates = pd.DataFrame({'weight': np.arange(24.0), 'site': pd.Categorical(['a', 'b'] * 12)}, tiny.counts.index)
    model = Regressor(**NO_ENSEMBLE | {'epochs': 1}, **inputs(tiny), covariates=covariates[::-1])
    model.fit(tiny.counts, tiny.target)
    assert model.bundle_.config.covariates.names == ['site', 'weight']
    known = model.predict(tiny.counts)
    assert list(model.predict(tiny.counts, covariates=covariates)) == list(known)
    model.set_params(covariates=None)
    with pytest.raises(UserError, match='^The model was trained with 2 covariates'):
        model.predict(tiny.counts)


def test_numbers_of_numpy_are_taken_and_wrong_values_are_refused_before_anything_is_written(tiny, work_dir):
    model = Regressor(width=np.int64(16), weight_decay=1, quantiles=[0.1, np.float32(0.5)], loss='quantile')
    config = model._config(FitRegressorConfig)
    assert type(config.model.width) is int and type(config.training.weight_decay) is float
    assert [type(level) for level in config.training.quantiles] == [float, float]
    with pytest.raises(UserError, match='^Parameter width must be a whole number'):
        Regressor(width='wide').fit(tiny.counts, tiny.target)
    assert not work_dir.exists()


@pytest.mark.parametrize(
    'change, sentence',
    [
        ({'y': [1.0, 2.0]}, '^y has 2 values, but the feature table has 24 samples; give one value for each'),
        ({'y': ['old'] * 24}, "^y must hold numbers, but it has 'old'; give numbers"),
        ({'y': None}, '^y must be a pandas.Series by sample ID, .* but it is of the type NoneType'),
        ({'y': pd.Series(1.0, range(24))}, '^The feature table and the metadata share no sample IDs'),
        ({'table': np.ones((24, 3))}, '^The feature table must be a pandas.DataFrame .* but it is of the type ndarray'),
        (
            {'table': pd.DataFrame(np.ones((24, 3)))},
            '^Sample IDs must be text, but the feature table has 0:',
        ),
        ({'sequences': {'other': 'ACGT'}}, "^The sequences have none of the features of the table .*'feature00'"),
        ({'groups': ['a', 'b']}, '^groups has 2 values, but the feature table has 24 samples'),
        ({'covariates': [1, 2]}, '^covariates must be a pandas.DataFrame by sample ID, but it is of the type list'),
        ({'encoder': Encoder()}, '^encoder must be bundle_ of a fitted Encoder, or the folder .* of the type Encoder'),
        ({'encoder': 'nowhere'}, "^encoder must be bundle_ of a fitted Encoder, or the folder .* but it is 'nowhere'"),
        ({'distance_matrix': [[0]]}, '^distance_matrix must be a pandas.DataFrame of samples by samples'),
    ],
)
def test_a_wrong_input_is_refused_in_a_sentence(tiny, change, sentence):
    given = {'table': tiny.counts, 'y': tiny.target} | change
    model = Regressor(**NO_ENSEMBLE, sequences=tiny.sequences)
    model.set_params(**{name: given[name] for name in change if name not in ('table', 'y')})
    with pytest.raises(UserError, match=sentence):
        model.fit(given['table'], given['y'])


def test_other_wrong_calls_are_refused_in_a_sentence(tiny):
    for estimator in ALL:
        with pytest.raises(UserError, match=f'^This {estimator.__name__} is not fitted; call fit first') as caught:
            estimator().save('nowhere')
        assert isinstance(caught.value, NotFittedError)
    with pytest.raises(UserError, match="^Encoder has no parameter 'widht'; perhaps width is meant"):
        Encoder().set_params(widht=3)
    with pytest.raises(UserError, match='^y must hold names of classes, which are text, but it has 0;'):
        Classifier(sequences=tiny.sequences).fit(tiny.counts, [0, 1] * 12)
    for name, value, sentence in (
        ('taxonomy', {'feature00': 'k__Bacteria'}, 'taxonomy must be a pandas.Series by feature ID, .* the type dict'),
        (
            'alpha_diversity',
            tiny.target,
            'alpha_diversity must be a list of pandas.Series .* of the type Series',
        ),
        ('alpha_diversity', [1.0], 'alpha_diversity must be a list of pandas.Series by sample ID'),
    ):
        with pytest.raises(UserError, match=f'^{sentence}'):
            Encoder(sequences=tiny.sequences, **{name: value}).fit(tiny.counts)
    with pytest.raises(UserError, match="^phylogeny must be the path of a file .* but it is 'tree.nwk'"):
        Encoder(sequences=tiny.sequences, phylogeny='tree.nwk').fit(tiny.counts)


def test_the_python_of_the_page_runs(tiny, tmp_path, monkeypatch):
    # a small network of a few steps: what is tried is the reader's code, not the training
    whole = Estimator._config

    def quick(self, call, **fixed):
        known = {opt.name for opt in call.options()}
        if self.encoder is not None:
            known -= {opt.name for opt in PretrainConfig.groups()['model'].options()}
        return whole(self, call, **fixed, **{name: NO_ENSEMBLE[name] for name in known & set(NO_ENSEMBLE)})

    monkeypatch.setattr(Estimator, '_config', quick)
    monkeypatch.chdir(tmp_path)
    files = tiny.write(tmp_path / 'inputs')
    files.table.rename('table.biom')
    files.sequences.rename('rep-seqs.fasta')
    metadata = pd.DataFrame({'age': tiny.target, 'subject': tiny.groups, 'site': ['gut', 'skin'] * 12})
    metadata.rename_axis('sample-id').to_csv('metadata.tsv', sep='\t')
    made = {}
    for code in re.findall(r'^```python\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(code, 'python.md', 'exec'), made)
    page = types.SimpleNamespace(**made)
    assert page.errors.shape == (3,) and (page.errors > 0).all()
    assert page.predictions.shape == page.flags.shape == (24,) and page.intervals.shape == page.probabilities.shape
    assert page.embeddings.shape == (24, TINY['width'])
    assert page.classifier.bundle_.config.call.model.width == TINY['width']


def test_the_configuration_of_predictions_is_the_estimators(tiny):
    config = Regressor(harmonize='off', abstain=True, threads=1)._config(PredictConfig, coverage='auto')
    assert (config.data.harmonize, config.data.abstain, config.data.coverage) == ('off', True, 'auto')
    assert config.runtime.threads == 1
