"""What a bundle's `config.json` says: all that prediction needs besides arrays. Importable without torch.

A bundle of this version is read for ever. A field that a bundle lacks, because it is older than the field, takes the
value that means "as before": the default of the dataclass, or `absent` of an option. A field that is unknown here, or a
newer version, is refused by name.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from q2_aam.config import (
    AUTO,
    Call,
    FitClassifierConfig,
    FitRegressorConfig,
    HeadConfig,
    PretrainConfig,
)
from q2_aam.data.covariates import CovariateSchema
from q2_aam.data.extra_targets import HEAD as EXTRA_HEAD
from q2_aam.data.extra_targets import MAX_EXTRA_TARGETS
from q2_aam.data.names import OF_CLASSES, OF_COLUMNS, first_fault
from q2_aam.data.references import References
from q2_aam.errors import shown

from .blend import Blend
from .covariates import COLUMNS, read_covariates
from .fields import FORMAT_VERSION, check_fields, check_version, fields_of
from .named import NamedFeatures, read_features
from .targets import ClassTarget, NumericTarget, is_number
from .untrusted import brief, one_line, read_object

CONFIG_FILE = 'config.json'
# The field with the checksum of the weights.
WEIGHTS_SHA256 = 'weights_sha256'
ENCODER, REGRESSOR, CLASSIFIER = 'encoder', 'regressor', 'classifier'
CALLS: dict[str, type[Call]] = {
    ENCODER: PretrainConfig,
    REGRESSOR: FitRegressorConfig,
    CLASSIFIER: FitClassifierConfig,
}
# What a model of a kind predicts; an encoder predicts nothing.
TARGETS: dict[str, type[NumericTarget] | type[ClassTarget]] = {REGRESSOR: NumericTarget, CLASSIFIER: ClassTarget}
# Heads that predict distances.
DISTANCE_HEADS = (HeadConfig('distances'), HeadConfig('own_branches'))
# An objective needs one, and a model learns from a few.
MAX_HEADS = 64
MAX_OUTPUTS = 2**16
# Nucleotides of a sequence; no amplicon comes near it.
MAX_LENGTH = 10**9
# Of float32, in which distances are.
MAX_DIVISOR = 3e38


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
    min_coverage : tuple of two floats
        Share of a sample in ASVs of the vocabulary below which it is low: by logarithms and by reads.
    covariates : q2_aam.data.covariates.CovariateSchema or None
        What it reads of samples beside their reads; None of an encoder.
    extra_targets : tuple of NumericTarget
        What its network predicts beside the target, in the order of the outputs of the head of that name.
    features : q2_aam.bundle.named.NamedFeatures or None
        Of a model that knows features by their names; it has no references then.
    """

    kind: str
    call: Any
    heads: dict[str, HeadConfig]
    distance_divisor: float | None = None
    target: NumericTarget | ClassTarget | None = None
    references: dict | None = None
    blend: Blend | None = None
    min_coverage: tuple[float, float] = (0.0, 0.0)
    covariates: CovariateSchema | None = None
    extra_targets: tuple[NumericTarget, ...] = ()
    features: NamedFeatures | None = None

    def to_json(self, weights_sha256: str) -> str:
        """Return the text of `config.json`; it holds the checksum of the weights, too."""
        fields = {
            'format_version': FORMAT_VERSION,
            WEIGHTS_SHA256: weights_sha256,
            **dataclasses.asdict(dataclasses.replace(self, target=None, extra_targets=())),
            'extra_targets': [fields_of(target) for target in self.extra_targets],
        }
        if self.target is not None:
            fields['target'] = fields_of(self.target)
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + '\n'

    @classmethod
    def from_json(cls, text: str | bytes) -> 'BundleConfig':
        """Read what :meth:`to_json` wrote; ValueError in one sentence where it cannot be."""
        fields = read_object(text, CONFIG_FILE)
        check_version(fields, CONFIG_FILE)
        del fields['format_version']
        check_fields(fields, cls, CONFIG_FILE, more=WEIGHTS_SHA256)
        kind = fields['kind']
        if not isinstance(kind, str) or kind not in CALLS:
            raise ValueError(f'The kind of a model must be one of {", ".join(CALLS)}, but it is {brief(kind)}.')
        divisor = fields.get('distance_divisor')
        if divisor is not None and not is_number(divisor, 1 / MAX_DIVISOR, MAX_DIVISOR):
            raise ValueError(
                f"The distance divisor of the model's {CONFIG_FILE} must be a number above 0 and at most "
                f'{MAX_DIVISOR:g}, but it is {brief(divisor)}.'
            )
        heads, target = _heads(fields['heads']), _target(kind, fields.get('target'))
        extra = _extra_targets(kind, fields.get('extra_targets', []))
        _check_heads(heads, target, divisor, extra)
        call, features = _call(kind, fields['call']), read_features(fields.get('features'))
        if features is not None:
            features.check_form(call.model)
        return cls(
            kind,
            call,
            heads,
            divisor,
            target,
            _references(kind, fields.get('references'), fields.get('features')),
            _blend(kind, fields.get('blend')),
            _min_coverage(fields.get('min_coverage', [0.0, 0.0])),
            _covariates(kind, fields.get('covariates')),
            extra,
            features,
        )


