"""Features without sequences (OTUs, genomes, taxa, genes): told from forgotten sequences, and known by their names.

What stands for a name wherever a sequence would (in a study, in a vocabulary) is its hash, written as nucleotides: it
is the same in every table, it sorts, and nothing can be read from it but whether two names are the same.
"""

import hashlib
import re

import numpy as np

from .names import as_seen
from .sequences import encode, sequence_keys, wrong_places

# What the names of features are when tools name sequences by MD5, SHA-1 or SHA-256.
_HASH = re.compile(r'[0-9a-f]{32}(?:[0-9a-f]{8})?(?:[0-9a-f]{24})?', re.IGNORECASE)
# Letters from which on a word that reads as nucleotides is a sequence: CAT and GAG are genes.
MIN_SEQUENCE = 30
# Nucleotides that stand for a name: 128 bits, so that no two names share them.
LETTERS, BYTES = 64, 16
_SEPARATOR = re.compile(r'\s*;\s*')
# Between these, a name may have an ID: of so many parts at most, and of fewer letters it says nothing.
_PART = re.compile(r'[0-9A-Za-z]+')
MAX_PARTS, MIN_ID = 12, 3


def are_names(feature_ids: list[str]) -> bool:
    """Return whether ids of features are names, of which there need be no sequences.

    They are not where all of them could be sequences, where one is a hash, as tools give to sequences that are then in
    a file of their own, or where one is surely a sequence.
    """
    wrong = wrong_places(feature_ids)
    if not wrong or any(_HASH.fullmatch(feature_ids[place]) for place in wrong):
        return False
    others = set(range(len(feature_ids))).difference(wrong)
    return max((len(feature_ids[place]) for place in others), default=0) < MIN_SEQUENCE


def are_sequences(feature_ids: list[str]) -> bool:
    """Return whether ids of features are surely sequences, or hashes that stand for some, and no names at all."""
    return all(_HASH.fullmatch(name) for name in feature_ids) or (
        not wrong_places(feature_ids) and max(map(len, feature_ids)) >= MIN_SEQUENCE
    )


def normalised(name: str) -> str:
    """Return a name without what a reader cannot see; ranks of a taxon stand close together."""
    return _SEPARATOR.sub(';', as_seen(name))


def stand_ins(names: list[str]) -> list[str]:
    """Return the nucleotides that stand for each name."""
    digests = b''.join(hashlib.blake2b(normalised(name).encode(), digest_size=BYTES).digest() for name in names)
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(-1, 2)
    letters = np.frombuffer(b'ACGT', dtype=np.uint8)[2 * bits[:, 0] + bits[:, 1]].tobytes().decode()
    return [letters[start : start + LETTERS] for start in range(0, len(letters), LETTERS)]


def name_keys(names: list[str]) -> np.ndarray:
    """Return the number by which each name is known from study to study, int64, as a study of such features has it."""
    if not names:
        return np.zeros(0, dtype=np.int64)
    return sequence_keys(*encode(stand_ins(names)))


def ids_in_names(names: list[str], ids: set[str]) -> dict[str, str]:
    """Return {name: the longest of some ids that stands in it between other letters and digits}.

    Bins are often named so after the sample that they were assembled from: S12.bin4.
    """
    found = {}
    for name in names:
        parts = [match.span() for match in _PART.finditer(name)][:MAX_PARTS]
        within = {name[begin:end] for place, (begin, _) in enumerate(parts) for _, end in parts[place:]}
        if within := {part for part in within & ids if len(part) >= MIN_ID}:
            found[name] = max(within, key=lambda part: (len(part), part))
    return found
