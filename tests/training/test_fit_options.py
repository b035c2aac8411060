"""Options of a fit from files to predictions: each changes what it should, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.errors import AAMWarning, UserError

# without the ensemble the network is all there is, so that what it learns is seen
ALONE = {'abundance_ensemble': False, 'epochs': 2, 'learning_rate': 0.01}


def test_predictions_of_a_network_alone_stay_within_their_range(tiny, fitted, predicted):
    options = ALONE | {'output_activation': 'sigmoid', 'output_range': [-1.0, 20.0], 'target_scaling': 'standard'}
    run = fitted(tiny, **options)
    values, details = predicted(tiny, run.folder)
    assert details[['prediction', 'lower_bound', 'upper_bound']].stack().between(-1, 20).all()
    head = bundle.read_config(run.folder).heads['target']
    target = bundle.read_config(run.folder).target
    bounds = target.center + target.scale * np.array([head.low, head.high])
    assert bounds == pytest.approx([-1, 20]) and (target.lowest, target.highest) == (-1, 20)
    assert values.std() > 0


def test_predictions_fall_where_those_that_are_too_high_cost_more(tiny, fitted):
    over, under = (
        fitted(tiny, name, loss='asymmetric', **{name: 20.0}, **ALONE | {'epochs': 8})
        for name in ('over_penalty', 'under_penalty')
    )
    assert (over.predictions < under.predictions).all()


def test_a_warning_of_little_skill_names_the_error_that_it_gives_whatever_chose_the_epoch(tiny, fitted):
    with pytest.warns(AAMWarning, match="over 2 groups, the out-of-fold mae of 'age' is .*, that of a guess"):
        fitted(tiny, loss='asymmetric', over_penalty=20.0, **ALONE | {'epochs': 4})


def test_dropped_units_change_training_and_no_prediction_is_random(tiny, fitted, predicted):
    plain, dropped = (fitted(tiny, f'{share}', head_dropout=share, **ALONE) for share in (0.0, 0.5))
    losses = [run.history.series('training', 'loss') for run in (plain, dropped)]
    assert losses[0] != losses[1]
    again = [predicted(tiny, dropped.folder, name)[0] for name in ('one', 'two')]
    assert again[0].equals(again[1])
    assert fitted(tiny, 'same', head_dropout=0.5, **ALONE).predictions.equals(dropped.predictions)


def test_masked_nucleotides_may_stay_beside_the_target(tiny, fitted, tiny_encoder):
    run = fitted(tiny, nucleotide_weight=0.5, masked_asv_ratio=0.5, **ALONE)
    last = run.history.last('training')
    assert last['loss'] == pytest.approx(last['target_loss'] + 0.5 * last['nucleotide_loss'], rel=1e-5)
    assert set(bundle.read_config(run.folder).heads) == {'target'}
    with pytest.raises(UserError) as error:
        fitted(tiny, 'frozen', encoder=tiny_encoder.folder, nucleotide_weight=0.5)
    assert str(error.value) == (
        'Parameter nucleotide_weight is 0.5, but freeze is asv, so that nothing that reads nucleotides learns; set '
        'freeze to none, or nucleotide_weight to 0.'
    )


def test_accumulated_batches_make_fewer_steps(tiny, fitted):
    run = fitted(tiny, accumulation_steps=2, batch_size=4, patience=9, **ALONE)
    steps = [row[0] for row in run.history.rows if row[2] == 'training' and row[3] == 'loss']
    plain = fitted(tiny, 'plain', batch_size=4, patience=9, **ALONE)
    plain_steps = [row[0] for row in plain.history.rows if row[2] == 'training' and row[3] == 'loss']
    assert [2 * step for step in steps] == plain_steps


def test_named_splits_are_kept_and_other_samples_are_no_part_of_anything(tiny, fitted):
    parts = pd.Series('training', tiny.counts.index, name='part', dtype=object)
    parts.iloc[[1, 6, 11, 16]] = 'validation'
    parts.iloc[[2, 9, 20]] = 'test'
    parts.iloc[[4, 5]] = 'later'
    run = fitted(tiny, groups=False, split=parts)
    kept = parts[parts != 'later'].loc[run.details.index]
    assert run.details['part'].equals(kept.rename('part')) and len(kept) == 22
    assert sorted(run.predictions.index) == sorted(parts.index[[2, 9, 20]])
    # whatever the samples are that are not named
    tiny.target.iloc[[4, 5]] = 1e6
    again = fitted(tiny, 'again', groups=False, split=parts)
    assert again.predictions.equals(run.predictions)


def test_a_split_without_validation_samples_is_refused_before_training(tiny, fitted):
    parts = pd.Series('training', tiny.counts.index, name='part', dtype=object)
    with pytest.raises(UserError, match=r"^Metadata column 'part' \(split\) must name at least 1 validation sample, "):
        fitted(tiny, groups=False, split=parts)


@pytest.mark.parametrize('scaling', ['log_standard', 'log_minmax'])
def test_a_logarithm_of_values_below_0_is_refused_before_training(tiny, fitted, scaling):
    tiny.target -= 3
    with pytest.raises(UserError) as error:
        fitted(tiny, target_scaling=scaling)
    assert str(error.value) == (
        f"Parameter target_scaling is {scaling}, but 'age' is -3 for sample 'sample-of-visit-00'; choose standard."
    )
