"""What tests of the actions share: the plugin as QIIME 2 loads it, the small study, and a library that only records."""

import sys
import types

import pandas as pd
import pytest

from q2_aam.actions import examples
from q2_aam.runtime.history import History


@pytest.fixture(scope='session')
def plugin():
    pytest.importorskip('q2_types', reason='q2-types is not on PyPI')
    import qiime2.sdk

    return qiime2.sdk.PluginManager().plugins['aam']


@pytest.fixture(scope='session')
def small():
    """The study of the usage examples as artifacts and metadata."""
    pytest.importorskip('q2_types', reason='q2-types is not on PyPI')
    return types.SimpleNamespace(
        table=examples.table_factory(),
        sequences=examples.sequences_factory(),
        distances=examples.distances_factory(),
        metadata=examples.metadata_factory(),
    )


@pytest.fixture
def recorded(monkeypatch):
    """Put functions in the library's place that record what an action hands them; returns the list of calls."""
    calls = []

    def record(name, answer):
        def run(*given, **more):
            calls.append(types.SimpleNamespace(name=name, given=given, **more))
            return answer(*given)

        return run

    def one_row(*_):
        index = pd.Index(['S00', 'S01'], name='id')
        predictions = pd.Series([1.5, 2.5], index=index, name='age')
        return predictions, pd.DataFrame({'part': 'test', 'prediction': predictions})

    def one_class(*_):
        predictions, details = one_row()
        return predictions.map(str), pd.DataFrame({'x': 0.25, 'y': 0.75}, index=predictions.index), details

    functions = {}
    for module, name, answer in (
        ('q2_aam.training.pretrain', 'pretrain', lambda *_: History()),
        ('q2_aam.training.fit', 'fit_regressor', lambda *_: (*one_row(), History())),
        ('q2_aam.training.fit', 'fit_classifier', lambda *_: (*one_class(), History())),
        ('q2_aam.inference.predict', 'predict', one_row),
        ('q2_aam.inference.predict', 'predict_classes', one_class),
    ):
        functions.setdefault(module, types.ModuleType(module))
        setattr(functions[module], name, record(name, answer))
        monkeypatch.setitem(sys.modules, module, functions[module])
    return calls
