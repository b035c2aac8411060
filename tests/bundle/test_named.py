"""A bundle says that its model knows features by their names; what it says may be damaged."""

import json

import numpy as np
import pytest

from q2_aam.bundle.named import NamedFeatures, read_features
from q2_aam.data.known_features import ARRAYS, TOKENS, KnownFeatures

from .test_schema import fields_of, refusal


def test_it_comes_back_and_bundles_of_sequences_say_nothing():
    assert read_features({'tokens': 7, 'shared': 'taxonomy'}) == NamedFeatures(7, 'taxonomy')
    assert read_features(None) is None


@pytest.mark.parametrize(
    'fields, sentence',
    [
        ({'tokens': 0, 'shared': 'nothing'}, "The model's named features must have from 1 to 1,048,576 tokens, but"),
        ({'tokens': 2**40, 'shared': 'nothing'}, "The model's named features must have from 1 to 1,048,576 tokens"),
        ({'tokens': True, 'shared': 'nothing'}, "The model's named features must have from 1 to 1,048,576 tokens"),
        ({'tokens': 7, 'shared': 'rank'}, "What the model's named features share must be one of taxonomy, phylogeny,"),
        ({'tokens': 7, 'shared': ['nothing']}, "What the model's named features share must be one of taxonomy,"),
        ({'tokens': 7}, "The features of the model's config.json must be an object with shared and tokens, but they"),
        ([1], "The features of the model's config.json must be an object with shared and tokens, but they are"),
    ],
)
def test_damage_is_named_in_one_sentence(fields, sentence):
    with pytest.raises(ValueError) as error:
        read_features(json.loads(json.dumps(fields)))
    assert str(error.value).startswith(sentence) and '\n' not in str(error.value)


def test_a_network_that_has_no_place_for_all_tokens_of_a_feature_is_refused():
    fields = fields_of('encoder') | {'features': {'tokens': 7, 'shared': 'nothing'}}
    assert refusal(fields).startswith(
        f'The network of a model with named features must read {TOKENS} tokens of a feature, but it reads '
    )


@pytest.mark.parametrize('keys', [3, [[3]], []])
def test_numbers_that_are_no_list_of_keys_are_refused(keys):
    tokens = np.eye(1, TOKENS, dtype=np.int32)
    arrays = dict(zip(ARRAYS, (np.frombuffer(b'OTU1', np.uint8), tokens, np.array(keys, dtype=np.int64))))
    with pytest.raises(ValueError, match="^The model's known features are damaged: they must be names with tokens; "):
        KnownFeatures.from_arrays(arrays, 'nothing')
