"""What the tensors of a bundle are called, and what the header of their file must say before any is read."""

import operator
from collections.abc import Mapping
from typing import Any

from q2_aam.data.references import MAX_REFERENCES
from q2_aam.errors import shown
from q2_aam.stats.difficulty import NAMES

from . import domain, known_asvs, token_branches
from .network import network_of
from .schema import CONFIG_FILE, BundleConfig
from .untrusted import brief

MODEL_FILE = 'model.safetensors'
# Arrays beside the weights of the network.
REFERENCES, SCORES, GROUPS = 'references', 'calibration.scores', 'calibration.groups'
ENSEMBLE, VOCABULARY, ABUNDANCE = 'ensemble.', 'ensemble.vocabulary', 'ensemble.vocabulary_abundance'
DIFFICULTY = 'difficulty.'
DIFFICULTIES = {DIFFICULTY + name: 'float64' for name in NAMES}
# Arrays that older bundles lack, and those made with few groups.
OPTIONAL = {ABUNDANCE, *domain.ARRAYS, *DIFFICULTIES, *known_asvs.ARRAYS, *token_branches.ARRAYS}
# What arrays of sequences may be, known from the file's header before any is read: the work on them grows with both.
MAX_VOCABULARY, MAX_LENGTH, MAX_DIMENSIONS = 8192, 2**16, 3
MAX_SHAPES = {REFERENCES: (MAX_REFERENCES, MAX_LENGTH), VOCABULARY: (MAX_VOCABULARY, MAX_LENGTH)}


def check_header(slices: Mapping[str, Any], config: BundleConfig, arrays: dict[str, str]) -> None:
    """Check names, shapes and types of tensors before any is read.

    Parameters
    ----------
    slices : dict
        {name: slice of a safetensors file}.
    config : BundleConfig
    arrays : dict
        {name: type} of those that are no weights.

    Raises
    ------
    ValueError
        In one sentence, at the first that is not as the configuration asks for.
    """
    shapes = {name: tuple(value.shape) for name, value in network_of(config).state_dict().items()}
    types = dict.fromkeys(shapes, 'F32') | arrays
    types = {name: kind for name, kind in types.items() if name in slices or name not in OPTIONAL}
    if missing := sorted(set(types) - set(slices)):
        raise ValueError(
            f"The model's {MODEL_FILE} lacks the {called(missing[0], arrays)} that its {CONFIG_FILE} asks for."
        )
    if unknown := sorted(set(slices) - set(types)):
        raise ValueError(
            f"The model's {MODEL_FILE} has weights that its {CONFIG_FILE} does not know: {shown(unknown[0])}."
        )
    for name in sorted(types):
        shape, kind = tuple(slices[name].get_shape()), slices[name].get_dtype()
        # arrays are of the size that they are
        if shape != shapes.get(name, shape):
            raise ValueError(
                f'The weights {name} of the model have the shape {brief(shape)}, but its {CONFIG_FILE} asks for '
                f'{shapes[name]}; the two files do not belong together.'
            )
        if kind != types[name]:
            raise ValueError(
                f'The {called(name, arrays)} of the model are of the type {kind} instead of {types[name]}; use a '
                'model that this plugin has made.'
            )
        if name in arrays:
            _check_size(name, shape)


def _check_size(name, shape):
    """Raise ValueError if an array has more dimensions than any, or if one of sequences is larger than any."""
    largest = MAX_SHAPES.get(name)
    if len(shape) > MAX_DIMENSIONS if largest is None else len(shape) != 2 or any(map(operator.gt, shape, largest)):
        allowed = f'{MAX_DIMENSIONS} dimensions' if largest is None else f'{largest[0]:,} sequences of {largest[1]:,}'
        raise ValueError(
            f'The numbers {name} of the model have the shape {brief(shape)}, but at most {allowed} are allowed; use a '
            'model that this plugin has made.'
        )


def called(name: str, arrays: dict[str, str]) -> str:
    """Return what a tensor is called in a message."""
    return f'numbers {name}' if name in arrays else f'weights {name}'
