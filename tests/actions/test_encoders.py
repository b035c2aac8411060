"""load-encoder gives the encoder that comes with the plugin, as it was released."""

import qiime2

from q2_aam import bundle, encoders
from q2_aam.actions import encoders as actions
from q2_aam.config.default_encoder import SHIPPED
from q2_aam.types import AAMModelDirectoryFormat


def test_load_encoder_gives_the_files_that_were_released(plugin):
    (encoder,) = plugin.actions['load_encoder'](name='v4.1')
    assert str(encoder.type) == 'AAMEncoder'
    folder = encoder.view(AAMModelDirectoryFormat).path
    for file in bundle.FILES:
        assert (folder / file).read_bytes() == (encoders.FOLDER / 'v4.1' / file).read_bytes()


def test_the_newest_is_loaded_where_no_name_is_given():
    loaded = actions.load_encoder()
    assert (loaded.path / bundle.CARD_FILE).read_bytes() == (encoders.path_of(SHIPPED[-1]) / 'card.json').read_bytes()
    assert qiime2.Artifact.import_data('AAMEncoder', loaded)


def test_predictions_without_an_encoder_name_the_default(plugin):
    for name in ('predict_distances', 'embed'):
        signature = plugin.actions[name].signature
        assert signature.inputs['encoder'].default is None
        assert signature.parameters['default_encoder'].default == 'auto'
