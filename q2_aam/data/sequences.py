"""The sequences of the ASVs: found for each feature, checked by name, and turned into small integers."""

import collections.abc
import hashlib

import numpy as np

from q2_aam.errors import UserError, counted

PAD = 0
A, C, G, T = 1, 2, 3, 4
UNKNOWN = 5

# IUPAC nucleotide codes that stand for more than one nucleotide (NC-IUB 1984, doi 10.1093/nar/13.9.3021)
AMBIGUOUS = 'RYSWKMBDHVN'

# the bytes of sequences to their codes; 0 marks what is no nucleotide
_CODES = np.zeros(256, dtype=np.uint8)
for _letters, _code in (('A', A), ('C', C), ('G', G), ('TU', T), (AMBIGUOUS, UNKNOWN)):
    for _letter in _letters + _letters.lower():
        _CODES[ord(_letter)] = _code

# by code and by letter, those for several nucleotides too: R, a purine, becomes Y, a pyrimidine
_COMPLEMENT = np.array([PAD, T, G, C, A, UNKNOWN], dtype=np.uint8)
_COMPLEMENT_LETTERS = str.maketrans('ACGTRYKMBVDH', 'TGCAYRMKVBHD')

KEY_BYTES = 8
_SHOWN = 40


def read_fasta(path):
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
        If the file is empty or is not FASTA, or if an id is missing or stands in it twice.
    """
    try:
        with open(path, encoding='utf-8-sig') as handle:
            return _parse_fasta(handle)
    except UnicodeDecodeError as error:
        raise UserError('The input sequences are not a FASTA file: they are not text.') from error


def _parse_fasta(lines):
    parts, current = {}, None
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line.startswith('>'):
            name = (line[1:].split(maxsplit=1) or [''])[0]
            if not name:
                raise UserError(f'The input sequences have a header without an id at line {number}.')
            if name in parts:
                raise UserError(f'The input sequences have the id {name} twice; give each feature one sequence.')
            parts[name] = current = []
        elif line and current is None:
            raise UserError(f'The input sequences are not a FASTA file: line {number} stands before the first header.')
        elif line:
            current.append(line)
    if not parts:
        raise UserError('The input sequences are empty; give the representative sequences of the features.')
    return {name: ''.join(pieces) for name, pieces in parts.items()}


def sequences_of(feature_ids, fasta=None):
    """Return the sequence of each feature, in upper case and with T for U.

    Parameters
    ----------
    feature_ids : list of str
    fasta : path or dict of str to str, optional
        FASTA file, or what :func:`read_fasta` returned. Without it the ids must be the sequences themselves.

    Returns
    -------
    list of str
        In the order of `feature_ids`.

    Raises
    ------
    UserError
        If sequences are missing, are empty, or hold a gap or a letter that is no IUPAC nucleotide code.
    """
    if fasta is None:
        found = list(feature_ids)
        _check_ids_are_sequences(found)
    else:
        by_id = fasta if isinstance(fasta, collections.abc.Mapping) else read_fasta(fasta)
        _check_none_missing(feature_ids, by_id)
        found = [by_id[name] for name in feature_ids]
        _check_letters(feature_ids, found)
    return [sequence.upper().replace('U', 'T') for sequence in found]


def encode(sequences):
    """Turn sequences into codes.

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
        If a sequence is empty or holds anything but IUPAC nucleotide codes.
    """
    flat, lengths = _flat_codes(sequences)
    wrong = _first_wrong(flat, lengths)
    if wrong is not None:
        raise UserError(_complaint(f'The sequence {_short(sequences[wrong])!r}', sequences[wrong]))
    longest = int(lengths.max(initial=0))
    codes = np.zeros((len(sequences), longest), dtype=np.uint8)
    codes[np.arange(longest, dtype=np.int32) < lengths[:, None]] = flat
    return codes, lengths


def backwards(codes_AL, lengths_A):
    """Return the codes of each sequence from its last nucleotide to its first, uint8 [A, L]."""
    places = np.asarray(lengths_A)[:, None] - 1 - np.arange(codes_AL.shape[1])
    return np.where(places >= 0, np.take_along_axis(codes_AL, np.maximum(places, 0), axis=1), PAD).astype(np.uint8)


def complement_backwards(codes_AL, lengths_A):
    """Return the codes of the reverse complement of each sequence, uint8 [A, L]."""
    return _COMPLEMENT[backwards(codes_AL, lengths_A)]


def reverse_complement(sequence):
    """Return the reverse complement of a sequence in the spelling of :func:`sequences_of`."""
    return sequence.translate(_COMPLEMENT_LETTERS)[::-1]


def sequence_keys(codes_AL, lengths_A):
    """Return a number for each sequence that is the same wherever the sequence is read, int64 [A].

    `codes_AL` and `lengths_A` are those of a :class:`q2_aam.data.study.Study`.

    Eight bytes of a cryptographic hash: among a million sequences two share a key once in tens of millions of studies.
    """
    keys = [
        hashlib.blake2b(row[:length].tobytes(), digest_size=KEY_BYTES).digest()
        for row, length in zip(codes_AL, lengths_A)
    ]
    return np.frombuffer(b''.join(keys), dtype='<i8').astype(np.int64)


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


def _check_letters(names, sequences):
    wrong = _first_wrong(*_flat_codes(sequences))
    if wrong is not None:
        raise UserError(_complaint(f'The sequence of feature {names[wrong]}', sequences[wrong]))


def _complaint(what, sequence):
    if not sequence:
        return f'{what} is empty; give every feature a sequence.'
    place = int(np.flatnonzero(_flat_codes([sequence])[0] == PAD)[0])
    letter = sequence[place]
    if letter in '-.':
        return f'{what} has a gap ({letter!r}) at position {place + 1}; give unaligned sequences.'
    return f'{what} has {letter!r} at position {place + 1}, which is no IUPAC nucleotide code; give DNA sequences.'


def _check_ids_are_sequences(ids):
    wrong = _first_wrong(*_flat_codes(ids))
    if wrong is not None:
        raise UserError(
            f'The feature ids of the table are not sequences (e.g. {_short(ids[wrong])!r}), so that the sequences must '
            'be given too: as the input named sequences, the representative sequences of these features.'
        )


def _check_none_missing(feature_ids, by_id):
    missing = [name for name in feature_ids if name not in by_id]
    if missing:
        raise UserError(
            f'The input sequences lack {counted(len(missing), "feature")} of the {len(feature_ids):,} in the table '
            f'(e.g. {_short(missing[0])}); give all sequences, or filter the table to the features that have one.'
        )


def _short(text):
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'
