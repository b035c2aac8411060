"""A model for other runtimes as an artifact: a graph of ONNX, what it is given and gives, its vocabulary, its page."""

import pathlib

from qiime2.plugin import ValidationError, model

from q2_aam.errors import shown

from .models import MemberFormat


class AAMONNXModelDirectoryFormat(model.DirectoryFormat):
    """An exported model: `model.onnx`, `inputs.json`, `vocabulary.txt` and `README.md`."""

    graph = model.File('model.onnx', format=MemberFormat)
    inputs = model.File('inputs.json', format=MemberFormat)
    vocabulary = model.File('vocabulary.txt', format=MemberFormat)
    page = model.File('README.md', format=MemberFormat)

    # before the framework looks, which would put a path in front of the message; see AAMModelDirectoryFormat
    def validate(self, level='max'):
        """Raise ValidationError, in one sentence, unless the folder holds a sound exported model and nothing else."""
        from q2_aam.inference import onnx_files

        folder = pathlib.Path(str(self))
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.name not in onnx_files.FILES or path.is_symlink() or not path.is_file():
                    raise ValidationError(
                        f'The ONNX model contains {shown(path.name)}, which does not belong there: it is the files '
                        f'{", ".join(onnx_files.FILES)} and nothing else; remove it.'
                    )
            try:
                onnx_files.check(folder, level)
            except ValueError as error:
                raise ValidationError(str(error)) from error
        super().validate(level)
