"""Which nucleotides of an ASV matter to the network, and how the ASV differs from the nearest one of the vocabulary.

Each nucleotide is replaced by each of the three others, the ASV is encoded anew, and samples that have it are told
again by the network alone: the abundance ensemble knows ASVs by name and reads no nucleotides. (As in Alipanahi et al.
2015, doi:10.1038/nbt.3300. Gradients are not taken, because letters have nothing between them; a mask would hide a
whole token, which is several nucleotides.)

Shapes: B samples, U distinct ASVs of them, L nucleotides, V = 3 L variants, D width, Q quantities that are told.
"""

import dataclasses

import numpy as np
import torch

from q2_aam.data.alignment import MAX_OFFSET, Aligner
from q2_aam.data.batches import Batch, draw_samples, sample_chunks, sequence_chunks
from q2_aam.data.sequences import PAD, UNKNOWN, A
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.memory import with_less_memory

from .explain_removal import scaled_as, told

# Samples in which an ASV is looked at, those that hold most of it; of long sequences fewer, one at least.
MAX_SAMPLES, MAX_READ = 5, 6000
# What a nucleotide is replaced by.
OTHERS = 3
LETTERS = np.array(list('?ACGTN'))


@dataclasses.dataclass(frozen=True, eq=False)
class ReadSequence:
    """An ASV, nucleotide by nucleotide.

    Attributes
    ----------
    letters : str
    effects : float64 [L]
        By how much the network's own prediction is higher with the nucleotide than with another in its place, mean
        over the three others and over samples.
    quantity : int
        Which of the quantities: 0 of a number, of classes the one that is changed most.
    samples : int
        In how many it was looked at.
    nearest : str
        The nearest other ASV of the vocabulary, place by place, '-' where it has no nucleotide; '' where none agrees.
    nearest_asv : int
        Its number in the vocabulary; -1 for none.
    mismatches, overlap : int
        Nucleotides in which both differ, and that both have.
    """

    letters: str
    effects: np.ndarray
    quantity: int
    samples: int
    nearest: str
    nearest_asv: int
    mismatches: int
    overlap: int


def read_sequence(opened, asv: int) -> ReadSequence:
    """Return what the nucleotides of one ASV of the study do, in the samples that hold most of it."""
    study = opened.study
    codes = np.asarray(study.codes[asv, : int(study.lengths[asv])])
    rows = _holders(study, asv, max(1, min(MAX_SAMPLES, MAX_READ // (OTHERS * len(codes)))))
    change_LQ = with_less_memory(opened.model.network, lambda: substituted_changes(opened, asv, codes, rows))
    quantity = int(np.abs(change_LQ).sum(axis=0).argmax())
    found = nearest_other(codes, opened.model.vocabulary)
    return ReadSequence(''.join(LETTERS[codes]), change_LQ[:, quantity], quantity, len(rows), *found)


def _holders(study, asv, most):
    places = np.flatnonzero(study.asvs == asv)
    places = places[np.argsort(-study.abundances[places], kind='stable')[:most]]
    return np.sort(np.searchsorted(study.offsets, places, side='right') - 1)


def variants_of(codes: np.ndarray) -> np.ndarray:
    """Return a sequence with each nucleotide replaced by each of the others, uint8 [V, L], three for each in a row."""
    variants = np.repeat(codes[None], OTHERS * len(codes), axis=0)
    place = np.repeat(np.arange(len(codes)), OTHERS)
    by = np.tile(np.arange(1, OTHERS + 1), len(codes))
    # a letter that stands for several is replaced by A, C and G
    known = np.where(codes == UNKNOWN, OTHERS, codes.astype(np.int64) - A)
    variants[np.arange(len(variants)), place] = (known[place] + by) % (OTHERS + 1) + A
    return variants


@torch.no_grad()
def substituted_changes(opened, asv: int, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return how the network's prediction changes by each nucleotide of an ASV, mean over samples, float64 [L, Q].

    Above 0: the prediction is higher with the nucleotide than with another in its place.
    """
    network, study, reader = opened.model.network, opened.study, opened.reader
    device, blend = device_of(network), opened.model.config.blend
    variants = variants_of(codes)
    chunks = sequence_chunks(variants, np.full(len(variants), len(codes)), network.budget())
    variant_VD = network(Batch(sequences=chunks).to(device)).asvs
    changes = []
    for row in rows:
        # the sample as it is, and once more for each variant, which stands in the place of the ASV
        drawn = draw_samples(study, np.repeat(row, len(variants) + 1), reader.augment)
        places, version = drawn.inverse.copy(), np.repeat(np.arange(len(variants) + 1), np.diff(drawn.offsets))
        here = (drawn.asvs == asv) & (version > 0)
        places[here] = len(drawn.distinct) + version[here] - 1
        asvs_UD = torch.cat([reader.asvs[torch.from_numpy(drawn.distinct).to(device)], variant_VD])
        more = drawn.covariates, drawn.depths
        samples = sample_chunks(places, drawn.abundances, drawn.offsets, network.budget(), *more)
        batch = Batch(('target',), embeddings=asvs_UD, samples=samples)
        category = None if opened.codes is None else np.repeat(opened.codes[row], len(variants) + 1)
        if 'target' in reader.given:
            batch.given['target'] = [None, torch.from_numpy(category)]
        outputs = network(batch.to(device)).heads['target'].double().cpu().numpy()
        values = told(scaled_as(opened.target, category), outputs * (1.0 if blend is None else blend.network_alone))
        changes.append(values[0] - values[1:].reshape(len(codes), OTHERS, -1).mean(axis=1))
    return np.mean(changes, axis=0)


def nearest_other(codes: np.ndarray, vocabulary) -> tuple[str, int, int, int]:
    """Return the ASV of a vocabulary that agrees best with a sequence, other than itself.

    Returns
    -------
    nearest : str
        Place by place of the sequence, '-' where it has no nucleotide; '' where none agrees on 60 nucleotides and half
        of both (:mod:`q2_aam.data.alignment`).
    asv, mismatches, overlap : int
    """
    nothing = '', -1, 0, 0
    if vocabulary is None:
        return nothing
    longest = vocabulary.codes.shape[1]
    # the same sequence is no other
    padded = np.pad(codes, (0, max(0, longest - len(codes))))
    others = np.flatnonzero((vocabulary.codes != padded[:longest]).any(axis=1) | (len(codes) > longest))
    if not len(others):
        return nothing
    aligner = Aligner(vocabulary.codes[others], len(codes))
    read = np.pad(codes, (0, max(0, longest + MAX_OFFSET - len(codes))))[None]
    pairs = aligner.agreeing(read, aligner.votes(read))
    if not len(pairs.asvs):
        return nothing
    asv, offset = int(others[pairs.asvs[0]]), int(pairs.offsets[0])
    place = np.arange(len(codes)) + offset
    inside = (place >= 0) & (place < longest)
    beside = np.where(inside, vocabulary.codes[asv][np.where(inside, place, 0)], PAD)
    both = beside != PAD
    differ = both & (beside != codes) & (beside != UNKNOWN) & (codes != UNKNOWN)
    return ''.join(np.where(both, LETTERS[beside], '-')), asv, int(differ.sum()), int(both.sum())
