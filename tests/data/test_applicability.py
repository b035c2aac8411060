"""Shares of reads and the flag of each sample, against those counted by hand."""

import numpy as np
import pytest

from q2_aam.config import FitRegressorConfig
from q2_aam.data import applicability as module
from q2_aam.data.applicability import applicability
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


def test_proportions_are_not_few_reads(study_of):
    study = study_of({'a': {NEAR: 0.7, FAR: 0.3}, 'b': {NEAR: 1.0}})
    assert list(applicability(study, similarity_of(study))['flag']) == ['ok', 'ok']


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
