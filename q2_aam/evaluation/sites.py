"""Every site left out once: what happens elsewhere than where a model has learned."""

import dataclasses
import warnings

import numpy as np
import pandas as pd

from q2_aam.errors import AAMWarning, UserError, counted, listed, shown

from .comparison import best_baseline, metrics_of
from .out_of_fold import MAJORITY, MEDIAN, OURS
from .verdict import ALL, metrics_row

# Each costs a fit.
MAX_SITES = 20
# In the column `fold` of metrics: one site, and all of them together.
SITE, SITES = 'site: ', 'sites'
SHARE_FLAGGED = 'share_flagged'
# What the sentence tells of, and its words for a guess.
OF_NUMBERS = ('mae', 'mean absolute error')
OF_CLASSES = ('balanced_accuracy', 'balanced accuracy')
SHORT = {MEDIAN: 'guessing the median', MAJORITY: 'guessing the majority class'}


@dataclasses.dataclass(frozen=True)
class Site:
    """A site that is left out.

    Attributes
    ----------
    name : str
    tested, learned : bool [samples]
        Labelled samples of the site, and those elsewhere whose group has no sample there.
    """

    name: str
    tested: np.ndarray
    learned: np.ndarray


def plan_sites(sites, groups, classes=None):
    """Leave out every site once, by samples.

    Samples without a site are never tested. No group is in both parts.

    Parameters
    ----------
    sites : object [samples]
        Name of the site of each labelled sample; missing where there is none.
    groups : object [samples]
    classes : object [samples], optional
        Of a categorical target.

    Returns
    -------
    list of Site
        By name; the 20 with most samples, where there are more.

    Raises
    ------
    UserError
        If there are fewer than 2 sites, or if too little is left to learn from where one is left out.

    Warns
    -----
    AAMWarning
        Where there are more than 20 sites.
    """
    sites, groups = np.asarray(sites, dtype=object), np.asarray(groups, dtype=object)
    known = ~pd.isna(sites)
    names, samples = np.unique(sites[known].astype(str), return_counts=True)
    if len(names) < 2:
        raise UserError(
            f'Leaving out sites needs labelled samples of 2 sites or more, but there '
            f'{"is" if len(names) == 1 else "are"} {len(names)}{f" ({shown(names[0])})" if len(names) else ""}; give '
            'another column of sites, or none.'
        )
    if len(names) > MAX_SITES:
        chosen = np.sort(np.argsort(-samples, kind='stable')[:MAX_SITES])
        warnings.warn(
            f'There are {len(names):,} sites, and each that is left out costs a fit: only the {MAX_SITES} with most '
            f'labelled samples are left out, those with fewer than {samples[chosen].min():,} stay in training.',
            AAMWarning,
            stacklevel=2,
        )
        names = names[chosen]
    return [_site(name, np.where(known, sites, '') == name, groups, classes) for name in names]


def _site(name, tested, groups, classes):
    learned = ~np.isin(groups.astype(str), groups[tested].astype(str))
    left = len(np.unique(groups[learned].astype(str)))
    if left < 2:
        raise UserError(
            f'Where site {shown(name)} is left out, {counted(left, "group")} without a sample there would be left, and '
            'training and validation need one each; give a column of sites that groups lie within, or give no groups.'
        )
    if classes is not None:
        small = [
            one for one in np.unique(classes) if len(np.unique(groups[learned & (classes == one)].astype(str))) < 2
        ]
        if small:
            raise UserError(
                f'Where site {shown(name)} is left out, training needs two groups of every class without a sample '
                f'there, but of {listed(map(shown, small))} there are fewer; merge classes, or give a column of sites '
                'each of which has most classes.'
            )
    return Site(str(name), tested, learned)


def compare_sites(out_of_fold, names, flagged, usual):
    """Score every method on each site that was left out.

    Parameters
    ----------
    out_of_fold : q2_aam.evaluation.out_of_fold.OutOfFold
        One fold a site, in one repeat.
    names : sequence of str
        Of the sites, as folds are numbered.
    flagged : bool [rows]
        Whether our model has flagged a sample.
    usual : q2_aam.evaluation.out_of_fold.OutOfFold
        Of the ordinary folds.

    Returns
    -------
    rows : list of dict
        Rows of metrics: of all sites together (column fold: sites), then of each.
    sentence : str
        What happens on a site left out.
    """
    rows, flagged = [], np.asarray(flagged, dtype=bool)
    every = np.arange(len(out_of_fold.true))
    parts = {SITES: every} | {SITE + name: every[out_of_fold.folds == number] for number, name in enumerate(names)}
    scores = {}
    for part, samples in parts.items():
        for method in out_of_fold.predicted:
            metrics, number = metrics_of(out_of_fold, method, samples)
            scores[part, method] = metrics
            rows += [metrics_row(method, ALL, part, metric, number, value) for metric, value in metrics.items()]
        rows.append(metrics_row(OURS, ALL, part, SHARE_FLAGGED, len(samples), flagged[samples].mean()))
    return rows, _sentence(out_of_fold, names, flagged, usual, scores)


def _sentence(out_of_fold, names, flagged, usual, scores):
    metric, words = OF_CLASSES if out_of_fold.classes else OF_NUMBERS
    of_all = {method: scores[SITES, method].get(metric, np.nan) for method in out_of_fold.predicted}
    best = best_baseline(out_of_fold)
    others = dict.fromkeys([] if best is None else [best, *(name for name in out_of_fold.baselines if name in SHORT)])
    beside = '; '.join(f'{_words(method, best)}: {of_all[method]:.3g}' for method in others)
    of_sites = {name: scores[SITE + name, OURS].get(metric, np.nan) for name in names}
    worst = (min if out_of_fold.classes else max)(of_sites, key=lambda name: of_sites[name])
    at_home = metrics_of(usual, OURS, np.arange(len(usual.true)))[0].get(metric, np.nan)
    return (
        f'On sites left out ({len(names)} of them, {counted(len(flagged), "sample")}), {OURS} has a {words} of '
        f'{of_all[OURS]:.3g}{f" ({beside})" if beside else ""}, and {flagged.mean():.0%} of the samples are flagged; '
        f'in ordinary folds {OURS} has {at_home:.3g}, and on the site where it does worst, {shown(worst)}, '
        f'{of_sites[worst]:.3g}.'
    )


def _words(method, best):
    words = SHORT.get(method, method.replace('_', ' '))
    return f'best baseline, {words}' if method == best else words
