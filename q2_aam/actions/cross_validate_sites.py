"""Predictions of folds and, after them, of sites that were left out: told apart and put together."""

import pandas as pd

from q2_aam.data.applicability import OK


def of_plan(parts, sites):
    """Return those of the folds; those of the sites come after them."""
    return parts[: len(parts) - len(sites or ())]


def gathered(gather, details, baselines, folds, sites):
    """Return what was predicted in folds, and of sites what :func:`compare_sites` takes, if there are any."""
    out_of_fold = gather(of_plan(details, sites), of_plan(baselines, sites), folds)
    if not sites:
        return out_of_fold, None
    number = len(sites)
    flagged = pd.concat([one['flag'] for one in details[-number:]]) != OK
    return out_of_fold, (gather(details[-number:], baselines[-number:], number), sites, flagged.to_numpy())
