"""What a pretrained encoder says of samples without any label: distances among them, and where they lie.

Shapes: B samples, D width, K memberships.
"""

import dataclasses

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from q2_aam import bundle
from q2_aam.bundle.finite import GIVEN, check_finite
from q2_aam.config import AUTO
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.names import check_ids_of_matrix
from q2_aam.data.splits import NEW
from q2_aam.encoders.choice import choose_to_read, share_near
from q2_aam.errors import UserError
from q2_aam.model.branches import sketched
from q2_aam.runtime.branches import branches_of
from q2_aam.runtime.copies import place_copies
from q2_aam.runtime.device import choose_device, device_name, use_threads
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run_directory import temporary_directory
from q2_aam.runtime.screen import print_line
from q2_aam.training.train import describe_study

from .matrix import check_room, euclidean, pairs_matrix
from .read import NO_CLADES, read_new

MEMBERSHIPS = 'memberships'
# Of the branches that ASVs have of their own, in the embedding of a sample.
PLACES = 1024
# which samples stand in a matrix that cannot hold all is drawn, but the same at each call
MATRIX_SEED = 20


@dataclasses.dataclass(frozen=True)
class Ordination:
    """Principal coordinates of samples.

    Attributes
    ----------
    samples : pandas.DataFrame
        Coordinates; index: sample ids, columns: PC1, PC2, ...
    eigenvalues : pandas.Series
        Sum of squares along each axis, largest first.
    proportions : pandas.Series
        Share of each axis in the sum over all axes, those that are not given included.
    """

    samples: pd.DataFrame
    eigenvalues: pd.Series
    proportions: pd.Series


def predict_distances(table, encoder, config, sequences=None, say=print_line, clades=NO_CLADES):
    """Predict the distances between all samples of a table: without a tree, from sequences and abundances.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    encoder : path or None
        Bundle of an encoder that was pretrained with distances; None: one that comes with the package, as
        ``default_encoder`` says.
    config : q2_aam.config.DistancesConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    say : callable
        Takes one line of progress.
    clades : q2_aam.inference.read.Clades
        By what named features are placed that the encoder does not know.

    Returns
    -------
    pandas.DataFrame
        float32, ids by ids, in the unit of the distances that were learned; samples without reads are not in it.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, no encoder is given and none that comes with the package can read the table, the
        encoder learned no distances, or the matrix does not fit the memory.
    """
    device = choose_device(config.runtime.device)
    chosen = choose_to_read(encoder, config.encoder.default_encoder)
    model = bundle.load(chosen.path, bundle.ENCODER)
    if model.config.distance_divisor is None:
        raise UserError(
            'The encoder was pretrained without distances and can predict none; pretrain one with a distance_matrix or '
            'a phylogeny.'
        )
    with temporary_directory() as directory, use_threads(config.runtime.threads):
        study = _read(table, sequences, model, chosen, config, directory, say, clades)
        check_ids_of_matrix(study.sample_ids)
        check_room(len(study), config.runtime.max_memory_gb)
        say(f'Encoder: predicts distances without a tree, on {device_name(device)}.')
        network = place_copies(model.network, config.runtime, device)

        def distances():
            branches, _ = _branches(model, study)
            return pairs_matrix(branches, network.heads['distances'].between, network.max_floats)

        values = with_less_memory(network, distances)
    # in place: a second matrix may not fit
    values *= np.float32(model.config.distance_divisor)
    return _by_ids(values, study.sample_ids)