def _call(kind, fields):
    try:
        call: Any = CALLS[kind].from_dict(fields)
    except ValueError as error:
        raise ValueError(f"In the model's {CONFIG_FILE}: {one_line(error)}") from error
    if unresolved := [name for name, value in vars(call.model).items() if value == AUTO]:
        raise ValueError(f"The model's {CONFIG_FILE} gives 'auto' for {unresolved[0]}, where a value must stand.")
    return call


def _heads(fields):
    if not isinstance(fields, dict) or not all(isinstance(head, dict) for head in fields.values()):
        raise ValueError(
            f"The heads of the model's {CONFIG_FILE} must be objects by name, but they are {brief(fields)}."
        )
    if len(fields) > MAX_HEADS:
        raise ValueError(
            f"The model's {CONFIG_FILE} has {len(fields):,} heads, of at most {MAX_HEADS}; use a model that this "
            'plugin has made.'
        )
    return {name: _head(name, head) for name, head in fields.items()}


def _head(name, fields):
    check_fields(fields, HeadConfig, f'head {shown(name)} of {CONFIG_FILE}')
    try:
        head = HeadConfig(**fields)
    except ValueError as error:
        raise ValueError(one_line(error)) from error
    if head.outputs > MAX_OUTPUTS:
        raise ValueError(
            f"The head {shown(name)} of the model's {CONFIG_FILE} has {head.outputs:,} outputs, of at most "
            f'{MAX_OUTPUTS:,}; use a model that this plugin has made.'
        )
    return head


def _check_heads(heads, target, divisor, extra):
    """Raise ValueError unless there are the heads that prediction asks for."""
    outputs = {} if target is None else {'target': target.outputs}
    outputs |= {EXTRA_HEAD: len(extra)} if extra else {}
    for name, number in outputs.items():
        head = heads.get(name)
        if head is None or (head.kind, head.outputs) != ('target', number):
            raise ValueError(
                f"The model's {CONFIG_FILE} must have a head of {number} outputs for its {name.replace('_', ' ')}; use "
                'a model that this plugin has made.'
            )
    _check_categories(heads, target)
    if divisor is not None and heads.get('distances') not in DISTANCE_HEADS:
        raise ValueError(
            f"The model's {CONFIG_FILE} has a distance divisor, but no head for distances; use a model that this "
            'plugin has made.'
        )


def _check_categories(heads, target):
    """Raise ValueError unless heads that differ between categories know those by which the target is scaled."""
    by_category = getattr(target, 'by_category', None)
    known = 0 if by_category is None else len(by_category.categories)
    for name, head in heads.items():
        if head.categories and (name != 'target' or not known or head.categories != known + 1):
            raise ValueError(
                f"The head {shown(name)} of the model's {CONFIG_FILE} has {head.categories:,} categories, but the "
                f'target is scaled by {known:,} and the unknown; use a model that this plugin has made.'
            )


