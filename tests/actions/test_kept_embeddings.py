"""A fold is predicted with the embeddings that its fit, or that of another fold, has kept of the same encoder."""

import numpy as np
import pytest
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format

from q2_aam.actions.cross_validate_steps import _predict_fold
from q2_aam.runtime import encode
from q2_aam.runtime.run_root import EMBEDDINGS
from q2_aam.types import AAMModelDirectoryFormat


@pytest.fixture
def predicted_fold(tiny, tmp_path):
    """Predict the tiny study with a model: (its folder) -> details."""
    files = tiny.write(tmp_path / 'new')

    def predict(folder):
        return _predict_fold(
            BIOMV210Format(str(files.table), 'r'),
            AAMModelDirectoryFormat(str(folder), 'r'),
            DNAFASTAFormat(str(files.sequences), 'r'),
            threads=1,
            device='cpu',
        )

    return predict


def test_what_a_fit_has_kept_serves_the_prediction_of_its_fold(
    tiny, fitted, tiny_encoder, predicted_fold, monkeypatch, work_dir
):
    sizes, embed_in_blocks = [], encode.embed_in_blocks

    def embed(network, study, asvs):
        sizes.append(len(asvs))
        return embed_in_blocks(network, study, asvs)

    monkeypatch.setattr(encode, 'embed_in_blocks', embed)
    model = fitted(tiny, encoder=tiny_encoder.folder).folder
    assert sizes == [30]
    with_kept = predicted_fold(model)
    assert len(sizes) == 2 and sizes[1] <= encode.ASVS_TO_CHECK
    monkeypatch.setenv('AAM_EMBEDDINGS_GB', '0')
    without = predicted_fold(model)
    assert sizes[2] == 30 and np.array_equal(with_kept['prediction'], without['prediction'])


def test_nothing_is_kept_of_a_model_whose_encoder_has_learned(tiny_regressor, predicted_fold, work_dir):
    predicted_fold(tiny_regressor.folder)
    assert not (work_dir / EMBEDDINGS).exists()
