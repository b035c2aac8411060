"""Network and abundance ensemble together: how both are weighed, gated and read out of fold."""

import types

import numpy as np
import pytest
import scipy.sparse
import torch

from q2_aam import bundle
from q2_aam.bundle.blend import ENOUGH_COVERAGE
from q2_aam.data.inputs import read_study
from q2_aam.data.labels import Labels, align_classes, align_numbers
from q2_aam.data.signs import Signs
from q2_aam.data.splits import TEST, TRAINING, VALIDATION
from q2_aam.model.abundance_ensemble import AbundanceEnsemble
from q2_aam.model.member_arrays import LINEAR
from q2_aam.objectives import regression
from q2_aam.runtime.checkpoint import Checkpoint, State
from q2_aam.runtime.encode import EnsembleOutputs, StudyReader
from q2_aam.runtime.recorder import Recorder
from q2_aam.stats.stacking import PRIOR_GROUPS
from q2_aam.stats.temperature import best_temperature
from q2_aam.training import members, perceptrons
from q2_aam.training.blend import OPEN_GATE, PRIOR_SHARE, blend, out_of_fold
from q2_aam.training.ensemble import FittedEnsemble, fit_ensemble
from q2_aam.training.train import Trained

# subjects, of two samples each, of the tiny study
ROWS = {
    TRAINING: np.array([0, 1, 4, 5, 6, 7, 10, 11, 14, 15, 16, 17, 20, 21]),
    VALIDATION: np.array([2, 3, 12, 13, 22, 23]),
    TEST: np.array([8, 9, 18, 19]),
}


# In the place of a network: outputs are made up.
MODULE = types.SimpleNamespace(max_floats=2**20)


class Outputs:
    """In the place of a StudyReader: gives what the test has made up."""

    def __init__(self, network, members=None, coverage=None):
        self.network, self.members, self.coverage = network, members, coverage

    def outputs(self, network, head, rows):
        assert head == 'target'
        return self.network[rows].copy()

    def ensemble_outputs(self, model, vocabulary, rows):
        # in blocks of two samples
        for block in np.split(rows, range(2, len(rows), 2)):
            by_kind = {LINEAR: self.members[:, block]}
            nothing = scipy.sparse.csr_matrix((len(block), 1))
            yield EnsembleOutputs(
                block, by_kind, self.coverage[:, block], self.coverage[:, block], nothing, np.zeros(1)
            )


# By hand: eight samples, each a group; the target is learned as it is.
HAND = {TRAINING: np.array([0, 1]), VALIDATION: np.array([2, 3, 4]), TEST: np.array([5, 6, 7])}
TRUE = np.array([7.0, 5, 1, 2, 3, 4, 8, 9])
NETWORK = np.array([0.0, 0, 3, 2, 9, 6, 4, 2])
OUT_OF_FOLD = np.array([6.0, 5.5, 1, 4, 8])
# of the labelled samples; a gate is open from half on
COVERAGE = np.array([1.0, 0.9, 0.5, 0.25, 0.0])


@pytest.fixture
def by_hand(prepare_labels, monkeypatch):
    """Blend what is made up; return the result, its history and the lines of progress. The network is not shrunk."""
    monkeypatch.setattr(regression, 'shrinkage', lambda outputs, true: 1.0)

    def make(coverage=COVERAGE, network=NETWORK, kind='regressor', true=TRUE, out_of_fold=OUT_OF_FOLD[:, None]):
        ids = [f's{row}' for row in range(8)]
        labels = Labels('age', ids, true, np.array(ids))
        prepared = prepare_labels(_Study(ids), labels, HAND, kind, target_scaling='none', class_weights='none')
        network = network[:, None] if network.ndim == 1 else network
        # of two members, one of which counts three times as much
        members = np.stack([np.full(network.shape, 10.0), np.full(network.shape, 20.0)])
        of_members = np.array([[1.0] * 8, [0.25] * 5 + [0.5, 0.25, 0.0]])
        model = AbundanceEnsemble({}, {LINEAR: 1.0}, np.array([0.25, 0.75]), np.ones((2, 1), dtype=np.uint8))
        signs = Signs(coverage, coverage, np.full(5, np.nan), np.zeros(5))
        fitted = FittedEnsemble(model, None, None, {LINEAR: out_of_fold}, signs, None, np.ones(5), np.zeros(5))
        lines = []
        recorder = Recorder(lines.append)
        trained = Trained(MODULE, Outputs(network, members, of_members), 1, 1, fitted)
        return blend(prepared, trained, recorder), recorder.history, lines

    return make


class _Study:
    """Nothing but ids."""

    def __init__(self, ids):
        self.sample_ids = ids

    def __len__(self):
        return len(self.sample_ids)


