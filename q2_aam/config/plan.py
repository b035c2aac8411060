"""Parameters of the plan group: what is measured before training."""

import dataclasses

from .fields import Group, option


@dataclasses.dataclass(frozen=True)
class PlanGroup(Group):
    group = 'plan'

    rehearse: bool = option(
        True,
        'Fit simple models for a learning curve, and time a few steps of training for what it would cost. False only '
        'looks at the data.',
    )
