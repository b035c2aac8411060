"""From the files of a call to a study."""

import collections.abc
import dataclasses
import os
import pathlib

from q2_aam.errors import UserError, shown

from .feature_names import are_names, are_sequences, stand_ins
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
    named: bool | None = None,
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
    named : bool, optional
        Whether features are known by their names and have no sequences; by default their ids tell
        (:func:`q2_aam.data.feature_names.are_names`). Named features are neither truncated nor harmonized.

    Returns
    -------
    study : q2_aam.data.study.Study
    without_reads : list of str

    Raises
    ------
    UserError
        If an input cannot be used; if features are to be named, but have sequences.
    """
    opened = read_table(table)
    named = _are_named(opened.feature_ids, sequences, named)
    kept = None if keep is None else keep(opened.sample_ids)
    if folder is not None:
        folder = pathlib.Path(folder) / FOLDER
        folder.mkdir(exist_ok=True)
        if loaded := load_study(folder):
            return dataclasses.replace(loaded[0], named=named), loaded[1]
    messages: list[str] = []
    if named:
        study, without_reads = build_study(opened, stand_ins(opened.feature_ids), None, kept, folder, messages)
        return dataclasses.replace(study, named=True), without_reads
    of_features = sequences_of(opened.feature_ids, sequences, messages)
    if harmonize is not None:
        opened, of_features = harmonize(opened, of_features)
    return build_study(opened, of_features, max_length, kept, folder, messages)


def _are_named(feature_ids, sequences, named):
    """Return whether features are named; `named` says what the model reads, where there is one."""
    if named is None:
        return sequences is None and are_names(feature_ids)
    if named and sequences is not None:
        raise UserError(
            'The model knows features by their names, because it was trained without sequences, but sequences are '
            'given; leave them out, or give a model that was trained with sequences.'
        )
    if named and are_sequences(feature_ids):
        raise UserError(
            'The model knows features by their names, because it was trained without sequences, but the features of '
            f'the table are sequences (e.g. {shown(feature_ids[0])}); give a table of such features as it was trained '
            'on, or a model that was trained with sequences.'
        )
    return named
