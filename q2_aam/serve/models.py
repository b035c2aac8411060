"""The one model of a server: read from a folder or from an artifact of QIIME 2, which is a zip archive, without it."""

import dataclasses
import json
import lzma
import pathlib
import re
import struct
import tempfile
import zipfile
import zlib
from typing import Any

from q2_aam import bundle
from q2_aam.bundle.untrusted import MAX_BYTES
from q2_aam.errors import UserError, shown

# Of the weights, by far more than any of our models has; the other files are bounded where they are read.
MAX_WEIGHTS = 2 * 10**9
MAX_SIZES = {bundle.MODEL_FILE: MAX_WEIGHTS, bundle.CONFIG_FILE: MAX_BYTES, bundle.CARD_FILE: MAX_BYTES}
# Entries of an artifact: its data, its metadata, the provenance of all that it was made from.
MAX_ENTRIES = 100_000
# <uuid>/data/<file of the model>: nothing else of an artifact is read, and no name of it becomes a path.
MEMBER = re.compile(r'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/data/([^/]+)')
CHUNK = 2**20


@dataclasses.dataclass(frozen=True)
class Served:
    """A model that is served.

    Attributes
    ----------
    model : q2_aam.bundle.Bundle
    card : dict
        What its card.json says, and what whoever sends tables must know.
    """

    model: bundle.Bundle
    card: dict[str, Any]

    @property
    def kind(self) -> str:
        """'regressor' or 'classifier'."""
        return self.model.config.kind


def open_model(path) -> Served:
    """Read a model.

    Parameters
    ----------
    path : path
        An artifact (.qza) of an AAMRegressor or AAMClassifier, or a folder with its files.

    Raises
    ------
    UserError
        If there is none, if it is damaged, or if it predicts nothing.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _served(path, None)
    if not path.is_file():
        raise UserError(f'There is no model at {shown(str(path))}; give an artifact (.qza) or a folder with its files.')
    with tempfile.TemporaryDirectory() as folder:
        return _served(pathlib.Path(folder), unpack(path, pathlib.Path(folder)))


def unpack(path: pathlib.Path, folder: pathlib.Path) -> str:
    """Write the files of the model in an artifact into a folder, and return the UUID of the artifact.

    Raises
    ------
    UserError
        If it is no artifact, if a file is missing or there twice, or if one is too large, whatever it says of its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise _Damaged(f'it has {len(entries):,} entries, of at most {MAX_ENTRIES:,}')
            found = [(match, entry) for entry in entries if (match := MEMBER.fullmatch(entry.filename))]
            for name in bundle.FILES:
                of_name = [entry for match, entry in found if match[2] == name]
                if len(of_name) != 1 or len({match[1] for match, _ in found}) != 1:
                    raise _Damaged(f'it must have one file data/{name}')
                _copy(archive, of_name[0], folder / name)
            return found[0][0][1]
    except UNREADABLE as error:
        raise UserError(
            f'The model {shown(path.name)} is no artifact of a model of this plugin, or damaged ({shown(str(error))}); '
            'give an AAMRegressor or an AAMClassifier (.qza).'
        ) from error


class _Damaged(Exception):
    pass


# What the library says of archives that are damaged or made to be.
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, NotImplementedError, RuntimeError, EOFError, OSError,
    ValueError, _Damaged,
)  # fmt: skip


def _copy(archive, entry, path):
    largest, size = MAX_SIZES[path.name], 0
    with archive.open(entry) as source, path.open('wb') as target:
        while part := source.read(CHUNK):
            size += len(part)
            # what an entry says of its size is not to be believed
            if size > largest:
                raise _Damaged(f'its data/{path.name} has more than {largest:,} bytes')
            target.write(part)


def _served(folder, uuid):
    model = bundle.load(folder)
    config = model.config
    if config.kind == bundle.ENCODER:
        raise UserError(
            'An encoder predicts nothing that could be served; give a regressor or a classifier, from fit-regressor or '
            'fit-classifier.'
        )
    card = json.loads((folder / bundle.CARD_FILE).read_text('utf-8'))
    schema = config.covariates
    by_category = getattr(config.target, 'by_category', None)
    card['request'] = {
        'reads_sequences': model.known_features is None,
        'max_sequence_length': config.call.model.max_sequence_length,
        'covariates': [] if schema is None else schema.names,
        'scale_by': None if by_category is None else by_category.name,
        'classes': list(getattr(config.target, 'classes', ())),
    }
    card['uuid'] = uuid
    return Served(model, card)
