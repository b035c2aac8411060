"""What the config.json of a bundle says of features that have names and no sequences. Importable without torch."""

import dataclasses
from typing import Any

from q2_aam.config import ModelConfig
from q2_aam.data.known_features import MAX_FEATURES, SHARED, TOKENS

from .untrusted import brief


@dataclasses.dataclass(frozen=True)
class NamedFeatures:
    """How a model knows features by their names; which ones they are is an array.

    Attributes
    ----------
    tokens : int
        How many there are, each with an embedding.
    shared : str
        What tells the clades of features (:data:`q2_aam.data.known_features.SHARED`).

    Raises
    ------
    ValueError
        If they are something else.
    """

    tokens: int
    shared: str

    def __post_init__(self):
        if type(self.tokens) is not int or not 1 <= self.tokens <= MAX_FEATURES * TOKENS:
            raise ValueError(
                f"The model's named features must have from 1 to {MAX_FEATURES * TOKENS:,} tokens, but they have "
                f'{brief(self.tokens)}; use a model that this plugin has made.'
            )
        if not isinstance(self.shared, str) or self.shared not in SHARED:
            raise ValueError(
                f"What the model's named features share must be one of {', '.join(SHARED)}, but it is "
                f'{brief(self.shared)}; use a model that this plugin has made.'
            )

    def check_form(self, model: ModelConfig) -> None:
        """Raise ValueError unless a network of this form has a place for each token of a feature."""
        if (model.nucleotides_per_token, model.max_sequence_length) != (1, TOKENS):
            raise ValueError(
                f'The network of a model with named features must read {TOKENS} tokens of a feature, but it reads '
                f'{brief(model.max_sequence_length)} in tokens of {brief(model.nucleotides_per_token)}; use a model '
                'that this plugin has made.'
            )


def read_features(fields: Any) -> NamedFeatures | None:
    """Return what config.json says of named features; ValueError in one sentence where it cannot be read."""
    if fields is None:
        return None
    names = {field.name for field in dataclasses.fields(NamedFeatures)}
    if not isinstance(fields, dict) or set(fields) != names:
        raise ValueError(
            f"The features of the model's config.json must be an object with {' and '.join(sorted(names))}, but they "
            f'are {brief(fields)}; use the version of q2-aam that made it, or train the model again.'
        )
    return NamedFeatures(**fields)
