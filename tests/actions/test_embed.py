"""predict-distances and embed give the artifacts that Emperor, Mantel tests and PERMANOVA take as they are."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format

from q2_aam.actions import embed, examples_embed
from q2_aam.actions.signature import parameters
from q2_aam.config import DistancesConfig, EmbedConfig

IDS = ['S00', 'S01', 'S02']


@pytest.fixture
def recorded(monkeypatch):
    """Put functions in the library's place that record what an action hands them; returns the list of calls."""
    calls = []
    values = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]], dtype=np.float32) / np.float32(7)
    distances = pd.DataFrame(values, index=IDS, columns=IDS)
    axes = ['PC1', 'PC2']
    ordination = types.SimpleNamespace(
        samples=pd.DataFrame([[1.0, 0.5], [-2.0, 0.5], [1.0, -1.0]], index=IDS, columns=axes),
        eigenvalues=pd.Series([6.0, 1.5], index=axes),
        proportions=pd.Series([0.75, 0.1875], index=axes),
    )

    def record(name, answer):
        def run(*given, **more):
            calls.append(types.SimpleNamespace(name=name, given=given, **more))
            return answer

        return run

    fake = types.ModuleType('q2_aam.inference.embed')
    fake.predict_distances = record('predict_distances', distances)
    fake.embed = record('embed', (ordination, distances))
    monkeypatch.setitem(sys.modules, 'q2_aam.inference.embed', fake)
    return calls


def test_predict_distances_hands_over_paths_and_one_configuration(small, recorded):
    table, sequences = small.table.view(BIOMV210Format), small.sequences.view(DNAFASTAFormat)
    distances = embed.predict_distances(table=table, sequences=sequences, encoder='a folder', threads=2)
    (call,) = recorded
    assert call.given == (str(table), 'a folder', DistancesConfig.from_flat({'threads': 2}))
    assert call.sequences == str(sequences)
    assert type(distances) is skbio.DistanceMatrix and list(distances.ids) == IDS
    assert distances['S01', 'S02'] == np.float32(3) / np.float32(7)


def test_embed_gives_principal_coordinates_with_the_share_of_each_axis(small, recorded):
    table = small.table.view(BIOMV210Format)
    pcoa, distances = embed.embed(table=table, encoder='a folder', embedding='mean', number_of_dimensions=2)
    (call,) = recorded
    config = EmbedConfig.from_flat({'embedding': 'mean', 'number_of_dimensions': 2})
    assert call.given == (str(table), 'a folder', config) and call.sequences is None
    assert pcoa.short_method_name == 'PCoA' and list(pcoa.samples.index) == IDS
    assert list(pcoa.proportion_explained) == [0.75, 0.1875] and list(pcoa.eigvals) == [6, 1.5]
    assert list(distances.ids) == IDS


def test_artifacts_hold_what_the_library_gave(recorded, small):
    encoder = examples_embed.encoder_factory()
    actions = qiime2.sdk.PluginManager().plugins['aam'].actions
    (matrix,) = actions['predict_distances'](table=small.table, sequences=small.sequences, encoder=encoder)
    pcoa, _ = actions['embed'](table=small.table, sequences=small.sequences, encoder=encoder)
    distances = matrix.view(skbio.DistanceMatrix)
    assert list(distances.ids) == IDS
    # the text of float32 comes back to its last digit
    assert (distances.data.astype(np.float32) == np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]], np.float32) / 7).all()
    again = pcoa.view(skbio.OrdinationResults)
    assert list(again.samples.index) == IDS and list(again.proportion_explained) == [0.75, 0.1875]


def test_a_model_of_another_type_is_refused_by_type(plugin, small, recorded):
    for name in ('predict_distances', 'embed'):
        with pytest.raises(TypeError, match="'encoder' requires an argument of type AAMEncoder"):
            plugin.actions[name](table=small.table, encoder=small.sequences)
    assert recorded == []


def test_the_parameters_are_those_of_the_configuration_and_bounds_are_enforced(plugin, small, recorded):
    signature = plugin.actions['embed'].signature
    assert list(signature.parameters) == list(parameters(EmbedConfig))
    assert signature.parameters['embedding'].default == 'memberships'
    encoder = examples_embed.encoder_factory()
    for wrong in ({'number_of_dimensions': 0}, {'embedding': 'unions'}, {'max_samples_in_matrix': 1}):
        with pytest.raises(TypeError, match=f'{next(iter(wrong))!r}'):
            plugin.actions['embed'](table=small.table, encoder=encoder, **wrong)
    assert recorded == []
