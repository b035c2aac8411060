"""Pretraining: learn ASVs and samples without labels, from files to a bundle."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from q2_aam.config import PretrainConfig
from q2_aam.data.splits import TRAINING
from q2_aam.errors import UserError, counted, shown
from q2_aam.objectives import Inputs
from q2_aam.runtime.content import hash_files, hash_series
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.history import History
from q2_aam.runtime.results import deliver
from q2_aam.runtime.run import Run, open_run
from q2_aam.runtime.seeds import Stream, numpy_generator

from .finish import finish_pretraining
from .loop import run_loop
from .prepare import Prepared, prepare_pretraining
from .train import Trained, describe, start, task_of, train

# Groups whose samples share a batch: with 4, a quarter of its pairs are of the same group, and with one group no pair
# would tell how far apart groups are.
GROUPS_PER_BATCH = 4


def pretrain(
    table,
    folder,
    config: PretrainConfig,
    sequences=None,
    distance_matrix=None,
    phylogeny=None,
    say=print,
    groups: pd.Series | None = None,
) -> History:
    """Train an encoder and write its bundle.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    folder : path
        Where the bundle is written; it exists.
    config : q2_aam.config.PretrainConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    distance_matrix : path, optional
        Tab-separated, any dissimilarity. Samples that it lacks train other objectives only.
    phylogeny : path, optional
        Newick, rooted, with every feature that occurs. Instead of a matrix: each batch's UniFrac is computed from it,
        with rarefaction_depth that of the very reads that were drawn for the batch.
    say : callable
        Takes one line of progress.
    groups : pandas.Series, optional
        What the samples of several studies are balanced by, such as the study, by sample id: each batch is of a few
        groups, drawn evenly whatever their number of samples, and of as many samples of each. An epoch has as many
        steps as it has without groups, but not every sample once.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    inputs = Inputs(table, sequences, distance_matrix=distance_matrix, phylogeny=phylogeny)
    hashes = hash_files(table=table, sequences=sequences, distance_matrix=distance_matrix, phylogeny=phylogeny)
    if groups is not None:
        hashes['groups'] = hash_series(groups)
    with open_run('pretrain', config, hashes, say) as run:
        result = run.result()
        if result is None:
            prepared = prepare_pretraining(inputs, config, run)
            trained = train(prepared, run) if groups is None else _train_balanced(prepared, groups, run)
            finish_pretraining(prepared, trained, run, folder)
            result = run.keep()
        deliver(result, folder)
    return result.history


def _train_balanced(prepared: Prepared, groups: pd.Series, run: Run) -> Trained:
    """Train a network on all objectives, in batches of few groups."""
    rows, ids = prepared.rows[TRAINING], prepared.study.sample_ids
    training_ids = [ids[row] for row in rows]
    if missing := sorted(set(training_ids) - set(groups.dropna().index)):
        raise UserError(
            f'The groups lack {counted(len(missing), "sample")} of the table (e.g. {shown(missing[0])}); give a group '
            'for each sample.'
        )
    codes, names = pd.factorize(groups.loc[training_ids], sort=True)
    run.recorder.say(
        f'Batches: of {min(GROUPS_PER_BATCH, len(names))} of {counted(len(names), "group")}, drawn evenly.'
    )
    members = [rows[codes == code] for code in range(len(names))]
    network = start(prepared, run)
    reader = StudyReader(prepared.study, prepared.augment)
    task = task_of(network, prepared, run, reader)

    def batches(epoch, skip):
        generator = numpy_generator(run.seed, Stream.SHUFFLE, epoch)
        drawn = balanced_batches(members, prepared.config.training.batch_size, generator)
        return itertools.islice(drawn, skip, None)

    describe(network, prepared, run)
    task = dataclasses.replace(task, batches=batches)
    state = run_loop(network, task, run.recorder, run.checkpoint('network'))
    return Trained(network, reader, state.epoch, state.step)


def balanced_batches(
    members: list[np.ndarray], batch_size: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield the rows of batches without end, int64 [batch_size] or fewer: a few groups, as many samples of each.

    Parameters
    ----------
    members : list of int64
        The rows of each group.
    batch_size : int
    generator : numpy.random.Generator
    """
    number = min(GROUPS_PER_BATCH, len(members), batch_size)
    while True:
        chosen = generator.permutation(len(members))[:number]
        # a group with fewer samples than its part gives them all
        sizes = [len(part) for part in np.array_split(np.arange(batch_size), number)]
        yield np.concatenate([generator.permutation(members[group])[:size] for group, size in zip(chosen, sizes)])
