"""What a bundle's `config.json` says: all that prediction needs besides arrays. Importable without torch.

A bundle of this version is read for ever. A field that a bundle lacks, because it is older than the field, takes the
value that means "as before": the default of the dataclass, or `absent` of an option. A field that is unknown here, or a
newer version, is refused by name.
"""

import dataclasses
import json
from typing import Any

from q2_aam.config import (
    AUTO,
    Call,
    FitClassifierConfig,
    FitRegressorConfig,
    HeadConfig,
    PretrainConfig,
)
from q2_aam.data.references import References

from .targets import Blend, ClassTarget, NumericTarget, is_number

CONFIG_FILE = 'config.json'
FORMAT_VERSION = 1
ENCODER, REGRESSOR, CLASSIFIER = 'encoder', 'regressor', 'classifier'
CALLS: dict[str, type[Call]] = {
    ENCODER: PretrainConfig,
    REGRESSOR: FitRegressorConfig,
    CLASSIFIER: FitClassifierConfig,
}
# What a model of a kind predicts; an encoder predicts nothing.
TARGETS: dict[str, type[NumericTarget] | type[ClassTarget]] = {REGRESSOR: NumericTarget, CLASSIFIER: ClassTarget}


@dataclasses.dataclass(frozen=True)
class BundleConfig:
    """What `config.json` holds: all that prediction needs besides the arrays.

    Attributes
    ----------
    kind : str
        'encoder', 'regressor' or 'classifier'.
    call : PretrainConfig, FitRegressorConfig or FitClassifierConfig
        The parameters of the call that made the model, with every 'auto' resolved.
    heads : dict
        {name: HeadConfig} of the heads whose weights the bundle holds.
    distance_divisor : float or None
        What true distances were divided by; None where no distances were learned.
    target : NumericTarget, ClassTarget or None
        Of a regressor, of a classifier, of an encoder.
    references : dict or None
        The numbers of :class:`q2_aam.data.references.References`, whose sequences are an array; None of an encoder.
    blend : Blend or None
        Where an abundance ensemble stands beside the network.
    """

    kind: str
    call: Any
    heads: dict[str, HeadConfig]
    distance_divisor: float | None = None
    target: NumericTarget | ClassTarget | None = None
    references: dict | None = None
    blend: Blend | None = None

    def to_json(self) -> str:
        """Return the text of `config.json`."""
        fields = {'format_version': FORMAT_VERSION, **dataclasses.asdict(dataclasses.replace(self, target=None))}
        if self.target is not None:
            fields['target'] = {name: getattr(self.target, name) for name in _names_of(type(self.target))}
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + '\n'

    @classmethod
    def from_json(cls, text: str) -> 'BundleConfig':
        """Read what :meth:`to_json` wrote; ValueError in one sentence where it cannot be."""
        fields = read_object(text, CONFIG_FILE)
        check_version(fields, CONFIG_FILE)
        del fields['format_version']
        _check_fields(fields, cls, CONFIG_FILE)
        kind = fields['kind']
        if not isinstance(kind, str) or kind not in CALLS:
            raise ValueError(f'The kind of a model must be one of {", ".join(CALLS)}, but it is {kind!r}.')
        divisor = fields.get('distance_divisor')
        if divisor is not None and not (is_number(divisor) and divisor > 0):
            raise ValueError(f"The model's {CONFIG_FILE} has the distance divisor {divisor!r}, which is not above 0.")
        return cls(
            kind,
            _call(kind, fields['call']),
            _heads(fields['heads']),
            divisor,
            _target(kind, fields.get('target')),
            _references(kind, fields.get('references')),
            _blend(kind, fields.get('blend')),
        )


def _call(kind, fields):
    try:
        call: Any = CALLS[kind].from_dict(fields)
    except ValueError as error:
        raise ValueError(f"In the model's {CONFIG_FILE}: {error}") from error
    if unresolved := [name for name, value in vars(call.model).items() if value == AUTO]:
        raise ValueError(f"The model's {CONFIG_FILE} gives 'auto' for {unresolved[0]}, where a value must stand.")
    return call


def _heads(fields):
    if not isinstance(fields, dict) or not all(isinstance(head, dict) for head in fields.values()):
        raise ValueError(f"The heads of the model's {CONFIG_FILE} must be objects by name, but they are {fields!r}.")
    for name, head in fields.items():
        _check_fields(head, HeadConfig, f'head {name} of {CONFIG_FILE}')
    return {name: HeadConfig(**head) for name, head in fields.items()}


def _target(kind, fields):
    """Return what `config.json` says of the target of a model of this kind."""
    _check_there('target', kind, fields)
    if fields is None:
        return None
    _check_fields(fields, TARGETS[kind], f'target of {CONFIG_FILE}')
    target = TARGETS[kind](**fields)
    if isinstance(target, NumericTarget) and target.coverage is None:
        raise ValueError(f"The target of the model's {CONFIG_FILE} has no coverage for its intervals; train it again.")
    return target


def _references(kind, fields):
    _check_there('references', kind, fields)
    if fields is not None:
        _check_fields(fields, References, f'references of {CONFIG_FILE}', without='codes')
    return fields


def _blend(kind, fields):
    if fields is None:
        return None
    if kind not in TARGETS:
        raise ValueError(f"The model's {CONFIG_FILE} has a blend, but an encoder predicts nothing.")
    _check_fields(fields, Blend, f'blend of {CONFIG_FILE}')
    return Blend(**fields)


def _check_there(name, kind, fields):
    if (fields is None) == (kind in TARGETS):
        raise ValueError(
            f"The model's {CONFIG_FILE} must have {name} if, and only if, it is a regressor or a classifier."
        )


def read_object(text: str, name: str) -> dict:
    """Return the object that is the text of the file `name`; ValueError in one sentence if it is none."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The model's {name} is damaged or incomplete: it is not JSON ({error}).") from error
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {name} is damaged: it holds no object.")
    return fields


def check_version(fields: dict, name: str) -> None:
    """Raise ValueError unless this version of the plugin reads the format version that the file `name` gives."""
    version = fields.get('format_version')
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"The model's {name} has no format version; use a model that this plugin has made.")
    if version > FORMAT_VERSION:
        raise ValueError(
            f'The model has format version {version}, but this version of q2-aam reads up to {FORMAT_VERSION}; '
            'update q2-aam.'
        )


def _names_of(cls, without=None):
    """Return the names of the fields of a dataclass that stand in JSON."""
    fields = dataclasses.fields(cls)
    return [field.name for field in fields if not field.metadata.get('array') and field.name != without]


def _check_fields(fields, cls, where, without=None):
    """Raise ValueError, which names the field, unless `fields` are of the dataclass; those with a default may lack."""
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {where} must be an object, but it is {fields!r}.")
    names = _names_of(cls, without)
    if unknown := sorted(set(fields) - set(names)):
        raise ValueError(
            f"The model's {where} has a field that format version {FORMAT_VERSION} does not know: {unknown[0]}; use "
            'the version of q2-aam that made it, or train the model again.'
        )
    needed = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING} & set(names)
    if missing := sorted(needed - set(fields)):
        raise ValueError(f"The model's {where} lacks the field {missing[0]} of format version {FORMAT_VERSION}.")
