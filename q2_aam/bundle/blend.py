"""How a network and an abundance ensemble are put together.

Shapes: N samples, O outputs, M members of the abundance ensemble.
"""

import dataclasses

import numpy as np

from q2_aam.model.member_arrays import KINDS, PERCEPTRONS

from .targets import MAX_FACTOR, MIN_FACTOR, is_number
from .untrusted import brief

# Members of an abundance ensemble; training makes five or ten.
MAX_MEMBERS = 1024
# Share of a sample in ASVs of the vocabulary from which on the abundance ensemble has its full weight.
ENOUGH_COVERAGE = 0.5


@dataclasses.dataclass(frozen=True)
class Blend:
    """How outputs of the network and of the abundance ensemble are put together: each times its weight.

    A member has its weight where half of a sample or more is in ASVs that the member knows; below that, the network,
    which reads ASVs that nobody has seen before, takes over.

    Attributes
    ----------
    network, ensemble : float
    network_alone, ensemble_alone : float
        Weights where one of them is all there is: the network for a sample of unknown ASVs, the ensemble for training
        samples, of which the network knows the answer.
    members : int
        Those of the ensemble, of each kind.
    kinds : dict
        {kind of member: what its outputs are multiplied by before those of all kinds are added up}.
    """

    network: float
    ensemble: float
    network_alone: float
    ensemble_alone: float
    members: int
    # the first bundles have members of one kind
    kinds: dict = dataclasses.field(default_factory=lambda: {PERCEPTRONS: 1.0})

    def __post_init__(self):
        # where both readers are there, one may have no say
        for name in ('network_alone', 'ensemble_alone', 'network', 'ensemble'):
            weight, low = getattr(self, name), MIN_FACTOR if name.endswith('alone') else 0
            if not is_number(weight, low, MAX_FACTOR):
                raise ValueError(
                    f'The weight {name} of a blend must be a number from {low:g} to {MAX_FACTOR:g}, but it is '
                    f'{brief(weight)}.'
                )
        if self.network + self.ensemble < MIN_FACTOR:
            raise ValueError('The weights network and ensemble of a blend must not both be 0.')
        if type(self.members) is not int or not 1 <= self.members <= MAX_MEMBERS:
            raise ValueError(
                f'The members of a blend must be a whole number from 1 to {MAX_MEMBERS:,}, but they are '
                f'{brief(self.members)}.'
            )
        if not isinstance(self.kinds, dict) or not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(
                f'The kinds of a blend must be some of {", ".join(KINDS)}, but they are {brief(self.kinds)}.'
            )
        for kind, weight in self.kinds.items():
            if not is_number(weight, MIN_FACTOR, MAX_FACTOR):
                raise ValueError(
                    f'The weight of the kind {kind} of a blend must be a number from {MIN_FACTOR:g} to {MAX_FACTOR:g}, '
                    f'but it is {brief(weight)}.'
                )

    def outputs(self, network: np.ndarray, ensemble: np.ndarray, coverage: np.ndarray) -> np.ndarray:
        """Return outputs of both.

        Parameters
        ----------
        network : float64 [N, O]
        ensemble : float64 [M, N, O] or, of one member for each sample, [N, O]
        coverage : float64 [M, N] or [N]
            Share of a sample in ASVs that the member knows.

        Returns
        -------
        float64, as `ensemble`
        """
        gate = gate_of(coverage)[..., None]
        return gate * (self.network * network + self.ensemble * ensemble) + (1 - gate) * self.network_alone * network


def gate_of(coverage: np.ndarray) -> np.ndarray:
    """Return the weight of a member of the abundance ensemble for samples of which it covers so much, 0 to 1."""
    return np.minimum(coverage / ENOUGH_COVERAGE, 1)
