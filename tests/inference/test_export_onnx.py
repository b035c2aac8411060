"""A model as ONNX: what another runtime computes from it, read as its page says, is what prediction gives."""

import dataclasses
import importlib.util
import json
import pathlib
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam import bundle
from q2_aam.bundle.blend import Blend
from q2_aam.config import DistancesConfig, ExportOnnxConfig, FitRegressorConfig, PredictClassesConfig, PredictConfig
from q2_aam.encoders import path_of
from q2_aam.errors import UserError
from q2_aam.inference import export_onnx as exporting
from q2_aam.inference import onnx_files
from q2_aam.inference.embed import predict_distances
from q2_aam.inference.export_described import outputs_of
from q2_aam.inference.predict import predict, predict_classes
from q2_aam.training.fit import fit_regressor

from .exported import assert_columns, reader_of, samples_of

FROZEN = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
ECAM = pathlib.Path(__file__).parents[1] / 'data' / 'ecam'
AS_THEY_ARE = {'harmonize': 'off', 'device': 'cpu', 'threads': 1}
COLUMNS = [
    'prediction', 'lower_bound', 'upper_bound', 'vocabulary_coverage', 'share_of_reads_in_vocabulary', 'familiarity',
    'disagreement',
]  # fmt: skip

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in exporting.PACKAGES),
    reason='exporting needs the packages of the extra onnx',
)


def silent(line):
    pass


def exported(model, folder, **options):
    """Export a model; return the folder, and the function of the reader on its page that runs it."""
    folder.mkdir()
    exporting.export_onnx(model, folder, ExportOnnxConfig.from_flat(options), say=silent)
    onnx_files.check(folder)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(reader_of((folder / 'README.md').read_text('utf-8')), names)
    return names['run']


@needs_onnx
def test_a_runtime_of_onnx_gives_what_predict_gives_as_the_page_says(tmp_path):
    model, table = FROZEN / 'regressor', FROZEN / 'table.biom'
    run = exported(model, tmp_path / 'onnx', coverage=0.5)
    _, details = predict(table, model, PredictConfig.from_flat(AS_THEY_ARE | {'coverage': 0.5}), say=silent)
    samples, sequences = samples_of(table)
    assert_columns(run({name: samples[name] for name in details.index}, sequences), details, COLUMNS, 1e-5)
    # one sample of one ASV, and one letter
    alone = run({'one': {'x': 3}}, {'x': 'A'})
    assert alone['prediction'].shape == (1,) and np.isfinite(alone['prediction']).all()
    # samples without reads have no prediction, also where there is no other sample, and no ASV at all
    empty = run({'one': {}, 'other': {'x': 0}}, {'x': 'A'})
    assert all(values.shape == (2,) and np.isnan(values).all() for values in empty.values())
    described = json.loads((tmp_path / 'onnx' / 'inputs.json').read_text('utf-8'))
    assert (
        described['weights_sha256']
        == bundle.schema.read_object((model / 'config.json').read_bytes(), 'x')['weights_sha256']
    )


@needs_onnx
@pytest.mark.slow
def test_classes_and_their_probabilities_come_out_of_the_runtime(tmp_path):
    model, table = FROZEN / 'classifier', FROZEN / 'table.biom'
    run = exported(model, tmp_path / 'onnx')
    _, probabilities, _ = predict_classes(table, model, PredictClassesConfig.from_flat(AS_THEY_ARE), say=silent)
    samples, sequences = samples_of(table)
    found = run({name: samples[name] for name in probabilities.index}, sequences)
    np.testing.assert_allclose(found['probabilities'], probabilities.to_numpy(), atol=1e-5)
    empty = run({'one': {}}, {})
    assert empty['prediction'].tolist() == [-1] and np.isnan(empty['probabilities']).all()


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize('encoder', [FROZEN / 'encoder', path_of('v4')])
def test_distances_come_out_of_the_runtime(tmp_path, encoder):
    run = exported(encoder, tmp_path / 'onnx')
    table = FROZEN / 'table.biom'
    distances = predict_distances(table, encoder, DistancesConfig.from_flat(AS_THEY_ARE), say=silent)
    samples, sequences = samples_of(table)
    found = run({name: samples[name] for name in distances.index}, sequences)
    np.testing.assert_allclose(found['distances'], distances.to_numpy(), atol=1e-4)


