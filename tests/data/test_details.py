"""Details tell what is predicted for each sample and what of it was read."""

import numpy as np
import pytest

from q2_aam.config import FitRegressorConfig
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.details import PROBABILITY, details_of, probabilities_of
from q2_aam.data.splits import NEW, TEST

pytestmark = pytest.mark.filterwarnings('ignore::q2_aam.errors.AAMWarning')


@pytest.fixture
def study(study_of):
    return study_of({'b': {'ACGTA': 3, 'TTTT': 1}, 'a': {'ACGTA': 2, 'TTTT': 5, 'GGG': 3}}, max_length=4)


def test_details_have_a_row_a_sample_with_what_was_read(study):
    predicted = {'prediction': np.array([1.5, 2.5]), 'lower_bound': np.array([1.0, 2.0])}
    details = details_of(study, np.array([TEST, NEW], dtype=object), predicted, np.array([1.0, 3.0]))
    assert (list(details.index), details.index.name) == (['a', 'b'], 'id')
    assert list(details.columns) == [
        'part', 'prediction', 'true', 'lower_bound', 'reads_used', 'asvs_used', 'asvs_truncated',
        'share_of_reads_truncated', 'share_of_reads_left_out',
    ]  # fmt: skip
    assert details.loc['a'].tolist() == [TEST, 1.5, 1.0, 1.0, 10, 3, 1, pytest.approx(0.2), 0]
    assert details.loc['b'].tolist() == [NEW, 2.5, 3.0, 2.0, 4, 2, 1, pytest.approx(0.75), 0]


def test_what_an_augmentation_leaves_out_is_told(study):
    augment = make_augmentation(FitRegressorConfig.from_flat({'max_asvs_per_sample': 1}).data)
    details = details_of(study, np.array([NEW, NEW], dtype=object), {'prediction': np.zeros(2)}, augment=augment)
    assert details['asvs_used'].tolist() == [1, 1]
    np.testing.assert_allclose(details['share_of_reads_left_out'], [0.5, 0.25])
    assert details['true'].isna().all()


def test_probabilities_become_a_table_of_their_own_by_class(study):
    shares = {PROBABILITY + 'x': np.array([0.25, 1.0]), PROBABILITY + 'y z': np.array([0.75, 0.0])}
    details = details_of(
        study, np.array([NEW, NEW], dtype=object), {'prediction': np.array(['y z', 'x'], dtype=object), **shares}
    )
    probabilities = probabilities_of(['x', 'y z'], details)
    assert list(probabilities.columns) == ['x', 'y z'] and list(probabilities.index) == ['a', 'b']
    assert probabilities.to_numpy().tolist() == [[0.25, 0.75], [1, 0]]
