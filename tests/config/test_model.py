"""The model group: what 'auto' becomes, the one rule between two parameters, and the heads of a network."""

import dataclasses

import pytest

from q2_aam.config import AUTO, HeadConfig, ModelConfig


def test_auto_becomes_what_the_help_says():
    assert dataclasses.asdict(ModelConfig().resolved(150, 2000)) == {
        'nucleotides_per_token': 10,
        'width': 128,
        'asv_layers': 2,
        'sample_layers': 4,
        'attention_heads': 4,
        'mlp_ratio': 2,
        'memberships': 256,
        'abundance_fusion': 'film',
        'abundance_as': 'shares',
        'activation': 'gelu',
        'positions': 'learned',
        'max_sequence_length': 150,
    }


def test_fewer_samples_have_a_network_of_half_the_depth():
    few, many = (ModelConfig().resolved(150, samples) for samples in (1999, 2000))
    assert (few.asv_layers, few.sample_layers) == (1, 2)
    assert dataclasses.replace(few, asv_layers=2, sample_layers=4) == many
    assert ModelConfig(asv_layers=3).resolved(150, 10).asv_layers == 3


def test_what_is_given_is_kept_and_the_rest_follows_it():
    resolved = ModelConfig(width=64, asv_layers=1, max_sequence_length=100).resolved(150, 2000)
    assert (resolved.width, resolved.asv_layers, resolved.max_sequence_length) == (64, 1, 100)
    assert (resolved.attention_heads, resolved.memberships) == (2, 128)
    assert resolved.resolved(999, 2000) == resolved
    assert AUTO not in dataclasses.astuple(resolved)


def test_very_short_sequences_still_make_a_model():
    assert ModelConfig().resolved(3, 2000).max_sequence_length == 8


@pytest.mark.parametrize('width, heads', [(8, 1), (31, 1), (32, 1), (96, 3), (100, 2), (101, 1), (256, 8)])
def test_heads_are_one_for_each_32_of_width_as_far_as_they_divide_it(width, heads):
    assert ModelConfig(width=width).resolved(100, 2000).attention_heads == heads


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError) as error:
        ModelConfig(width=100, attention_heads=3)
    assert str(error.value) == 'Parameter width (100) must be a multiple of attention_heads (3).'


def test_turned_positions_need_an_even_width_of_each_head():
    with pytest.raises(ValueError) as error:
        ModelConfig(width=12, attention_heads=4, positions='rotary')
    assert str(error.value) == (
        'Parameter positions is rotary, which needs an even width of each attention head, but width (12) by '
        'attention_heads (4) is 3; change one of them.'
    )


def test_heads_that_do_not_divide_the_derived_width_are_refused():
    with pytest.raises(ValueError, match=r'^Parameter width \(128\) must be a multiple of attention_heads \(3\)\.$'):
        ModelConfig(attention_heads=3).resolved(150, 2000)


def test_a_sequence_beyond_the_longest_that_a_model_may_read_is_refused():
    with pytest.raises(ValueError, match='^Parameter max_sequence_length must be a whole number from 8 to 65536 or '):
        ModelConfig().resolved(70000, 2000)


@pytest.mark.parametrize('kind, outputs', [('distances', 0), ('nucleotides', 0), ('target', 1), ('target', 7)])
def test_a_head_has_its_kind_and_a_target_its_number_of_outputs(kind, outputs):
    head = HeadConfig(kind, outputs)
    assert (head.kind, head.outputs) == (kind, outputs)
    assert HeadConfig(**dataclasses.asdict(head)) == head


@pytest.mark.parametrize(
    'values, sentence',
    [
        ({'kind': None}, 'The kind of a head must be text, but it is None.'),
        (
            {'kind': 'target', 'outputs': 1.0},
            'Outputs of a head must be a whole number of 0 or more, but they are 1.0.',
        ),
        (
            {'kind': 'target', 'outputs': True},
            'Outputs of a head must be a whole number of 0 or more, but they are True.',
        ),
        (
            {'kind': 'nucleotides', 'outputs': -1},
            'Outputs of a head must be a whole number of 0 or more, but they are -1.',
        ),
    ],
)
def test_another_head_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(ValueError) as error:
        HeadConfig(**values)
    assert str(error.value) == sentence
