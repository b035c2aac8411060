"""The action gives the library the model and the configuration, and its output is what the library wrote."""

import pathlib
import sys
import types

from q2_aam.actions import export
from q2_aam.config import ExportOnnxConfig
from tests.inference.onnx_bytes import write_folder


def test_export_onnx_passes_the_model_and_the_coverage_on(monkeypatch):
    calls = []

    def run(model, folder, config):
        calls.append((model, config))
        write_folder(pathlib.Path(folder))

    monkeypatch.setitem(sys.modules, 'q2_aam.inference.export_onnx', types.SimpleNamespace(export_onnx=run))
    exported = export.export_onnx('a folder', coverage=0.5)
    assert calls == [('a folder', ExportOnnxConfig.from_flat({'coverage': 0.5}))]
    exported.validate()


def test_any_kind_of_model_is_taken(plugin):
    signature = plugin.actions['export_onnx'].signature
    assert repr(signature.inputs['model'].qiime_type) == 'AAMEncoder | AAMRegressor | AAMClassifier'
    assert repr(signature.outputs['onnx_model'].qiime_type) == 'AAMONNXModel'
