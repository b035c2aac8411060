"""What a bundle's `config.json` says: all that prediction needs besides arrays. Importable without torch."""

import dataclasses
import json
import math
import typing

import numpy as np

from q2_aam.config import AUTO, Call, FitClassifierConfig, FitConfig, PretrainConfig
from q2_aam.data.references import References
from q2_aam.stats.conformal import Calibration

CONFIG_FILE = 'config.json'
FORMAT_VERSION = 1
ENCODER, REGRESSOR, CLASSIFIER = 'encoder', 'regressor', 'classifier'
CALLS: dict[str, type[Call]] = {ENCODER: PretrainConfig, REGRESSOR: FitConfig, CLASSIFIER: FitClassifierConfig}
# Before the name of a class: the column of its probability.
PROBABILITY = 'probability_'
# Columns of the prediction interval.
LOWER, UPPER = 'lower_bound', 'upper_bound'
# Fields of BundleConfig that ask for arrays beside the network's weights. A model that has no such part has no such
# field in its file.
ARRAYS = ('references', 'blend')
# Least difficulty of a sample, in standard deviations of the target: quantiles that cross say nothing.
LEAST_DIFFICULTY = 0.1
# Share of a sample in known ASVs from which on the profile head has its full weight.
KNOWN_ENOUGH = 0.5
# Before the names of the profile head's arrays, and these.
PROFILE = 'profile.'
PROFILE_ARRAYS = {'keys': 'int64', 'scale': 'float32', 'shares': 'float32'} | {
    f'{layer}.{kind}': 'float32'
    for layer in ('first', 'first_norm', 'second', 'second_norm', 'out')
    for kind in ('weight', 'bias')
}
# The types of arrays, as numpy and as safetensors name them.
TYPES = {'float32': 'F32', 'int64': 'I64', 'uint8': 'U8'}


@dataclasses.dataclass(frozen=True)
class Target:
    """The numeric metadata column that a model predicts, and the scaling that is undone: center + scale * output.

    Attributes
    ----------
    name : str
    center, scale : float
    calibration : q2_aam.stats.conformal.Calibration or None
        What prediction intervals are made from, in the unit of the column; None before the model is trained.
    coverage : float or None
        Share of new samples whose true value they are to hold; there if, and only if, there is a calibration.
    root : bool
        Whether it is the square root of the column that is scaled.
    quantiles : bool
        Whether there are three outputs: the median, and the quantiles that end an interval. Prediction intervals are
        then wider where these are farther apart.
    """

    name: str
    center: float
    scale: float
    calibration: Calibration | None = None
    coverage: float | None = None
    root: bool = False
    quantiles: bool = False

    def __post_init__(self):
        numbers = (self.center, self.scale)
        if not isinstance(self.name, str) or not all(_is_number(number) for number in numbers) or not self.scale > 0:
            raise ValueError(
                'The target must have a name, a finite center and a scale above 0, but it has the name '
                f'{self.name!r}, the center {self.center!r} and the scale {self.scale!r}.'
            )
        for name in ('root', 'quantiles'):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(
                    f'The target must say true or false of its {name}, but it says {getattr(self, name)!r}.'
                )
        if isinstance(self.calibration, dict):
            check_names(self.calibration, names_of(Calibration), f'calibration of {CONFIG_FILE}')
            object.__setattr__(self, 'calibration', Calibration(**self.calibration))
        if self.calibration is None and self.coverage is None:
            return
        if not isinstance(self.calibration, Calibration) or not _is_number(self.coverage) or not 0 < self.coverage < 1:
            raise ValueError(
                'The target must have a calibration and a coverage above 0 and below 1, or neither, but its coverage '
                f'is {self.coverage!r}.'
            )
        if self.calibration.by_difficulty != self.quantiles:
            raise ValueError('The calibration of the target must be by difficulty if, and only if, it has quantiles.')

    @property
    def outputs(self):
        """How many outputs the network has for it."""
        return 3 if self.quantiles else 1

    def scaled(self, values):
        """Return values of the column as the network is to give them."""
        return ((np.sqrt(np.maximum(values, 0)) if self.root else values) - self.center) / self.scale

    def unscaled(self, outputs):
        """Return outputs of the network in the unit of the column."""
        values = outputs * self.scale + self.center
        return np.maximum(values, 0) ** 2 if self.root else values

    def difficulty(self, outputs):
        """Return half the distance of the outer quantiles, float64 [samples], in the unit of the column; else None."""
        if not self.quantiles:
            return None
        least = LEAST_DIFFICULTY * (self.unscaled(1.0) - self.unscaled(-1.0)) / 2
        return np.maximum((self.unscaled(outputs[:, 2]) - self.unscaled(outputs[:, 1])) / 2, least)

    def columns(self, outputs):
        """Return what outputs [samples, outputs] say, as columns in the unit of the target: prediction and interval."""
        predictions = self.unscaled(outputs[:, 0])
        if self.calibration is None:
            return {'prediction': predictions}
        lower, upper = self.calibration.bounds(predictions, self.coverage, self.difficulty(outputs))
        return {'prediction': predictions, LOWER: lower, UPPER: upper}


