"""The sequences of the ASVs: looked up for each feature, checked, and encoded as small integers."""

import collections.abc
import hashlib
import os
import re

import numpy as np

from q2_aam.errors import UserError, counted, shown

from .study_warnings import warn_of_ambiguous, warn_of_words

PAD = 0
A, C, G, T = 1, 2, 3, 4
UNKNOWN = 5

# IUPAC nucleotide codes that stand for more than one nucleotide (NC-IUB 1984, doi 10.1093/nar/13.9.3021)
AMBIGUOUS = 'RYSWKMBDHVN'

# code of each byte of a sequence; 0 marks what is no nucleotide
_CODES = np.zeros(256, dtype=np.uint8)
for _letters, _code in (('A', A), ('C', C), ('G', G), ('TU', T), (AMBIGUOUS, UNKNOWN)):
    for _letter in _letters + _letters.lower():
        _CODES[ord(_letter)] = _code

# by code and by letter, ambiguous ones too: R, a purine, becomes Y, a pyrimidine
_COMPLEMENT = np.array([PAD, T, G, C, A, UNKNOWN], dtype=np.uint8)
_COMPLEMENT_LETTERS = str.maketrans('ACGTRYKMBVDH', 'TGCAYRMKVBHD')

KEY_BYTES = 8
# Sequences whose keys are computed at a time, so that a study on disk stays there.
_BLOCK = 2**16
# Characters of a sequence in a message.
_MAX_SHOWN = 40

# Names of taxa, as a table that was collapsed by taxonomy has them: ranks (k__, D_0__) or levels, and not id;size=9.
_TAXON = re.compile(r'(?:[a-z]{1,2}|D_\d+)__|[^;=]+;[^;=]*(?:;|$)', re.IGNORECASE)
# Words for a missing value whose letters are all IUPAC nucleotide codes.
_NO_SEQUENCES = {'NA', 'NAN'}


def read_fasta(path: str | os.PathLike) -> dict[str, str]:
    """Read a FASTA file.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to str
        The sequence of each id (the first word of its header), as written; sequences may span lines.

    Raises
    ------
    UserError
        If the file is empty or is not FASTA, or if an id is missing or occurs twice.
    """
    try:
        with open(path, encoding='utf-8-sig') as handle:
            return _parse_fasta(handle)
    except UnicodeDecodeError as error:
        raise UserError(
            'The input sequences are not a FASTA file: they are not text; provide a FeatureData[Sequence] artifact.'
        ) from error


def _parse_fasta(lines):
    parts, current = {}, None
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line.startswith('>'):
            name = (line[1:].split(maxsplit=1) or [''])[0]
            if not name:
                raise UserError(
                    f'The input sequences have a header without an ID at line {number}; give every sequence an ID.'
                )
            if name in parts:
                raise UserError(
                    f'Feature IDs must be unique: {shown(name)} occurs twice in the input sequences'
                    f'{", where an ID ends at the first blank" if line[1:].strip() != name else ""}; keep one sequence '
                    'for it, or rename it.'
                )
            parts[name] = current = []
        elif line and current is None:
            raise UserError(
                f'The input sequences are not a FASTA file: line {number} comes before the first header; begin every '
                'sequence with a line of ">" and the feature ID.'
            )
        elif line:
            current.append(line)
    if not parts:
        raise UserError('The input sequences are empty; provide the representative sequences of the features.')
    return {name: ''.join(pieces) for name, pieces in parts.items()}


def sequences_of(
    feature_ids: list[str],
    fasta: str | os.PathLike | collections.abc.Mapping[str, str] | None = None,
    messages: list[str] | None = None,
) -> list[str]:
    """Return the sequence of each feature, in upper case and with T for U.

    Parameters
    ----------
    feature_ids : list of str
    fasta : path or dict of str to str, optional
        FASTA file, or what :func:`read_fasta` returned. Without it the ids must be the sequences themselves.
    messages : list of str, optional
        Gets the texts of all warnings, for whoever reads back what is made of the sequences.

    Returns
    -------
    list of str
        In the order of `feature_ids`.

    Raises
    ------
    UserError
        If a sequence is missing, is empty, or has a gap or a letter that is no IUPAC nucleotide code; if ids are no
        sequences, but taxa or words.

    Warns
    -----
    AAMWarning
        If ids that are taken for sequences are so much shorter than the others that they may be words, or if most
        letters of sequences stand for more than one nucleotide.
    """
    messages = [] if messages is None else messages
    if fasta is None:
        sequences = list(feature_ids)
        _check_ids_are_sequences(sequences)
        warn_of_words(sequences, messages)
    else:
        by_id = fasta if isinstance(fasta, collections.abc.Mapping) else read_fasta(fasta)
        _check_none_missing(feature_ids, by_id)
        sequences = [by_id[name] for name in feature_ids]
        _check_letters(feature_ids, sequences)
    lengths_A, ambiguous_A = _ambiguous_letters(sequences)
    warn_of_ambiguous(feature_ids, lengths_A, ambiguous_A, messages)
    return [sequence.upper().replace('U', 'T') for sequence in sequences]