def test_weighing_sees_outputs_through_the_gate_of_prediction(by_hand):
    blended, history, lines = by_hand()
    # gates of the validation samples: 1, 0.5, 0; where it is shut the network answers whatever the share.
    # difference of network and ensemble, gated: 2, -1, 0; what lacks to the ensemble gated: 1 - 1, 2 - 3, 3 - 9
    best = (2 * 0 + -1 * -1) / (4 + 1)
    share = (3 * best + PRIOR_GROUPS * PRIOR_SHARE) / (3 + PRIOR_GROUPS)
    assert blended.blend == bundle.Blend(share, 1 - share, 1.0, 1.0, 2, {LINEAR: 1.0})
    expected = [share * 3 + (1 - share) * 1, 0.5 * (share * 2 + (1 - share) * 4) + 0.5 * 2, 9]
    assert blended.outputs[HAND[VALIDATION], 0] == pytest.approx(expected)
    # training samples are read by the ensemble alone, whatever it covers of them
    assert blended.outputs[HAND[TRAINING], 0].tolist() == [6, 5.5]
    assert history.series('run', 'network_weight') == [pytest.approx(share)]
    assert history.series('run', 'ensemble_weight') == [pytest.approx(1 - share)]
    # the ensemble, too, leaves to the network what it does not cover
    assert history.series('validation', 'network_mae') == [pytest.approx((2 + 0 + 6) / 3)]
    assert history.series('validation', 'ensemble_mae') == [pytest.approx((0 + 1 + 6) / 3)]
    assert history.series('validation', 'blend_mae') == [pytest.approx(np.abs(expected - TRUE[2:5]).mean())]
    assert lines == [
        f'Blend: {share:.0%} network, {1 - share:.0%} abundance ensemble; mae of validation samples: network 2.67, '
        f'ensemble 2.33, both {np.abs(expected - TRUE[2:5]).mean():.3g}.'
    ]


def test_test_samples_have_outputs_of_every_member_each_through_its_own_gate(by_hand):
    blended, _, _ = by_hand()
    share = blended.blend.network
    expected = []
    for network, gate in zip(NETWORK[5:], (1.0, 0.5, 0.0)):
        # the first member, with a quarter of the say, covers all; the second half a sample, a quarter, nothing
        members = [g * (share * network + (1 - share) * out) + (1 - g) * network for g, out in ((1, 10), (gate, 20))]
        expected.append(0.25 * members[0] + 0.75 * members[1])
    assert blended.outputs[HAND[TEST], 0] == pytest.approx(expected)


@pytest.mark.parametrize('open_', [True, False])
def test_training_samples_calibrate_only_where_the_gate_is_mostly_open(by_hand, open_):
    # mean gates of validation samples just at and just below the bound
    gate = OPEN_GATE if open_ else OPEN_GATE - 0.01
    coverage = np.array([1.0, 1.0, 1.0, 1.0, 3 * gate - 2]) * ENOUGH_COVERAGE
    blended = by_hand(coverage)[0]
    assert blended.calibrating.tolist() == ([0, 1, 2, 3, 4] if open_ else [2, 3, 4])
    # that of training samples says nothing of it
    coverage[:2] = 0
    assert by_hand(coverage)[0].calibrating.tolist() == blended.calibrating.tolist()


def test_where_the_gate_is_shut_the_network_is_alone_and_the_prior_decides(by_hand):
    blended = by_hand(np.zeros(5))[0]
    assert blended.blend.network == PRIOR_SHARE
    assert blended.outputs[HAND[VALIDATION], 0].tolist() == NETWORK[HAND[VALIDATION]].tolist()
    assert blended.calibrating.tolist() == HAND[VALIDATION].tolist()


def test_without_an_ensemble_outputs_are_those_of_the_network(prepare_labels):
    ids = [f's{row}' for row in range(8)]
    prepared = prepare_labels(_Study(ids), Labels('age', ids, TRUE, np.array(ids)), HAND)
    recorder = Recorder(lambda line: None)
    blended = blend(prepared, Trained(MODULE, Outputs(NETWORK[:, None]), 1, 1), recorder)
    assert blended.outputs[:, 0].tolist() == NETWORK.tolist() and blended.blend is None
    assert blended.calibrating.tolist() == HAND[VALIDATION].tolist() and recorder.history.rows == []


def test_labels_of_test_samples_are_not_looked_at(by_hand):
    true = TRUE.copy()
    true[HAND[TEST]] = np.nan
    (one, history, _), (other, history_other, _) = by_hand(), by_hand(true=true)
    assert one.blend == other.blend and np.array_equal(one.outputs, other.outputs)
    assert history.rows == history_other.rows


