"""What is learned, one file each, behind one small protocol. Register a new objective in the tables below.

An objective has a head (what the network is to give), labels (what it is to give it for), a loss, metrics of the
validation split, and a line that tells the user about it. It knows nothing of how the network is trained.
"""

from .alpha_diversity import AlphaDiversity
from .classification import Classification
from .context import Context, Inputs
from .distances import Distances
from .extra_targets import ExtraTargets
from .faith_pd import FaithPD
from .masked_abundances import MaskedAbundances
from .masked_nucleotides import MaskedNucleotides
from .protocol import Objective, TargetObjective
from .regression import Regression
from .taxonomy import Taxonomy
from .unused import warn_of_unused

# Learned without labels by `pretrain`, each where its inputs are given and its weight is above 0.
PRETRAINING: tuple[type[Objective], ...] = (
    Distances,
    MaskedNucleotides,
    MaskedAbundances,
    Taxonomy,
    AlphaDiversity,
    FaithPD,
)
# The target of a kind of model.
TARGETS: dict[str, type[Regression] | type[Classification]] = {
    'regressor': Regression,
    'classifier': Classification,
}
# Learned beside the target.
BESIDE_TARGET: tuple[type[Objective], ...] = (Distances, MaskedNucleotides, MaskedAbundances, ExtraTargets)

__all__ = [
    'BESIDE_TARGET',
    'PRETRAINING',
    'TARGETS',
    'AlphaDiversity',
    'Classification',
    'Context',
    'Distances',
    'ExtraTargets',
    'FaithPD',
    'Inputs',
    'MaskedAbundances',
    'MaskedNucleotides',
    'Objective',
    'Regression',
    'TargetObjective',
    'Taxonomy',
    'warn_of_unused',
]