def encode(sequences: collections.abc.Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Encode sequences as small integers.

    Parameters
    ----------
    sequences : list of str

    Returns
    -------
    codes : uint8 [A, L]
        A, C, G, T (or U) are 1 to 4, every other IUPAC letter is 5 (unknown); 0 after the end of a sequence that is
        shorter than the longest. Lower case counts as upper case.
    lengths : int32 [A]

    Raises
    ------
    UserError
        If a sequence is empty or has anything but IUPAC nucleotide codes.
    """
    flat, lengths = _flat_codes(sequences)
    wrong = _first_wrong(flat, lengths)
    if wrong is not None:
        raise UserError(_complaint(f'The sequence {shown(sequences[wrong], _MAX_SHOWN)}', sequences[wrong]))
    longest = int(lengths.max(initial=0))
    codes = np.zeros((len(sequences), longest), dtype=np.uint8)
    codes[np.arange(longest, dtype=np.int32) < lengths[:, None]] = flat
    return codes, lengths


def reverse_codes(codes_AL: np.ndarray, lengths_A: np.ndarray) -> np.ndarray:
    """Return the codes of each sequence from its last nucleotide to its first, uint8 [A, L]."""
    places = np.asarray(lengths_A)[:, None] - 1 - np.arange(codes_AL.shape[1])
    return np.where(places >= 0, np.take_along_axis(codes_AL, np.maximum(places, 0), axis=1), PAD).astype(np.uint8)


def reverse_complement_codes(codes_AL: np.ndarray, lengths_A: np.ndarray) -> np.ndarray:
    """Return the codes of the reverse complement of each sequence, uint8 [A, L]."""
    return _COMPLEMENT[reverse_codes(codes_AL, lengths_A)]


def reverse_complement(sequence: str) -> str:
    """Return the reverse complement of a sequence in the spelling of :func:`sequences_of`."""
    return sequence.translate(_COMPLEMENT_LETTERS)[::-1]


def sequence_keys(codes_AL: np.ndarray, lengths_A: np.ndarray | None = None) -> np.ndarray:
    """Return a number for each sequence that is the same wherever the sequence is read, int64 [A].

    Eight bytes of a cryptographic hash: among a million sequences two share a key once in tens of millions of studies.

    Parameters
    ----------
    codes_AL : uint8 [A, L]
        As :func:`encode` gives them, padded to any width.
    lengths_A : int [A], optional
        Where they are not given, a sequence ends at its last nucleotide.
    """
    keys_A = np.empty(len(codes_AL), dtype='<i8')
    for start in range(0, len(codes_AL), _BLOCK):
        codes = np.ascontiguousarray(codes_AL[start : start + _BLOCK])
        lengths = (codes != PAD).sum(axis=1) if lengths_A is None else np.asarray(lengths_A[start : start + _BLOCK])
        begins = np.arange(len(codes)) * codes.shape[1]
        # slices of one buffer: rows of an array cost more than their hashes
        data = memoryview(codes.tobytes())
        digests = [
            hashlib.blake2b(data[begin:end], digest_size=KEY_BYTES).digest()
            for begin, end in zip(begins.tolist(), (begins + lengths).tolist())
        ]
        keys_A[start : start + _BLOCK] = np.frombuffer(b''.join(digests), dtype='<i8')
    return keys_A.astype(np.int64)


def _flat_codes(sequences):
    """Return the codes of all letters, one sequence after the other, and the length of each."""
    lengths = np.fromiter(map(len, sequences), dtype=np.int32, count=len(sequences))
    # one byte a letter: what is beyond Latin-1 becomes '?', which is no nucleotide
    letters = np.frombuffer(''.join(sequences).encode('latin-1', 'replace'), dtype=np.uint8)
    return _CODES[letters], lengths


def _first_wrong(flat, lengths):
    """Return the index of the first sequence that is empty or has a letter that is no nucleotide, or None."""
    wrong = list(np.flatnonzero(lengths == 0)[:1])
    letters = np.flatnonzero(flat == PAD)
    if len(letters):
        wrong.append(np.searchsorted(np.cumsum(lengths, dtype=np.int64), letters[0], side='right'))
    return int(min(wrong)) if wrong else None


def _ambiguous_letters(sequences):
    """Return the length of each sequence and how many of its letters stand for several nucleotides; none is empty."""
    flat, lengths = _flat_codes(sequences)
    begins = np.cumsum(lengths, dtype=np.int64) - lengths
    return lengths, np.add.reduceat(flat == UNKNOWN, begins, dtype=np.int64)


def _check_letters(names, sequences):
    wrong = _first_wrong(*_flat_codes(sequences))
    if wrong is not None:
        raise UserError(_complaint(f'The sequence of feature {shown(names[wrong])}', sequences[wrong]))


def _complaint(what, sequence):
    if not sequence:
        return f'{what} is empty; provide a sequence for every feature.'
    place = int(np.flatnonzero(_flat_codes([sequence])[0] == PAD)[0])
    letter = sequence[place]
    if letter in '-.':
        return f'{what} has a gap ({letter!r}) at position {place + 1}; provide unaligned sequences.'
    return (
        f'{what} has {shown(letter)} at position {place + 1}, which is no IUPAC nucleotide code; provide DNA sequences.'
    )


def _check_ids_are_sequences(ids):
    _refuse_taxa(ids)
    wrong = wrong_places(ids)
    if len(wrong) * 2 < len(ids) and wrong:
        raise UserError(
            'Without the input "sequences", the feature IDs of the table must be sequences, but '
            f'{counted(len(wrong), "ID")} of {len(ids):,} {"is" if len(wrong) == 1 else "are"} not (e.g. '
            f'{shown(ids[wrong[0]])}); filter such features from the table, or provide the sequences of all features.'
        )
    if wrong:
        raise UserError(
            f'The feature IDs of the table are not sequences (e.g. {shown(ids[wrong[0]])}); provide the representative '
            'sequences of the features as the input "sequences".'
        )
    words = [name for name in ids if name.upper() in _NO_SEQUENCES]
    if words:
        raise UserError(
            f'The feature ID {shown(words[0])} of the table stands for a missing value, but would be read as '
            f'{len(words[0])} nucleotides; filter this feature from the table, or provide the input "sequences".'
        )


def wrong_places(sequences: collections.abc.Sequence[str]) -> list[int]:
    """Return the indices of all sequences that are empty or have a letter that is no nucleotide."""
    flat, lengths = _flat_codes(sequences)
    ends = np.cumsum(lengths, dtype=np.int64)
    bad = np.searchsorted(ends, np.flatnonzero(flat == PAD), side='right')
    return np.unique(np.concatenate([bad, np.flatnonzero(lengths == 0)])).tolist()


def _refuse_taxa(ids):
    """Raise UserError if the features, or those without a sequence, are taxa."""
    taxa = [name for name in ids if _TAXON.match(name)]
    if len(taxa) * 2 > len(ids):
        raise UserError(
            f'The features of the table are taxa (e.g. {shown(taxa[0])}) and have no sequences, which the model reads; '
            'provide the table of ASVs from before it was collapsed by taxonomy, and their sequences.'
        )


def _check_none_missing(feature_ids, by_id):
    missing = [name for name in feature_ids if name not in by_id]
    if not missing:
        return
    _refuse_taxa(missing)
    with_blank = next((name for name in missing if len(name.split()) > 1 and name.split()[0] in by_id), None)
    if with_blank is not None:
        raise UserError(
            f'An ID in the input sequences ends at the first blank: feature {shown(with_blank)} of the table is '
            f'{shown(with_blank.split()[0])} there; use feature IDs without blanks in both.'
        )
    raise UserError(
        f'The input sequences lack {len(missing):,} of the {counted(len(feature_ids), "feature")} in the table '
        f'(e.g. {shown(missing[0])}); provide their sequences, or filter the table to features that have one.'
    )
