"""Whether a network that is told of counts can be. Importable without torch."""

from typing import Any

from q2_aam.errors import UserError

from .study import Study

LOG_COUNTS = 'log_counts'
# Sums of relative frequencies are 1 but for rounding.
ROUNDING = 1e-3


def check_depths(told_as: str, study: Study, training: Any = None) -> None:
    """Raise UserError if a network is told of counts and a table has none, or if training changes the depth.

    Parameters
    ----------
    told_as : str
        The parameter abundance_as of the network.
    study : Study
    training : q2_aam.config.schedule.Schedule, optional
    """
    if told_as != LOG_COUNTS:
        return
    if study.reads.max() <= 1 + ROUNDING:
        raise UserError(
            'The network is told of counts (abundance_as log_counts), but no sample of the feature table has more than '
            '1 read: give a table of counts and not of relative frequencies, or train with abundance_as shares.'
        )
    if training is not None and training.rarefaction_depth:
        raise UserError(
            f'Parameter abundance_as is log_counts, but rarefaction_depth is {training.rarefaction_depth}, so that the '
            'depth that the network is told of is not that of its reads; set rarefaction_depth to 0, or abundance_as '
            'to shares.'
        )
