"""Signs that a model is out of its depth with a sample, known without the sample's true value.

Importable without torch. Shapes: N samples.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Signs:
    """Of each sample one number a sign; details have them as columns.

    Attributes
    ----------
    vocabulary_coverage : float64 [N]
        Share of the sample in ASVs that the abundance ensemble knows, as it weighs them: by logarithms.
    share_of_reads_in_vocabulary : float64 [N]
        The same by reads.
    familiarity : float64 [N]
        How far the sample lies from the training samples; 1 is the 95 % quantile of left-out groups, NaN where there is
        no telling (:mod:`q2_aam.stats.familiarity`).
    disagreement : float64 [N]
        How far the kinds of members of the ensemble are apart.
    """

    vocabulary_coverage: np.ndarray
    share_of_reads_in_vocabulary: np.ndarray
    familiarity: np.ndarray
    disagreement: np.ndarray

    @classmethod
    def unknown(cls, samples: int) -> 'Signs':
        """Return signs of which nothing is known yet."""
        return cls(*(np.full(samples, np.nan) for _ in dataclasses.fields(cls)))

    def put(self, rows: np.ndarray, other: 'Signs') -> None:
        """Take over the signs of other samples as those of `rows`."""
        for name, values in vars(self).items():
            values[rows] = getattr(other, name)

    def of(self, rows: np.ndarray) -> 'Signs':
        """Return the signs of some of the samples."""
        return Signs(*(values[rows] for values in vars(self).values()))
