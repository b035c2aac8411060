"""How much of what an encoder knew is left when it has learned on other samples.

Shapes: R references, D width.
"""

import numpy as np
import torch
from scipy.spatial.distance import pdist

from q2_aam import bundle
from q2_aam.data.batches import Batch, sequence_chunks
from q2_aam.data.sequences import PAD
from q2_aam.model.network import Network
from q2_aam.runtime.encode import device_of
from q2_aam.runtime.recorder import Recorder


def tell_what_is_kept(source: bundle.Bundle | None, network: Network, recorder: Recorder) -> None:
    """Say and log how far apart an encoder keeps the sequences that stand for what another had learned from.

    Parameters
    ----------
    source : q2_aam.bundle.Bundle or None
        The encoder that training began from; one without references, of an older version, says nothing.
    network : q2_aam.model.network.Network
        What became of it.
    recorder : q2_aam.runtime.recorder.Recorder
    """
    if source is None or source.references is None or len(source.references.codes) < 3:
        return
    codes = source.references.codes
    before, after = (pdist(_embedded(one, codes)) for one in (source.network, network))
    if not (before.std() > 0 and after.std() > 0):
        return
    kept = float(np.corrcoef(before, after)[0, 1])
    recorder.log(0, 0, 'run', kept_of_initial_encoder=kept)
    recorder.say(
        f'Kept of the initial encoder: distances between embeddings of {len(codes):,} sequences that stand for what it '
        f'learned from correlate with those of before at r = {kept:.3f}.'
    )


@torch.no_grad()
def _embedded(network, codes):
    """Return the embedding of each sequence, float64 [R, D]."""
    lengths = (codes != PAD).sum(axis=1).astype(np.int64)
    batch = Batch(sequences=sequence_chunks(codes, lengths, network.budget())).to(device_of(network))
    return network.eval()(batch).asvs.double().cpu().numpy()
