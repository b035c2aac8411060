"""The fields of dataclasses in the JSON of a bundle: which stand there, and what is said of others. Without torch."""

import dataclasses
import typing
from typing import Any

from q2_aam.errors import shown

from .untrusted import brief

FORMAT_VERSION = 1


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


def fields_of(target: Any) -> dict[str, Any]:
    """Return what of a dataclass stands in JSON."""
    values = {name: getattr(target, name) for name in names_of(type(target))}
    # those that are dataclasses themselves have no arrays
    within = {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}
    return values | {name: dataclasses.asdict(typing.cast(Any, value)) for name, value in within.items()}


def names_of(cls: type, without: str | None = None) -> list[str]:
    """Return the names of the fields of a dataclass that stand in JSON."""
    fields = dataclasses.fields(cls)
    return [field.name for field in fields if not field.metadata.get('array') and field.name != without]


def check_fields(fields: Any, cls: type, where: str, without: str | None = None, more: str | None = None) -> None:
    """Raise ValueError, which names the field, unless `fields` are of the dataclass; those with a default may lack.

    A field `without` is none of them, a field `more` is one that stands in JSON alone.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {where} must be an object, but it is {brief(fields)}.")
    names = names_of(cls, without) + ([more] if more else [])
    if unknown := sorted(set(fields) - set(names)):
        raise ValueError(
            f"The model's {where} has a field that format version {FORMAT_VERSION} does not know: "
            f'{shown(unknown[0])}; use the version of q2-aam that made it, or train the model again.'
        )
    needed = {field.name for field in dataclasses.fields(cls) if _has_no_default(field)} & set(names)
    needed |= {more} if more else set()
    if missing := sorted(needed - set(fields)):
        raise ValueError(
            f"The model's {where} lacks the field {missing[0]} of format version {FORMAT_VERSION}, so that it cannot "
            'be read; train the model again with this version of q2-aam.'
        )


def _has_no_default(field):
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
