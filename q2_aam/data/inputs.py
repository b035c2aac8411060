"""From the files of a call to a study."""

import collections.abc
import os
import pathlib

from .sequences import sequences_of
from .study import Study, build_study, load_study
from .table import Table, read_table

FOLDER = 'study'


def read_study(
    table: str | os.PathLike,
    sequences: str | os.PathLike | None = None,
    keep: collections.abc.Callable[[list[str]], collections.abc.Iterable[str]] | None = None,
    max_length: int | None = None,
    folder: str | os.PathLike | None = None,
    harmonize: collections.abc.Callable[[Table, list[str]], tuple[Table, list[str]]] | None = None,
) -> tuple[Study, list[str]]:
    """Read a table and its sequences into a study.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    sequences : path, optional
        FASTA; without it the feature ids are the sequences.
    keep : callable, optional
        Takes the table's sample ids and returns those that the study is to have.
    max_length : int, optional
        See :func:`q2_aam.data.study.build_study`.
    folder : path, optional
        The run directory: the study is written into it and stays on disk, memory-mapped. If an earlier start of the
        same run finished its study there, that is taken. Without it the study is kept in memory.
    harmonize : callable, optional
        Takes the table and the sequence of each of its features, and returns those that are read in their place.

    Returns
    -------
    study : q2_aam.data.study.Study
    without_reads : list of str
    """
    opened = read_table(table)
    kept = None if keep is None else keep(opened.sample_ids)
    if folder is not None:
        folder = pathlib.Path(folder) / FOLDER
        folder.mkdir(exist_ok=True)
        if loaded := load_study(folder):
            return loaded
    messages: list[str] = []
    of_features = sequences_of(opened.feature_ids, sequences, messages)
    if harmonize is not None:
        opened, of_features = harmonize(opened, of_features)
    return build_study(opened, of_features, max_length, kept, folder, messages)
