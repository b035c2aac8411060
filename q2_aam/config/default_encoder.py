"""Parameters of the encoder group: which encoder of those that come with the package is used where none is given."""

import dataclasses

from .fields import AUTO, Group, option

# Their names, oldest first; a newer encoder gets a new name, and old names stay.
SHIPPED = ('v4', 'v4.1')
NONE = 'none'
CHOICES = (AUTO, *SHIPPED, NONE)


@dataclasses.dataclass(frozen=True)
class DefaultEncoder(Group):
    """For actions that need an encoder."""

    group = 'encoder'

    default_encoder: str = option(
        AUTO,
        'Which encoder that comes with this plugin is used where none is given. auto: the newest, v4.1 (16S V4 from '
        'primer 515F on), where half of the reads or more are near sequences that it learned from. v4.1 or, as it was '
        'before, v4: that, whatever the reads are. none: no such encoder.',
        choices=CHOICES,
        absent=NONE,
    )


@dataclasses.dataclass(frozen=True)
class StartingEncoder(Group):
    """For actions that can start from an encoder."""

    group = 'encoder'

    default_encoder: str = option(
        AUTO,
        'Which encoder that comes with this plugin training starts from where none is given. v4 or v4.1, from which '
        'fits start in the same way: that of 16S V4 from primer 515F on, where half of the reads or more are near '
        'sequences that it learned from and begin where they do; else training starts from scratch, and says so. auto '
        'and none: from scratch, which erred as little on studies that v4 had not seen and took half the time '
        '(docs/encoders.md).',
        choices=CHOICES,
        absent=NONE,
    )