@needs_onnx
@pytest.mark.slow
def test_covariates_go_into_the_runtime(facility_regressor, tmp_path):
    study = facility_regressor
    run = exported(study.folder, tmp_path / 'onnx')
    files = study.tiny.write(tmp_path / 'inputs')
    config = PredictConfig.from_flat(AS_THEY_ARE)
    _, details = predict(files.table, study.folder, config, files.sequences, silent, study.covariates)
    samples, sequences = samples_of(files.table, files.sequences)
    found = run({name: samples[name] for name in details.index}, sequences, study.covariates.T.to_dict())
    assert_columns(found, details, COLUMNS, 1e-4)


def unpacked(name, ending, folder):
    """Return the path of the only file of this ending in an artifact's data."""
    with zipfile.ZipFile(ECAM / name) as file:
        (member,) = [one for one in file.namelist() if '/data/' in one and one.endswith(ending)]
        return pathlib.Path(file.extract(member, folder))


@needs_onnx
@pytest.mark.slow
def test_all_of_ecam_is_predicted_to_one_in_ten_thousand(tmp_path):
    table, fasta = unpacked('table.qza', '.biom', tmp_path), unpacked('rep-seqs.qza', '.fasta', tmp_path)
    metadata = pd.read_csv(ECAM / 'metadata.tsv', sep='\t', index_col=0)
    age = pd.to_numeric(metadata['month_of_life'], errors='coerce').dropna()
    groups = metadata['subject'][age.index]
    options = {
        'width': 32, 'asv_layers': 1, 'sample_layers': 1, 'attention_heads': 2, 'memberships': 32, 'epochs': 5,
        'random_seed': 3, 'threads': 1, 'device': 'cpu', 'random_forest': False,
    }  # fmt: skip
    folder = tmp_path / 'model'
    folder.mkdir()
    fit_regressor(table, age, folder, FitRegressorConfig.from_flat(options), fasta, groups=groups, say=silent)
    run = exported(folder, tmp_path / 'onnx')
    _, details = predict(table, folder, PredictConfig.from_flat(AS_THEY_ARE), fasta, say=silent)
    samples, sequences = samples_of(table, fasta)
    names = sorted(details.index, key=lambda name: len(samples[name]))
    parts = [run({name: samples[name] for name in names[at : at + 32]}, sequences) for at in range(0, len(names), 32)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
    assert len(names) == 875
    assert_columns(found, details.loc[names], COLUMNS, 1e-4)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize('form', [
    {'positions': 'rotary', 'activation': 'silu', 'pooling': 'mean'},
    {'activation': 'relu', 'pooling': 'attention', 'abundance_fusion': 'concat'},
])  # fmt: skip
def test_a_network_of_another_form_is_the_same_in_the_runtime(tiny, fitted, tmp_path, form):
    folder = fitted(tiny, 'other', abundance_ensemble=False, **form).folder
    files = tiny.write(tmp_path / 'inputs')
    run = exported(folder, tmp_path / 'onnx')
    _, details = predict(files.table, folder, PredictConfig.from_flat(AS_THEY_ARE), files.sequences, say=silent)
    samples, sequences = samples_of(files.table, files.sequences)
    found = run({name: samples[name] for name in details.index}, sequences)
    assert_columns(found, details, ['prediction'], 1e-4)


def test_a_missing_package_is_named_and_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxscript' else name)
    with pytest.raises(UserError) as error:
        exporting.export_onnx(FROZEN / 'regressor', tmp_path, ExportOnnxConfig(), silent)
    assert str(error.value) == (
        "Exporting a model as ONNX needs the package onnxscript; install it with: pip install 'q2-aam[onnx]'."
    )


@pytest.mark.parametrize('kind, word', [('classifier', 'a classifier'), ('encoder', 'an encoder')])
def test_a_coverage_is_refused_where_there_are_no_intervals(kind, word):
    with pytest.raises(UserError, match=f'^Parameter coverage is 0.5, but {word} has no prediction intervals; leave'):
        exporting._with_coverage(bundle.load(FROZEN / kind), 0.5)


def test_what_a_graph_cannot_hold_is_refused_by_its_name():
    model = bundle.load(FROZEN / 'regressor')
    named = dataclasses.replace(model, known_features=object())
    with pytest.raises(
        UserError, match='^The model has features that it knows by their names, which an exported graph'
    ):
        exporting._check_held(named)
    model.config.call.model.__dict__['abundance_as'] = 'log_counts'
    with pytest.raises(UserError, match=r'^The model is told of counts \(abundance_as log_counts\), which an exported'):
        exporting._check_held(model)
    model.config.call.model.__dict__['abundance_as'] = 'shares'
    target = dataclasses.replace(model.config.target)
    object.__setattr__(target, 'by_category', object())
    scaled = dataclasses.replace(model, config=dataclasses.replace(model.config, target=target))
    with pytest.raises(UserError, match=r'^The model has a scaling by category \(scale_by\), which an exported graph'):
        exporting._check_held(scaled)


def test_who_exports_the_newest_encoder_is_told_which_one_can_be_exported():
    with pytest.raises(UserError) as error:
        exporting._check_held(bundle.load(path_of('v4.1')))
    assert str(error.value) == (
        'The model has branches of its tokens, for distances, which an exported graph cannot hold; export an encoder '
        'without them: v4 (qiime aam load-encoder --p-name v4), or one of your own, from pretrain with '
        'token_branches off.'
    )
    exporting._check_held(bundle.load(path_of('v4')))


def test_the_page_says_which_end_of_an_interval_is_which():
    names = ['lower_bound', 'upper_bound']
    words = {row[0]: row[-1] for row in outputs_of(names, bundle.load(FROZEN / 'regressor'))}
    rest = 'end of the prediction interval that is to hold 0.9 of new samples, in the unit of the target.'
    assert words == {'lower_bound': f'Lower {rest}', 'upper_bound': f'Upper {rest}'}


def test_every_field_of_a_model_is_held_or_refused_in_words():
    """A field that was added to a model must be put into the graph, or told of where it is refused."""
    for part in (bundle.Bundle, bundle.BundleConfig, bundle.NumericTarget, bundle.ClassTarget, Blend):
        names = {field.name for field in dataclasses.fields(part)}
        assert exporting.HELD[part] <= names
        assert names - exporting.HELD[part] <= set(exporting.NOT_HELD), part


def test_a_runtime_that_gives_other_numbers_is_found_before_anything_is_written(monkeypatch):
    class Session:
        def __init__(self, *given, **more):
            pass

        def run(self, names, given):
            return [values.numpy() + 0.01 for values in outputs]

    model = bundle.load(FROZEN / 'regressor')
    graph = exporting.ModelGraph(model).eval()
    given = exporting._batch(model, exporting.PROVED, 2)
    with torch.no_grad():
        outputs = graph(**{name: torch.from_numpy(values) for name, values in given.items()})
    runtime = type('Runtime', (), {'SessionOptions': Session, 'InferenceSession': Session})
    monkeypatch.setitem(__import__('sys').modules, 'onnxruntime', runtime)
    with pytest.raises(UserError, match=r'^The exported graph gives other numbers than the model \(1\.0e-02 off\)'):
        exporting._proved(b'', graph, model)
