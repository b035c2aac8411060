"""Pretraining: learn ASVs and samples without labels, from files to a bundle."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.config import PretrainConfig
from q2_aam.data.splits import TRAINING
from q2_aam.errors import UserError, counted, shown
from q2_aam.objectives import Inputs
from q2_aam.runtime.content import hash_files, hash_frame, hash_series
from q2_aam.runtime.history import History
from q2_aam.runtime.launch import Processes
from q2_aam.runtime.results import Result
from q2_aam.runtime.run import Run
from q2_aam.runtime.screen import print_line
from q2_aam.runtime.seeds import Stream, numpy_generator
from q2_aam.runtime.tracking import parameters_of

from .batch_size import with_batch_size
from .continued import tell_what_is_kept
from .finish import finish_pretraining
from .job import Job, done
from .prepare import Prepared, prepare_pretraining
from .token_branches import keep_token_branches
from .train import train

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
    say=print_line,
    groups: pd.Series | None = None,
    taxonomy: pd.Series | None = None,
    alpha_diversity: Sequence[pd.Series] = (),
    initial_encoder=None,
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
    taxonomy : pandas.Series, optional
        Taxon of each feature by its id, ranks divided by semicolons: learned for each ASV.
    alpha_diversity : sequence of pandas.Series
        Alpha diversities of samples by their ids, which are learned; samples that one lacks count for nothing in it.
    initial_encoder : path, optional
        Bundle of an encoder to go on from; the new one has its form.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    processes = Processes.of(config.runtime)
    measures = measures_of(alpha_diversity)
    inputs = Inputs(
        table,
        sequences,
        encoder=initial_encoder,
        distance_matrix=distance_matrix,
        phylogeny=phylogeny,
        taxonomy=taxonomy,
        alpha_diversity=measures,
        groups=groups,
    )
    hashes = hash_files(
        table=table,
        sequences=sequences,
        encoder=initial_encoder,
        distance_matrix=distance_matrix,
        phylogeny=phylogeny,
    )
    for name, column in {'groups': groups, 'taxonomy': taxonomy}.items():
        if column is not None:
            hashes[name] = hash_series(column)
    if measures is not None:
        hashes['alpha_diversity'] = hash_frame(measures)
    job = Job(bundle.ENCODER, inputs, config, folder)
    return done('pretrain', job, hashes, processes, train_encoder, say).history


def train_encoder(job: Job, run: Run) -> Result:
    """Do a job, alone or as one of its processes; the result is that of rank 0, which has it to itself."""
    groups = job.inputs.groups

    def prepare(config, run):
        prepared = run.ranks.in_turn(lambda: prepare_pretraining(job.inputs, config, run))
        keep_token_branches(prepared, run.recorder)
        return prepared

    prepared = with_batch_size(prepare, job.config, run)
    run.recorder.parameters(**parameters_of(prepared.config, run.hashes, job.inputs))
    trained = train(prepared, run, None if groups is None else _balanced(prepared, groups, run))
    run.ranks.part()
    tell_what_is_kept(prepared, trained.network, run.recorder)
    finish_pretraining(prepared, trained, run, job.folder)
    return run.keep()


def measures_of(alpha_diversity: Sequence[pd.Series]) -> pd.DataFrame | None:
    """Return alpha diversities as one table, a column each, by the names that they have; None where there is none."""
    if not len(alpha_diversity):
        return None
    names = [str(one.name) for one in alpha_diversity]
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise UserError(
            f'Alpha diversities must differ in name, but two are {shown(twice[0])}; give each of them once.'
        )
    return pd.concat([pd.to_numeric(one).rename(name) for one, name in zip(alpha_diversity, names)], axis=1)


def _balanced(prepared: Prepared, groups: pd.Series, run: Run) -> Callable[[int, int], Iterator[np.ndarray]]:
    """Return what gives the batches of an epoch, each of few groups."""
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

    def batches(epoch, skip):
        generator = numpy_generator(run.seed, Stream.SHUFFLE, epoch)
        drawn = balanced_batches(members, prepared.config.training.batch_size, generator)
        return itertools.islice(drawn, skip, None)

    return batches


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
