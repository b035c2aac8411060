"""Pretraining: what it learns and scores, and the same bytes for the same seed, in any order, after interruptions."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from q2_aam import bundle
from q2_aam.errors import AAMWarning, UserError
from q2_aam.model import network
from q2_aam.runtime import checkpoint, memory
from q2_aam.training import loop

WEIGHTS = bundle.MODEL_FILE


def bytes_of(run, name=WEIGHTS):
    return (run.folder / name).read_bytes()


def logged_by(run):
    # as text, in which NaN equals NaN and every bit of a number counts
    return repr(run.history.rows), repr(run.history.points)


def card_of(run):
    return json.loads((run.folder / bundle.CARD_FILE).read_text())


def test_both_losses_fall_and_held_out_pairs_are_learned(tiny, pretrained):
    run = pretrained(tiny, epochs=12, learning_rate=0.01, validation_fraction=0.3, masked_asv_ratio=1.0, mask_ratio=0.3)
    for name in ('distance_loss', 'nucleotide_loss'):
        losses = run.history.series('training', name)
        assert len(losses) == 12 and np.mean(losses[-3:]) < 0.985 * losses[0], name
    assert run.history.series('training', 'distance_loss')[-1] < 0.5
    # distances among samples that were never trained on
    assert run.history.series('validation', 'distance_r')[-1] > 0.6
    assert run.history.series('validation', 'distance_r2')[-1] > run.history.series('validation', 'distance_r2')[0]


def test_pairs_of_the_validation_split_are_scored_and_plotted(tiny, pretrained):
    run = pretrained(tiny, validation_fraction=0.5)
    assert card_of(run)['samples'] == {'training': 12, 'validation': 12}
    assert {'distance_mae', 'distance_rmse', 'distance_r2', 'distance_r', 'nucleotide_loss'} <= {
        row[3] for row in run.history.rows if row[2] == 'validation'
    }
    assert {row[:2] for row in run.history.points} == {('distance', 'validation')}
    # all pairs of 12 samples, with their true distances
    assert len(run.history.points) == 66
    known = set(np.float32(tiny.distances.to_numpy()).ravel())
    assert all(np.float32(true) in known for _, _, _, true in run.history.points)
    mae = np.mean([abs(predicted - true) for _, _, predicted, true in run.history.points])
    assert card_of(run)['metrics']['validation']['distance_mae'] == pytest.approx(mae)
    assert run.history.series('validation', 'distance_mae')[-1] == pytest.approx(mae)


def test_of_many_pairs_1000_are_drawn(tiny, pretrained):
    run = pretrained(tiny.repeated(4), validation_fraction=0.5, epochs=1, batch_size=48)
    assert card_of(run)['samples']['validation'] == 48
    assert len(run.history.points) == 1000


def test_without_a_matrix_masked_nucleotides_alone_are_learned(tiny, pretrained):
    run = pretrained(tiny, matrix=False)
    assert not [row for row in run.history.rows if 'distance' in row[3]]
    assert len(run.history.series('validation', 'nucleotide_accuracy')) == 2
    assert run.history.points == []
    config = bundle.read_config(run.folder)
    assert config.distance_divisor is None
    # every ASV has masked tokens where no distances are learned from it
    assert config.call.training.masked_asv_ratio == 1.0


def test_without_the_masked_task_distances_alone_are_learned(tiny, pretrained):
    run = pretrained(tiny, nucleotide_weight=0.0)
    assert not [row for row in run.history.rows if 'nucleotide' in row[3]]
    assert len(run.history.series('training', 'distance_loss')) == 2


def test_without_a_validation_split_all_samples_train_and_nothing_is_scored(tiny, pretrained):
    run = pretrained(tiny, validation_fraction=0.0)
    assert card_of(run)['samples'] == {'training': 24, 'validation': 0}
    assert not [row for row in run.history.rows if row[2] == 'validation']
    assert run.history.points == []


def test_what_is_derived_is_written_into_the_bundle_and_said(tiny, pretrained, monkeypatch):
    monkeypatch.setattr('q2_aam.training.prepare.PRETRAINING_STEPS', 7)
    run = pretrained(tiny, epochs='auto', max_sequence_length='auto')
    call = bundle.read_config(run.folder).call
    # 22 training samples in batches of 8 are 3 steps an epoch
    assert (call.training.epochs, call.training.learning_rate) == (3, 1e-3)
    assert call.training.masked_asv_ratio == 0.125
    assert call.model.max_sequence_length == max(map(len, tiny.sequences.values()))
    assert run.lines[0].startswith('Samples: 24 (22 training, 2 validation)')
    assert run.lines[2].startswith('Distances: those of the distance matrix; between training samples 0.')
    assert run.lines[3] == 'Masked nucleotides: 15% of the tokens of 12% of the ASVs of a batch.'
    assert run.lines[5].endswith('seed 7, on cpu.')
    assert [line[:9] for line in run.lines[6:]] == ['epoch 1/3', 'epoch 2/3', 'epoch 3/3']


def test_samples_that_the_matrix_lacks_are_said_and_train_the_masked_task(tiny, pretrained):
    full = pretrained(tiny, 'full', validation_fraction=0.0)
    kept = tiny.distances.index[4:]
    tiny.distances = tiny.distances.loc[kept, kept]
    with pytest.warns(AAMWarning) as caught:
        run = pretrained(tiny, validation_fraction=0.0)
    assert [str(one.message) for one in caught] == [
        "The distance matrix lacks 4 samples of the table (e.g. 'sample-of-visit-00'); they are used without distances."
    ]
    assert card_of(run)['samples']['training'] == 24
    assert run.history.series('training', 'distance_loss') != full.history.series('training', 'distance_loss')


def test_a_matrix_of_other_samples_is_refused(tiny, pretrained):
    tiny.distances = tiny.distances.rename(index='other.{}'.format, columns='other.{}'.format)
    with pytest.raises(UserError) as error:
        pretrained(tiny)
    assert str(error.value) == (
        'The distance matrix must contain at least two training samples of the feature table, but has 0 (e.g. '
        "'sample-of-visit-00' in the table, 'other.sample-of-visit-00' in the matrix); provide a matrix of the samples "
        'in the table.'
    )


def test_a_matrix_with_a_hole_is_refused(tiny, pretrained, work_dir):
    tiny.distances.iloc[3, 5] = np.nan
    with pytest.raises(UserError) as error:
        pretrained(tiny)
    assert str(error.value) == (
        "Distances must be finite: the distance matrix has nan between 'sample-of-visit-03' and 'sample-of-visit-05'; "
        'provide a distance for every pair of samples.'
    )
    # the user mends the input: nothing to resume
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize(
    ('matrix', 'weights'),
    [(False, {'nucleotide_weight': 0.0}), (True, {'nucleotide_weight': 0.0, 'distance_weight': 0.0})],
)
def test_nothing_to_learn_is_refused(tiny, pretrained, matrix, weights):
    with pytest.raises(UserError) as error:
        pretrained(tiny, matrix=matrix, **weights)
    assert str(error.value) == (
        'There is nothing to learn: nucleotide_weight and abundance_weight are 0, and no distance_matrix, phylogeny, '
        'taxonomy or alpha_diversity with a weight above 0 is given; raise one, or give one of them.'
    )


def test_too_few_samples_are_refused(tiny, pretrained):
    tiny.counts = tiny.counts.iloc[:1]
    with pytest.raises(UserError) as error:
        pretrained(tiny, matrix=False)
    assert str(error.value) == (
        'Pretraining needs at least 2 training samples, but has only 0 of 1 sample; give more samples or lower '
        'validation_fraction.'
    )


def test_distances_above_1_are_divided_by_the_largest_of_training_and_this_is_said_and_stored(tiny, pretrained):
    plain = pretrained(tiny, 'plain', validation_fraction=0.0)
    assert bundle.read_config(plain.folder).distance_divisor == 1.0
    tiny.distances *= 4
    largest = tiny.distances.to_numpy().max()
    with pytest.warns(AAMWarning) as caught:
        run = pretrained(tiny, validation_fraction=0.0)
    assert [str(one.message) for one in caught] == [
        f'Distances between training samples reach {largest:g}, which is above 1; all distances are divided by it.'
    ]
    assert bundle.read_config(run.folder).distance_divisor == largest
    assert largest == pytest.approx(4.0)
    # and so are learned as what they are a multiple of
    assert run.history.series('training', 'distance_loss') == pytest.approx(
        plain.history.series('training', 'distance_loss'), rel=1e-4
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tiny, pretrained):
    one, two, other = pretrained(tiny, 'one'), pretrained(tiny, 'two'), pretrained(tiny, 'other', random_seed=8)
    assert bytes_of(one) == bytes_of(two) != bytes_of(other)
    assert bytes_of(one, bundle.CONFIG_FILE) == bytes_of(two, bundle.CONFIG_FILE)
    assert logged_by(one) == logged_by(two)


def test_a_drawn_seed_is_in_card_and_history_and_gives_the_same_model_when_given(tiny, pretrained):
    drawn, again = pretrained(tiny, 'drawn', random_seed=0), pretrained(tiny, 'again', random_seed=0)
    seed = card_of(drawn)['seed']
    assert seed > 0 and drawn.history.rows[-1] == (0, 0, 'run', 'random_seed', float(seed))
    assert card_of(again)['seed'] != seed
    assert bytes_of(pretrained(tiny, 'given', random_seed=seed)) == bytes_of(drawn)


def test_the_order_of_samples_and_features_and_features_of_no_sample_change_no_byte(tiny, pretrained):
    before = pretrained(tiny, 'before')
    shuffled = tiny.shuffled()
    shuffled.counts['nowhere'] = 0.0
    shuffled.sequences['nowhere'] = 'A' * 80
    after = pretrained(shuffled, 'after')
    assert bytes_of(before) == bytes_of(after)
    assert bytes_of(before, bundle.CONFIG_FILE) == bytes_of(after, bundle.CONFIG_FILE)
    assert logged_by(before) == logged_by(after)


def test_sequences_given_as_ids_give_the_same_bytes(tiny, pretrained):
    assert bytes_of(pretrained(tiny, 'hashed')) == bytes_of(pretrained(tiny, 'plain', hashed=False))


@pytest.mark.parametrize('steps', [1, 4])
def test_a_run_that_was_killed_within_an_epoch_is_resumed_there_and_gives_the_same_model(
    tiny, pretrained, tmp_path, monkeypatch, steps
):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    call = {'files': tiny.write(tmp_path / 'inputs'), 'epochs': 2, 'batch_size': 6}
    done = []

    def killed(*_):
        done.append(1)
        if len(done) > steps:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, 'draw_bar', killed)
        pretrained(tiny, 'interrupted', **call)
    resumed = pretrained(tiny, 'resumed', **call)
    # 24 samples, four fifths of which are learned from: 4 steps an epoch, after which validation comes first
    of_all = next(line for line in resumed.lines if line.startswith('Resumed after '))
    assert of_all == f'Resumed after {steps} of 8 steps.'
    assert bytes_of(resumed) == bytes_of(pretrained(tiny, 'complete', **call))


@pytest.mark.parametrize('seed', [7, 0])
def test_an_interrupted_run_is_found_again_and_gives_the_same_model(
    tiny, pretrained, tmp_path, work_dir, monkeypatch, seed
):
    monkeypatch.setattr(checkpoint, 'SECONDS_BETWEEN', 0.0)
    call = {'files': tiny.write(tmp_path / 'inputs'), 'epochs': 4, 'validation_fraction': 0.3}

    def interrupt(line):
        if line.startswith('epoch 2/4'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrained(tiny, 'interrupted', random_seed=seed, say=interrupt, **call)
    assert len(list(work_dir.iterdir())) == 1
    resumed = pretrained(tiny, 'resumed', random_seed=seed, **call)
    assert any(line.startswith('Resumed after ') for line in resumed.lines)
    assert sum(line.startswith('epoch ') for line in resumed.lines) == 2
    assert list(work_dir.iterdir()) == []
    drawn = card_of(resumed)['seed']
    assert seed in (0, drawn)
    complete = pretrained(tiny, 'complete', random_seed=drawn, **call)
    assert not [line for line in complete.lines if line.startswith('Resumed')]
    assert bytes_of(resumed) == bytes_of(complete)
    assert logged_by(resumed) == logged_by(complete)


def test_memory_cuts_the_work_and_not_the_result(tiny, pretrained, monkeypatch):
    complete = pretrained(tiny, 'complete', validation_fraction=0.3)
    # one ASV and one sample at a time
    monkeypatch.setattr(memory, 'SHARE_FOR_ACTIVATIONS', 1e-9)
    chunks = pretrained(tiny, 'chunks', validation_fraction=0.3, max_memory_gb=0.1)
    one, two = load_file(complete.folder / WEIGHTS), load_file(chunks.folder / WEIGHTS)
    off = np.concatenate([(one[name] - two[name]).abs().numpy().ravel() for name in one])
    # what has no gradient but rounding (the bias of keys) is moved by Adam as far as anything: a few learning rates
    assert np.median(off) < 1e-5 and off.max() < 5e-3
    assert complete.history.series('training', 'loss') == pytest.approx(
        chunks.history.series('training', 'loss'), rel=1e-4
    )
    for before, after in zip(complete.history.points, chunks.history.points):
        assert before[2] == pytest.approx(after[2], abs=1e-4)


def test_memberships_begin_from_all_samples_however_small_chunks_are(tiny, pretrained, monkeypatch):
    # of a study of many samples, chunks that are as large as is fast do not hold all
    monkeypatch.setattr(network, 'LARGEST_ON_CPU', 2**9)
    run = pretrained(tiny, epochs=1)
    assert np.isfinite(run.history.series('training', 'loss')).all()


def test_letters_that_are_no_single_nucleotide_and_unequal_lengths_are_learned_from(tiny, pretrained):
    tiny.sequences['feature03'] = 'N' * 41
    tiny.sequences['feature04'] = 'acgtryswkmbdhvnACGU'
    tiny.sequences['feature05'] = 'T'
    run = pretrained(tiny)
    assert card_of(run)['amplicon_length']['shortest'] == 1
    assert all(np.isfinite(run.history.series('training', 'loss')))


def test_a_study_of_nothing_but_unknown_letters_still_learns_distances(tiny, pretrained):
    tiny.sequences = {name: 'N' * (20 + i) for i, name in enumerate(tiny.sequences)}
    run = pretrained(tiny)
    assert all(np.isnan(run.history.series('training', 'nucleotide_accuracy')))
    assert all(np.isfinite(run.history.series('training', 'loss')))


def test_float16_learns_nearly_the_same_and_the_card_says_so(tiny, pretrained):
    exact, rounded = pretrained(tiny, 'exact'), pretrained(tiny, 'rounded', precision='float16')
    one, two = (run.history.last('training')['loss'] for run in (exact, rounded))
    assert one != two and two == pytest.approx(one, rel=0.02)
    assert json.loads((rounded.folder / bundle.CARD_FILE).read_text())['precision'] == 'float16'


def test_what_is_read_of_asvs_varies_from_step_to_step_and_follows_from_the_seed(tiny, pretrained):
    varied = {'max_shift': 3, 'max_trim': 10, 'rarefaction_depth': 40, 'rarefaction_range': 4.0}
    one, same = (pretrained(tiny, name, **varied) for name in ('one', 'same'))
    assert bytes_of(one) == bytes_of(same)
    # each of them has a say
    for name in ('max_shift', 'max_trim', 'rarefaction_range'):
        other = pretrained(tiny, name, **{**varied, name: 0 if name.startswith('max') else 1.0})
        assert bytes_of(other) != bytes_of(one)