@dataclasses.dataclass(frozen=True)
class Classes:
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
    temperature: float

    def __post_init__(self):
        if isinstance(self.classes, list):
            object.__setattr__(self, 'classes', tuple(self.classes))
        names = self.classes
        sound = isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)
        if not sound or not isinstance(self.name, str) or not 2 <= len(names) == len(set(names)):
            raise ValueError(f'The target must have a name and two different classes or more, but it is {self}.')
        if not _is_number(self.temperature) or not self.temperature > 0:
            raise ValueError(f'The temperature must be a number above 0, but it is {self.temperature!r}.')

    @property
    def outputs(self):
        """How many outputs the network has for it."""
        return len(self.classes)

    def probabilities(self, outputs):
        """Return the probability of each class, float64 [samples, classes], from outputs of that shape."""
        scaled = np.asarray(outputs, dtype=np.float64) / self.temperature
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def columns(self, outputs):
        """Return what outputs [samples, classes] say, as columns: the likeliest class, the probability of each."""
        probabilities = self.probabilities(outputs)
        likeliest = np.array(self.classes, dtype=object)[probabilities.argmax(axis=1)]
        named = {PROBABILITY + name: column for name, column in zip(self.classes, probabilities.T)}
        return {'prediction': likeliest, **named}


@dataclasses.dataclass(frozen=True)
class Blend:
    """How outputs of the network and of the profile head are put together: each times its weight.

    Attributes
    ----------
    network, profile : float
    alone : float
        Weight of the network for samples of which the profile head knows nothing.
    members : int
        Those of the profile head.
    """

    network: float
    profile: float
    alone: float
    members: int

    def __post_init__(self):
        weights = (self.network, self.profile)
        if not _is_number(self.alone) or not self.alone > 0:
            raise ValueError(f'The weight of a network alone must be a number above 0, but it is {self.alone!r}.')
        if not all(_is_number(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
            raise ValueError(f'The weights of a blend must be numbers of at least 0 and not both 0, but it is {self}.')
        if type(self.members) is not int or self.members < 1:
            raise ValueError(f'The members of a blend must be a whole number above 0, but they are {self.members!r}.')

    def outputs(self, network, profile, known):
        """Return outputs [samples, outputs] from those of both.

        `known` [samples] is the share of a sample that the profile head knows. Where it is small, the network, which
        reads ASVs that nobody has seen before, takes over.
        """
        share = np.minimum(known / KNOWN_ENOUGH, 1)[:, None]
        return share * (self.network * network + self.profile * profile) + (1 - share) * self.alone * network


# What a model of a kind predicts; an encoder predicts nothing.
TARGETS: dict[str, type[Target] | type[Classes]] = {REGRESSOR: Target, CLASSIFIER: Classes}


@dataclasses.dataclass(frozen=True)
class BundleConfig:
    """What `config.json` holds: all that prediction needs besides the weights.

    Attributes
    ----------
    kind : str
        'encoder', 'regressor' or 'classifier'.
    call : PretrainConfig, FitConfig or FitClassifierConfig
        The parameters of the call that made the model, those of the model resolved.
    distance_divisor : float or None
        What true distances were divided by; None where no distances were learned.
    target : Target, Classes or None
        Of a regressor, of a classifier, of an encoder.
    references : dict or None
        The numbers of :class:`q2_aam.data.references.References`, whose sequences are an array of this name; None of
        an encoder.
    blend : Blend or None
        Where a profile head stands beside the network.
    """

    kind: str
    call: object
    distance_divisor: float | None = None
    target: Target | Classes | None = None
    references: dict | None = None
    blend: Blend | None = None

    @property
    def arrays(self):
        """The type, as safetensors names it, of each array that lies beside the network's weights, by its name."""
        types = {} if self.references is None else {'references': 'uint8'}
        if self.blend is not None:
            types |= {PROFILE + name: kind for name, kind in PROFILE_ARRAYS.items()}
        return {name: TYPES[kind] for name, kind in types.items()}

    def to_json(self):
        """Return the text of `config.json`."""
        fields = {'format_version': FORMAT_VERSION, **dataclasses.asdict(self)}
        fields = {name: value for name, value in fields.items() if name not in ARRAYS or value is not None}
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + '\n'

    @classmethod
    def from_json(cls, text):
        """Read what :meth:`to_json` wrote; ValueError in one sentence where it cannot be."""
        fields = read_object(text, CONFIG_FILE)
        check_version(fields, CONFIG_FILE)
        del fields['format_version']
        fields = dict.fromkeys(ARRAYS) | fields
        check_names(fields, names_of(cls), CONFIG_FILE)
        if not isinstance(fields['kind'], str) or fields['kind'] not in CALLS:
            raise ValueError(f'The kind of a model must be one of {", ".join(CALLS)}, but it is {fields["kind"]!r}.')
        try:
            call = CALLS[fields['kind']].from_dict(fields['call'])
        except ValueError as error:
            raise ValueError(f"In the model's {CONFIG_FILE}: {error}") from error
        if unresolved := [name for name, value in vars(call.model).items() if value == AUTO]:
            raise ValueError(f"The model's {CONFIG_FILE} gives 'auto' for {unresolved[0]}, where a value must stand.")
        divisor = fields['distance_divisor']
        if divisor is not None and not (_is_number(divisor) and divisor > 0):
            raise ValueError(f"The model's {CONFIG_FILE} has the distance divisor {divisor!r}, which is not above 0.")
        target = _target(fields['kind'], fields['target'])
        references = _references(fields['kind'], fields['references'])
        return cls(fields['kind'], call, divisor, target, references, _blend(fields['kind'], fields['blend']))


def _target(kind, fields):
    """Return what `config.json` says of the target of a model of this kind."""
    if (fields is None) == (kind in TARGETS):
        raise ValueError(
            f"The model's {CONFIG_FILE} must have a target if, and only if, it is a regressor or a classifier."
        )
    if fields is None:
        return None
    wanted = TARGETS[kind]
    check_names(fields, names_of(wanted), f'target of {CONFIG_FILE}')
    target = wanted(**fields)
    if isinstance(target, Target) and target.calibration is None:
        raise ValueError(
            f"The target of the model's {CONFIG_FILE} has no calibration for its prediction intervals; train it again."
        )
    return target


def _references(kind, fields):
    if (fields is None) == (kind in TARGETS):
        raise ValueError(
            f"The model's {CONFIG_FILE} must have references if, and only if, it is a regressor or a classifier."
        )
    if fields is not None:
        check_names(fields, [name for name in names_of(References) if name != 'codes'], f'references of {CONFIG_FILE}')
    return fields


def _blend(kind, fields):
    if fields is None:
        return None
    if kind not in TARGETS:
        raise ValueError(f"The model's {CONFIG_FILE} has a blend, but an encoder predicts nothing.")
    check_names(fields, names_of(Blend), f'blend of {CONFIG_FILE}')
    return Blend(**fields)


def read_object(text, name):
    """Return the object that is the text of the file `name`; ValueError in one sentence if it is none."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The model's {name} is damaged or cut off: it is not JSON ({error}).") from error
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {name} is damaged: it holds no object.")
    return fields


def check_version(fields, name):
    """Raise ValueError unless this version of the plugin reads the format version that the file `name` gives."""
    version = fields.get('format_version')
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"The model's {name} has no format version; use a model that this plugin has made.")
    if version > FORMAT_VERSION:
        raise ValueError(
            f'The model has format version {version}, but this version of q2-aam reads up to {FORMAT_VERSION}; '
            'update q2-aam.'
        )


def names_of(cls):
    """Return the names of the fields of a dataclass."""
    return [field.name for field in dataclasses.fields(cls)]


def check_names(fields, wanted, where):
    """Raise ValueError, which names the first one too many or too few, unless `fields` has the names `wanted`."""
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {where} must be an object, but it is {fields!r}.")
    if unknown := sorted(set(fields) - set(wanted)):
        raise ValueError(
            f"The model's {where} has a field that format version {FORMAT_VERSION} does not know: {unknown[0]}."
        )
    if missing := sorted(set(wanted) - set(fields)):
        raise ValueError(f"The model's {where} lacks the field {missing[0]} of format version {FORMAT_VERSION}.")


def _is_number(value) -> typing.TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
