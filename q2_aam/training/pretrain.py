"""Pretraining: learn ASVs and samples without labels, from files to a bundle."""

from q2_aam.config import PretrainConfig
from q2_aam.objectives import Inputs
from q2_aam.runtime.content import hash_files
from q2_aam.runtime.history import History
from q2_aam.runtime.results import deliver
from q2_aam.runtime.run import open_run

from .finish import finish_pretraining
from .prepare import prepare_pretraining
from .train import train


def pretrain(
    table, folder, config: PretrainConfig, sequences=None, distance_matrix=None, phylogeny=None, say=print
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

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used.
    """
    inputs = Inputs(table, sequences, distance_matrix=distance_matrix, phylogeny=phylogeny)
    hashes = hash_files(table=table, sequences=sequences, distance_matrix=distance_matrix, phylogeny=phylogeny)
    with open_run('pretrain', config, hashes, say) as run:
        result = run.result()
        if result is None:
            prepared = prepare_pretraining(inputs, config, run)
            trained = train(prepared, run)
            finish_pretraining(prepared, trained, run, folder)
            result = run.keep()
        deliver(result, folder)
    return result.history
