"""Options of the target head: layers, a linear part, dropout, a learned scale, and outputs that stay within bounds."""

import dataclasses

import pytest
import torch

from q2_aam.config import HeadConfig
from q2_aam.model.heads import SampleEmbeddings, TargetHead, make_head
from q2_aam.model.network import build_network


def embeddings(samples=5, seed=7, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return SampleEmbeddings(*(size * torch.randn(samples, width, generator=generator) for width in (16, 16, 12)))


def test_a_head_without_options_has_the_weights_that_it_always_had(config_of):
    head = make_head(config_of(), HeadConfig('target', 2))
    names = ['summary_norm', 'mean_norm', 'membership_norm', 'hidden', 'out']
    assert [name for name, _ in head.named_parameters()] == [
        f'{n}.{kind}' for n in names for kind in ('weight', 'bias')
    ]


@pytest.mark.parametrize(('pooling', 'part'), [('attention', 0), ('mean', 1), ('soft_union', 2)])
def test_a_head_reads_what_it_pools_and_nothing_else(config_of, scrambled, pooling, part):
    head = scrambled(TargetHead(config_of(), HeadConfig('target', 2, pooling=pooling, residual=True)))
    assert sum('norm' in name for name, _ in head.named_parameters()) == 2
    given = dataclasses.astuple(embeddings())
    for changed in range(3):
        others = [x + (number == changed) * torch.arange(x.shape[1]).sin() for number, x in enumerate(given)]
        same = torch.equal(head(SampleEmbeddings(*given)), head(SampleEmbeddings(*others)))
        assert same == (changed != part)


def test_a_head_of_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match='^The pooling of a head must be one of all, attention, mean, soft_union, but'):
        HeadConfig('target', 1, pooling='max')


@pytest.mark.parametrize(('layers', 'matrices'), [(0, 1), (1, 2), (3, 4)])
def test_a_head_has_as_many_hidden_layers_as_asked_for(config_of, scrambled, layers, matrices):
    head = scrambled(TargetHead(config_of(), HeadConfig('target', 2, layers=layers)))
    assert sum(parameter.dim() == 2 for parameter in head.parameters()) == matrices
    assert head(embeddings()).shape == (5, 2)


def test_a_residual_head_is_its_hidden_layers_plus_a_linear_function(config_of, scrambled):
    plain = scrambled(TargetHead(config_of(), HeadConfig('target', 2)))
    residual = scrambled(TargetHead(config_of(), HeadConfig('target', 2, residual=True)))
    residual.load_state_dict(residual.state_dict() | plain.state_dict())
    linear = TargetHead(config_of(), HeadConfig('target', 2, layers=0))
    shared = {name: value for name, value in plain.state_dict().items() if 'norm' in name}
    linear.load_state_dict(
        shared | {f'out.{kind}': residual.state_dict()[f'linear.{kind}'] for kind in ('weight', 'bias')}
    )
    expected = plain(embeddings()) + linear(embeddings())
    assert torch.allclose(residual(embeddings()), expected, atol=1e-6)


def test_what_a_head_multiplies_and_adds_begins_at_1_and_0_and_learns(config_of):
    heads = [{'target': HeadConfig('target', 2, scaled=scaled)} for scaled in (False, True)]
    plain, scaled = (build_network(config_of(), head, torch.Generator().manual_seed(1)) for head in heads)
    outputs = scaled.heads['target'](embeddings())
    assert torch.equal(outputs, plain.heads['target'](embeddings()))
    outputs.sum().backward()
    assert scaled.heads['target'].output_scale.grad.abs().min() > 0
    assert scaled.heads['target'].output_offset.grad.tolist() == [5, 5]
    scaled.heads['target'].output_offset.data.fill_(3.0)
    assert torch.allclose(scaled.heads['target'](embeddings()), outputs + 3)


def test_dropped_units_have_no_say_and_no_gradient(config_of, scrambled):
    head = scrambled(TargetHead(config_of(), HeadConfig('target', 1, layers=2)))
    kept = torch.ones(2, 5, 16)
    assert torch.equal(head(embeddings(), kept), head(embeddings()))
    kept[0, :, 3] = 0
    changed = head(embeddings(), kept)
    assert (changed - head(embeddings())).abs().min() > 0
    changed.sum().backward()
    assert head.hidden.weight.grad[3].abs().max() == 0 < head.hidden.weight.grad[4].abs().max()


@pytest.mark.parametrize('activation', ['relu', 'softplus', 'exp', 'sigmoid'])
@pytest.mark.parametrize(('low', 'high'), [(-1.5, 2.0), (0.0, 1.0), (2.0, 5.0)])
def test_outputs_stay_within_bounds_and_are_finite_however_large_what_the_head_reads(
    config_of, scrambled, activation, low, high
):
    config = HeadConfig('target', 3, scaled=True, activation=activation, low=low, high=high)
    head = scrambled(TargetHead(config_of(), config))
    head.output_scale.data.fill_(1e3)
    outputs = head(embeddings(200))
    assert outputs.isfinite().all() and outputs.min() >= low
    assert activation != 'sigmoid' or outputs.max() <= high
    free = scrambled(TargetHead(config_of(), dataclasses.replace(config, activation='none')))
    free.output_scale.data.fill_(1e3)
    assert free(embeddings(200)).min() < low


@pytest.mark.parametrize('activation', ['exp', 'sigmoid'])
def test_training_begins_at_the_mean_of_the_target_wherever_the_bounds_are(config_of, activation):
    head = TargetHead(config_of(), HeadConfig('target', 1, activation=activation, low=-1.5, high=2.0))
    for parameter in head.out.parameters():
        torch.nn.init.zeros_(parameter)
    assert head(embeddings()).flatten().tolist() == pytest.approx([0] * 5, abs=1e-6)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'layers': 17}, 'Layers of a head must be a whole number from 0 to 16, but they are 17.'),
        ({'residual': 1}, 'residual of a head must be true or false, but it is 1.'),
        (
            {'activation': 'tanh'},
            "The activation of a head must be one of none, relu, softplus, exp, sigmoid, but it is 'tanh'.",
        ),
        ({'low': 2.0}, 'The bounds of a head must be two numbers, the lower one first, but they are 2.0 and 1.0.'),
        (
            {'high': float('nan')},
            'The bounds of a head must be two numbers, the lower one first, but they are 0.0 and nan.',
        ),
    ],
)
def test_a_head_that_no_configuration_asks_for_is_refused(options, sentence):
    with pytest.raises(ValueError) as error:
        HeadConfig('target', 1, **options)
    assert str(error.value) == sentence
