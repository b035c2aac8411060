"""For whom predictions err: intervals that respect groups, errors by category, and columns that explain the error.

Shapes: S samples, G groups of them.
"""

import numpy as np
import pandas as pd
import scipy.special

from .comparison import COVERAGE, interval_of_ratios

# streams of random numbers
MEANS, PERMUTATIONS = 31, 32
# Permutations of a test that respects groups: the most, the fewest, and how many samples they may come to.
MOST_PERMUTATIONS, FEWEST_PERMUTATIONS, PERMUTED_SAMPLES = 999, 199, 2_000_000
# Samples of permutations that are held at a time.
AT_ONCE = 2**21
# From so many groups on, an interval is computed and not drawn: both agree, and draws take seconds.
MANY_GROUPS = 200
# A test needs so many samples (or groups), and a category so many.
MIN_UNITS, MIN_IN_CATEGORY = 5, 2
# More categories than these tell names apart, not kinds.
MAX_CATEGORIES = 50
COLUMNS = ('column', 'kind', 'test', 'units', 'strength', 'p', 'p_adjusted', 'finding')


def mean_with_interval(errors_S, groups_S, seed=1, coverage=COVERAGE):
    """Return the mean of errors, and the ends of its interval when whole groups are drawn with replacement.

    Parameters
    ----------
    errors_S : float64 [S]
    groups_S : object [S]
    seed : int

    Returns
    -------
    (mean, lower, upper)
        The ends are NaN where there is one group. See :func:`q2_aam.evaluation.comparison.paired_difference`; of many
        groups, the variance of a ratio of sums over groups is linearized (Cochran 1977, Sampling Techniques, 6.4).
    """
    errors_S = np.asarray(errors_S, dtype=np.float64)
    _, group_S = np.unique(np.asarray(groups_S).astype(str), return_inverse=True)
    sums_G, sizes_G = np.bincount(group_S, errors_S), np.bincount(group_S).astype(np.float64)
    mean, groups = float(errors_S.mean()), len(sizes_G)
    if groups >= MANY_GROUPS:
        variance = groups / (groups - 1) * ((sums_G - mean * sizes_G) ** 2).sum() / sizes_G.sum() ** 2
        half = float(scipy.special.stdtrit(groups - 1, (1 + coverage) / 2) * np.sqrt(variance))
        return mean, mean - half, mean + half
    lower, upper = interval_of_ratios(sums_G[:, None], sizes_G[:, None], np.random.default_rng([seed, MEANS]), coverage)
    return mean, lower, upper


def wilson_interval(right, total, coverage=COVERAGE):
    """Return the ends of the interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Parameters
    ----------
    right, total : float
        How many of how many; `total` is above 0.
    """
    z = float(scipy.special.ndtri((1 + coverage) / 2))
    share = right / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def errors_by_category(errors, categories, groups):
    """Return the mean error in each category, the largest first.

    Parameters
    ----------
    errors, categories, groups : pandas.Series
        By sample; samples without a category are left out.

    Returns
    -------
    pandas.DataFrame
        Columns category, samples, groups, value, lower, upper.
    """
    rows = []
    categories = categories.dropna().map(str)
    for category, members in categories.groupby(categories):
        ids = members.index
        mean, lower, upper = mean_with_interval(errors[ids], groups[ids])
        rows.append((category, len(ids), groups[ids].nunique(), mean, lower, upper))
    frame = pd.DataFrame(rows, columns=['category', 'samples', 'groups', 'value', 'lower', 'upper'])
    return frame.sort_values('value', ascending=False, ignore_index=True, kind='stable')


def bins_of(values, most=5):
    """Return a category for each number: quantile ranges as text, in order, at most as many."""
    cut = pd.qcut(values, most, duplicates='drop')
    ends = values.groupby(cut, observed=False).agg(['min', 'max'])
    names = [f'{low:.3g} to {high:.3g}' for low, high in zip(ends['min'], ends['max'])]
    # ends that differ in later digits only must not be one category
    names = [name if names.count(name) == 1 else f'{name} ({place + 1})' for place, name in enumerate(names)]
    return cut.cat.rename_categories(names)


def explain_errors(errors, columns, groups):
    """Test which columns explain the errors.

    Numbers are tested by Spearman's rank correlation, categories by Kruskal and Wallis's test, p values corrected by
    Benjamini and Hochberg (1995, doi:10.1111/j.2517-6161.1995.tb02031.x). Samples of one group are not independent: a
    column that has one value in each group is tested on the mean errors of groups. For one that varies within groups
    the p value of the same statistic is that of permutations that keep groups together: the errors of whole groups are
    exchanged among groups of as many samples, and those within a group among its samples (Winkler et al. 2015,
    doi:10.1016/j.neuroimage.2015.05.092).

    Parameters
    ----------
    errors : pandas.Series
    columns : pandas.DataFrame
        By the same samples.
    groups : pandas.Series

    Returns
    -------
    tested : pandas.DataFrame
        Columns as in COLUMNS, the smallest p first: `strength` is the absolute rank correlation, or the share of the
        variance of ranks that categories explain (epsilon squared).
    skipped : list of (str, str)
        Columns that could not be tested, and why.
    """
    rows, skipped = [], []
    for name in columns:
        values = columns[name].dropna()
        unit, unit_errors, unit_values, blocks = _units(errors, values, groups)
        if values.nunique() < 2:
            skipped.append((name, 'one value' if len(values) else 'no value'))
        elif pd.api.types.is_numeric_dtype(values):
            _add(rows, skipped, name, 'number', unit, _rank_correlation(unit_errors, unit_values, blocks))
        else:
            _add(rows, skipped, name, 'category', unit, _between_categories(unit_errors, unit_values.map(str), blocks))
    tested = pd.DataFrame(rows, columns=[column for column in COLUMNS if column != 'p_adjusted'])
    tested.insert(6, 'p_adjusted', benjamini_hochberg(tested['p'].to_numpy(dtype=np.float64)))
    return tested.sort_values(['p', 'strength'], ascending=[True, False], ignore_index=True), skipped


