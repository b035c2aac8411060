"""Extra targets, weights and categories as parameters of estimators."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.errors import UserError
from q2_aam.estimators import Classifier, Regressor

from .test_estimators import NO_ENSEMBLE, inputs


def test_extra_targets_weights_and_categories_are_found_by_id(tiny):
    ids = tiny.counts.index
    sites = pd.Series(pd.Categorical(['a', 'a', 'b', 'b'] * 6), ids)[::-1]
    given = {
        'extra_targets': pd.DataFrame({'weight': np.arange(24.0)}, ids)[::-1],
        'sample_weights': [1.0] * 12 + [2.0] * 12,
        'scale_by': sites,
    }
    model = Regressor(**NO_ENSEMBLE | {'epochs': 1}, **inputs(tiny), **given)
    model.fit(tiny.counts, tiny.target)
    config = model.bundle_.config
    assert config.target.by_category.name == 'scale_by' and config.extra_targets[0].name == 'weight'
    new = model.details(tiny.counts.iloc[:3])
    assert new['extra_weight'].notna().all() and new['prediction'].notna().all()
    model.set_params(scale_by=None)
    with pytest.raises(UserError, match='^The model was trained with a target that is scaled by'):
        model.predict(tiny.counts)
    with pytest.raises(UserError, match='^sample_weights must hold numbers, but it has'):
        Regressor(**inputs(tiny), sample_weights=['x'] * 24).fit(tiny.counts, tiny.target)
    with pytest.raises(UserError, match="^Classifier has no parameter 'scale_by'"):
        Classifier(scale_by=sites)