def embed(table, encoder, config, sequences=None, say=print_line, clades=NO_CLADES):
    """Embed the samples of a table, and lay them out.

    Parameters
    ----------
    table : path
        BIOM 2.1 HDF5.
    encoder : path or None
        Bundle of an encoder; None: one that comes with the package, as ``default_encoder`` says.
    config : q2_aam.config.EmbedConfig
    sequences : path, optional
        FASTA with the sequence of each feature; without it the feature ids are the sequences.
    say : callable
        Takes one line of progress.
    clades : q2_aam.inference.read.Clades
        By what named features are placed that the encoder does not know.

    Returns
    -------
    ordination : Ordination
        Of all samples with reads.
    distances : pandas.DataFrame
        float32, ids by ids: Euclidean distances between embeddings, of at most ``max_samples_in_matrix`` samples.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, no encoder is given and none that comes with the package can read the table, there
        are fewer than two samples, the encoder has no such embedding, or the matrix does not fit the memory.
    """
    device = choose_device(config.runtime.device)
    chosen = choose_to_read(encoder, config.encoder.default_encoder)
    how = config.embedding
    model = _model_that_embeds(chosen, how.embedding)
    with temporary_directory() as directory, use_threads(config.runtime.threads):
        study = _read(table, sequences, model, chosen, config, directory, say, clades)
        if len(study) < 2:
            raise UserError('An ordination needs two samples with reads, but the table has one; give more samples.')
        check_room(min(len(study), how.max_samples_in_matrix), config.runtime.max_memory_gb)
        say(f'Encoder: embeds samples by {how.embedding}, on {device_name(device)}.')
        network = place_copies(model.network, config.runtime, device)
        rows = _rows_of_matrix(len(study), how.max_samples_in_matrix, say)
        check_ids_of_matrix([study.sample_ids[row] for row in rows])

        def embeddings():
            samples_BD = _EMBEDDINGS[how.embedding](model, study)
            return samples_BD, pairs_matrix(samples_BD[torch.from_numpy(rows)], euclidean, network.max_floats)

        samples_BD, values = with_less_memory(network, embeddings)
        ordination = ordinate(samples_BD.double().cpu().numpy(), study.sample_ids, how.number_of_dimensions)
    first = ordination.proportions.iloc[:3].sum()
    say(f'Ordination: the first {min(3, len(ordination.proportions))} axes explain {first:.1%} of the variance.')
    return ordination, _by_ids(values, [study.sample_ids[row] for row in rows])


def embed_samples(table, encoder, config, sequences=None, say=print_line, clades=NO_CLADES):
    """Embed the samples of a table, each as it is in any table: no axes are made of the samples beside it.

    Parameters
    ----------
    table, encoder, config, sequences, say, clades
        As in :func:`embed`; of the embedding group, only ``embedding`` has an effect.

    Returns
    -------
    pandas.DataFrame
        float32, one row a sample by its id; samples without reads are not in it.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, no encoder is given and none that comes with the package can read the table, or the
        encoder has no such embedding.
    """
    device = choose_device(config.runtime.device)
    chosen = choose_to_read(encoder, config.encoder.default_encoder)
    how = config.embedding.embedding
    model = _model_that_embeds(chosen, how)
    with temporary_directory() as directory, use_threads(config.runtime.threads):
        study = _read(table, sequences, model, chosen, config, directory, say, clades)
        say(f'Encoder: embeds samples by {how}, on {device_name(device)}.')
        network = place_copies(model.network, config.runtime, device)
        samples_BD = with_less_memory(network, lambda: _EMBEDDINGS[how](model, study))
        return pd.DataFrame(samples_BD.float().cpu().numpy(), index=pd.Index(study.sample_ids, name='id'))


def _model_that_embeds(chosen, embedding):
    model = bundle.load(chosen.path, bundle.ENCODER)
    if embedding == MEMBERSHIPS and model.config.distance_divisor is None:
        raise UserError(
            'The encoder was pretrained without distances and has no memberships to embed samples by; pretrain one '
            'with a distance_matrix or a phylogeny, or set embedding to mean.'
        )
    return model


