"""The action `load_encoder`: an encoder that comes with the plugin, as an artifact."""

import shutil

from qiime2.plugin import Choices, Str

from q2_aam.config.default_encoder import SHIPPED
from q2_aam.types import AAMEncoder, AAMModelDirectoryFormat
from q2_aam.visualizers.citations import cite

from .examples_encoders import load_encoder_example
from .messages import warnings_to_user

DESCRIPTION = (
    'Load an encoder that comes with this plugin, for fit-regressor, fit-classifier, predict-distances and embed. '
    'v4.1 was pretrained on unweighted UniFrac distances among samples of 27 public 16S V4 studies; SOURCES.md in its '
    'folder names them, with their citations and licences. predict-distances and embed use it where no encoder is '
    'given; loaded as an artifact it stands in the provenance of results. v4 is the same network, whose distances of '
    'studies that it never saw are farther from UniFrac.'
)


def load_encoder(name: str = SHIPPED[-1]) -> AAMModelDirectoryFormat:
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam import bundle
    from q2_aam.encoders import path_of

    encoder = AAMModelDirectoryFormat()
    with warnings_to_user():
        folder = path_of(name)
        for file in bundle.FILES:
            shutil.copyfile(folder / file, encoder.path / file)
    return encoder


def register(plugin):
    """Register the action with the plugin object."""
    plugin.methods.register_function(
        function=load_encoder,
        inputs={},
        parameters={'name': Str % Choices(list(SHIPPED))},
        outputs=[('encoder', AAMEncoder)],
        input_descriptions={},
        parameter_descriptions={'name': 'Which encoder, of 16S V4 from primer 515F on.'},
        output_descriptions={'encoder': 'The encoder.'},
        name='Load an encoder that comes with this plugin',
        description=DESCRIPTION,
        citations=cite('lozupone2005', 'mcdonald2012greengenes', 'desantis2006'),
        examples={'load_the_v4_encoder': load_encoder_example},
    )
