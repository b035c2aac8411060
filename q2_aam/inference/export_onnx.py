"""Exporting a model as ONNX: all of it in one graph, for runtimes that know nothing of this package."""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import pathlib
import warnings

import numpy as np
import torch

from q2_aam import bundle
from q2_aam.bundle.blend import Blend
from q2_aam.config import AUTO
from q2_aam.data.atomic import hash_file, writing_output
from q2_aam.data.depths import LOG_COUNTS
from q2_aam.data.sequences import A, T
from q2_aam.errors import UserError, counted, missing_package
from q2_aam.runtime.screen import print_line

from .export_described import described_of, inputs_of, vocabulary_lines
from .export_empty import with_empty_axes
from .export_graph import ModelGraph
from .onnx_files import INPUTS_FILE, MODEL_FILE, README_FILE, VOCABULARY_FILE
from .onnx_readme import readme

PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
# What a runtime may miss the library by; ONNX Runtime differs by 1e-6.
TOLERANCE = 1e-4
# Sizes of the batch by which a graph is made, and of one by which it is proved; none is 0 or 1, which graphs may keep.
TRACED, PROVED = (3, 4, 5), (2, 7, 9)
AXES = {'asvs', 'length', 'samples', 'places'}
# What a graph does not hold, for the user.
NOT_HELD = {
    'features': 'features that it knows by their names',
    'known_features': 'features that it knows by their names',
    'token_branches': 'branches of its tokens, for distances',
    'by_category': 'a scaling by category (scale_by)',
}
# What can be exported in its place, where that is not a model trained without.
INSTEAD = {
    'token_branches': (
        'export an encoder without them: v4 (qiime aam load-encoder --p-name v4), or one of your own, from pretrain '
        'with token_branches off'
    ),
}
# What it holds. A field in neither was added later: it is refused, too, unless it says "as before".
HELD: dict[type, set[str]] = {
    bundle.Bundle: {'config', 'network', 'references', 'ensemble', 'vocabulary', 'domain', 'known_asvs'},
    bundle.BundleConfig: {'kind', 'call', 'heads', 'distance_divisor', 'target', 'references', 'blend', 'min_coverage',
                          'covariates', 'extra_targets'},
    bundle.NumericTarget: {'name', 'center', 'scale', 'coverage', 'sqrt', 'quantiles', 'lowest', 'highest', 'log',
                           'levels', 'shown', 'calibration', 'difficulty'},
    bundle.ClassTarget: {'name', 'classes', 'temperature'},
    Blend: {'network', 'ensemble', 'network_alone', 'ensemble_alone', 'members', 'kinds'},
}  # fmt: skip


def export_onnx(model, folder, config, say=print_line):
    """Write a model as a folder for other runtimes.

    Parameters
    ----------
    model : path
        Bundle of an encoder, a regressor or a classifier.
    folder : path
        Exists, and is empty; gets :data:`q2_aam.inference.onnx_files.FILES`.
    config : q2_aam.config.ExportOnnxConfig
    say : callable
        Takes one line of progress.

    Raises
    ------
    q2_aam.errors.UserError
        If a package is missing, the model cannot be read, or has what a graph cannot hold; which is said.
    """
    check_packages(PACKAGES)
    loaded = bundle.load(model)
    _check_held(loaded)
    loaded = _with_coverage(loaded, config.export.coverage)
    graph = ModelGraph(loaded).eval()
    say(f'Model: {describe_kind(loaded)}, as a graph of ONNX.')
    content = _traced(graph, loaded)
    off = _proved(content, graph, loaded)
    folder = pathlib.Path(folder)
    with writing_output(folder):
        (folder / MODEL_FILE).write_bytes(content)
        (folder / VOCABULARY_FILE).write_text(''.join(f'{line}\n' for line in vocabulary_lines(loaded)), 'ascii')
        described = described_of(graph.columns, loaded, hash_file(pathlib.Path(model) / bundle.MODEL_FILE))
        described['model_sha256'] = hashlib.sha256(content).hexdigest()
        described['vocabulary_sha256'] = hash_file(folder / VOCABULARY_FILE)
        (folder / INPUTS_FILE).write_text(json.dumps(described, indent=1, allow_nan=False) + '\n', 'utf-8')
        (folder / README_FILE).write_text(readme(described), 'utf-8')
    say(
        f'Graph: {len(content) / 1e6:,.1f} MB; ONNX Runtime is at most {off:.1e} off on {counted(PROVED[0], "sample")}.'
    )


def check_packages(packages):
    """Raise UserError, which names it, if a package that exporting needs is not installed."""
    if missing := missing_package(packages):
        raise UserError(
            f"Exporting a model as ONNX needs the package {missing}; install it with: pip install 'q2-aam[onnx]'."
        )


