"""Shares of reads and the flag of each sample, against those counted by hand."""

import numpy as np
import pytest

from q2_aam.config import FitRegressorConfig
from q2_aam.data import applicability as module
from q2_aam.data.applicability import MAX_FAMILIARITY, applicability, least_coverage
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.references import Similarity

# in the order of the study: sorted
NEAR, COMPLEMENT, OTHER_REGION, FAR, SHORT = 'AAAAAA', 'CCCCCC', 'GGGGGG', 'TTTTTT', 'TTTTTTT'
SEQUENCES = (NEAR, COMPLEMENT, OTHER_REGION, FAR, SHORT)


def similarity_of(study):
    """How similar the five sequences are, for those that the study has."""
    places = [
        SEQUENCES.index(''.join('?ACGT'[code] for code in row[:size])) for row, size in zip(study.codes, study.lengths)
    ]
    places = np.array(places)
    # SHORT is near too
    return Similarity(
        np.zeros(len(places), np.float32), (places == 0) | (places == 4), places == 1, places == 2, places == 4
    )


def test_shares_are_those_of_reads(study_of):
    study = study_of({'b': {NEAR: 50, COMPLEMENT: 20, OTHER_REGION: 10, FAR: 15, SHORT: 5}, 'a': {NEAR: 3, FAR: 1}})
    table = applicability(study, similarity_of(study))
    assert list(table.index) == ['a', 'b'] and table.index.name == 'id'
    assert list(table.columns) == [
        'share_of_reads_near', 'share_of_reads_reverse_complement', 'share_of_reads_other_region',
        'share_of_reads_other_length', 'flag',
    ]  # fmt: skip
    assert table.iloc[0, :4].tolist() == pytest.approx([0.75, 0, 0, 0])
    assert table.iloc[1, :4].tolist() == pytest.approx([0.55, 0.2, 0.1, 0.05])
    assert list(table['flag']) == ['few_reads', 'ok']


@pytest.mark.parametrize(
    'reads, flag',
    [
        ({NEAR: 100}, 'ok'),
        ({NEAR: 50, FAR: 50}, 'ok'),
        ({NEAR: 49, FAR: 51}, 'few_near'),
        ({NEAR: 50, COMPLEMENT: 50}, 'reverse_complement'),
        ({NEAR: 50, OTHER_REGION: 50}, 'other_region'),
        ({NEAR: 50, SHORT: 50}, 'other_length'),
        ({FAR: 49, SHORT: 51}, 'other_length'),
        ({FAR: 51, SHORT: 49}, 'few_near'),
        ({COMPLEMENT: 50, OTHER_REGION: 50}, 'reverse_complement'),
        ({NEAR: 99}, 'few_reads'),
        ({FAR: 99}, 'few_near'),
    ],
)
def test_a_sample_is_flagged_by_what_most_of_its_reads_are(study_of, reads, flag):
    study = study_of({'a': reads})
    assert list(applicability(study, similarity_of(study))['flag']) == [flag]


@pytest.mark.parametrize(
    'reads, share, flag',
    [
        ({NEAR: 100}, 0.5, 'other_trimming'),
        ({NEAR: 100}, 0.49, 'ok'),
        ({NEAR: 49, FAR: 51}, 0.5, 'other_trimming'),
        ({OTHER_REGION: 100}, 1.0, 'other_region'),
    ],
)
def test_a_sample_most_of_whose_reads_begin_elsewhere_is_flagged(study_of, reads, share, flag):
    study = study_of({'a': reads})
    assert list(applicability(study, similarity_of(study), None, np.array([share]))['flag']) == [flag]


@pytest.mark.parametrize(
    'reads, flag',
    [
        ({NEAR: 0.7, FAR: 0.3}, 'ok'),
        ({NEAR: 1.0}, 'ok'),
        # rounded to three places, the shares of many ASVs sum to more or less than 1
        ({NEAR: 0.704, FAR: 0.3}, 'ok'),
        ({NEAR: 0.7, FAR: 0.296}, 'ok'),
        # some features were left out
        ({NEAR: 0.21, FAR: 0.1}, 'ok'),
        # percentages
        ({NEAR: 70.2, FAR: 29.7}, 'ok'),
        ({NEAR: 70.0, FAR: 30.0}, 'ok'),
        ({NEAR: 2}, 'few_reads'),
        ({NEAR: 1, FAR: 1}, 'few_reads'),
        ({NEAR: 98, FAR: 1}, 'few_reads'),
        # harmonized: a read was shared by two ASVs
        ({NEAR: 40.0 + 1 / 3, FAR: 2 / 3}, 'few_reads'),
    ],
)
def test_few_reads_are_a_matter_of_the_sample_alone(study_of, reads, flag):
    alone = study_of({'a': reads})
    assert list(applicability(alone, similarity_of(alone))['flag']) == [flag]
    for other in ({NEAR: 0.52, FAR: 0.5}, {NEAR: 5000, SHORT: 1000}):
        study = study_of({'a': reads, 'b': other})
        assert list(applicability(study, similarity_of(study))['flag']) == [flag, 'ok']


