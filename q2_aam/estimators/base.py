"""What the estimators have in common: parameters from config/, files for as long as a call takes, a model in memory."""

import contextlib
import dataclasses
import difflib
import inspect
import os
import pathlib
import types
import typing
import warnings
from collections.abc import Collection

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from q2_aam import bundle
from q2_aam.config import Call, Group, Option
from q2_aam.data.atomic import writing_output
from q2_aam.data.in_memory import column_of, counts_of, write_distances, write_fasta
from q2_aam.errors import AAMWarning, UserError, counted, have, shown
from q2_aam.runtime.run_directory import temporary_directory
from q2_aam.runtime.screen import print_line


class NotFitted(UserError, NotFittedError):
    """A model is asked for something before it is fitted."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A trained model in memory: the files of its bundle.

    A pickle of an estimator holds these bytes, and no object of PyTorch: what is read from them is checked as any
    bundle is. Pickles are for processes that trust each other, such as those of joblib; give a model to others by
    ``save``.

    Attributes
    ----------
    kind : str
        'encoder', 'regressor' or 'classifier'.
    files : dict
        {name: bytes}
    """

    kind: str
    files: dict[str, bytes] = dataclasses.field(repr=False)

    @classmethod
    def read(cls, folder: str | os.PathLike, kind: str) -> 'Model':
        """Read a bundle; UserError if it is damaged or of another kind."""
        bundle.load(folder, kind)
        return cls(kind, {name: (pathlib.Path(folder) / name).read_bytes() for name in bundle.FILES})

    def write(self, folder: str | os.PathLike) -> pathlib.Path:
        """Write the bundle into a folder, which is made, and return it."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder

    @property
    def config(self) -> bundle.BundleConfig:
        """What prediction needs besides arrays."""
        return bundle.BundleConfig.from_json(self.files[bundle.CONFIG_FILE])


def options_of(call: type[Call], *groups: type[Group], leave_out: Collection[str] = ()) -> list[Option]:
    """Return the options of a call, and those of groups that it lacks; advanced ones last."""
    sources: list[type[Call] | type[Group]] = [*groups, call]
    options = {opt.name: opt for source in sources for opt in source.options()}
    return sorted((opt for name, opt in options.items() if name not in leave_out), key=lambda opt: opt.advanced)


def constructor(options: list[Option], inputs: dict[str, str]) -> typing.Any:
    """Return an ``__init__`` with these keywords, which only keeps what it is given."""
    defaults = {**dict.fromkeys(inputs), **{opt.name: opt.default for opt in options}, 'verbose': False}
    helps = {**inputs, **{opt.name: opt.help for opt in options}, 'verbose': 'Print lines of progress.'}

    def __init__(self, **parameters):
        _check_names(self, parameters, defaults)
        for name, default in defaults.items():
            setattr(self, name, parameters.get(name, default))

    own = inspect.Parameter('self', inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # what scikit-learn reads names and defaults from
    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [own] + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name]) for name in defaults]
    )
    lines = [f'{name} : default {defaults[name]!r}\n    {text}' for name, text in helps.items()]
    __init__.__doc__ = 'Keep the parameters; :meth:`fit` checks them.\n\n' + '\n'.join(['Parameters', '-' * 10, *lines])
    return __init__


def _check_names(estimator, given, known):
    for name in given:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        advice = f'perhaps {near[0]} is meant.' if near else 'get_params() names those that it has.'
        advice = estimator._left_out.get(name, advice)
        raise UserError(f'{type(estimator).__name__} has no parameter {shown(name)}; {advice}')


def _plain(opt, value):
    """Return a value as the configuration takes it: numbers of numpy are Python's, a whole number may mean a float."""
    if isinstance(value, np.generic):
        value = value.item()
    if opt.many and isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_plain(dataclasses.replace(opt, many=False), one) for one in value)
    return float(value) if opt.kind is float and isinstance(value, int) and not isinstance(value, bool) else value