def _target(kind, fields):
    """Return what `config.json` says of the target of a model of this kind."""
    if (fields is None) == (kind in TARGETS):
        raise ValueError(
            f"The model's {CONFIG_FILE} must have target if, and only if, it is a regressor or a classifier."
        )
    if fields is None:
        return None
    check_fields(fields, TARGETS[kind], f'target of {CONFIG_FILE}')
    target = TARGETS[kind](**fields)
    if isinstance(target, NumericTarget) and target.coverage is None:
        raise ValueError(f"The target of the model's {CONFIG_FILE} has no coverage for its intervals; train it again.")
    _check_names(target)
    return target


def _extra_targets(kind, fields):
    """Return what `config.json` says of extra targets."""
    if not isinstance(fields, list) or len(fields) > MAX_EXTRA_TARGETS or (fields and kind not in TARGETS):
        raise ValueError(
            f"The extra targets of the model's {CONFIG_FILE} must be a list of at most {MAX_EXTRA_TARGETS}, and none "
            f'of an encoder, but they are {brief(fields)}.'
        )
    for one in fields:
        check_fields(one, NumericTarget, f'extra targets of {CONFIG_FILE}')
    targets = tuple(NumericTarget(**one) for one in fields)
    for target in targets:
        _check_names(target)
    if len({target.name for target in targets}) < len(targets) or any(target.outputs != 1 for target in targets):
        raise ValueError(
            f"The extra targets of the model's {CONFIG_FILE} must have different names and one output each; use a "
            'model that this plugin has made.'
        )
    return targets


def _check_names(target):
    """Raise ValueError if predictions of a target could not be written; labels of such names are never learned."""
    classes = target.classes if isinstance(target, ClassTarget) else ()
    for what, names, faults in (('its target', [target.name], OF_COLUMNS), ('its classes', classes, OF_CLASSES)):
        fault = first_fault(names, faults)
        if fault is not None:
            words, wrong = fault
            raise ValueError(
                f"Names in the model's {CONFIG_FILE} must not {words}, but {what} has {shown(wrong[0])}; use a model "
                'that this plugin has made.'
            )
    if len({name.lower() for name in classes}) < len(classes):
        raise ValueError(
            f"The classes of the model's {CONFIG_FILE} must differ by more than upper and lower case; use a model that "
            'this plugin has made.'
        )


def _references(kind, fields, features):
    if fields is None and kind in TARGETS and features is None:
        raise ValueError(
            f"The model's {CONFIG_FILE} lacks references, which a {kind} must have; train the model again."
        )
    # encoders that older versions made have none
    if fields is not None:
        check_fields(fields, References, f'references of {CONFIG_FILE}', without='codes')
        # their sequences are an array, which is read later; what is said of one goes for all
        references = References(np.ones((1, 1), dtype=np.uint8), **fields)
        if references.longest > MAX_LENGTH:
            raise ValueError(
                f"The longest sequence in the references of the model's {CONFIG_FILE} must have at most "
                f'{MAX_LENGTH:,} nucleotides, but it has {references.longest:,}.'
            )
    return fields


def _blend(kind, fields):
    if fields is None:
        return None
    if kind not in TARGETS:
        raise ValueError(f"The model's {CONFIG_FILE} has a blend, but an encoder predicts nothing.")
    check_fields(fields, Blend, f'blend of {CONFIG_FILE}')
    return Blend(**fields)


def _min_coverage(shares):
    if not isinstance(shares, list) or len(shares) != 2 or not all(is_number(share, 0, 1) for share in shares):
        raise ValueError(
            f"The least coverage of the model's {CONFIG_FILE} must be two numbers from 0 to 1, but it is "
            f'{brief(shares)}.'
        )
    return tuple(shares)


def _covariates(kind, fields):
    if fields is None:
        return None
    if kind not in TARGETS:
        raise ValueError(f"The model's {CONFIG_FILE} has covariates, but an encoder reads none.")
    where = f'covariates of {CONFIG_FILE}'
    check_fields(fields, CovariateSchema, where)
    for name, cls in COLUMNS.items():
        columns = fields.get(name, [])
        if not isinstance(columns, list):
            raise ValueError(
                f"The {name} columns in the model's {where} must be a list, but they are {brief(columns)}."
            )
        for column in columns:
            check_fields(column, cls, where)
    return read_covariates(fields)
