"""What else could tell the target: repeated subjects that are not grouped, duplicates, batches, read depth.

Shapes: S samples, A ASVs.
"""

import collections
import re

import numpy as np
import pandas as pd
import scipy.sparse

from q2_aam.errors import counted, listed, shown

from .error_analysis import benjamini_hochberg
from .plan import ERROR, WARNING, Finding

# Samples whose nearest ones are sought, and permutations of names by which chance is told.
MAX_SAMPLES, PERMUTATIONS = 1000, 200
# A name for repeated samples: so many groups and no more than so many samples in the mean; of the samples, so large a
# share in groups of two or more.
MIN_GROUPS, MAX_MEAN, MIN_REPEATED = 5, 20, 0.3
# Samples whose nearest one has the same name: at least such a share, so many times as many as by chance.
MIN_ALIKE, TIMES_CHANCE = 0.15, 2.0
# Strata of a numeric target within which names are permuted.
STRATA = 5
# From such an association on, target and batch cannot be told apart where they coincide.
CONFOUNDED, INSEPARABLE, SIGNIFICANT = 0.3, 0.95, 0.01
MIN_UNITS = 8
DEPTH = 'read depth'


def nearest_samples(profiles, apart=None):
    """Return the most similar other sample of each, int64 [S], by the cosine of logarithms of abundances.

    Parameters
    ----------
    profiles : csr float32 [S, A]
    apart : object [S], optional
        Names; a sample of the same name is not taken. -1 where no other is left.
    """
    lengths = np.sqrt(np.asarray(profiles.multiply(profiles).sum(axis=1))).ravel()
    unit = scipy.sparse.diags(1 / np.maximum(lengths, 1e-12)) @ profiles
    similar = (unit @ unit.T).toarray()
    np.fill_diagonal(similar, -1)
    if apart is not None:
        similar[apart[:, None] == apart] = -1
    nearest = similar.argmax(axis=1)
    nearest[similar.max(axis=1) < 0] = -1
    return nearest


def candidates(sample_ids, columns, known=()):
    """Return {what it is: names [S]} that could say which samples are of one subject.

    Beginnings of sample IDs up to each point, hyphen or underscore, the parts between these, and columns: all of which
    divide the samples into many small groups.

    Parameters
    ----------
    sample_ids : list of str
    columns : pandas.DataFrame
        By these samples.
    known : iterable of str
        Columns that are not looked at.
    """
    parts = [re.split('[^A-Za-z0-9]+', name) for name in sample_ids]
    fewest = min(map(len, parts))
    named = {}
    # the first of several that divide samples alike is taken
    for column in columns.columns.difference(list(known), sort=False):
        # numbers of many digits measure, and name nothing
        if not pd.api.types.is_float_dtype(columns[column].dropna().convert_dtypes()):
            text = columns[column].map(str, na_action='ignore')
            named[f'column {column}'] = text.fillna(pd.Series(sample_ids, columns.index)).tolist()
    for number in range(1, fewest):
        named[f'the first {counted(number, "part")} of the sample ID'] = ['.'.join(part[:number]) for part in parts]
    for number in range(1, fewest):
        named[f'part {number + 1} of the sample ID'] = [part[number] for part in parts]
    found, seen = {}, set()
    for what, names in named.items():
        names = np.array(names, dtype=object)
        _, codes = np.unique(names.astype(str), return_inverse=True)
        sizes = np.bincount(codes)
        repeated = sizes[sizes > 1].sum() / len(names)
        key = tuple(pd.factorize(codes)[0])
        if (
            len(sizes) >= MIN_GROUPS
            and len(names) / len(sizes) <= MAX_MEAN
            and repeated >= MIN_REPEATED
            and key not in seen
        ):
            seen.add(key)
            found[what] = names
    return found


