"""Prediction is of a sample alone: any table, any order, any batch, relative frequencies, any letters."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.data.inputs import read_study
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference.predict import outputs_of
from q2_aam.runtime import memory
from q2_aam.runtime.encode import StudyReader

SCALE = 12.0  # the range of the target
BOUNDS = ['lower_bound', 'upper_bound']


def reverse_complement(sequence):
    return sequence[::-1].translate(str.maketrans('ACGT', 'TGCA'))


def warned(call, *given, **more):
    """Call, and return what it gives and what the user was warned of."""
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter('always')
        returned = call(*given, **more)
    return *returned, [str(one.message) for one in messages if issubclass(one.category, AAMWarning)]


@pytest.fixture
def regressor(tiny_regressor):
    return tiny_regressor.folder


def test_the_predictions_of_fitting_come_back(tiny, predicted, tiny_regressor):
    predictions, details = predicted(tiny, tiny_regressor.folder)
    assert predictions.name == 'age' and predictions.index.name == details.index.name == 'id'
    expected = tiny_regressor.predictions
    assert len(expected) == 4 and list(predictions[expected.index]) == pytest.approx(list(expected), abs=1e-5)
    assert set(details['part']) == {'new'} and details['true'].isna().all()
    assert list(details['prediction']) == list(predictions)
    assert list(details.columns[:2]) == ['part', 'prediction']


def test_one_sample_alone_is_predicted_as_in_any_batch(tiny, predicted, regressor):
    together, _ = predicted(tiny, regressor)
    counts = tiny.counts
    for row in (0, 11, 23):
        tiny.counts = counts.iloc[[row]]
        alone, _ = predicted(tiny, regressor, f'alone{row}')
        assert list(alone.index) == [counts.index[row]]
        assert alone.iloc[0] == pytest.approx(together.iloc[row], abs=1e-4 * SCALE)


@pytest.fixture
def partial_ensemble(regressor, tmp_path):
    """The regressor with an ensemble each of whose members knows another third to two thirds of the vocabulary."""
    model = bundle.load(regressor)
    known_MC = model.ensemble.known
    random = np.random.default_rng(3)
    shares_M = random.uniform(0.33, 0.67, (len(known_MC), 1))
    known_MC[:] = random.random(known_MC.shape) < shares_M
    folder = tmp_path / 'partial'
    folder.mkdir()
    bundle.save(folder, model, json.loads((regressor / bundle.CARD_FILE).read_text()))
    return folder


def test_one_sample_alone_is_predicted_as_in_any_table_where_members_know_different_asvs(
    tiny, predicted, regressor, partial_ensemble
):
    together, details = predicted(tiny, partial_ensemble)
    assert (together - predicted(tiny, regressor, 'all known')[0]).abs().min() > 1e-3
    counts, sequences = tiny.counts, dict(tiny.sequences)
    random = np.random.default_rng(9)
    for row in (0, 11, 23):
        tiny.counts, tiny.sequences = counts.iloc[[row]], sequences
        alone, details_alone = predicted(tiny, partial_ensemble, f'alone{row}')
        assert list(alone.index) == [counts.index[row]]
        assert alone.iloc[0] == pytest.approx(together.iloc[row], abs=1e-4 * SCALE)
        assert details_alone['flag'].iloc[0] == details['flag'].iloc[row]
        # beside a sample of ASVs that nobody knows, which stands first in the table
        tiny.sequences = sequences | {f'new{i}': ''.join(random.choice(list('ACGT'), 50)) for i in range(9)}
        tiny.counts = counts.iloc[[row]].reindex(columns=list(tiny.sequences), fill_value=0.0)
        tiny.counts.loc['a stranger'] = [0.0] * 30 + [5.0] * 9
        beside, _, _ = warned(predicted, tiny, partial_ensemble, f'beside{row}')
        assert beside[counts.index[row]] == pytest.approx(together.iloc[row], abs=1e-4 * SCALE)


def test_each_member_is_gated_by_its_own_coverage(tiny, partial_ensemble, tmp_path):
    files = tiny.write(tmp_path / 'study')
    model, reader = bundle.load(partial_ensemble), StudyReader(read_study(files.table, files.sequences)[0])
    rows, blend = np.arange(24), model.config.blend
    (part,) = reader.ensemble_outputs(model.ensemble, model.vocabulary, rows)
    members_MNO, coverage_MN = model.ensemble.combine(part.by_kind), part.coverage
    assert np.ptp(coverage_MN, axis=0).min() > 0.1 and (coverage_MN < 0.5).any() and (coverage_MN > 0.5).any()
    gate_MN1 = np.minimum(coverage_MN / 0.5, 1)[..., None]
    network_NO = reader.outputs(model.network, 'target', rows)
    both_MNO = blend.network * network_NO + blend.ensemble * members_MNO
    gated_MNO = gate_MN1 * both_MNO + (1 - gate_MN1) * blend.network_alone * network_NO
    expected = np.average(gated_MNO, axis=0, weights=model.ensemble.shares.astype(float))
    outputs, _ = outputs_of(model, reader, torch.device('cpu'))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)


def test_the_order_of_samples_and_features_and_features_of_no_sample_change_no_prediction(tiny, predicted, regressor):
    before, details = predicted(tiny, regressor)
    shuffled = tiny.shuffled()
    shuffled.counts['nowhere'] = 0.0
    shuffled.sequences['nowhere'] = 'A' * 80
    after, details_after = predicted(shuffled, regressor, 'shuffled')
    assert before.equals(after) and details.equals(details_after)


def test_memory_cuts_the_work_and_not_the_result(tiny, predicted, regressor, monkeypatch):
    together, _ = predicted(tiny, regressor)
    monkeypatch.setattr(memory, 'SHARE_FOR_ACTIVATIONS', 1e-9)
    cut, _ = predicted(tiny, regressor, 'cut', max_memory_gb=0.1)
    assert list(cut) == pytest.approx(list(together), abs=1e-4 * SCALE)


def test_several_devices_divide_the_work_and_not_the_result(tiny, predicted, regressor):
    together, _ = predicted(tiny, regressor)
    divided, _ = predicted(tiny, regressor, 'divided', devices=2)
    assert list(divided) == pytest.approx(list(together), rel=1e-6)


def test_a_table_without_a_sequence_in_common_is_predicted(tiny, predicted, regressor):
    random = np.random.default_rng(9)
    new = {name: ''.join(random.choice(list('ACGT'), 50)) for name in tiny.sequences}
    assert not set(new.values()) & set(tiny.sequences.values())
    tiny.sequences = new
    with pytest.warns(AAMWarning, match='they may be of another region of the gene'):
        predictions, _ = predicted(tiny, regressor)
    assert len(predictions) == 24 and np.isfinite(predictions).all()


def test_names_of_features_do_not_matter(tiny, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    plain, _ = predicted(tiny, regressor, 'plain', hashed=False)
    assert before.equals(plain)


def test_relative_frequencies_are_predicted_as_counts_are(tiny, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    tiny.counts = tiny.counts.div(tiny.counts.sum(axis=1), axis=0)
    after, details = predicted(tiny, regressor, 'relative')
    assert list(after) == pytest.approx(list(before), abs=1e-4 * SCALE)
    assert list(details['reads_used']) == pytest.approx([1.0] * 24)


def test_unequal_lengths_and_all_letters_are_read(tiny, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    tiny.sequences['feature10'] = 'N' * 44
    tiny.sequences['feature11'] = 'acgurywskmbdhvn'
    tiny.sequences['feature12'] = 'G'
    after, _ = predicted(tiny, regressor, 'letters')
    assert np.isfinite(after).all()
    # an unknown letter is something else than the end of a sequence
    tiny.sequences['feature10'] = 'N' * 20
    shorter, _ = predicted(tiny, regressor, 'shorter')
    holds = tiny.counts['feature10'] > 0
    assert holds.any() and (after[holds] != shorter[holds]).all()


def test_a_sample_without_reads_has_a_warning_and_details_without_prediction(tiny, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    tiny.counts.iloc[2] = 0
    with pytest.warns(AAMWarning) as messages:
        predictions, details = predicted(tiny, regressor, 'empty')
    assert [str(one.message) for one in messages] == ["Ignored: 1 sample without reads (e.g. 'sample-of-visit-02')."]
    assert 'sample-of-visit-02' not in predictions.index and len(predictions) == 23
    row = details.loc['sample-of-visit-02']
    assert (row['part'], row['reads_used'], row['asvs_used'], row['asvs_truncated']) == ('new', 0, 0, 0)
    assert row[['prediction', 'true', *BOUNDS]].isna().all() and row['flag'] == 'no_reads'
    assert list(details.index) == sorted(before.index) and details.index.name == 'id'
    assert details['asvs_used'].dtype.kind == 'i'
    others = predictions.index
    assert list(predictions) == pytest.approx(list(before[others]), abs=1e-4 * SCALE)


def test_the_user_is_warned_of_truncated_sequences_with_their_share_of_reads(tiny, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    reads = bundle.read_config(regressor).call.model.max_sequence_length
    name = next(name for name, sequence in tiny.sequences.items() if len(sequence) == reads)
    tiny.sequences[name] += 'ACGTACGT'
    share = tiny.counts[name].sum() / tiny.counts.to_numpy().sum()
    with pytest.warns(AAMWarning) as messages:
        after, details = predicted(tiny, regressor, 'longer')
    assert [str(one.message) for one in messages] == [
        f'The model reads the first {reads} nucleotides of a sequence: 1 sequence of up to {reads + 8} nucleotides is '
        f'truncated, in ASVs with {share:.1%} of all reads.'
    ]
    # what is read is what was there before
    assert before.equals(after)
    assert list(details['asvs_truncated']) == list((tiny.counts[name] > 0).astype(int))


def test_intervals_are_as_wide_as_fitting_made_them_or_as_asked_for(tiny, predicted, tiny_regressor):
    fitted = tiny_regressor.details
    held_out = fitted.index[fitted['part'] == 'test']
    _, details, messages = warned(predicted, tiny, tiny_regressor.folder)
    assert messages == []
    for name in BOUNDS:
        assert list(details.loc[held_out, name]) == pytest.approx(list(fitted.loc[held_out, name]), abs=1e-4 * SCALE)
    # 20 samples of 10 groups were left out once each: 0.3 of 11 groups is 3.3, up to which 7 errors are needed
    _, narrow, messages = warned(predicted, tiny, tiny_regressor.folder, 'narrow', coverage=0.3)
    target = bundle.load(tiny_regressor.folder).config.target
    scores = target.calibration.scores
    assert messages == [] and len(scores) == 20 and target.difficulty is not None
    _, wide, messages = warned(predicted, tiny, tiny_regressor.folder, 'wide', coverage=0.95)
    assert len(messages) == 1
    assert messages[0].startswith('Prediction intervals with a guaranteed coverage of 0.95 need at least 19 groups ')
    reach = [frame['upper_bound'] - frame['prediction'] for frame in (narrow, wide)]
    # 0.95 of a group of two samples is the larger error, and of all groups the one with the largest decides; each
    # sample is as hard in both
    assert list(reach[0] / reach[1]) == pytest.approx([scores[6] / scores[-1]] * 24)
    difficulty = reach[1] / scores[-1]
    assert difficulty.min() >= 1 / 3 and difficulty.max() <= 5 and difficulty.max() > 1.01 * difficulty.min()
    # age is never below 0
    lower = np.maximum(wide['prediction'] - reach[1], 0)
    assert list(wide['lower_bound']) == pytest.approx(list(lower), abs=1e-9) and (wide['lower_bound'] == 0).any()


def test_where_no_asv_is_known_the_network_predicts_alone(tiny, fitted, predicted, regressor):
    alone = fitted(tiny, abundance_ensemble=False).folder
    before, _ = predicted(tiny, regressor, 'known')
    assert (before != predicted(tiny, alone, 'network')[0]).all()
    random = np.random.default_rng(9)
    tiny.sequences = {name: ''.join(random.choice(list('ACGT'), 50)) for name in tiny.sequences}
    both, _, _ = warned(predicted, tiny, regressor, 'both')
    network, _, _ = warned(predicted, tiny, alone, 'strange')
    config = bundle.read_config(regressor)
    # nearer to the mean of the target, as far as what it says of validation samples is wrong
    expected = config.target.center + config.blend.network_alone * (network - config.target.center)
    assert config.blend.network_alone < 1 and expected.std() > 0
    assert list(both) == pytest.approx(list(expected), abs=1e-6 * SCALE)


def test_samples_like_those_of_training_have_no_flag(tiny, predicted, regressor):
    _, details, messages = warned(predicted, tiny, regressor)
    assert set(details['flag']) == {'ok'} and list(details['share_of_reads_near']) == [1.0] * 24 and messages == []


def test_reverse_complements_are_complemented_or_with_harmonize_off_flagged(tiny, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    tiny.sequences = {name: reverse_complement(sequence) for name, sequence in tiny.sequences.items()}
    after, details, messages = warned(predicted, tiny, regressor, 'complements', harmonize='off')
    assert set(details['flag']) == {'reverse_complement'} and set(details['share_of_reads_reverse_complement']) == {1.0}
    assert set(details['share_of_reads_harmonized']) == {0.0} and (after != before).all()
    assert messages == [
        '100% of the reads of the table are in sequences unlike those that the model learned from (100% '
        'reverse-complemented, 0% like none of them in either direction): they are the reverse complements of such '
        'sequences; set harmonize to auto.'
    ]
    lines = []
    complemented, details, messages = warned(predicted, tiny, regressor, 'complemented', say=lines.append)
    assert complemented.equals(before) and set(details['flag']) == {'ok'} and messages == []
    assert set(details['share_of_reads_harmonized']) == {1.0} and set(details['offset']) == {0}
    assert lines[0] == (
        'Harmonized 100% of reads: 0% are read as training ASVs, 100% are reverse-complemented; start moved by 0.'
    )


def test_only_reverse_complements_are_complemented(tiny, predicted, regressor):
    before, _ = predicted(tiny, regressor)
    tiny.sequences['feature07'] = reverse_complement(tiny.sequences['feature07'])
    after, details = predicted(tiny, regressor, 'complemented')
    assert after.equals(before) and details['share_of_reads_reverse_complement'].max() == 0
    expected = tiny.counts['feature07'] / tiny.counts.sum(axis=1)
    assert list(details['share_of_reads_harmonized']) == pytest.approx(list(expected))


def test_sequences_of_another_region_are_said_once(tiny, predicted, regressor):
    random = np.random.default_rng(9)
    tiny.sequences = {name: ''.join(random.choice(list('ACGT'), 50)) for name in tiny.sequences}
    _, details, messages = warned(predicted, tiny, regressor)
    assert set(details['flag']) == {'other_region'}
    assert messages == [
        '100% of the reads of the table are in sequences unlike those that the model learned from (0% '
        'reverse-complemented, 100% like none of them in either direction): they may be of another region of the gene; '
        'give a model that was trained on this region.'
    ]


@pytest.fixture
def strangers(tiny):
    """The samples most of whose reads are in ASVs that have another sequence now than the model knows."""
    random = np.random.default_rng(9)
    names = [f'feature{i:02d}' for i in range(10)]
    tiny.sequences |= {name: ''.join(random.choice(list('ACGT'), 50)) for name in names}
    share = tiny.counts[names].sum(axis=1) / tiny.counts.sum(axis=1)
    assert 3 < (share > 0.5).sum() < 12
    return share.index[share > 0.5]


def test_a_model_abstains_from_samples_that_it_does_not_cover(tiny, predicted, regressor, strangers):
    every, before = predicted(tiny, regressor)
    flagged = before.index[before['flag'] != 'ok']
    # of samples with many, but not most of their reads in such ASVs, too little is in the vocabulary
    assert set(strangers) < set(flagged) and len(every) == 24
    others = before.loc[flagged.difference(strangers)]
    unlike = (others['flag'] == 'unlike_training').sum()
    low = (others['flag'] == 'low_vocabulary_coverage').sum()
    assert 0 < unlike < low == len(others) - unlike and others['share_of_reads_other_region'].min() > 0.05
    tiny.counts.iloc[20] = 0
    empty = tiny.counts.index[20]
    lines = []
    given, details, messages = warned(predicted, tiny, regressor, 'abstained', abstain=True, say=lines.append)
    assert list(given.index) == [name for name in tiny.counts.index if name not in {*flagged, empty}]
    assert list(given) == pytest.approx(list(every[given.index]), abs=1e-4 * SCALE)
    assert details.loc[flagged, ['prediction', *BOUNDS]].isna().all(axis=None)
    assert details.loc[given.index, ['prediction', *BOUNDS]].notna().all(axis=None)
    assert set(details.loc[strangers, 'flag']) == {'other_region'} and len(details) == 24
    assert lines[-1] == (
        f'Abstained: {len(flagged)} samples ({len(strangers)} other_region, {low} low_vocabulary_coverage, {unlike} '
        'unlike_training).'
    )
    assert messages == ["Ignored: 1 sample without reads (e.g. 'sample-of-visit-20')."]


def test_a_table_of_which_no_sample_is_covered_is_refused_where_the_model_is_to_abstain(
    tiny, predicted, regressor, strangers
):
    tiny.counts = tiny.counts.loc[strangers]
    with pytest.warns(AAMWarning, match='of the reads of the table are in'), pytest.raises(UserError) as error:
        predicted(tiny, regressor, abstain=True)
    assert str(error.value) == (
        f'Every sample of the table is flagged ({len(strangers)} other_region), so that none can be predicted; set '
        'abstain to False to see predictions and flags in the details.'
    )


def test_an_encoder_is_no_regressor(tiny, predicted, tiny_encoder):
    with pytest.raises(UserError) as error:
        predicted(tiny, tiny_encoder.folder)
    assert str(error.value) == 'The model is of the kind encoder, but regressor is needed; give a model of that kind.'


def test_a_damaged_model_is_refused(tiny, predicted, regressor, tmp_path):
    folder = shutil.copytree(regressor, tmp_path / 'damaged')
    fields = json.loads((folder / bundle.CONFIG_FILE).read_text())
    (folder / bundle.CONFIG_FILE).write_text(json.dumps({**fields, 'format_version': 9}))
    with pytest.raises(UserError) as error:
        predicted(tiny, folder)
    assert str(error.value) == (
        'The model has format version 9, but this version of q2-aam reads up to 1; update q2-aam.'
    )


def test_prediction_leaves_no_working_files(tiny, tiny_regressor, predicted, work_dir):
    predicted(tiny, tiny_regressor.folder)
    assert list(work_dir.iterdir()) == []
