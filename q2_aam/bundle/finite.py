"""What a model gives must be finite numbers: from anything else no prediction is made, in one sentence."""

import numpy as np

from q2_aam.errors import UserError, counted, shown

# How the sentence ends, for whoever has been given a model, and for whoever trains one.
GIVEN = 'its weights are damaged, or too large for this precision; set precision to float32, or train it again'
TRAINED = 'its weights have grown too large; lower learning_rate, or set precision to float32'


def check_finite(values: np.ndarray, sample_ids: list[str], why: str) -> None:
    """Raise UserError, which names a sample, unless all numbers of a model are finite.

    Parameters
    ----------
    values : float [samples, ...]
    sample_ids : list of str
    why : str
        GIVEN or TRAINED.
    """
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
    if len(wrong):
        raise UserError(
            f'The model gives no finite numbers for {counted(len(wrong), "sample")} '
            f'({"e.g. " if len(wrong) > 1 else ""}{shown(sample_ids[wrong[0]])}): {why}.'
        )