def ordinate(embeddings, ids, dimensions=AUTO):
    """Return the principal coordinates of embeddings, float64 [B, D], of two or more samples.

    Principal components are the principal coordinates of Euclidean distances (Gower 1966,
    doi:10.1093/biomet/53.3-4.325), and the singular values of [B, D] cost no matrix of [B, B]. Each axis points to
    where its largest loading is positive.
    """
    centred = embeddings - embeddings.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    # centring takes one axis away
    axes = min(len(embeddings) - 1, embeddings.shape[1])
    axes = axes if dimensions == AUTO else min(axes, dimensions)
    names = [f'PC{axis + 1}' for axis in range(axes)]
    total = (singular**2).sum()
    values = singular[:axes] ** 2
    return Ordination(
        pd.DataFrame((left * signs * singular)[:, :axes], index=pd.Index(ids, name='id'), columns=names),
        pd.Series(values, index=names),
        pd.Series(values / total if total > 0 else values, index=names),
    )


def _read(table, sequences, model, chosen, config, directory, say, clades):
    older = model.references is None and model.known_features is None
    if older and config.data.harmonize != 'off':
        say(
            'The encoder was made by an older version and holds no training sequences, so that sequences of another '
            'trimming or orientation are read as they are.'
        )
    study, _, _ = read_new(model, table, sequences, directory, config.data.harmonize, say, clades)
    describe_study(study, {NEW: len(study)}, say)
    if not older:
        chosen.check(share_near(study, model), say)
    return study


def _of_each_sample(model, study, take):
    """Return what `take` takes of the SampleEmbeddings, [B, ...] by rows of the study, on the network's device."""
    order, back = _orders(study)
    reader = StudyReader(study, make_augmentation(model.config.call.data))
    taken = torch.cat([take(part.samples) for part in reader.embed(model.network, order)])
    return _checked(taken[back.to(taken.device)], study)


def _branches(model, study):
    """Return what :func:`q2_aam.runtime.branches.branches_of` does, of samples whose memberships are finite."""
    branches, keys = branches_of(model, study)
    _checked(branches if isinstance(branches, torch.Tensor) else branches.memberships, study)
    return branches, keys


def _orders(study):
    """Return rows so that samples of like richness are together, for little to be padded, and the way back."""
    order = np.argsort(study.richness, kind='stable')
    return order, torch.from_numpy(np.argsort(order))


def _checked(taken, study):
    # one number for each sample, which is finite where all of its are
    check_finite(taken.abs().amax(dim=1).cpu().numpy(), study.sample_ids, GIVEN)
    return taken


def _shares(head, branches, keys):
    """Memberships and other branches weighted by the square root of their length, and scaled to length 1.

    The product of two samples is then the length of the branches they share over the geometric mean of what each has
    (Ochiai's coefficient). Without the scaling, distances tell above all how many ASVs a sample has.
    """
    sqrt_K = F.softplus(head.weight.detach()).sqrt()
    if isinstance(branches, torch.Tensor):
        return F.normalize(branches * sqrt_K, dim=1)
    keys_N = torch.from_numpy(keys).to(branches.asvs.device)[branches.asvs]
    own = sketched(branches, keys_N, PLACES)
    return F.normalize(torch.cat([branches.memberships * sqrt_K, own], dim=1), dim=1)


_EMBEDDINGS = {
    MEMBERSHIPS: lambda model, study: _shares(model.network.heads['distances'], *_branches(model, study)),
    'mean': lambda model, study: _of_each_sample(model, study, lambda part: part.mean),
    'summary': lambda model, study: _of_each_sample(model, study, lambda part: part.summary),
}


def _rows_of_matrix(samples, maximum, say):
    if samples <= maximum:
        return np.arange(samples)
    say(f'Distances: of {maximum:,} samples, drawn at random; max_samples_in_matrix allows no more.')
    return np.sort(np.random.default_rng(MATRIX_SEED).permutation(samples)[:maximum])


def _by_ids(values, ids):
    # row by row: a mask of the matrix may not fit
    check_finite(np.array([row.max() for row in values]), ids, GIVEN)
    index = pd.Index(ids, name='id')
    return pd.DataFrame(values, index=index, columns=index, copy=False)