def test_what_the_artifact_holds_goes_before_what_a_sample_looks_like(study_of):
    study = study_of({'a': {NEAR: 1}, 'b': {NEAR: 50}})
    flags = [
        list(applicability(study, similarity_of(study), proportions=given)['flag']) for given in (None, False, True)
    ]
    assert flags == [['ok', 'few_reads'], ['few_reads', 'few_reads'], ['ok', 'ok']]


def test_what_the_model_knows_of_a_sample_is_in_the_table_and_flags_it(study_of):
    study = study_of({name: {NEAR: 100} for name in 'abcd'} | {'e': {NEAR: 50}})
    more = {
        'vocabulary_coverage': np.array([0.9, 0.8, 0.9, 0.8, 0.8]),
        'share_of_reads_in_vocabulary': np.array([0.6, 0.6, 0.8, 0.6, 0.6]),
        'familiarity': np.array([0.0, 0.0, MAX_FAMILIARITY + 0.01, MAX_FAMILIARITY + 1, 9]),
        'disagreement': np.arange(5.0),
    }
    table = applicability(study, similarity_of(study), min_coverage=(0.85, 0.7), **more)
    assert list(table.columns[4:]) == [*more, 'flag']
    assert all(np.array_equal(table[name], values) for name, values in more.items())
    assert list(table['flag']) == [
        'ok', 'low_vocabulary_coverage', 'unlike_training', 'low_vocabulary_coverage', 'few_reads'
    ]  # fmt: skip
    limits = {
        'share_of_reads_in_vocabulary': np.full(5, 0.7),
        'familiarity': np.r_[np.nan, np.full(4, MAX_FAMILIARITY)],
    }
    table = applicability(
        study, similarity_of(study), min_coverage=(0.85, 0.7), vocabulary_coverage=np.zeros(5), **limits
    )
    assert list(table['flag']) == ['ok', 'ok', 'ok', 'ok', 'few_reads'] and 'disagreement' not in table


def test_coverage_is_low_where_it_is_so_both_by_logarithms_and_by_reads(study_of):
    # of sequencing errors rare ASVs are unknown, of one common ASV with an error most reads
    study = study_of({name: {NEAR: 100} for name in 'abc'})
    logs, reads = np.array([0.1, 0.9, 0.1]), np.array([0.95, 0.2, 0.2])
    both = {'vocabulary_coverage': logs, 'share_of_reads_in_vocabulary': reads}
    table = applicability(study, similarity_of(study), min_coverage=(0.8, 0.8), **both)
    assert list(table['flag']) == ['ok', 'ok', 'low_vocabulary_coverage']
    table = applicability(study, similarity_of(study), min_coverage=(0.8, 0.8), vocabulary_coverage=logs)
    assert list(table['flag']) == ['ok', 'ok', 'ok']


def test_what_is_said_of_reads_goes_before_what_the_model_knows(study_of):
    study = study_of({'a': {FAR: 100}, 'b': {NEAR: 100}})
    coverage = {'vocabulary_coverage': np.zeros(2), 'share_of_reads_in_vocabulary': np.zeros(2)}
    table = applicability(study, similarity_of(study), min_coverage=(0.5, 0.5), **coverage)
    assert list(table['flag']) == ['few_near', 'low_vocabulary_coverage']


def test_the_least_coverage_depends_on_what_left_out_groups_have():
    groups = np.arange(100)
    # 95 % of the groups lack 0.2 or less, half of them 0.1 or less: 0.1 + 2 (0.2 - 0.1)
    missing = np.linspace(0, 0.099, 50).tolist() + np.linspace(0.1, 0.2, 45).tolist() + [0.9] * 5
    assert least_coverage(1 - np.array(missing), groups) == pytest.approx(0.7, abs=0.01)
    assert least_coverage(np.ones(100), groups) == pytest.approx(0.9)
    assert least_coverage(np.linspace(0, 0.6, 100), groups) == 0
    # one group, however many samples it has
    assert least_coverage(np.r_[np.ones(40), np.zeros(400)], np.r_[np.arange(40), np.full(400, 40)]) == pytest.approx(
        0.9
    )


def test_shares_are_of_the_reads_that_are_read(study_of):
    study = study_of({'a': {NEAR: 60, COMPLEMENT: 30, FAR: 20}, 'b': {FAR: 200, NEAR: 10}})
    augment = make_augmentation(FitRegressorConfig.from_flat({'max_asvs_per_sample': 2}).data)
    table = applicability(study, similarity_of(study), augment)
    assert table.loc['a'].tolist()[:3] == pytest.approx([2 / 3, 1 / 3, 0])
    assert list(table['flag']) == ['ok', 'few_near']
    alone = make_augmentation(FitRegressorConfig.from_flat({'max_asvs_per_sample': 1}).data)
    assert list(applicability(study, similarity_of(study), alone)['share_of_reads_near']) == [1, 0]


def test_blocks_change_nothing(study_of, monkeypatch):
    random = np.random.default_rng(1)
    study = study_of({f's{i:02d}': dict(zip(SEQUENCES, map(int, random.integers(1, 90, 5)))) for i in range(20)})
    augment = make_augmentation(FitRegressorConfig.from_flat({'max_asvs_per_sample': 3}).data)
    full = applicability(study, similarity_of(study), augment)
    monkeypatch.setattr(module, 'BLOCK', 11)
    assert applicability(study, similarity_of(study), augment).equals(full)
