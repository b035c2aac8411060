"""Inputs that are given and of which nothing is learned, because their weights are 0."""

import warnings

from q2_aam.errors import AAMWarning

from .context import Context

# By which weights each input is learned from; a fit lacks some of them.
WEIGHTS_OF = {
    'distance_matrix': ('distance_weight',),
    'phylogeny': ('distance_weight', 'faith_pd_weight'),
    'taxonomy': ('taxonomy_weight',),
    'alpha_diversity': ('alpha_diversity_weight',),
    'extra_targets': ('extra_target_weight',),
}
# What features without sequences share, whatever is learned from it.
SHARED = ('phylogeny', 'taxonomy')


def warn_of_unused(context: Context) -> None:
    """Warn, in one sentence each, of inputs from which the model learns nothing because their weights are 0."""
    for name, weights in WEIGHTS_OF.items():
        if getattr(context.inputs, name) is None or (context.study.named and name in SHARED):
            continue
        there = [one for one in weights if hasattr(context.config.training, one)]
        if any(getattr(context.config.training, one) for one in there):
            continue
        many = len(there) > 1
        warnings.warn(
            f'Input {name} is given, but {" and ".join(there)} {"are" if many else "is"} 0, so that the model learns '
            f'nothing from it; raise {"one of them" if many else "it"}, or leave {name} out.',
            AAMWarning,
            stacklevel=2,
        )