def test_logits_are_blended_each_as_sure_as_it_may_be(by_hand):
    random = np.random.default_rng(3)
    true = np.array(['a', 'b', 'a', 'b', 'b', 'a', 'b', 'a'], dtype=object)
    network, out_of_fold = 3 * random.normal(size=(8, 2)), random.normal(size=(5, 2)) / 3
    blended = by_hand(kind='classifier', true=true, network=network, out_of_fold=out_of_fold)[0]
    validation, codes = HAND[VALIDATION], np.array([0, 1, 1])
    scales = [1 / best_temperature(logits, codes) for logits in (network[validation], out_of_fold[2:])]
    weights = blended.blend
    assert (weights.network_alone, weights.ensemble_alone) == pytest.approx(scales)
    share = weights.network / scales[0]
    assert 0 < share < 1 and weights.ensemble == pytest.approx((1 - share) * scales[1])
    # a sample of which the ensemble knows nothing, and one that it knows
    assert blended.outputs[4] == pytest.approx(scales[0] * network[4])
    both = weights.network * network[2] + weights.ensemble * out_of_fold[2]
    assert blended.outputs[2] == pytest.approx(both)
    assert blended.outputs[:2] == pytest.approx(scales[1] * out_of_fold[:2])


# With an ensemble that has learned from the tiny study.


@pytest.fixture(autouse=True)
def quick(quick_members, monkeypatch):
    """Some steps: enough to learn something, which most tests here do not ask about. One penalty for all members."""
    monkeypatch.setattr(perceptrons, 'MIN_STEPS', 40)
    monkeypatch.setattr(perceptrons, 'MAX_STEPS', 40)
    monkeypatch.setattr(members, 'RIDGE_PENALTIES', np.array([0.1]))


@pytest.fixture
def prepared(tiny, tmp_path, prepare_labels):
    """Prepare the tiny study's ages, whose scaling is that of the true ones whatever `change` makes of them."""
    files = tiny.write(tmp_path / 'inputs')
    study, _ = read_study(files.table, files.sequences)

    def make(change=lambda values: values, kind='regressor', **options):
        align, target = (align_numbers, tiny.target) if kind == 'regressor' else (align_classes, tiny.stages)
        labels = align(study.sample_ids, target, tiny.groups)
        made = prepare_labels(study, labels, ROWS, kind, **options)
        made.target.values = change(made.target.values)
        return made

    return make


@pytest.fixture
def blended(make_run):
    """Fit an ensemble and blend it with made-up outputs of a network; return the result and the ensemble."""

    def make(prepared, network=None, seed=7):
        run = make_run(seed)
        fitted = fit_ensemble(prepared, run)
        reader = StudyReader(prepared.study, prepared.augment)
        network = np.zeros((24, prepared.target.target.outputs)) if network is None else network
        reader.outputs = lambda _, head, rows: network[rows].copy()
        return blend(prepared, Trained(MODULE, reader, 1, 1, fitted), run.recorder), fitted

    return make


def same(one, two):
    one, two = one.model.arrays(), two.model.arrays()
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize('part', [TRAINING, VALIDATION])
def test_labels_of_a_group_do_not_reach_its_own_outputs(tiny, prepared, blended, part):
    group = ROWS[part][2:4]
    assert tiny.groups.iloc[group].nunique() == 1

    def outputs(change):
        made = prepared(change)
        # what is chosen for all samples
        made.target.share = lambda *_: (0.0, 1.0, 1.0)
        made.target.combine = lambda parts, *_: (np.full(len(parts), 1 / len(parts)), np.ones(len(parts)), 1.0)
        return blended(made)[0].outputs

    before = outputs(lambda ages: ages)
    after = outputs(lambda ages: ages + 50 * np.isin(np.arange(24), group))
    assert np.array_equal(after[group], before[group])
    assert (after[ROWS[TEST]] != before[ROWS[TEST]]).all()
    # but for the other group of its member, which was not told of this one either
    assert (after != before).sum() >= 24 - 2 * 2


def test_labels_of_test_samples_change_nothing(prepared, blended):
    network = np.random.default_rng(2).normal(size=(24, 1))

    def with_labels(part, value):
        return blended(prepared(lambda ages: np.where(np.isin(np.arange(24), ROWS[part]), value, ages)), network)

    before, fitted = blended(prepared(), network)
    after, fitted_after = with_labels(TEST, 1e6)
    assert before.blend == after.blend and same(fitted, fitted_after)
    assert np.array_equal(before.outputs, after.outputs)
    # those of validation samples do teach the ensemble
    assert not same(with_labels(VALIDATION, 6.0)[1], fitted)


def test_a_network_that_is_right_has_a_larger_share_than_one_that_is_wrong(prepared, blended):
    made = prepared()
    right = made.target.target.scaled(made.target.values)[:, None]
    good, bad = blended(made, right)[0].blend, blended(made, -right)[0].blend
    assert good.network > PRIOR_SHARE >= bad.network >= 0 and bad.ensemble > good.ensemble
    assert good.network + good.ensemble == pytest.approx(1) == bad.network + bad.ensemble


