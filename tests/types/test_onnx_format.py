"""An exported model is exactly its files: what is damaged or foreign is refused in a sentence of its own."""

import pytest
import qiime2
from qiime2.plugin import ValidationError

from q2_aam.inference import onnx_files
from q2_aam.types import AAMONNXModel, AAMONNXModelDirectoryFormat
from tests.inference.onnx_bytes import write_folder


def refusal(folder):
    with pytest.raises(ValidationError) as error:
        AAMONNXModelDirectoryFormat(str(folder), mode='r').validate()
    return str(error.value)


def test_a_sound_export_is_an_artifact_and_comes_back(tmp_path):
    folder = write_folder(tmp_path / 'model')
    artifact = qiime2.Artifact.import_data(AAMONNXModel, AAMONNXModelDirectoryFormat(str(folder), mode='r'))
    artifact.save(str(tmp_path / 'model.qza'))
    again = qiime2.Artifact.load(str(tmp_path / 'model.qza')).view(AAMONNXModelDirectoryFormat)
    assert sorted(path.name for path in again.path.iterdir()) == sorted(onnx_files.FILES)
    again.validate('min')


def test_what_the_check_finds_is_the_only_message(tmp_path):
    folder = write_folder(tmp_path / 'model', b'no graph')
    assert refusal(folder) == (
        "The ONNX model's model.onnx is no file of ONNX, or damaged (it has a field of an unknown type); export it "
        'again.'
    )


@pytest.mark.parametrize('name', ['model.onnx.data', '.hidden', 'custom_ops.so'])
def test_a_foreign_file_is_refused(tmp_path, name):
    folder = write_folder(tmp_path / 'model')
    (folder / name).write_bytes(b'x')
    assert refusal(folder).startswith(
        f'The ONNX model contains {name!r}, which does not belong there: it is the files '
    )


def test_a_link_is_refused(tmp_path):
    folder = write_folder(tmp_path / 'model')
    (folder / 'README.md').unlink()
    (folder / 'README.md').symlink_to('/etc/hostname')
    assert refusal(folder).startswith("The ONNX model contains 'README.md', which does not belong there")
