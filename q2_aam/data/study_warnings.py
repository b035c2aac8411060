"""What is warned of when a study is built, and again when it is read back.

Shapes: A sequences.
"""

import warnings

import numpy as np

from q2_aam.errors import AAMWarning, counted, shown

from .names import OF_AMBIGUOUS

# An id that reads as fewer nucleotides, where others read as at least twice as many, may be a word.
MIN_NUCLEOTIDES = 20
# Share of the letters of a sequence that may stand for more than one nucleotide; of proteins more than half do.
MAX_AMBIGUOUS = 0.5


def warn(messages, message):
    """Warn, and keep the message for whoever reads the study back."""
    messages.append(message)
    warnings.warn(message, AAMWarning, stacklevel=3)


def warn_of_merged(feature_ids, sequences, column, max_length, messages):
    """Warn of features with one sequence, and of those whose sequences are one only once they are truncated."""
    full = np.unique(np.array(sequences, dtype=object), return_inverse=True)[1]
    # features of a column follow one another, and among these those of a sequence
    order = np.lexsort((full, column))
    same_column, same_sequence = np.diff(column[order]) == 0, np.diff(full[order]) == 0
    for merged, what, noun in (
        (same_sequence, 'with the same sequence', 'sequence'),
        (
            same_column & ~same_sequence,
            f'whose sequences are the same once truncated to {max_length} nucleotides',
            'truncated sequence',
        ),
    ):
        places = np.flatnonzero(merged)
        if len(places):
            number = len(np.unique((full if noun == 'sequence' else column)[order[places]]))
            one, two = (feature_ids[i] for i in order[places[0] : places[0] + 2])
            warn(
                messages,
                f'Features {what} are merged and their counts added: {counted(number, noun)} under several feature '
                f'IDs (e.g. {shown(one)} and {shown(two)}).',
            )


def warn_of_truncated(longer, max_length, share, messages):
    """Warn of sequences that are longer than what is read, in ASVs with this share of all reads."""
    warn(
        messages,
        f'The model reads the first {max_length} nucleotides of a sequence: {counted(len(longer), "sequence")} of up '
        f'to {max(map(len, longer))} nucleotides {"is" if len(longer) == 1 else "are"} truncated, in ASVs with '
        f'{"less than 0.1%" if share < 0.0005 else f"{share:.1%}"} of all reads.',
    )


def warn_of_words(feature_ids, messages):
    """Warn of ids that are read as sequences, but are so much shorter than the others that they may be words."""
    lengths_A = np.fromiter(map(len, feature_ids), dtype=np.int64, count=len(feature_ids))
    short = np.flatnonzero(lengths_A < min(MIN_NUCLEOTIDES, float(np.median(lengths_A)) / 2))
    if len(short):
        warn(
            messages,
            f'{counted(len(short), "feature ID")} of the table {"is" if len(short) == 1 else "are"} read as sequences '
            f'of fewer than {MIN_NUCLEOTIDES} nucleotides (e.g. {shown(feature_ids[short[0]])}), where half of the '
            f'others have {int(np.median(lengths_A))} or more; filter such features from the table if these are no '
            'sequences.',
        )


def warn_of_ambiguous(feature_ids, lengths_A, ambiguous_A, messages):
    """Warn of sequences of whose letters more than half, `ambiguous_A` in number, stand for several nucleotides."""
    # fewer letters may be a word, which has a warning of its own
    wrong = np.flatnonzero((ambiguous_A > MAX_AMBIGUOUS * lengths_A) & (lengths_A >= MIN_NUCLEOTIDES))
    if len(wrong):
        warn(
            messages,
            f'Most letters of some sequences {OF_AMBIGUOUS}: those of {len(wrong):,} of '
            f'{counted(len(lengths_A), "feature")} (e.g. {shown(feature_ids[wrong[0]])}); make sure that the sequences '
            'are DNA, and filter such features from the table.',
        )
