"""A model knows the features that it learned, places others by their clades, and leaves the rest out."""

import time

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.feature_names import stand_ins
from q2_aam.data.known_features import (
    MAX_FEATURES,
    NAMES,
    NOTHING,
    PHYLOGENY,
    TAXONOMY,
    TOKENS,
    KnownFeatures,
    learn_features,
)
from q2_aam.data.readable import draw_readable
from q2_aam.data.study import build_study
from q2_aam.data.table import Table
from q2_aam.errors import UserError

TAXA = pd.Series(
    {
        'o1': 'k__A; p__B; g__C',
        'o2': 'k__A; p__B; g__D',
        'o3': 'k__A; p__E',
        'new': 'k__A; p__B; g__other',
        'far': 'k__A; p__Q; g__R; s__S',
    }
)


@pytest.fixture
def study_of():
    """Make a study of named features: ({sample: {feature: count}}) -> Study."""

    def study(samples):
        import dataclasses

        import scipy.sparse

        ids = sorted({name for counts in samples.values() for name in counts})
        matrix = scipy.sparse.csr_matrix([[counts.get(name, 0) for name in ids] for counts in samples.values()])
        table = Table(list(samples), ids, lambda: [matrix.astype(np.float32)])
        return dataclasses.replace(build_study(table, stand_ins(ids))[0], named=True)

    return study


@pytest.fixture
def study(study_of):
    return study_of({'a': {'o1': 3, 'o2': 1}, 'b': {'o2': 5, 'o3': 5}, 'z': {'later': 1}})


def tokens_of(study):
    return {name: row[row > 0].tolist() for name, row in zip(study.feature_ids, study.tokens)}


def test_features_of_training_samples_are_learned_with_the_clades_that_they_share(study):
    known = learn_features(study, np.array([0, 1]), TAXA)
    assert sorted(known.ids) == ['o1', 'o2', 'o3'] and known.shared == TAXONOMY
    tokens = tokens_of(known.on(study))
    assert tokens['later'] == []
    assert [len(tokens[name]) for name in ('o1', 'o2', 'o3')] == [4, 4, 3]
    assert tokens['o1'][:2] == tokens['o2'][:2] and tokens['o1'][0] == tokens['o3'][0]
    # each has a token of its own, and every token is of something
    assert len({row[-1] for row in tokens.values() if row}) == 3
    assert len(known.token_keys) == len(set(known.token_keys.tolist())) == 8


def test_without_anything_in_common_a_feature_is_its_own_token(study):
    known = learn_features(study, np.array([0, 1]))
    assert known.shared == NOTHING
    assert sorted(map(tuple, tokens_of(known.on(study)).values())) == [(), (1,), (2,), (3,)]


def test_taxa_as_features_share_the_taxa_above_them(study_of):
    study = study_of({'a': {'k__A;p__B;g__C': 1, 'k__A;p__B;g__D': 1}, 'b': {'k__A;p__B;g__E': 1, 'k__Z;p__Y;g__X': 1}})
    known = learn_features(study, np.array([0]))
    assert known.shared == NAMES
    tokens = tokens_of(known.on(study))
    assert tokens['k__A;p__B;g__E'] == tokens['k__A;p__B;g__C'][:2] and tokens['k__Z;p__Y;g__X'] == []


def test_unknown_features_are_placed_by_the_clades_that_are_known_if_these_are_half(study, study_of):
    known = learn_features(study, np.array([0, 1]), TAXA)
    new = study_of({'a': {'new': 1, 'far': 2, 'o1': 1, 'unheard of': 4}})
    placed = known.on(new, TAXA)
    tokens = tokens_of(placed)
    assert tokens['new'] == tokens['o1'][:2] and tokens['far'] == [] == tokens['unheard of']
    assert known.share(placed) == pytest.approx(2 / 8)
    assert known.describe(placed) == (
        'Known features: 12% of the reads are in features that the model knows by their names, 12% in others that are '
        'placed by their taxonomy; 75% in 2 unknown features, which are left out.'
    )
    assert known.describe(known.on(study_of({'a': {'o1': 1}}))).endswith('by their names; none is unknown.')
    similarity = known.of_study(placed)
    assert dict(zip(placed.feature_ids, similarity.near)) == {
        'new': True, 'far': False, 'o1': True, 'unheard of': False,
    }  # fmt: skip
    # what was learned stays, whatever another taxonomy says
    assert tokens_of(known.on(new, pd.Series({'o1': 'k__Q'})))['o1'] == tokens['o1']
    assert tokens_of(known.on(new))['new'] == []


def test_tips_are_placed_by_what_their_nearest_known_relatives_share(study_of, tmp_path):
    tree = tmp_path / 'tree.nwk'
    tree.write_text('(((a:1,b:1):1,(c:1,d:1):1):1,((e:1,f:1):1,(g:1,(h:.5,n:.5):.5):1):1);')
    study = study_of({'s': dict.fromkeys('abcdefgh', 1)})
    known = learn_features(study, np.array([0]), phylogeny=tree)
    assert known.shared == PHYLOGENY
    tokens = tokens_of(known.on(study))
    assert tokens['a'][0] == tokens['b'][0] != tokens['c'][0] and len(tokens['a']) == 2
    new = study_of({'s': {'n': 1, 'x': 1, 'a': 1}})
    placed = tokens_of(known.on(new, phylogeny=tree))
    assert placed == {'n': tokens['h'][:1], 'x': [], 'a': tokens['a']}


