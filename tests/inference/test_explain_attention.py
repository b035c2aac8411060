"""Attention is read out as it is used, nothing changes for it, and nucleotides that matter are found."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from q2_aam import bundle
from q2_aam.bundle.scales import ByCategory
from q2_aam.config import VisualizeAttentionConfig
from q2_aam.data.batches import draw_samples, make_batch
from q2_aam.data.inputs import read_study
from q2_aam.data.sequences import encode
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import UserError
from q2_aam.inference.explain_attention import attention_weights, rollout, sample_attention
from q2_aam.inference.explain_nucleotides import nearest_other, read_sequence, substituted_changes, variants_of
from q2_aam.inference.explain_open import Opened
from q2_aam.inference.explain_samples import attention, spearman
from q2_aam.model.layers import ragged_attention
from q2_aam.runtime.encode import StudyReader

CPU = torch.device('cpu')


@pytest.fixture
def opened(tiny, tiny_regressor, tmp_path):
    """The tiny study and a model that may be changed."""
    files = tiny.write(tmp_path / 'study')
    model = bundle.load(tiny_regressor.folder)
    reader = StudyReader(read_study(files.table, files.sequences)[0])
    reader.remember(model.network)
    return Opened(model, reader, CPU)


def shown(tiny, folder, model, importance=None, **options):
    files = tiny.write(folder / 'inputs')
    config = VisualizeAttentionConfig.from_flat({'threads': 1, 'device': 'cpu'} | options)
    return attention(files.table, model, config, files.sequences, importance=importance, say=lambda line: None)


@torch.no_grad()
def test_the_weights_are_those_that_the_layer_uses(opened):
    block = opened.model.network.sample_encoder.blocks[0]
    drawn = draw_samples(opened.study, np.array([12]))
    asvs = opened.reader.asvs[torch.from_numpy(drawn.distinct)]
    chunk = make_batch(drawn, opened.model.network.budget(), (), asvs).samples[0]
    x_QD = torch.randn(len(chunk.source), 16, generator=torch.Generator().manual_seed(1))
    weights_HQQ = attention_weights(block, x_QD)
    np.testing.assert_allclose(weights_HQQ.sum(dim=-1).numpy(), 1, atol=1e-6)
    qkv_Q3HE = block.query_key_value(block.attention_norm(x_QD)).unflatten(-1, (3, block.heads, -1))
    value_HQE = qkv_Q3HE[:, 2].transpose(0, 1)
    ours_QD = (weights_HQQ @ value_HQE).transpose(0, 1).flatten(1)
    np.testing.assert_allclose(ours_QD.numpy(), ragged_attention(qkv_Q3HE, chunk.layout).numpy(), atol=1e-6)
    assert (weights_HQQ[0] - weights_HQQ[1]).abs().max() > 1e-4


def test_reading_attention_changes_nothing(opened):
    network, rows = opened.model.network, np.arange(24)
    before = opened.reader.outputs(network, 'target', rows)
    read = sample_attention(network, opened.reader, 12)
    np.testing.assert_array_equal(opened.reader.outputs(network, 'target', rows), before)
    inside = slice(*opened.study.offsets[12:14])
    np.testing.assert_array_equal(read.asvs, opened.study.asvs[inside])
    layers, heads = network.config.sample_layers, network.config.attention_heads
    assert read.weights.shape == (layers, heads, len(read.asvs))
    assert (read.weights > 0).all() and (read.weights.sum(axis=-1) < 1).all()
    assert not any(block._forward_pre_hooks for block in network.sample_encoder.blocks)


def test_rollout_follows_attention_through_the_layers():
    # two tokens: the first attends to the second alone, in both layers; the second to itself
    weights = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]] * 2)
    np.testing.assert_allclose(rollout(weights).numpy(), [[0.25, 0.75], [0, 1]])
    # of one layer, the mean of its heads
    heads = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    np.testing.assert_allclose(rollout(heads).numpy(), [[0.625, 0.375], [0, 1]])


def test_each_nucleotide_is_replaced_by_the_three_others():
    (codes,) = encode(['ACGTN'])[0]
    variants = variants_of(codes)
    assert variants.shape == (15, 5)
    for place in range(5):
        mine = variants[3 * place : 3 * place + 3]
        assert len(set(mine[:, place])) == 3 and codes[place] not in mine[:, place]
        assert ((mine >= 1) & (mine <= 4))[:, place].all()
        np.testing.assert_array_equal(np.delete(mine, place, axis=1), np.delete([codes] * 3, place, axis=1))


def test_effects_of_nucleotides_are_those_of_samples_with_another_sequence(tiny, opened, tmp_path):
    """What is told of a substitution is the network's prediction of the same table with that sequence."""
    study = opened.study
    asv = study.feature_ids.index('feature12')
    sequence = tiny.sequences['feature12']
    codes, _ = encode([sequence])
    row = 12
    found = substituted_changes(opened, asv, codes[0], np.array([row]))[:, 0]
    place, letter = 20, sequence[20]
    changes = []
    for other in 'ACGT'.replace(letter, ''):
        tiny.sequences['feature12'] = sequence[:place] + other + sequence[place + 1 :]
        files = tiny.write(tmp_path / other)
        reader = StudyReader(read_study(files.table, files.sequences)[0])
        outputs = reader.outputs(opened.model.network, 'target', np.array([row]))
        whole = opened.reader.outputs(opened.model.network, 'target', np.array([row]))
        alone = opened.model.config.blend.network_alone
        target = opened.model.config.target
        changes.append(target.predictions(alone * whole)[0] - target.predictions(alone * outputs)[0])
    assert found[place] == pytest.approx(np.mean(changes), abs=1e-4) and np.abs(found).max() > 1e-4