def describe_kind(model: bundle.Bundle) -> str:
    """Return what a model is, and of what, for the user."""
    target = model.config.target
    return model.config.kind if target is None else f'{model.config.kind} of {target.name!r}'


def _check_held(model):
    """Raise UserError, which names it, if a model has something that the graph would leave out."""
    config = model.config
    if config.call.model.abundance_as == LOG_COUNTS:
        raise UserError(
            'The model is told of counts (abundance_as log_counts), which an exported graph cannot read; predict with '
            'q2-aam itself, or train a model with abundance_as shares.'
        )
    for part in filter(None, (config, config.target, config.blend, model)):
        for field in dataclasses.fields(part):
            if field.name not in HELD[type(part)] and getattr(part, field.name) != _default_of(field):
                raise UserError(
                    f'The model has {NOT_HELD.get(field.name, field.name)}, which an exported graph cannot hold; '
                    f'{INSTEAD.get(field.name, "predict with q2-aam itself, or train a model without")}.'
                )


def _default_of(field):
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _with_coverage(model, coverage):
    if coverage == AUTO:
        return model
    if model.config.kind != bundle.REGRESSOR:
        raise UserError(
            f'Parameter coverage is {coverage:g}, but {"an" if model.config.kind == bundle.ENCODER else "a"} '
            f'{model.config.kind} has no prediction intervals; leave it at auto.'
        )
    target = dataclasses.replace(model.config.target, coverage=coverage)
    return dataclasses.replace(model, config=dataclasses.replace(model.config, target=target))


def _batch(model, sizes, seed):
    """Return inputs of a graph by name: random samples, some of whose ASVs are of the vocabulary."""
    samples, places, asvs = sizes
    random = np.random.default_rng(seed)
    longest = model.config.call.model.max_sequence_length
    length = max(2, longest - 1)
    tokens = random.integers(A, T + 1, (asvs, length)).astype(np.int32)
    tokens[1, length // 2 + 1 :] = 0
    known = len(vocabulary_lines(model))
    number = np.arange(asvs) if known >= asvs else np.full(asvs, -1)
    given = {
        'tokens': tokens,
        'vocabulary_index': np.where(number % 3 == 2, -1, number).astype(np.int32),
        'asv_index': np.stack([random.permutation(asvs)[:places] for _ in range(samples)]).astype(np.int32),
        'abundances': random.integers(1, 100, (samples, places)).astype(np.float32),
    }
    given['asv_index'][0, -1] = -1
    schema = model.config.covariates
    if schema is not None and schema.categorical:
        given['covariate_categories'] = np.stack([random.integers(0, n, samples) for n in schema.entries], axis=1)
        given['covariate_categories'] = given['covariate_categories'].astype(np.int32)
    if schema is not None and schema.numeric:
        given['covariate_numbers'] = random.normal(size=(samples, len(schema.numeric))).astype(np.float32)
        given['covariate_numbers'][0, 0] = np.nan
    return given


def _traced(graph, model):
    """Return the bytes of the graph of a model."""
    given = _batch(model, TRACED, 1)
    axes = {
        'asvs': torch.export.Dim('asvs'),
        'length': torch.export.Dim('length', max=model.config.call.model.max_sequence_length),
        'samples': torch.export.Dim('samples'),
        'places': torch.export.Dim('places'),
    }
    dynamic = {
        name: {place: axes[axis] for place, axis in enumerate(shape) if axis in AXES}
        for name, _, shape, _ in inputs_of(model)
    }
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            kwargs={name: torch.from_numpy(values) for name, values in given.items()},
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=list(given),
            output_names=list(graph.columns),
            external_data=False,
            verbose=False,
        )
    return with_empty_axes(program.model_proto).SerializeToString()


@contextlib.contextmanager
def _quiet():
    """Keep what the exporter prints, logs and warns of from the user, to whom none of it says anything."""
    logged = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logged)


def _proved(content, graph, model):
    """Return by how much ONNX Runtime and this library differ on a batch of other sizes; UserError if it is much."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    given = _batch(model, PROVED, 2)
    with torch.no_grad():
        expected = graph(**{name: torch.from_numpy(values) for name, values in given.items()})
    found = session.run(list(graph.columns), given)
    off = 0.0
    for one, other in zip(expected, found):
        one = one.double().numpy()
        off = max(off, float(np.nanmax(np.abs(one - other) / np.maximum(1, np.abs(one)), initial=0.0)))
        if (np.isnan(one) != np.isnan(other)).any():
            off = float('inf')
    if not off <= TOLERANCE:
        raise UserError(
            f'The exported graph gives other numbers than the model ({off:.1e} off), so that nothing was written; '
            'install other versions of onnxscript and onnxruntime, or predict with q2-aam itself.'
        )
    return off