def test_many_tips_are_placed_in_a_tree_that_is_a_ladder_in_time_that_grows_with_their_number(study_of, tmp_path):
    tree = tmp_path / 'tree.nwk'
    news = [f'n{number:05d}' for number in range(6000)]
    ladder = news[-1] + ':1'
    for name in news[-2::-1]:
        ladder = f'({ladder},{name}:1):1'
    # the nearest known relatives of all are at its foot
    tree.write_text(f'({ladder},((a:1,b:1):1,(c:1,d:1):1):1);')
    known = learn_features(study_of({'s': dict.fromkeys('abcd', 1)}), np.array([0]), phylogeny=tree)
    began = time.process_time()
    placed = known._placed_in_tree(news, tree)
    assert time.process_time() - began < 2
    assert placed == known._placed_in_tree(news[:1], tree) * len(news)


def test_order_and_companions_of_features_change_no_tokens(study, study_of):
    known = learn_features(study, np.array([0, 1]), TAXA)
    alone = tokens_of(known.on(study_of({'q': {'new': 1}}), TAXA))
    together = tokens_of(known.on(study_of({'q': {'far': 1, 'new': 1}, 'r': {'o3': 2}}), TAXA))
    assert alone['new'] == together['new']


def test_going_on_keeps_every_token_and_adds_new_features_behind(study, study_of):
    before = learn_features(study, np.array([0, 1]), TAXA)
    new = study_of({'a': {'new': 1, 'o1': 2}})
    after = learn_features(new, np.array([0]), TAXA, before=before)
    assert after.ids == [*before.ids, 'new'] and after.shared == TAXONOMY
    np.testing.assert_array_equal(after.tokens[:3], before.tokens)
    np.testing.assert_array_equal(after.token_keys[: len(before.token_keys)], before.token_keys)
    row = after.tokens[3][after.tokens[3] > 0].tolist()
    assert row[:2] == tokens_of(before.on(study))['o1'][:2] and len(after.token_keys) == len(before.token_keys) + 2
    # nothing new, nothing added
    again = learn_features(study, np.array([0, 1]), TAXA, before=before)
    assert again.ids == before.ids and len(again.token_keys) == len(before.token_keys)


def test_no_more_features_are_known_than_there_is_room_for_and_these_are_the_most_common(study, monkeypatch):
    monkeypatch.setattr('q2_aam.data.known_features.MAX_FEATURES', 1)
    assert learn_features(study, np.array([0, 1])).ids == ['o2']
    assert MAX_FEATURES == 2**16


def test_a_taxonomy_of_other_features_is_refused(study):
    with pytest.raises(UserError) as error:
        learn_features(study, np.array([0, 1]), pd.Series({'other': 'k__A'}))
    assert str(error.value).startswith('The taxonomy names none of the 3 features of the training samples (e.g. ')
    assert str(error.value).endswith('; give the taxonomy of these features, or leave it out.')


def test_they_come_back_from_arrays_and_damage_is_named(study):
    known = learn_features(study, np.array([0, 1]), TAXA)
    arrays = known.arrays()
    again = KnownFeatures.from_arrays(arrays, TAXONOMY)
    assert again.ids == known.ids and np.array_equal(again.tokens, known.tokens)
    names, tokens, keys = arrays
    for damage in (
        {names: arrays[names][:-3]},
        {names: np.array([255], dtype=np.uint8)},
        {tokens: arrays[tokens][:, :3]},
        {tokens: arrays[tokens] + 90},
        {tokens: np.roll(arrays[tokens], 1, axis=1)},
        {keys: arrays[keys][:2]},
    ):
        with pytest.raises(ValueError, match="^The (names of the )?model's known features are damaged"):
            KnownFeatures.from_arrays(arrays | damage, TAXONOMY)
    assert known.tokens.shape == (3, TOKENS)


def test_unknown_features_are_left_out_of_what_is_read_but_for_samples_that_have_no_others(study, study_of):
    known = learn_features(study, np.array([0, 1]))
    new = known.on(study_of({'a': {'x': 6, 'o1': 1, 'o2': 1}, 'b': {'x': 1, 'y': 3}}))
    drawn = draw_readable(new, np.array([0, 1]), sequences=True)
    assert drawn.offsets.tolist() == [0, 2, 4]
    assert sorted(new.feature_ids[asv] for asv in drawn.asvs[:2]) == ['o1', 'o2']
    # shares stay those of all reads
    assert drawn.abundances[:2].tolist() == [0.125, 0.125]
    assert drawn.codes.shape == (4, 1) and drawn.lengths.tolist() == [1, 1, 1, 1]
    assert sorted(drawn.codes[:, 0].tolist())[:2] == [0, 0]
