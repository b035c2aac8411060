"""Parameters of the export group: what of a model stands in a graph for other runtimes."""

import dataclasses

from .fields import AUTO, Group, option


@dataclasses.dataclass(frozen=True)
class ExportGroup(Group):
    group = 'export'

    coverage: float | str = option(
        AUTO,
        'Share of new samples whose true value the prediction intervals of the graph should contain. auto: the '
        'coverage given to fit-regressor. Only a regressor has intervals.',
        low=0.01,
        high=0.99,
    )