@pytest.fixture
def vocabulary():
    """Three sequences of 120 nucleotides: the second is the first with two others, the third is unrelated."""
    random = np.random.default_rng(4)
    first = ''.join(random.choice(list('ACGT'), 120))
    swap = {'A': 'C', 'C': 'A', 'G': 'T', 'T': 'G'}
    second = first[:30] + swap[first[30]] + first[31:90] + swap[first[90]] + first[91:]
    third = ''.join(random.choice(list('ACGT'), 120))
    codes, lengths = encode([first, second, third])
    return first, second, third, Vocabulary.of(codes, lengths)


def test_the_nearest_other_asv_is_aligned_with_its_mismatches(vocabulary):
    first, second, third, known = vocabulary
    nearest, asv, mismatches, overlap = nearest_other(encode([first])[0][0], known)
    assert (nearest, mismatches, overlap) == (second, 2, 120)
    np.testing.assert_array_equal(known.codes[asv], encode([second])[0][0])
    # one that begins ten later: the ends that only one of them has are no mismatches
    nearest, _, mismatches, overlap = nearest_other(encode([first[10:] + 'ACGTACGTAC'])[0][0], known)
    assert nearest == first[10:] + '-' * 10 and (mismatches, overlap) == (0, 110)
    assert nearest_other(encode([third])[0][0], known) == ('', -1, 0, 0)
    assert nearest_other(encode([third])[0][0], None) == ('', -1, 0, 0)


def test_samples_from_the_lowest_to_the_highest_prediction_are_shown(tiny, predicted, tiny_regressor, tmp_path):
    predictions, _ = predicted(tiny, tiny_regressor.folder)
    found = shown(tiny, tmp_path, tiny_regressor.folder)
    ordered = predictions.sort_values(kind='stable').index
    assert list(found.correlations['sample']) == [ordered[0], ordered[12], ordered[23]]
    np.testing.assert_allclose(
        found.correlations['prediction'], predictions[found.correlations['sample']], rtol=0, atol=1e-4
    )
    assert len(found.samples) == found.correlations['asvs'].sum()
    assert len(found.sequences) == 3 and found.target == 'age' and found.classes == ()
    # those that change the predictions of these samples most
    size = found.samples['effect'].abs().groupby(found.samples['id']).sum().sort_values(ascending=False)
    assert [name for name, _, _ in found.sequences] == list(size.index[:3])
    heads = found.heads.groupby(['sample', 'layer', 'head'])['attention'].sum()
    assert (heads < 1).all() and (heads > 0).all()


def test_what_is_asked_for_is_shown_and_compared_with_importance(tiny, tiny_classifier, tmp_path):
    asked = {'sample_ids': [tiny.counts.index[5]], 'feature_ids': ['feature07']}
    order = [f'feature{place:02d}' for place in range(30)]
    importance = pd.DataFrame({'importance': np.arange(30.0)}, pd.Index(order, name='id'))
    found = shown(tiny, tmp_path, tiny_classifier.folder, importance, **asked)
    assert list(found.correlations['sample']) == asked['sample_ids'] and len(found.classes) == 3
    ((name, _, read),) = found.sequences
    assert name == 'feature07' and read.letters == tiny.sequences['feature07'] and 0 <= read.quantity < 3
    assert len(read.effects) == len(read.letters)
    assert set(found.samples['class']) == set(found.correlations['class']) <= set(found.classes)
    rolled = found.samples.set_index('id')['rollout']
    assert found.with_importance == pytest.approx(rolled.corr(importance['importance'][rolled.index], 'spearman'))
    by_importance = shown(
        tiny, tmp_path / 'all', tiny_classifier.folder, importance[::-1], sample_ids=asked['sample_ids']
    )
    assert [name for name, _, _ in by_importance.sequences] == ['feature29', 'feature28', 'feature27']


