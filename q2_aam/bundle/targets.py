"""What a model predicts, and how its outputs are read: scaling, intervals, probabilities.

Shapes: N samples, O outputs.
"""

import copy
import dataclasses
import json
import typing

import numpy as np

from q2_aam.data.details import LOWER, PROBABILITY, QUANTILE, UPPER
from q2_aam.data.signs import Signs
from q2_aam.errors import UserError
from q2_aam.stats.conformal import Calibration
from q2_aam.stats.difficulty import Difficulty, difficulty_features
from q2_aam.stats.temperature import softmax

from .scales import COLUMN, LOG, MAX_CENTER, MAX_SCALE, MIN_SCALE, SQRT, ByCategory, Scale, check_levels
from .untrusted import MAX_BYTES, brief

# Least difficulty of a sample, in standard deviations of the target: quantiles that cross say nothing.
MIN_DIFFICULTY = 0.1
# What outputs are multiplied or divided by; what training finds lies within a factor of 20 of 1.
MIN_FACTOR, MAX_FACTOR = 1e-6, 1e6
# A name is written into config.json once and into card.json twice, where a letter takes up to 12 bytes.
MAX_NAME = 1000


@dataclasses.dataclass(frozen=True)
class NumericTarget:
    """The numeric metadata column that a model predicts, and the scaling that is undone: center + scale * output.

    Attributes
    ----------
    name : str
    center, scale : float
    coverage : float or None
        Share of new samples whose true value prediction intervals are to hold; None before the model is trained.
    sqrt : bool
        Whether it is the square root of the column that is scaled.
    quantiles : bool
        Whether there are three outputs: the median, and the quantiles that end an interval. Prediction intervals are
        then wider where these are farther apart.
    lowest, highest : float or None
        Least and largest value that is predicted; None: there is no such limit.
    log : bool
        Whether it is the logarithm of 1 + the column that is scaled.
    levels : tuple of float
        Where quantiles were asked for: that of each output. The first is the median, the next two end an interval. They
        are sorted before they are read, so that none crosses another (Chernozhukov, Fernandez-Val and Galichon 2010,
        doi:10.3982/ECTA7880). Empty: the three outputs are read as they are.
    shown : tuple of float
        Those of the levels that have a column of their own.
    by_category : ByCategory or None
        Where the scaling is that of the category of each sample: the target is then read by :meth:`of`.
    calibration : q2_aam.stats.conformal.Calibration or None
        What prediction intervals are made from; of a square root, on that scale, so that intervals are wider for
        large values and never below 0. Its arrays stand beside the weights of a bundle, not in its config.json.
    difficulty : q2_aam.stats.difficulty.Difficulty or None
        How hard samples are to predict, by which prediction intervals are wider or narrower; an array, too.
    """

    name: str
    center: float
    scale: float
    coverage: float | None = None
    sqrt: bool = False
    quantiles: bool = False
    lowest: float | None = None
    highest: float | None = None
    log: bool = False
    levels: tuple = ()
    shown: tuple = ()
    by_category: ByCategory | None = None
    calibration: Calibration | None = dataclasses.field(default=None, metadata={'array': True})
    difficulty: Difficulty | None = dataclasses.field(default=None, metadata={'array': True})

    def __post_init__(self):
        _check_name(self.name)
        if not is_number(self.center, -MAX_CENTER, MAX_CENTER) or not is_number(self.scale, MIN_SCALE, MAX_SCALE):
            raise UserError(
                f'The target must have a center from -{MAX_CENTER:g} to {MAX_CENTER:g} and a scale from {MIN_SCALE:g} '
                f'to {MAX_SCALE:g}, but it has the center {brief(self.center)} and the scale {brief(self.scale)}.'
            )
        for name in ('sqrt', 'log', 'quantiles'):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f'{name} of the target must be true or false, but it is {brief(getattr(self, name))}.')
        if self.coverage is not None and not (is_number(self.coverage, 0, 1) and 0 < self.coverage < 1):
            raise ValueError(f'The coverage of the target must lie between 0 and 1, but it is {brief(self.coverage)}.')
        for name in ('lowest', 'highest'):
            limit = getattr(self, name)
            if limit is not None and not is_number(limit, -MAX_CENTER, MAX_CENTER):
                raise ValueError(f'The {name} value of the target must be a number, but it is {brief(limit)}.')
        if self.lowest is not None and self.highest is not None and not self.lowest < self.highest:
            raise ValueError(
                f'The lowest value of the target ({self.lowest:g}) must be below the highest ({self.highest:g}).'
            )
        if self.sqrt and self.log:
            raise ValueError('The target must not be both a square root and a logarithm.')
        self._check_levels()
        if self.by_category is not None and not isinstance(self.by_category, ByCategory):
            object.__setattr__(self, 'by_category', _by_category(self.by_category))
        by_difficulty = self.quantiles or self.difficulty is not None or self.by_category is not None
        if self.calibration is not None and self.calibration.by_difficulty != by_difficulty:
            raise ValueError(
                'The calibration of the target must be by difficulty if, and only if, it has quantiles, a difficulty '
                'or a scaling by category.'
            )

    def _check_levels(self):
        for name in ('levels', 'shown'):
            # JSON has lists
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        check_levels(self.levels, self.shown, self.quantiles)

    def of(self, codes: np.ndarray | None) -> 'NumericTarget':
        """Return the target as outputs for samples of these categories are read by it, with arrays [N] as its scaling.

        Parameters
        ----------
        codes : int64 [N] or None
            Number of the category of each sample from 1 on, 0 where it is unknown: the scaling is that of all samples
            then. None: the target is returned as it is.
        """
        by_category = self.by_category
        if codes is None or by_category is None:
            return self
        of_samples = copy.copy(self)
        for name, of_all, each in (
            ('center', self.center, by_category.centers),
            ('scale', self.scale, by_category.scales),
        ):
            # not checked again: they are arrays now
            object.__setattr__(of_samples, name, np.array([of_all, *each])[codes])
        return of_samples

    @property
    def on_scale(self) -> Scale:
        """The scale on which it is learned."""
        return SQRT if self.sqrt else LOG if self.log else COLUMN

    @property
    def outputs(self) -> int:
        """How many outputs the network has for it."""
        return (len(self.levels) or 3) if self.quantiles else 1

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return values of the column as the network is to give them."""
        return (self.on_scale.to_scale(values) - self.center) / self.scale

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions of outputs [N, O], in the unit of the column."""
        return self._to_unit(self._linear(self._ordered(outputs)[:, 0]))

    def errors(self, outputs: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Return predicted minus true value on the scale of the calibration: of a square root, of that."""
        return self._linear(self._ordered(outputs)[:, 0]) - self.on_scale.to_scale(true)

    def difficulty_of(self, outputs: np.ndarray, signs: Signs | None) -> np.ndarray | None:
        """Return how hard samples are to predict, float64 [N]; None where all are as hard.

        With quantiles it is half the distance of the outer ones, on the scale of the calibration, else it follows from
        the outputs [N, O] and the signs of the samples (:mod:`q2_aam.stats.difficulty`), and from their category, where
        that scales the target.
        """
        if self.quantiles:
            outputs = self._ordered(outputs)
            half = (self._linear(outputs[:, 2]) - self._linear(outputs[:, 1])) / 2
            return np.maximum(half, MIN_DIFFICULTY * self.scale)
        of_category = None if self.by_category is None else self.scale * np.ones(len(outputs))
        if self.difficulty is None:
            return of_category
        if signs is None:
            raise ValueError('Intervals of this target need the signs of the samples.')
        found = self.difficulty(features_of(outputs, signs))
        return found if of_category is None else found * of_category

    def columns(self, outputs: np.ndarray, signs: Signs | None = None) -> dict[str, np.ndarray]:
        """Return what outputs [N, O] say, as columns in the unit of the target: prediction and interval."""
        ordered = self._ordered(outputs)
        centers = self._linear(ordered[:, 0])
        columns = {'prediction': self._to_unit(centers)}
        if self.calibration is not None:
            bounds = self.calibration.bounds(centers, self.coverage, self.difficulty_of(outputs, signs))
            columns |= {LOWER: self._to_unit(bounds[0]), UPPER: self._to_unit(bounds[1])}
        for level in self.shown:
            columns[f'{QUANTILE}{level:g}'] = self._to_unit(self._linear(ordered[:, self.levels.index(level)]))
        return columns

    def _ordered(self, outputs):
        """Return outputs [N, O] of which those of higher levels are never below those of lower ones."""
        if not self.levels:
            return outputs
        return np.sort(outputs, axis=1)[:, np.argsort(np.argsort(self.levels))]

    def _linear(self, outputs):
        """Return outputs on the scale of the calibration: that of a square root or of a logarithm begins at 0."""
        values = outputs * self.scale + self.center
        return np.maximum(values, 0) if self.on_scale.from_zero else values

    def _to_unit(self, values):
        values = self.on_scale.to_unit(values)
        if self.highest is not None:
            values = np.minimum(values, self.highest)
        return values if self.lowest is None else np.maximum(values, self.lowest)


def _by_category(fields):
    names = {field.name for field in dataclasses.fields(ByCategory)}
    if not isinstance(fields, dict) or set(fields) != names:
        raise ValueError(
            f'The scaling by category of the target must be an object of {", ".join(sorted(names))}, but it is '
            f'{brief(fields)}.'
        )
    return ByCategory(**fields)


def features_of(outputs: np.ndarray, signs: Signs) -> np.ndarray:
    """Return what the difficulty of a numeric target depends on, float64 [N, F], of outputs [N, O] and signs."""
    return difficulty_features(outputs[:, 0], signs.disagreement, signs.vocabulary_coverage, signs.familiarity)


@dataclasses.dataclass(frozen=True)
class ClassTarget:
    """The categorical metadata column that a model predicts.

    Attributes
    ----------
    name : str
    classes : tuple of str
        In the order of the outputs.
    temperature : float
        What outputs are divided by before they become probabilities (Guo et al. 2017, arXiv:1706.04599).
    """

    name: str
    classes: tuple
    temperature: float = 1.0

    def __post_init__(self):
        _check_name(self.name)
        # JSON has lists
        if isinstance(self.classes, list):
            object.__setattr__(self, 'classes', tuple(self.classes))
        classes = self.classes
        if (
            not isinstance(classes, tuple)
            or not all(isinstance(name, str) for name in classes)
            or not 2 <= len(set(classes)) == len(classes)
        ):
            raise ValueError(f'The target must have two different classes or more, but it has {brief(classes)}.')
        # half of what a config.json may have is left to everything else
        if len(json.dumps(classes)) > MAX_BYTES // 2:
            raise UserError(
                f'The names of the {len(classes):,} classes are too long for a model, which holds {MAX_BYTES // 2:,} '
                'bytes of them; give shorter names, or merge classes.'
            )
        if not is_number(self.temperature, MIN_FACTOR, MAX_FACTOR):
            raise ValueError(
                f'The temperature must be a number from {MIN_FACTOR:g} to {MAX_FACTOR:g}, but it is '
                f'{brief(self.temperature)}.'
            )

    @property
    def outputs(self) -> int:
        """How many outputs the network has for it."""
        return len(self.classes)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class, float64 [N, O], from outputs of that shape."""
        return softmax(outputs, self.temperature)

    def columns(self, outputs: np.ndarray, signs: Signs | None = None) -> dict[str, np.ndarray]:
        """Return what outputs [N, O] say, as columns: the most probable class, the probability of each.

        The signs of the samples, which make intervals of numbers wider, change no probability.
        """
        probabilities = self.probabilities(outputs)
        predictions = np.array(self.classes, dtype=object)[probabilities.argmax(axis=1)]
        named = {PROBABILITY + name: column for name, column in zip(self.classes, probabilities.T)}
        return {'prediction': predictions, **named}


def is_number(value, low: float, high: float) -> typing.TypeGuard[float]:
    """Tell whether `value` is a number from `low` to `high`."""
    # compared and not converted: an integer may be larger than any float; NaN is nowhere
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _check_name(name):
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        length = f' ({len(name):,} characters)' if isinstance(name, str) else ''
        raise UserError(
            f'The name of the metadata column to predict must be text of 1 to {MAX_NAME:,} characters, but it is '
            f'{brief(name)}{length}; rename it.'
        )