class Estimator(BaseEstimator):
    """What all three have in common."""

    _kind: typing.ClassVar[str]
    # what to do instead, by the name of a parameter that actions have
    _left_out: typing.ClassVar[dict[str, str]] = {}
    bundle_: Model
    verbose: bool

    def set_params(self, **params: typing.Any) -> typing.Any:
        """Change parameters; UserError for one that it does not have."""
        _check_names(self, params, self.get_params(deep=False))
        return super().set_params(**params)

    def save(self, folder: str | os.PathLike) -> None:
        """Write the model as a bundle into a new or empty folder: what an artifact of QIIME 2 holds."""
        model = self._fitted()
        folder = pathlib.Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f'{folder} is there already and is no empty folder; give a new one.')
        with writing_output(folder.parent):
            model.write(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> typing.Any:
        """Return a fitted estimator from a bundle, made by ``save`` or exported from an artifact.

        Its parameters are those of the training, with every 'auto' resolved; those of the machine (device, threads)
        have their default.

        Raises
        ------
        UserError
            If it is no bundle, is damaged or is a model of another kind.
        """
        estimator = cls()
        model = Model.read(folder, cls._kind)
        call = model.config.call
        machine = {opt.name for opt in call.groups()['runtime'].options()}
        names = set(estimator.get_params(deep=False)) - machine
        for name, value in call.to_flat().items():
            if name in names:
                setattr(estimator, name, tuple(value or ()) if value is None or isinstance(value, list) else value)
        estimator.bundle_ = model
        return estimator

    def _fitted(self) -> Model:
        if not hasattr(self, 'bundle_'):
            raise NotFitted(f'This {type(self).__name__} is not fitted; call fit first, or load a model.')
        return self.bundle_

    def _say(self, line: str) -> None:
        if self.verbose:
            print_line(line)

    def _config(self, call: type[Call], **fixed: typing.Any) -> typing.Any:
        """Return the configuration of a call: what is `fixed`, and the estimator's parameters."""
        given = self.get_params(deep=False)
        values = {opt.name: _plain(opt, given[opt.name]) for opt in call.options() if opt.name in given}
        try:
            return call.from_flat(values | fixed)
        except ValueError as error:
            raise UserError(str(error)) from error

    def _input(self, name, given=None):
        return getattr(self, name) if given is None else given

    @contextlib.contextmanager
    def _files(self, table, sequences=None):
        """Write what is in memory as files, for as long as a call takes."""
        counts = counts_of(table)
        sequences = self._input('sequences', sequences)
        with temporary_directory(self._say) as folder:
            counts.write(folder / 'table.biom')
            if sequences is not None:
                write_fasta(sequences, counts.feature_ids, folder / 'sequences.fasta')
            yield types.SimpleNamespace(
                folder=folder,
                sample_ids=counts.sample_ids,
                table=folder / 'table.biom',
                sequences=None if sequences is None else folder / 'sequences.fasta',
            )

    def _encoder(self, folder):
        """Return the folder of the encoder that is started from, None without one."""
        encoder = self._input('encoder')
        if encoder is None:
            return None
        if isinstance(encoder, Model):
            return encoder.write(folder / 'encoder')
        if not isinstance(encoder, (str, os.PathLike)) or not pathlib.Path(encoder).is_dir():
            raise UserError(
                'encoder must be bundle_ of a fitted Encoder, or the folder that one was saved to, but it is '
                f'{shown(encoder) if isinstance(encoder, str) else "of the type " + type(encoder).__name__}.'
            )
        return encoder

    def _distances(self, folder):
        if self._input('distance_matrix') is None:
            return None
        write_distances(self._input('distance_matrix'), folder / 'distances.tsv')
        return folder / 'distances.tsv'

    def _taxonomy(self):
        taxonomy = self._input('taxonomy')
        if taxonomy is not None and not isinstance(taxonomy, pd.Series):
            raise UserError(
                f'taxonomy must be a pandas.Series by feature ID, but it is of the type {type(taxonomy).__name__}.'
            )
        return taxonomy

    def _phylogeny(self):
        path = self._input('phylogeny')
        if path is not None and not (isinstance(path, (str, os.PathLike)) and pathlib.Path(path).is_file()):
            what = shown(path) if isinstance(path, str) else f'of the type {type(path).__name__}'
            raise UserError(f'phylogeny must be the path of a file with a rooted tree (Newick), but it is {what}.')
        return path

    def _clades(self, model):
        """Return what features without sequences are placed by; nothing where the model reads sequences."""
        from q2_aam.inference.read import NO_CLADES, Clades

        return NO_CLADES if model.config.features is None else Clades(self._taxonomy(), self._phylogeny())

    def _groups(self, sample_ids, given=None):
        groups = self._input('groups', given)
        return None if groups is None else column_of(groups, sample_ids, 'groups').dropna().map(str).astype(object)


def warn_of_missing(missing, why):
    """Warn of samples for which there is nothing; `missing` is bool by sample id."""
    ids = missing.index[missing]
    if len(ids):
        warnings.warn(
            f'{counted(len(ids), "sample")} of the table {have(len(ids))} no {why} (e.g. '
            f'{shown(ids[0])}): NaN stands in its place.',
            AAMWarning,
            stacklevel=3,
        )
