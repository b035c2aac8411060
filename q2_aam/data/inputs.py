"""From the files of a call to a study."""

import pathlib

from .sequences import sequences_of
from .study import build_study, load_study
from .table import read_table

FOLDER = 'study'


def read_study(table, sequences=None, keep=None, max_length=None, folder=None, turn=None):
    """Read a table and its sequences into a study.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    sequences : path, optional
        FASTA; without it the feature ids are the sequences.
    keep : callable, optional
        Takes the table's sample ids and returns those that the study is to hold.
    max_length : int, optional
        See :func:`q2_aam.data.study.build_study`.
    folder : path, optional
        The work folder of the run: the study is written into it and stays on disk, memory-mapped. If an earlier start
        of the same run finished its study there, that is taken. Without it the study is kept in memory.
    turn : callable, optional
        Takes the sequences of all features, list of str, and returns those that are read in their place.

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
        if found := load_study(folder):
            return found
    found_sequences = sequences_of(opened.feature_ids, sequences)
    if turn is not None:
        found_sequences = turn(found_sequences)
    return build_study(opened, found_sequences, max_length, kept, folder)
