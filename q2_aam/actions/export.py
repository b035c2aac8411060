"""The action `export_onnx`: a model as a graph for runtimes that know nothing of this plugin."""

from q2_aam.config import ExportOnnxConfig
from q2_aam.types import (
    AAMClassifier,
    AAMEncoder,
    AAMModelDirectoryFormat,
    AAMONNXModel,
    AAMONNXModelDirectoryFormat,
    AAMRegressor,
)
from q2_aam.visualizers.citations import cite

from .examples_export import export_onnx_example
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Write a model as one graph of ONNX, with all that belongs to it: network, abundance ensemble, their blend, the '
    'scaling of the target, prediction intervals or probabilities. Any runtime of ONNX reads it, in Python, R, '
    'JavaScript, C++ and others, without this plugin. inputs.json tells what goes in and what comes out, and README.md '
    'has a reader in Python of one screen. The numbers are those of predict with harmonize off: sequences must be '
    'trimmed and oriented as those of the training. It needs the packages that pip installs with q2-aam[onnx].'
)


@flat(ExportOnnxConfig)
def export_onnx(model: AAMModelDirectoryFormat, *, config: ExportOnnxConfig) -> AAMONNXModelDirectoryFormat:
    # torch comes with it, and QIIME 2 loads this file to run any action of any plugin
    from q2_aam.inference.export_onnx import export_onnx as run

    exported = AAMONNXModelDirectoryFormat()
    run(str(model), str(exported), config)
    return exported


def register(plugin):
    """Register the action with the plugin object."""
    plugin.methods.register_function(
        function=export_onnx,
        inputs={'model': AAMEncoder | AAMRegressor | AAMClassifier},
        parameters=parameters(ExportOnnxConfig),
        outputs=[('onnx_model', AAMONNXModel)],
        input_descriptions={'model': 'The model, from pretrain, fit-regressor or fit-classifier.'},
        parameter_descriptions=descriptions(ExportOnnxConfig),
        output_descriptions={
            'onnx_model': 'The graph, what goes in and comes out, its vocabulary, and a page with a reader.'
        },
        name='Export a model as ONNX',
        description=DESCRIPTION,
        citations=cite('lei2018', 'lee2023', 'guo2017'),
        examples={'export_a_regressor': export_onnx_example},
    )