def _add(rows, skipped, name, kind, unit, result):
    if isinstance(result, str):
        skipped.append((name, result))
        return
    test, units, strength, p, finding = result
    rows.append((name, kind, test, f'{units:,} {unit}', strength, p, finding))


def _units(errors, values, groups):
    """Return what counts as one observation (groups where each has one value, else samples), and their blocks or None.

    Blocks are groups that samples may not leave one by one.
    """
    errors, groups = errors[values.index], groups[values.index]
    by_group = values.groupby(groups)
    if groups.nunique() == len(groups):
        return 'samples', errors, values, None
    if (by_group.nunique() > 1).any():
        return f'samples of {groups.nunique():,} groups', errors, values, groups
    return 'groups', errors.groupby(groups).mean(), by_group.first(), None


def _rank_correlation(errors, values, blocks):
    import scipy.stats

    if len(values) < MIN_UNITS:
        return f'fewer than {MIN_UNITS} values'
    if values.nunique() < 2 or errors.nunique() < 2:
        return 'one value'
    rho, p = scipy.stats.spearmanr(errors, values)
    test = 'Spearman'
    if blocks is not None:
        ranks = scipy.stats.rankdata(values)
        ranks -= ranks.mean()
        p = _permuted(scipy.stats.rankdata(errors), blocks, lambda ranks_KS: np.abs(ranks_KS @ ranks))
        test = 'Spearman, groups permuted'
    grows = 'larger' if rho > 0 else 'smaller'
    return test, len(values), abs(float(rho)), float(p), f'errors are {grows} where it is higher'


def _between_categories(errors, values, blocks):
    import scipy.stats

    sizes = values.value_counts()
    kept = sizes.index[sizes >= MIN_IN_CATEGORY]
    if len(kept) < 2:
        return 'fewer than two categories with two values or more'
    if len(kept) > MAX_CATEGORIES:
        return f'more than {MAX_CATEGORIES} categories'
    values = values[values.isin(kept)]
    errors = errors[values.index]
    if len(values) < MIN_UNITS:
        return f'fewer than {MIN_UNITS} values'
    if errors.nunique() < 2:
        return 'all errors are equal'
    statistic, p = scipy.stats.kruskal(*(errors[values == category] for category in kept))
    test = 'Kruskal-Wallis'
    if blocks is not None:
        members_SC = (values.to_numpy()[:, None] == np.array(kept, dtype=object)).astype(np.float64)
        sizes_C = members_SC.sum(axis=0)
        # what Kruskal and Wallis's statistic grows with; the rest of it is the same in all permutations
        p = _permuted(
            scipy.stats.rankdata(errors),
            blocks[values.index],
            lambda ranks_KS: (ranks_KS @ members_SC) ** 2 @ (1 / sizes_C),
        )
        test = 'Kruskal-Wallis, groups permuted'
    means = errors.groupby(values).mean().sort_values()
    ends = f'largest in {means.index[-1]} ({means.iloc[-1]:.3g}), smallest in {means.index[0]} ({means.iloc[0]:.3g})'
    return test, len(values), min(1.0, float(statistic) / (len(values) - 1)), float(p), ends


def _permuted(ranks_S, blocks, statistic):
    """Return the share of permutations that keep blocks together whose statistic is as large as without.

    Parameters
    ----------
    ranks_S : float64 [S]
        Of errors.
    blocks : pandas.Series
        Groups of the samples, in this order.
    statistic : callable
        Takes ranks [K, S] and returns float64 [K]; the larger, the more is explained.
    """
    _, block_S = np.unique(blocks.to_numpy().astype(str), return_inverse=True)
    samples = len(ranks_S)
    ranks_S = ranks_S - ranks_S.mean()
    permutations = int(np.clip(PERMUTED_SAMPLES // samples, FEWEST_PERMUTATIONS, MOST_PERMUTATIONS))
    generator = np.random.default_rng([1, PERMUTATIONS])
    # of sums in another order, the last digits differ
    least = float(statistic(ranks_S[None])[0]) * (1 - 1e-9)
    reached, at_once = 0, max(1, AT_ONCE // samples)
    for start in range(0, permutations, at_once):
        some = min(at_once, permutations - start)
        reached += int((statistic(ranks_S[_orders(block_S, some, generator)]) >= least).sum())
    return (1 + reached) / (1 + permutations)


def _orders(block_S, number, generator):
    """Return permutations of samples that move whole blocks to places of blocks of their size, int64 [number, S]."""
    members = np.split(np.argsort(block_S, kind='stable'), np.cumsum(np.bincount(block_S))[:-1])
    orders_KS = np.empty((number, len(block_S)), dtype=np.int64)
    for size in {len(one) for one in members}:
        places_BM = np.array([one for one in members if len(one) == size])
        blocks_KB = generator.permuted(np.tile(np.arange(len(places_BM)), (number, 1)), axis=1)
        within_KBM = generator.permuted(places_BM[blocks_KB], axis=2)
        orders_KS[:, places_BM.ravel()] = within_KBM.reshape(number, -1)
    return orders_KS


def benjamini_hochberg(p):
    """Return p values adjusted for their number: those below q hold a share of at most q of false findings.

    Parameters
    ----------
    p : float64 [tests]
    """
    order = np.argsort(p)[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return adjusted