@pytest.mark.parametrize(
    'options, message',
    [
        ({'sample_ids': ['nowhere']}, r"for 1 sample ID that the table does not have with reads \(e.g. 'nowhere'; the"),
        ({'feature_ids': ['nowhere']}, 'for 1 feature ID that the table does not have with reads of its own'),
    ],
)
def test_ids_that_are_not_there_are_named(tiny, tiny_regressor, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        shown(tiny, tmp_path, tiny_regressor.folder, **options)


def test_importance_of_another_table_is_refused(tiny, tiny_regressor, tmp_path):
    other = pd.DataFrame({'importance': [1.0]}, pd.Index(['elsewhere'], name='id'))
    with pytest.raises(UserError, match=r"share no ASV \(the details have e.g. 'elsewhere', the table 'feature"):
        shown(tiny, tmp_path, tiny_regressor.folder, other)


def test_correlations_of_few_values_are_unknown():
    few = pd.Series([1.0, 2.0, 3.0])
    assert np.isnan(spearman(few, few)) and np.isnan(spearman(pd.Series([1.0] * 5), pd.Series(range(5))))
    assert spearman(pd.Series([1, 2, 4, 8, 16.0]), pd.Series([5, 4, 3, 2, 1.0])) == pytest.approx(-1)


def test_a_sequence_is_read_in_the_samples_that_hold_most_of_it(opened, monkeypatch):
    from q2_aam.inference import explain_nucleotides

    asked = []
    monkeypatch.setattr(
        explain_nucleotides,
        'substituted_changes',
        lambda _, asv, codes, rows: asked.extend(rows) or np.ones((len(codes), 1)),
    )
    asv = opened.study.feature_ids.index('feature12')
    read = read_sequence(opened, asv)
    matrix = np.zeros(24)
    for row in range(24):
        inside = slice(*opened.study.offsets[row : row + 2])
        matrix[row] = opened.study.abundances[inside][opened.study.asvs[inside] == asv].sum()
    assert set(asked) == set(np.argsort(-matrix, kind='stable')[:5]) and read.samples == 5
    assert dataclasses.asdict(read)['quantity'] == 0


def test_nucleotides_tell_in_the_scaling_of_the_category_of_the_sample(opened):
    target = dataclasses.replace(
        opened.target, sqrt=False, lowest=None, highest=None, calibration=None, difficulty=None,
        by_category=ByCategory('site', ('a', 'b'), (0.0, 0.0), (1.0, 1000.0)),
    )  # fmt: skip
    model = dataclasses.replace(opened.model, config=dataclasses.replace(opened.model.config, target=target))
    codes, rows = np.asarray(opened.study.codes[3, : int(opened.study.lengths[3])]), np.array([1, 4])
    one, other = (
        substituted_changes(Opened(model, opened.reader, CPU, np.full(24, number)), 3, codes, rows) for number in (1, 2)
    )
    assert np.abs(one).max() > 0
    np.testing.assert_allclose(other, 1000 * one, rtol=1e-5, atol=1e-9)


def test_effects_beside_attention_are_in_the_scaling_of_the_category(tiny, fitted, predicted, tmp_path):
    sites = pd.Series(np.where(np.arange(24) % 4 < 2, 'north', 'south'), tiny.counts.index, name='site', dtype=object)
    run = fitted(tiny, more={'scale_by': sites}, target_scaling='standard', learnable_scale=True, epochs=1)
    whole, _ = predicted(tiny, run.folder, scale_by=sites)
    files = tiny.write(tmp_path / 'inputs')
    config = VisualizeAttentionConfig.from_flat({'threads': 1, 'device': 'cpu'})
    found = attention(files.table, run.folder, config, files.sequences, say=lambda line: None, scale_by=sites)
    told = found.samples.groupby('sample')['prediction'].first()
    np.testing.assert_allclose(told, whole[told.index], rtol=1e-5)
    row = found.samples.dropna(subset=['effect']).iloc[0]
    tiny.counts.loc[row['sample'], row['id']] = 0
    left, _ = predicted(tiny, run.folder, 'left', scale_by=sites)
    assert row['effect'] == pytest.approx(whole[row['sample']] - left[row['sample']], rel=1e-3, abs=1e-4)
