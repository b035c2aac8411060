"""A trained model as an artifact: exactly the files of a bundle, none of them a pickle, all of them read."""

import pathlib

from qiime2.plugin import ValidationError, model

from q2_aam.errors import shown

# q2_aam.bundle is imported where a model is read: every command of QIIME 2 loads this file
PICKLE_PROTOCOLS = (2, 3, 4, 5)
ZIP_MAGIC = b'PK\x03\x04'


class MemberFormat(model.BinaryFileFormat):
    """A file of a model; it makes sense only with the others, so the folder is what gets validated."""

    def _validate_(self, level):
        pass


class AAMModelDirectoryFormat(model.DirectoryFormat):
    """A bundle: `model.safetensors`, `config.json` and `card.json`."""

    weights = model.File('model.safetensors', format=MemberFormat)
    config = model.File('config.json', format=MemberFormat)
    card = model.File('card.json', format=MemberFormat)

    # Before it calls _validate_, the framework checks the members, skips hidden files, and puts a path and the name of
    # the format in front of the message: so errors are raised here, in one sentence, before it looks.
    def validate(self, level='max'):
        """Raise ValidationError, in one sentence, unless the folder holds a valid bundle and nothing else."""
        from q2_aam import bundle

        folder = pathlib.Path(str(self))
        if folder.is_dir():
            _check_files(folder, bundle.FILES)
            try:
                bundle.check(folder, level)
            except ValueError as error:
                raise ValidationError(str(error)) from error
        super().validate(level)


def _check_files(folder, files):
    for path in sorted(folder.iterdir()):
        if path.is_file() and _is_pickled(path):
            raise ValidationError(
                f'The model contains a pickled file, {shown(path.name)}, which could run arbitrary code when loaded; '
                'use a model that was trained with this plugin.'
            )
        if path.name not in files or not path.is_file():
            raise ValidationError(
                f'The model contains {shown(path.name)}, which does not belong there: a model is the files '
                f'{", ".join(files)} and nothing else; remove it.'
            )
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        raise ValidationError(f'The model lacks the file {missing[0]}; use a model that was trained with this plugin.')


def _is_pickled(path):
    """Return whether the content is a pickle of a protocol in use, or the zip archive in which PyTorch wraps one."""
    with path.open('rb') as handle:
        head = handle.read(8)
    if head.startswith(ZIP_MAGIC):
        return True
    # Safetensors begin with a length in 8 bytes that may be these two and zeros; no pickle has five zeros there.
    return len(head) > 2 and head[0] == 0x80 and head[1] in PICKLE_PROTOCOLS and head[3:] != bytes(5)