def check_repeats(profiles, sample_ids, columns, target, groups, generator):
    """Return findings on samples of one subject that are in several groups.

    Names (beginnings of sample IDs, columns) divide the samples. Where they name subjects, the sample that is most
    similar to a sample has its name far more often than by chance. Chance is told by permuting the names among samples
    of a like target, since these are similar for its sake. Samples that are of one group already are not compared.

    Parameters
    ----------
    profiles : csr float32 [S, A]
        Logarithms of abundances.
    sample_ids : list of str
    columns : pandas.DataFrame
        By these samples.
    target : pandas.Series
        By these samples.
    groups : object [S] or None
    generator : numpy.random.Generator
    """
    named = candidates(sample_ids, columns, [target.name])
    if len(sample_ids) < 2 * MIN_GROUPS or not named:
        return []
    some = np.sort(generator.permutation(len(sample_ids))[:MAX_SAMPLES])
    nearest = nearest_samples(profiles[some], None if groups is None else groups[some])
    has = nearest >= 0
    if has.sum() < 2 * MIN_GROUPS:
        return []
    strata = _strata(target.iloc[some])
    best = None
    for what, names in named.items():
        codes = pd.factorize(names[some])[0]
        alike, chance, highest = _alike(codes, nearest, has, strata, generator)
        clear = alike > highest and alike >= max(MIN_ALIKE, TIMES_CHANCE * chance)
        if clear and (best is None or alike > best[1]):
            best = what, alike, chance, names
    if best is None:
        return []
    what, alike, chance, names = best
    name, times = collections.Counter(names).most_common(1)[0]
    which = 'No groups are given' if groups is None else 'Groups are given'
    has = 'have' if what.endswith('parts of the sample ID') else 'has'
    return [
        Finding(
            WARNING, 'repeats', 'groups',
            f'{which}, but samples seem to be repeated: {what} {has} {len(set(names)):,} values for '
            f'{counted(len(names), "sample")} (e.g. {shown(str(name))} for {times:,}), and {100 * alike:.0f} % of the '
            f'samples are most similar to one of the same value ({100 * chance:.0f} % by chance). Errors would look '
            'better than they are.',
            f'Give {what if what.startswith("column ") else f"a column of what {what} stands for"} as groups.',
        )
    ]  # fmt: skip


