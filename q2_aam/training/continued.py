"""How much of what an encoder knew is left when it has learned on other samples.

Shapes: R references, D width, P pairs, B samples.
"""

import dataclasses

import numpy as np
import torch
from scipy.spatial.distance import pdist

from q2_aam.data.batches import Batch, sequence_chunks
from q2_aam.data.sequences import PAD
from q2_aam.data.study import Study
from q2_aam.errors import counted
from q2_aam.model.network import Network, build_network
from q2_aam.runtime.branches import HEAD, branches_of
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.seeds import Stream, numpy_generator, torch_generator
from q2_aam.stats.metrics import regression_metrics

from .prepare import Prepared
from .token_branches import token_branches_of

# So that the figure of the untrained network is the same whenever an encoder goes on.
SEED = 0
# Samples that are made of references: 2,016 pairs.
SAMPLES = 64
# References that one of them has, at most, and the share of all among which most of these lie: relatives occur together
# in samples, and some samples are then near and others far.
MAX_RICHNESS, SPREAD = 128, 0.1


def tell_what_is_kept(prepared: Prepared, network: Network, recorder: Recorder) -> None:
    """Say and log how far apart an encoder keeps the sequences that stand for what another had learned from.

    Embeddings of an untrained network tell much of that, too: what it has is said beside it. Where both predict
    distances, those between samples that are made of the sequences are compared as well.

    Parameters
    ----------
    prepared : q2_aam.training.prepare.Prepared
        Of an encoder that began from no other, or from one without references, of an older version, nothing is said.
    network : q2_aam.model.network.Network
        What became of it.
    recorder : q2_aam.runtime.recorder.Recorder
    """
    source = prepared.source
    if source is None or source.references is None or len(source.references.codes) < 3:
        return
    codes = source.references.codes
    untrained = build_network(network.config, {}, torch_generator(SEED, Stream.WEIGHTS)).to(device_of(network))
    before_P, after_P, floor_P = (pdist(_embedded(one, codes)) for one in (source.network, network, untrained))
    if not (before_P.std() > 0 and after_P.std() > 0 and floor_P.std() > 0):
        return
    kept, floor, after_floor = np.corrcoef([before_P, after_P, floor_P])[[0, 0, 1], [1, 2, 2]]
    beyond = partial_correlation(kept, floor, after_floor)
    recorder.log(
        0, 0, 'run', kept_of_initial_encoder=kept, kept_in_untrained_network=floor, kept_beyond_untrained_network=beyond
    )
    recorder.say(
        f'Kept of the initial encoder: distances between embeddings of {len(codes):,} sequences, which stand for what '
        f'it learned from, correlate with those of before at r = {kept:.3f}. An untrained network has {floor:.3f}; '
        f'with its part taken out (partial correlation), r is {beyond:.3f}.'
    )
    if prepared.distances is not None and source.config.distance_divisor is not None:
        _tell_of_distances(prepared, network, recorder)


def partial_correlation(one: float, floor: float, other: float) -> float:
    """Return the correlation of two variables without what a third explains of each, 0 where that is all.

    Parameters
    ----------
    one : float
        Their correlation.
    floor, other : float
        Of the first, and of the second, with the third.
    """
    rest = (1 - floor**2) * (1 - other**2)
    return float((one - floor * other) / rest**0.5) if rest > 0 else 0.0


def _tell_of_distances(prepared, network, recorder):
    """Say and log how far distances between samples that are made of references are from what they were."""
    source, pairs = prepared.source, np.triu_indices(SAMPLES, 1)
    changes = {'network': network, 'token_branches': token_branches_of(prepared), 'known_asvs': None}
    now = dataclasses.replace(source, **changes)
    study = made_of(source.references.codes, numpy_generator(SEED, Stream.REFERENCES))
    before_P = _distances(source, study)[pairs] * source.config.distance_divisor
    after_P = _distances(now, study)[pairs] * prepared.distances.pairs.divisor
    if not before_P.std() > 0:
        return
    metrics = regression_metrics(after_P, before_P)
    recorder.log(0, 0, 'run', kept_distances_mae=metrics['mae'], kept_distances_r2=metrics['r2'])
    recorder.say(
        f'Kept of its distances: between {counted(SAMPLES, "sample")} that are made of these sequences, distances are '
        f'{metrics["mae"]:.3g} from those of before on average, R2 = {metrics["r2"]:.3f} (1: unchanged, 0: no '
        'better than their mean).'
    )


def made_of(codes_RL: np.ndarray, generator: np.random.Generator) -> Study:
    """Return a study of samples that are made of some sequences, uint8 [R, L]: near and far ones, rich and poor ones.

    Each has relatives, as far as their first nucleotides tell them, around one that is drawn, all in equal shares.
    """
    codes_RL = np.unique(codes_RL, axis=0)
    number = len(codes_RL)
    held = []
    for _ in range(SAMPLES):
        richness = generator.integers(2, max(3, min(MAX_RICHNESS, number // 2) + 1))
        places = generator.normal(generator.integers(number), SPREAD * number, size=richness)
        held.append(np.unique(places.round().astype(np.int64) % number))
    richness_B = np.array([len(asvs) for asvs in held])
    lengths = (codes_RL != PAD).sum(axis=1).astype(np.int32)
    return Study(
        sample_ids=[f'sample{number}' for number in range(SAMPLES)],
        feature_ids=[f'sequence{number}' for number in range(number)],
        codes=codes_RL,
        lengths=lengths,
        truncated=np.zeros(number, dtype=bool),
        offsets=np.concatenate([[0], np.cumsum(richness_B)]),
        asvs=np.concatenate(held).astype(np.int32),
        abundances=np.repeat(1 / richness_B, richness_B).astype(np.float32),
        # as if each ASV had ten
        reads=10.0 * richness_B,
    )


@torch.no_grad()
def _distances(model, study):
    """Return the distances that an encoder predicts among the samples of a study, before any divisor, [B, B]."""
    branches, _ = branches_of(model, study)
    return model.network.heads[HEAD].between(branches, branches).double().cpu().numpy()


@torch.no_grad()
def _embedded(network, codes):
    """Return the embedding of each sequence, float64 [R, D]."""
    lengths = (codes != PAD).sum(axis=1).astype(np.int64)
    batch = Batch(sequences=sequence_chunks(codes, lengths, network.budget())).to(device_of(network))
    return network.eval()(batch).asvs.double().cpu().numpy()
