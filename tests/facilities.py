"""A simulated study whose target is what the community tells, plus what the facility adds."""

import numpy as np
import pandas as pd

from tests.conftest import Tiny

FACILITIES = {'north': 0.0, 'south': 6.0, 'west': 12.0}


def make_facilities(groups=32, samples=3, asvs=16, seed=1):
    """Return a :class:`tests.conftest.Tiny` and its covariates.

    Each ASV has its time, as in :func:`tests.conftest.make_tiny`. The samples of a group are from one facility, which
    the community says nothing of, and the target is age plus the facility's offset. The group's 'visit' is a number
    that says nothing, and 'facility' one of three names.
    """
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), samples)
    ages, times = random.uniform(0, 12, len(group)), np.linspace(-1, 13, asvs)
    counts = random.poisson(200 * np.exp(-(((ages[:, None] - times) / 2.5) ** 2))).astype(float)
    names = [f'sample{row:03d}' for row in range(len(group))]
    sequences = {f'feature{asv:02d}': ''.join(random.choice(list('ACGT'), 24)) for asv in range(asvs)}
    facility = np.array(list(FACILITIES))[random.integers(0, len(FACILITIES), groups)][group]
    target = ages + np.array([FACILITIES[name] for name in facility])
    tiny = Tiny(
        pd.DataFrame(counts, names, list(sequences)),
        sequences,
        pd.DataFrame(0.0, names, names),
        pd.Series(target, names, name='age'),
        pd.Series([f'group{number:02d}' for number in group], names, name='subject'),
    )
    visit = random.integers(1, 9, len(group)).astype(float)
    return tiny, pd.DataFrame({'facility': facility.astype(object), 'visit': visit}, names)