def _strata(target):
    if not pd.api.types.is_numeric_dtype(target):
        return pd.factorize(target)[0]
    ranks = target.rank(method='first').to_numpy()
    return ((ranks - 1) * STRATA // len(ranks)).astype(np.int64)


def _alike(codes, nearest, has, strata, generator):
    """Return the share of samples whose nearest one has their name, its mean by chance, and its largest by chance."""
    order = np.argsort(strata, kind='stable')
    starts = np.flatnonzero(np.r_[True, np.diff(strata[order]) > 0])

    def share(names):
        return float((names[has] == names[nearest[has]]).mean())

    by_chance = []
    for _ in range(PERMUTATIONS):
        permuted = codes.copy()
        for members in np.split(order, starts[1:]):
            permuted[members] = codes[generator.permutation(members)]
        by_chance.append(share(permuted))
    return share(codes), float(np.mean(by_chance)), max(by_chance)


def check_duplicates(study, groups):
    """Return findings on samples with the same ASVs and shares under several ids that are not of one group.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    groups : object [S]
    """
    of_profile = collections.defaultdict(list)
    for number in range(len(study)):
        inside = slice(study.offsets[number], study.offsets[number + 1])
        # a sample of one ASV is like many others
        if inside.stop - inside.start > 1:
            key = study.asvs[inside].tobytes() + study.abundances[inside].tobytes()
            of_profile[key].append(number)
    copies = [numbers for numbers in of_profile.values() if len(set(groups[numbers])) > 1]
    if not copies:
        return []
    examples = listed((f'{shown(study.sample_ids[one[0]])} and {shown(study.sample_ids[one[1]])}' for one in copies), 2)
    return [
        Finding(
            ERROR, 'duplicates', 'table',
            f'{counted(sum(map(len, copies)), "sample")} of different groups have the same ASVs in the same shares '
            f'({examples}): one of a pair would be in the training split and the other in the test split.',
            'Remove the copies, or give them one group.',
        )
    ]  # fmt: skip


def confounding(target, columns, groups):
    """Test which columns go with the target.

    Where both have one value in each group, groups are what is counted, and not samples. Two columns of numbers are
    tested by Spearman's rank correlation, a number and categories by Kruskal and Wallis's test, two of categories by a
    chi-squared test, with Cramer's V corrected for bias (Bergsma 2013, doi:10.1016/j.jkss.2012.10.002).

    Parameters
    ----------
    target : pandas.Series
        Numbers or classes by labelled sample.
    columns : pandas.DataFrame
        By the same samples.
    groups : object [S]

    Returns
    -------
    pandas.DataFrame
        Columns column, test, units, strength (0 to 1), p, p_adjusted; the strongest first.
    """
    rows = []
    for name in columns:
        values = columns[name].dropna()
        if not pd.api.types.is_numeric_dtype(values):
            values = values.map(str)
        unit, one, other = _units(target[values.index], values, pd.Series(groups, target.index)[values.index])
        result = _association(one, other)
        if result is not None:
            rows.append((name, result[0], f'{len(one):,} {unit}', *result[1:]))
    frame = pd.DataFrame(rows, columns=['column', 'test', 'units', 'strength', 'p'])
    frame['p_adjusted'] = benjamini_hochberg(frame['p'].to_numpy(dtype=np.float64))
    return frame.sort_values('strength', ascending=False, ignore_index=True)


def _units(target, values, groups):
    frame = pd.DataFrame({'one': target, 'other': values, 'group': groups})
    by_group = frame.groupby('group', sort=False)
    if len(by_group) == len(frame) or (by_group[['one', 'other']].nunique() > 1).any(axis=None):
        return 'samples', frame['one'], frame['other']
    first = by_group.first()
    return 'groups', first['one'], first['other']


def _association(one, other):
    """Return (test, strength, p), or None where there is no telling."""
    import scipy.stats

    if len(one) < MIN_UNITS or one.nunique() < 2 or other.nunique() < 2:
        return None
    numbers = [pd.api.types.is_numeric_dtype(values) for values in (one, other)]
    if all(numbers):
        rho, p = scipy.stats.spearmanr(one, other)
        return 'Spearman', abs(float(rho)), float(p)
    if any(numbers):
        number, category = (one, other) if numbers[0] else (other, one)
        return _between(number, category)
    counts = pd.crosstab(one, other).to_numpy()
    chi, p, *_ = scipy.stats.chi2_contingency(counts, correction=False)
    rows, columns = counts.shape
    total = counts.sum()
    square = max(0.0, chi / total - (rows - 1) * (columns - 1) / (total - 1))
    few = min(rows - (rows - 1) ** 2 / (total - 1), columns - (columns - 1) ** 2 / (total - 1)) - 1
    return 'chi-squared', float(min(1.0, np.sqrt(square / few))) if few > 0 else 0.0, float(p)


def _between(number, category):
    import scipy.stats

    sizes = category.value_counts()
    kept = category[category.isin(sizes.index[sizes > 1])]
    number = number[kept.index]
    if len(kept) < MIN_UNITS or kept.nunique() < 2 or number.nunique() < 2:
        return None
    statistic, p = scipy.stats.kruskal(*(number[kept == name] for name in kept.unique()))
    categories, samples = kept.nunique(), len(kept)
    # epsilon squared less what chance gives, as a correlation
    square = (float(statistic) - categories + 1) / (samples - categories) if samples > categories else 0.0
    return 'Kruskal-Wallis', float(np.sqrt(np.clip(square, 0, 1))), float(p)


def check_confounding(tested):
    """Return findings on columns that go with the target; see :func:`confounding`."""
    found = []
    for row in tested.itertuples():
        if row.strength < CONFOUNDED or not row.p_adjusted < SIGNIFICANT:
            continue
        depth, number = row.column == DEPTH, row.test == 'Spearman'
        what = DEPTH if depth else f'column {shown(row.column)}'
        inseparable = row.strength >= INSEPARABLE
        advice = 'Balance it by design or by choice of samples'
        if number and not depth:
            advice += '; if it is the target in another form, nothing need be done'
        elif not depth:
            advice += ', and cross-validate with it as sites, which leaves each out once'
        found.append(
            Finding(
                WARNING, 'confounding', DEPTH if depth else f'column {row.column}',
                f'The target goes with {what} ({row.test}, strength {row.strength:.2f} of 1, {row.units}): '
                + ('what tells one tells the other.' if inseparable else 'it may be learned in place of the target.'),
                f'{advice}.',
            )
        )  # fmt: skip
    return found
