"""Sample ids that a distance matrix could not be read back with are refused before anything is computed."""

import pytest

from q2_aam.config import DistancesConfig, EmbedConfig
from q2_aam.errors import UserError
from q2_aam.inference import embed as embedding


@pytest.mark.parametrize(
    'call, config', [(embedding.predict_distances, DistancesConfig), (embedding.embed, EmbedConfig)]
)
def test_ids_with_commas_are_refused_before_samples_are_read(tiny, tiny_encoder, tmp_path, monkeypatch, call, config):
    tiny.counts = tiny.counts.rename(index=lambda name: name.replace('sample-', 'sample,'))
    files = tiny.write(tmp_path / 'study')
    # with which samples are read by the network
    monkeypatch.setattr(embedding, '_of_each_sample', None)
    with pytest.raises(UserError) as caught:
        call(files.table, tiny_encoder.folder, config.from_flat({'threads': 1, 'device': 'cpu'}), files.sequences)
    assert str(caught.value) == (
        "A distance matrix of these samples could not be read back, because its format would take ',' in the sample "
        "IDs for what separates them (24 IDs, e.g. 'sample,of-visit-00', 'sample,of-visit-01' and 22 more); rename the "
        'samples.'
    )
