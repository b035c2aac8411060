"""From the files of a call to a study."""

import dataclasses

import numpy as np

from .sequences import sequences_of
from .study import build_study
from .table import read_table


def read_study(table, sequences=None, keep=None, max_length=None):
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

    Returns
    -------
    study : q2_aam.data.study.Study
    without_reads : list of str
    """
    read = read_table(table)
    if keep is not None:
        row = {sample: i for i, sample in enumerate(read.sample_ids)}
        rows = np.array([row[sample] for sample in keep(read.sample_ids)], dtype=np.int64)
        read = dataclasses.replace(read, sample_ids=[read.sample_ids[i] for i in rows], counts=read.counts[rows])
    return build_study(read, sequences_of(read.feature_ids, sequences), max_length)
