"""Work knows what it has warned of: each once, in order, and not what other threads have."""

import threading

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.labels import align_classes, align_numbers
from q2_aam.data.names import OF_MISSING_VALUES
from q2_aam.data.sequences import sequences_of
from q2_aam.data.study_warnings import warn_of_truncated
from q2_aam.errors import AAMWarning
from q2_aam.runtime.heard import OF_GUESSES, about, hear, heard, hearing, is_hearing
from q2_aam.stats.conformal import calibrate, warn_of_few_groups


def test_nothing_is_kept_where_nobody_hears():
    assert not is_hearing() and not hear('a') and heard() == []


def test_each_text_is_kept_once_in_order_by_the_work_and_by_the_work_around_it():
    with hearing():
        assert is_hearing() and [hear(text) for text in 'abab'] == [True, True, False, False]
        with hearing():
            assert heard() == []
            # the outer work has said it
            assert [hear(text) for text in 'ca'] == [True, False]
            assert heard() == ['c', 'a']
        assert heard() == ['a', 'b', 'c']
    assert heard() == [] and not is_hearing()


def test_another_thread_has_its_own():
    inside = []

    def work():
        inside.append(is_hearing())
        with hearing():
            hear('of the thread')
            inside.append(heard())

    with hearing():
        hear('of all')
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert heard() == ['of all']
    assert inside == [False, ['of the thread']]


def test_words_that_mean_missing_are_one_matter_whatever_the_samples():
    texts = []
    for samples in (2, 3):
        stage = ['unknown'] * samples + ['gut'] * 3 + ['missing'] * 2
        target = pd.Series(stage, [f's{number}' for number in range(len(stage))], name='stage')
        with pytest.warns(AAMWarning, match=OF_MISSING_VALUES) as caught:
            align_classes(list(target.index), target)
        texts += [str(warning.message) for warning in caught]
    first, second = texts
    assert first != second and about(first) == about(second) == "Metadata column 'stage' has classes "
    assert about(first.replace('stage', 'site')) != about(first)
    assert about('Ignored: 2 samples.') != about('Ignored: 3 samples.')


def test_what_else_each_fold_finds_other_samples_of_is_one_matter():
    texts = []
    for number in (2, 4):
        ids = [f's{place}' for place in range(3 + number)]
        target = pd.Series([1.0, 2.0, 3.0] + [-999.0] * number, ids, name='age')
        groups = pd.Series(['P1', 'p1', 'q2', *'abAB'][: len(ids)], ids, name='subject')
        with pytest.warns(AAMWarning) as caught:
            align_numbers(ids, target, groups)
            sequences_of(['N' * 30] * number + ['ACGT' * 9])
        texts.append([str(warning.message) for warning in caught])
    first, second = texts
    assert not set(first) & set(second)
    assert [about(text) for text in first] == [about(text) for text in second]
    assert len({about(text) for text in first}) == 3


def test_intervals_and_long_sequences_of_each_fold_are_one_matter():
    texts = []
    for number in (2, 3):
        with pytest.warns(AAMWarning) as caught:
            warn_of_few_groups(calibrate(np.ones(number), np.arange(number)), 0.9)
            warn_of_truncated(['A' * 9] * number, 8, 0.1 * number, [])
        texts.append([str(warning.message) for warning in caught])
    first, second = texts
    assert not set(first) & set(second) and len(first) == 2
    with pytest.warns(AAMWarning, match='in ASVs with less than 0.1% of all reads'):
        warn_of_truncated(['A' * 9], 8, 0.0001, [])
    assert [about(text) for text in first] == [about(text) for text in second]


def test_of_models_that_may_have_learned_nothing_each_fold_has_its_own_figures():
    texts = [f'Left-out groups are predicted hardly better {OF_GUESSES}, if at all: over {n} groups.' for n in (5, 6)]
    texts.append(f'That left-out groups are predicted better {OF_GUESSES} may be chance: over 7 groups.')
    # two sentences that say not to rely on a model, with figures of different folds, read as if they disagreed
    assert {about(text) for text in texts} == {OF_GUESSES}
