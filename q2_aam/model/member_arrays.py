"""The kinds of members of the abundance ensemble, and what all ask of the arrays that they are read from.

Importable without torch.
"""

import numpy as np

PERCEPTRONS, LINEAR, EXTRA_TREES = KINDS = 'perceptrons', 'linear', 'extra_trees'


def check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the array that is called `name` has this shape."""
    if array.shape != shape:
        raise ValueError(
            f"The model's abundance ensemble belongs to another model: {name} has the shape {array.shape} instead of "
            f'{shape}; train the model again.'
        )
