"""The network over many samples: each distinct ASV encoded once, then samples streamed.

Shapes: A ASVs of the study, N samples, D width, O outputs, M members of the abundance ensemble, C ASVs
of its vocabulary.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse
import torch

from q2_aam.data.batches import Batch, make_batch, read_sequences, sequence_chunks
from q2_aam.data.log_abundances import log_abundances, shares_of, squares_outside, to_vocabulary
from q2_aam.data.readable import draw_readable
from q2_aam.data.study import Study
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import MachineError
from q2_aam.model.abundance_ensemble import AbundanceEnsemble
from q2_aam.model.branches import Branches
from q2_aam.model.heads import OwnBranchDistanceHead, SampleEmbeddings
from q2_aam.model.network import Network

from .copies import dealt_out, part_of
from .kept_embeddings import digest_of, is_keeping, names_of, open_kept
from .memory import BYTES_PER_FLOAT, LEAST_CPU_GB, room_gb
from .ranks import ONE, Ranks

SAMPLES_AT_ONCE = 256
# Sequences that go to the device together; the network cuts them further to its memory.
ASVS_AT_ONCE = 8192
# Tokens that are encoded together where embeddings are kept, always as many: what an ASV becomes may depend on the
# shape of the matrices that it is computed in, and must not depend on the ASVs beside it.
TOKENS_OF_BLOCK = {'cpu': 2**10, 'cuda': 2**13}
# ASVs that are computed again to see whether what is kept is what would be computed here.
ASVS_TO_CHECK = 16


def device_of(network: torch.nn.Module) -> torch.device:
    """Return where the weights of a network are."""
    return next(network.parameters()).device


@torch.no_grad()
def embed_asvs(network: Network, study: Study, asvs: np.ndarray) -> torch.Tensor:
    """Return the embeddings [len(asvs), D] of rows of the study's ASVs.

    Raises
    ------
    q2_aam.errors.MachineError
        If there is no memory for them, before the first is computed.
    """
    _check_room(network, len(asvs))
    size, device = part_of(len(asvs), ASVS_AT_ONCE, network), device_of(network)

    def embedded(one, start):
        codes, lengths = read_sequences(study, asvs[start : start + size])
        batch = Batch(sequences=sequence_chunks(codes, lengths, one.budget()))
        return start, one(batch.to(device_of(one))).asvs

    embeddings = None
    for start, part in dealt_out(network, range(0, len(asvs), size), embedded):
        if embeddings is None:
            # in place: joined at the end, all would be there twice
            embeddings = torch.empty((len(asvs), part.shape[1]), dtype=part.dtype, device=device)
        embeddings[start : start + len(part)] = part
    return embeddings


def embed_frozen(network: Network, study: Study, asvs: np.ndarray) -> torch.Tensor:
    """Return the embeddings [len(asvs), D] of rows of the study's ASVs by an encoder that does not learn.

    Where embeddings are kept (:func:`q2_aam.runtime.kept_embeddings.keeping`), those that are kept are not computed.
    The result is the same bit for bit, whatever is kept.

    Raises
    ------
    q2_aam.errors.MachineError
        If there is no memory for them, before the first is computed.
    """
    _check_room(network, len(asvs))
    kept = open_kept(digest_of(network)) if is_keeping() else None
    if kept is None:
        return embed_in_blocks(network, study, asvs)
    names = [name for part in _parts(asvs) for name in names_of(*read_sequences(study, part))]
    embeddings_AD = np.empty((len(asvs), network.config.width), dtype=np.float32)
    found = kept.take(names, embeddings_AD)
    checked = _to_check(_tokens_of(network, study, asvs), found)
    anew = np.concatenate([np.flatnonzero(~found), checked])
    if len(anew):
        computed = embed_in_blocks(network, study, asvs[anew]).cpu().numpy()
        missing = len(anew) - len(checked)
        if not np.array_equal(computed[missing:], embeddings_AD[checked]):
            # kept by a processor that computes otherwise, which its name does not tell
            return embed_in_blocks(network, study, asvs)
        embeddings_AD[anew] = computed
        kept.add([names[place] for place in anew[:missing]], computed[:missing])
    return torch.from_numpy(embeddings_AD).to(device_of(network))


def _to_check(tokens_A, found):
    """Return places of some ASVs that were found, all of the most common number of tokens: they make one block."""
    places = np.flatnonzero(found)
    if not len(places):
        return places
    numbers, counts = np.unique(tokens_A[places], return_counts=True)
    alike = places[tokens_A[places] == numbers[counts.argmax()]]
    return alike[np.unique(np.linspace(0, len(alike) - 1, ASVS_TO_CHECK).astype(np.int64))]


@torch.no_grad()
def embed_in_blocks(network: Network, study: Study, asvs: np.ndarray) -> torch.Tensor:
    """Return what :func:`embed_asvs` does, in blocks of one shape for ASVs of so many tokens.

    What an ASV becomes does not depend on the others then, bit for bit. Chunks are not cut to the memory.
    """
    tokens_A, device = _tokens_of(network, study, asvs), device_of(network)
    blocks = []
    for tokens in np.unique(tokens_A):
        size = max(1, TOKENS_OF_BLOCK[device.type] // int(tokens))
        places = np.flatnonzero(tokens_A == tokens)
        blocks += [(places[start : start + size], size) for start in range(0, len(places), size)]

    def embedded(one, block):
        places, size = block
        full = np.resize(places, size)
        budget = dataclasses.replace(one.budget(), max_floats=2**62)
        batch = Batch(sequences=sequence_chunks(*read_sequences(study, asvs[full]), budget))
        return places, one(batch.to(device_of(one))).asvs[: len(places)]

    embeddings = torch.empty((len(asvs), network.config.width), device=device)
    for places, part in dealt_out(network, blocks, embedded):
        embeddings[torch.from_numpy(places).to(device)] = part.to(device)
    return embeddings


def _tokens_of(network, study, asvs):
    """Return the number of tokens of each ASV, int64 [len(asvs)]."""
    lengths = [read_sequences(study, part)[1] for part in _parts(asvs)]
    return -(-np.concatenate(lengths) // network.config.nucleotides_per_token)


def _parts(asvs):
    return [asvs[start : start + ASVS_AT_ONCE] for start in range(0, len(asvs), ASVS_AT_ONCE)]


def _check_room(network, asvs):
    """Refuse to keep embeddings for which there is no memory: the system would end the process without a word."""
    needed = BYTES_PER_FLOAT * asvs * network.config.width / 1e9
    if needed <= LEAST_CPU_GB:
        # as any chunk of work takes, where less memory may be held but free
        return
    room, where = room_gb(device_of(network))
    if needed > room:
        raise MachineError(
            f'Keeping the embeddings of {asvs:,} ASVs takes {needed:,.2f} GB of memory, but {room:,.2f} GB {where}; '
            'give more memory, or divide the samples of the table among several tables.'
        )


@dataclasses.dataclass(frozen=True)
class EnsembleOutputs:
    """What an abundance ensemble gives for B samples.

    Attributes
    ----------
    rows : int64 [B]
        Of the study.
    by_kind : dict
        {kind of member: float64 [M, B, O]}.
    coverage, reads : float64 [M, B]
        Share of a sample in ASVs that the member knows: of the sum of its logarithms, and of its reads.
    abundances : csr float32 [B, C]
        Logarithms of the ASVs of the vocabulary.
    outside : float64 [B]
        Sum of the squared logarithms of all other ASVs.
    """

    rows: np.ndarray
    by_kind: dict[str, np.ndarray]
    coverage: np.ndarray
    reads: np.ndarray
    abundances: scipy.sparse.csr_matrix
    outside: np.ndarray


def sums(matrix: scipy.sparse.csr_matrix) -> np.ndarray:
    """Return the sum of each row of a sparse matrix, float64."""
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()


class StudyReader:
    """Reads samples of one study with a network, without variation.

    Parameters
    ----------
    study : q2_aam.data.study.Study
    augment : callable, optional
        What of a sample the model reads; see :func:`q2_aam.data.batches.draw_samples`.

    Attributes
    ----------
    asvs : [A, D] or None
        Embeddings of all ASVs, where they do not change: :meth:`remember` has computed them.
    given : dict
        {head: int64 [N], what it is given of each sample of the study besides embeddings: its category}.
    """

    def __init__(self, study: Study, augment=None):
        self.study, self.augment = study, augment
        self.asvs: torch.Tensor | None = None
        self.given: dict[str, np.ndarray] = {}

    def remember(self, network: Network, ranks: Ranks = ONE) -> None:
        """Encode every ASV of the study now, because the ASV encoder no longer learns; each process does its part."""
        asvs = len(self.study.codes)
        embed = embed_frozen if is_keeping() else embed_asvs
        self.asvs = ranks.gather_rows(embed(network.eval(), self.study, ranks.own_rows(asvs)), asvs)

    def embed(self, network: Network, rows: np.ndarray, heads: tuple[str, ...] = ()) -> Iterator:
        """Yield the :class:`q2_aam.model.network.Outputs` of `rows` of the study, in order, some hundred at a time."""
        for _, _, outputs in self._read(network, rows, heads):
            yield outputs

    @torch.no_grad()
    def _read(self, network, rows, heads=()):
        """Yield of some hundred rows at a time what is drawn, the embeddings of its ASVs, and the network's outputs."""
        place, asvs_AD = np.arange(len(self.study.codes)), self.asvs
        if asvs_AD is None:
            held = np.unique(draw_readable(self.study, rows).asvs)
            place[held] = np.arange(len(held))
            asvs_AD = embed_asvs(network, self.study, held)
        device, size = device_of(network), part_of(len(rows), SAMPLES_AT_ONCE, network)

        def read(one, start):
            drawn = draw_readable(self.study, rows[start : start + size], self.augment)
            asvs_UD = asvs_AD[torch.from_numpy(place[drawn.distinct]).to(asvs_AD.device)]
            batch = make_batch(drawn, one.budget(), heads, asvs_UD)
            for head in set(heads) & set(self.given):
                batch.given[head] = [None, torch.from_numpy(self.given[head][drawn.rows])]
            return drawn, asvs_UD, one(batch.to(device_of(one))).to(device)

        yield from dealt_out(network, range(0, len(rows), size), read)

    def embeddings(self, network: Network, rows: np.ndarray) -> SampleEmbeddings:
        """Return the SampleEmbeddings of `rows` of the study."""
        return SampleEmbeddings.concatenate([outputs.samples for outputs in self.embed(network, rows)])

    def outputs(self, network: Network, head: str, rows: np.ndarray) -> np.ndarray:
        """Return the outputs of a head for `rows` of the study, float64 [N, O].

        Samples of like richness go together, so that little is padded.
        """
        order = np.argsort(self.study.richness[rows], kind='stable')
        parts = self.embed(network, rows[order], (head,))
        outputs = np.concatenate([part.heads[head].double().cpu().numpy() for part in parts])
        return outputs[np.argsort(order)]

    @torch.no_grad()
    def branches(self, network: Network, head: str, rows: np.ndarray) -> torch.Tensor | Branches:
        """Return what a head of distances compares of `rows`: their memberships [N, K], or Branches."""
        if not isinstance(network.heads[head], OwnBranchDistanceHead):
            return self.embeddings(network, rows).memberships
        parts = []
        for drawn, asvs_UD, outputs in self._read(network, rows):
            asvs_N, richness = torch.from_numpy(drawn.inverse), torch.from_numpy(np.diff(drawn.offsets))
            asvs_N, richness = asvs_N.to(asvs_UD.device), richness.to(asvs_UD.device)
            part = network.heads[head].branches(outputs.samples.memberships, asvs_UD, asvs_N, richness)
            # the same number in every part
            names_U = torch.from_numpy(drawn.distinct.astype(np.int64)).to(asvs_UD.device)
            parts.append(dataclasses.replace(part, asvs=names_U[asvs_N]))
        return Branches.concatenate(parts)

    @torch.no_grad()
    def distances(
        self, network: Network, head: str, rows: np.ndarray, beside: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """Return the predicted distances among `rows`, float32 [N, N], before any divisor.

        Where a head knows memberships alone, `beside` is how long other branches are that two samples share, float32
        [N, N], and that each has, [N].
        """
        branches = self.branches(network, head, rows)
        samples, memberships = branches.shape
        # blocks of rows, because the head holds [block, N, K] at once
        block = max(1, network.max_floats // (8 * samples * memberships))
        between, starts = network.heads[head].between, range(0, samples, block)
        if beside is None:
            return torch.cat([between(branches[at : at + block], branches) for at in starts]).cpu().numpy()
        shared_NN, own_N = (torch.from_numpy(lengths).to(device_of(network)) for lengths in beside)
        parts = [
            between(branches[at : at + block], branches, (shared_NN[at : at + block], own_N[at : at + block], own_N))
            for at in starts
        ]
        return torch.cat(parts).cpu().numpy()

    def ensemble_outputs(
        self, ensemble: AbundanceEnsemble, vocabulary: Vocabulary, rows: np.ndarray
    ) -> Iterator['EnsembleOutputs']:
        """Yield what an ensemble gives for `rows` of the study, in order, some hundred at a time."""
        for block in np.split(rows, range(SAMPLES_AT_ONCE, len(rows), SAMPLES_AT_ONCE)):
            all_BA = log_abundances(self.study, block, self.augment)
            known_BC = to_vocabulary(all_BA, self.study.keys, vocabulary.keys)
            covariates = self.study.covariates
            yield EnsembleOutputs(
                block,
                ensemble.outputs_by_kind(
                    ensemble.features(known_BC, None if covariates is None else covariates.of(block))
                ),
                ensemble.coverage(known_BC, sums(all_BA)),
                ensemble.coverage(shares_of(known_BC), sums(shares_of(all_BA))),
                known_BC,
                squares_outside(all_BA, known_BC),
            )
