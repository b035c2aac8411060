"""The usage example of the action that exports a model."""

from .examples import regressor_factory


def export_onnx_example(use):
    model = use.init_artifact('model', regressor_factory)

    (onnx_model,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='export_onnx'),
        use.UsageInputs(model=model),
        use.UsageOutputNames(onnx_model='onnx_model'),
    )

    onnx_model.assert_output_type('AAMONNXModel')
    onnx_model.assert_has_line_matching(path='inputs.json', expression=r'^ "kind": "regressor",$')