def test_test_samples_are_read_as_training_samples_are(prepared, blended):
    made = prepared(max_asvs_per_sample=5)
    result, fitted = blended(made)
    reader = StudyReader(made.study, made.augment)
    (part,) = reader.ensemble_outputs(fitted.model, fitted.vocabulary, ROWS[TEST])
    outputs = fitted.model.combine(part.by_kind)
    expected = np.average(
        result.blend.outputs(np.zeros((4, 1)), outputs, part.coverage), axis=0, weights=fitted.model.shares
    )
    np.testing.assert_allclose(result.outputs[ROWS[TEST]], expected, rtol=1e-9)
    everything = StudyReader(made.study)
    (part,) = everything.ensemble_outputs(fitted.model, fitted.vocabulary, ROWS[TEST])
    assert not np.allclose(outputs, fitted.model.combine(part.by_kind))


def test_of_samples_that_the_ensemble_does_not_know_the_network_speaks(tiny, prepare_labels, tmp_path, blended):
    # of two test samples one has an ASV of its own alone, and the other has it beside what it had
    tiny.counts['new'] = 0.0
    tiny.sequences['new'] = 'ACGT' * 12
    tiny.counts.iloc[19] *= 0
    tiny.counts.iloc[18:20, -1] = 5.0
    files = tiny.write(tmp_path / 'others')
    study, _ = read_study(files.table, files.sequences)
    labels = align_numbers(study.sample_ids, tiny.target, tiny.groups)
    result, fitted = blended(prepare_labels(study, labels, ROWS), np.full((24, 1), 3.0))
    assert len(fitted.vocabulary) == 30
    (part,) = StudyReader(study).ensemble_outputs(fitted.model, fitted.vocabulary, np.array([18, 19]))
    assert part.coverage[:, 0].min() > ENOUGH_COVERAGE and (part.coverage[:, 1] == 0).all()
    mean = np.average(fitted.model.combine(part.by_kind)[:, 0, 0], weights=fitted.model.shares)
    weights = result.blend
    assert result.outputs[18, 0] == pytest.approx(weights.network * 3 + weights.ensemble * mean)
    assert result.outputs[19, 0] == pytest.approx(weights.network_alone * 3) and weights.network_alone < 1


def test_classes_that_the_ensemble_tells_apart_are_most_probable(prepared, blended):
    made = prepared(kind='classifier')
    result, fitted = blended(made)
    assert result.outputs.shape == (24, 3)
    assert (result.outputs.argmax(axis=1) == made.target.values).mean() > 0.8
    # labels of test samples change nothing
    other = prepared(lambda classes: np.where(np.isin(np.arange(24), ROWS[TEST]), 0, classes), 'classifier')
    again, fitted_again = blended(other)
    assert again.blend == result.blend and same(fitted_again, fitted) and np.array_equal(again.outputs, result.outputs)


def test_outputs_of_a_group_are_those_of_the_epoch_that_the_others_choose(prepare_labels):
    ids = [f's{row}' for row in range(8)]
    labels = Labels('age', ids, TRUE, np.array(['a', 'a', 'b', 'b', 'c', 'd', 'd', 'd']))
    target = prepare_labels(_Study(ids), labels, HAND, 'regressor', target_scaling='none').target
    # of the true 1, 2, 3: epoch 1 is right for the first group alone, epoch 2 for the second
    epochs = {1: np.array([[1.0], [2], [9]]), 2: np.array([[5.0], [5], [3]])}
    kept = np.array([[7.0], [7], [7]])
    assert out_of_fold(target, epochs, kept, HAND[VALIDATION]).ravel().tolist() == [5, 5, 9]
    # where there is nothing to choose from, or nobody else to choose, those of the epoch that is kept
    assert out_of_fold(target, {}, kept, HAND[VALIDATION]) is kept
    assert out_of_fold(target, epochs, kept[:2], HAND[VALIDATION][:2]).ravel().tolist() == [7, 7]


def test_the_outputs_of_every_epoch_survive_a_kill(tmp_path):
    module, outputs = torch.nn.Linear(1, 1), {1: torch.rand(3, 2, dtype=torch.float64), 12: torch.rand(3, 2)}
    optimizer = torch.optim.AdamW(module.parameters())
    Checkpoint(tmp_path / 'run', 0.0).save(module, optimizer, State(step=3, epoch=12, outputs=outputs))
    resumed = Checkpoint(tmp_path / 'run').resume(module, optimizer).outputs
    assert list(resumed) == [1, 12]
    assert all(torch.equal(resumed[epoch], values) for epoch, values in outputs.items())
