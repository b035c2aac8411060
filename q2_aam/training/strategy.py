"""How the processes of a training share a network: each has all of it, or its weights are divided among them."""

from q2_aam.config import AUTO
from q2_aam.config.runtime import DDP, FSDP
from q2_aam.errors import UserError
from q2_aam.model.network import Network
from q2_aam.runtime.memory import BYTES_PER_FLOAT, check_room, floats_per_chunk
from q2_aam.runtime.run import Run

from .prepare import Prepared


def choose_strategy(prepared: Prepared, network: Network, run: Run) -> None:
    """Set the strategy of the processes of a run, the same in all of them, before the network has any memory.

    Parameters
    ----------
    prepared : Prepared
    network : q2_aam.model.network.Network
        On the meta device.
    run : q2_aam.runtime.run.Run

    Raises
    ------
    q2_aam.errors.UserError
        If the network is too large for the memory there is.
    """
    runtime, ranks = prepared.config.runtime, run.ranks
    max_floats = floats_per_chunk(runtime.max_memory_gb, run.device)
    # embeddings of all ASVs are kept then
    kept = len(prepared.study.codes) if prepared.freezes_asvs else 0
    more_bytes = BYTES_PER_FLOAT * kept * prepared.config.model.width

    def check(processes=1):
        check_room(network, run.device, max_floats, more_bytes, processes)

    if ranks.size > 1:
        ranks.strategy = runtime.strategy
        if runtime.strategy == AUTO:
            ranks.strategy = FSDP if ranks.most(_refuses(check)) else DDP
    check(ranks.size if ranks.strategy == FSDP else 1)


def _refuses(check):
    try:
        check()
    except UserError:
        return 1
    return 0
