"""Scaling by category and extra targets in a bundle: read as they were written, or refused by name."""

import json

import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.bundle import NumericTarget
from q2_aam.bundle.scales import ByCategory
from q2_aam.stats.conformal import calibrate

from .test_schema import fields_of, refusal

BY_CATEGORY = {'name': 'site', 'categories': ['a', 'b'], 'centers': [1.0, 2.0], 'scales': [1.0, 3.0]}
EXTRA = {'name': 'weight', 'center': 0.0, 'scale': 1.0}


def target_of(**more):
    return NumericTarget('age', 10.0, 2.0, by_category=ByCategory('site', ('a', 'b'), (0.0, 100.0), (1.0, 5.0)), **more)


def test_outputs_are_read_by_the_category_of_each_sample():
    target = target_of(lowest=0.0)
    of_samples = target.of(np.array([1, 2, 0]))
    outputs = np.array([[1.0], [1.0], [1.0]])
    assert of_samples.predictions(outputs).tolist() == [1, 105, 12]
    assert of_samples.scaled(np.array([1.0, 105.0, 12.0])).tolist() == [1, 1, 1]
    assert target.of(None) is target and target.predictions(outputs).tolist() == [12, 12, 12]


def test_intervals_are_as_wide_as_the_scale_of_a_category():
    codes, errors = np.array([1, 2] * 20), np.linspace(-1, 1, 40) * np.array([1.0, 5.0] * 20)
    target = target_of(coverage=0.9)
    hardness = target.of(codes).difficulty_of(np.zeros((40, 1)), None)
    assert hardness.tolist() == [1.0, 5.0] * 20
    made = target_of(coverage=0.9, calibration=calibrate(errors, None, hardness))
    columns = made.of(np.array([1, 2])).columns(np.zeros((2, 1)))
    width = columns['upper_bound'] - columns['lower_bound']
    assert width[1] == pytest.approx(5 * width[0])


@pytest.mark.parametrize(
    'change, sentence',
    [
        (5, 'The scaling by category of the target must be an object of categories, centers, name, scales, but it '),
        (
            BY_CATEGORY | {'categories': ['a', 'a']},
            'A target that is scaled by category must have 1 to 1,000 different categories, but has ',
        ),
        (
            BY_CATEGORY | {'categories': None},
            'A target that is scaled by category must have 1 to 1,000 different categories, but has None.',
        ),
        (
            BY_CATEGORY | {'centers': [1.0]},
            'A target that is scaled by category must have a number from -1e+18 to 1e+18 for each of 2 categories, but',
        ),
        (
            BY_CATEGORY | {'scales': [1.0, 0.0]},
            'A target that is scaled by category must have a number from 1e-30 to 1e+19 for each of 2 categories, but ',
        ),
        (
            BY_CATEGORY | {'name': 'a\tb'},
            'Names of the categories by which a target is scaled must be such as QIIME 2 metadata have, but they are ',
        ),
    ],
)
def test_a_scaling_that_cannot_be_told_is_refused(change, sentence):
    fields = fields_of('regressor')
    fields['target']['by_category'] = change
    assert refusal(fields).startswith(sentence)


@pytest.mark.parametrize(
    'kind, extra, heads, sentence',
    [
        (
            'regressor',
            [EXTRA],
            {},
            "The model's config.json must have a head of 1 outputs for its extra targets; use a model that this plugin "
            'has made.',
        ),
        (
            'regressor',
            [EXTRA, EXTRA],
            {},
            "The extra targets of the model's config.json must have different names and one output each; use a model "
            'that this plugin has made.',
        ),
        (
            'regressor',
            [EXTRA | {'unit': 'g'}],
            {},
            "The model's extra targets of config.json has a field that format version 1 does not know: 'unit'; use the "
            'version of q2-aam that made it, or train the model again.',
        ),
        (
            'encoder',
            [EXTRA],
            {},
            "The extra targets of the model's config.json must be a list of at most 64, and none of an encoder, but "
            'they are ',
        ),
        (
            'classifier',
            5,
            {},
            "The extra targets of the model's config.json must be a list of at most 64, and none of an encoder, but "
            'they are 5.',
        ),
    ],
)
def test_extra_targets_that_cannot_be_told_are_refused(kind, extra, heads, sentence):
    fields = fields_of(kind)
    fields['extra_targets'] = extra
    assert refusal(fields).startswith(sentence)


def test_they_come_back_as_they_were():
    fields = fields_of('regressor')
    fields['target']['by_category'] = BY_CATEGORY
    fields['extra_targets'] = [EXTRA]
    fields['heads']['extra_targets'] = dict(fields['heads']['target'], outputs=1)
    config = bundle.BundleConfig.from_json(json.dumps(fields))
    assert config.target.by_category == ByCategory('site', ('a', 'b'), (1.0, 2.0), (1.0, 3.0))
    assert config.extra_targets == (NumericTarget('weight', 0.0, 1.0),)
    assert bundle.BundleConfig.from_json(config.to_json('a' * 64)) == config


@pytest.mark.parametrize('by_category, categories, known', [(None, 2, 0), (BY_CATEGORY, 2, 2), (BY_CATEGORY, 4, 2)])
def test_a_head_of_other_categories_than_the_target_has_is_refused(by_category, categories, known):
    fields = fields_of('regressor')
    fields['target']['by_category'] = by_category
    fields['heads']['target'] |= {'scaled': True, 'categories': categories}
    assert refusal(fields) == (
        f"The head 'target' of the model's config.json has {categories} categories, but the target is scaled by "
        f'{known} and the unknown; use a model that this plugin has made.'
    )
    fields['heads']['target']['categories'] = 0 if by_category is None else 3
    bundle.BundleConfig.from_json(json.dumps(fields))
