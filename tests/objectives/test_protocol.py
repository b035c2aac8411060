"""Every objective that is registered does what the protocol asks for, under a name of its own."""

import pytest

from q2_aam.config import HeadConfig
from q2_aam.objectives import BESIDE_TARGET, PRETRAINING, TARGETS

OF_ALL = ('align', 'label', 'loss', 'metrics', 'points', 'describe')
OF_TARGETS = (
    'align_labels', 'strata', 'resolved', 'labels_of', 'outputs_loss', 'share', 'calibrated', 'metrics_of',
    'score_of', 'test_metrics', 'points_of', 'random_forest', 'learned', 'combine',
)  # fmt: skip


@pytest.mark.parametrize('objective', {*PRETRAINING, *BESIDE_TARGET, *TARGETS.values()})
def test_an_objective_has_all_that_training_asks_of_it(objective):
    needed = OF_ALL + (OF_TARGETS if objective in TARGETS.values() else ())
    assert [name for name in needed if not callable(getattr(objective, name, None))] == []
    assert isinstance(objective.name, str)


def test_every_kind_of_members_that_a_target_asks_for_can_be_fitted_and_kept():
    from q2_aam.model.abundance_ensemble import KINDS
    from q2_aam.training.ensemble import FITS

    for target in TARGETS.values():
        assert set(target.kinds) <= set(FITS) == set(KINDS)
        # perceptrons ask what the cheaper ones have reached
        assert list(target.kinds) == sorted(target.kinds, key=list(FITS).index)


def test_what_is_learned_together_has_names_of_its_own_and_heads_that_exist():
    for together in (PRETRAINING, *((target, *BESIDE_TARGET) for target in TARGETS.values())):
        names = [objective.name for objective in together]
        assert len(set(names)) == len(names)
    # that of some has as many outputs as their input has classes or columns
    known = [objective for objective in (*PRETRAINING, *BESIDE_TARGET) if hasattr(objective, 'head')]
    assert len(known) > 2 and all(isinstance(objective.head, HeadConfig) for objective in known)
