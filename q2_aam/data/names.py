"""Names that the files of QIIME 2 refuse or misread: of samples, classes and metadata columns."""

import csv
import typing
import unicodedata
from collections.abc import Callable, Iterable

from q2_aam.errors import UserError, counted, listed, shown

# Names that QIIME 2 metadata reserve for the header of their id column (https://docs.qiime2.org, Metadata in QIIME 2).
RESERVED_LOWER = {'id', 'sampleid', 'sample id', 'sample-id', 'featureid', 'feature id', 'feature-id'}
RESERVED_EXACT = {'#SampleID', '#Sample ID', '#OTUID', '#OTU ID', 'sample_name'}

# What pandas reads as a missing value (https://pandas.pydata.org, read_csv, na_values; None since 2.0), and with it the
# formats of q2-sample-classifier, in which predictions are written.
READ_AS_MISSING = {
    '#N/A', '#N/A N/A', '#NA', '-1.#IND', '-1.#QNAN', '-NaN', '-nan', '1.#IND', '1.#QNAN', '<NA>', 'N/A', 'NA', 'NULL',
    'NaN', 'None', 'n/a', 'nan', 'null',
}  # fmt: skip

# Terms for values that are not there: those of the INSDC (https://www.insdc.org/technical-specifications, missing
# value reporting), and what else stands in their place in public metadata.
MEAN_MISSING = {
    'not applicable', 'not collected', 'not provided', 'restricted access', 'missing', 'control sample', 'sample group',
    'synthetic construct', 'lab stock', 'third party data', 'endangered species', 'human-identifiable',
    'unknown', 'unspecified', 'undefined', 'undetermined', 'unavailable', 'not available', 'not recorded',
    'not reported', 'not determined', 'not specified', 'not known', 'no data', 'na', 'n.a.', 'n/d', 'nd', '?', '-', '.',
    '--', 'tbd',
}  # fmt: skip

# How a warning of such terms goes on: each fold of a cross-validation has its own number of samples with them.
OF_MISSING_VALUES = 'that mean a missing value'

# What fails in a name, and how a sentence that begins with 'Names must not' goes on.
Fault = tuple[Callable[[str], bool], str]
# unprintable characters that end a line or speak to a terminal, or that cannot be written as UTF-8
_CONTROL = {'Cc', 'Cs', 'Zl', 'Zp'}
# By what names differ that :func:`as_seen` makes the same.
UNSEEN = 'kinds of blanks, invisible characters or the way accents are encoded'
# How a warning of such sequences goes on: each fold of a cross-validation has its own features.
OF_AMBIGUOUS = 'are ambiguous codes such as N, of which a model reads nothing'
# How a warning of groups of such names goes on: each fold of a cross-validation has its own groups.
OF_ALIKE_NAMES = f'that differ only by upper and lower case, {UNSEEN}'


def has_control_characters(name: str) -> bool:
    """Return whether there are tabs, line breaks or other control characters in `name`."""
    return not name.isprintable() and any(unicodedata.category(letter) in _CONTROL for letter in name)


def as_seen(name: str) -> str:
    """Return `name` without what a reader cannot see: what looks the same is then the same."""
    # é is one character or two (Unicode Standard Annex 15)
    visible = ''.join(letter for letter in name if unicodedata.category(letter) != 'Cf')
    return ' '.join(unicodedata.normalize('NFC', visible).split())


def is_reserved(name: str) -> bool:
    """Return whether QIIME 2 metadata take `name` for the header of the id column."""
    return name.strip() in RESERVED_EXACT or name.strip().lower() in RESERVED_LOWER


def means_missing(name: str) -> bool:
    """Return whether `name` is a word for a value that is not there."""
    word = ' '.join(name.lower().replace('_', ' ').split())
    return word in MEAN_MISSING or word.startswith('missing:') or name in READ_AS_MISSING


BLANK: Fault = (lambda name: not name.strip(), 'be blank')
CONTROL: Fault = (has_control_characters, 'contain tabs, line breaks or other control characters')
EDGES: Fault = (lambda name: name != name.strip(), 'begin or end with blanks, which QIIME 2 metadata leave out')
MISSING: Fault = (lambda name: name in READ_AS_MISSING, 'be words that QIIME 2 reads as a missing value')
RESERVED: Fault = (is_reserved, 'be names that QIIME 2 metadata reserve for the column of IDs')
COMMENT: Fault = (lambda name: name.startswith('#'), 'begin with "#", which QIIME 2 metadata take for a comment')

OF_COLUMNS = (BLANK, CONTROL, EDGES, RESERVED)
OF_CLASSES = (BLANK, CONTROL, EDGES, MISSING, RESERVED)
OF_SAMPLES = (BLANK, CONTROL, EDGES, MISSING, RESERVED, COMMENT)


def first_fault(names: Iterable[str], faults: Iterable[Fault]) -> tuple[str, list[str]] | None:
    """Return the first of the faults that some names have, in words, and these names; None where there is none."""
    names = list(names)
    for is_wrong, words in faults:
        if wrong := [name for name in names if is_wrong(name)]:
            return words, wrong
    return None


def check_sample_ids(names: list[str]) -> None:
    """Raise UserError if results for these samples could not be written, or not be viewed as metadata."""
    fault = first_fault(names, OF_SAMPLES)
    if fault is not None:
        words, wrong = fault
        raise UserError(
            f'Sample IDs must not {words}: the feature table has {counted(len(wrong), "such ID")} ('
            f'{"e.g. " if len(wrong) > 1 else ""}{shown(wrong[0])}); rename such samples or filter them from the table.'
        )


def check_column_name(name: str) -> None:
    """Raise UserError if a metadata column of this name could not be written as such."""
    fault = first_fault([name], OF_COLUMNS)
    if fault is not None:
        raise UserError(
            f'Names of metadata columns must not {fault[0]}, but the column to predict is named {shown(name)}; rename '
            'it.'
        )


def check_ids_of_matrix(ids: list[str]) -> None:
    """Raise UserError if a matrix of these ids could not be read back.

    Its format guesses what separates the cells of its first line (scikit-bio, lsmat), and commas or many blanks in the
    ids outweigh the tabs.
    """
    try:
        separator = csv.Sniffer().sniff('\t' + '\t'.join(ids) + '\n').delimiter
    except csv.Error:
        separator = None
    # a single sample's header has a single tab, by which nothing can be guessed
    if separator != '\t':
        _refuse_ids_of_matrix(ids, separator)


def _refuse_ids_of_matrix(ids, separator) -> typing.NoReturn:
    suspects = [name for name in ids if (separator in name if separator else ',' in name)] or ids
    raise UserError(
        'A distance matrix of these samples could not be read back, because its format would take '
        f'{shown(separator or ",")} in the sample IDs for what separates them ({counted(len(suspects), "ID")}, e.g. '
        f'{listed(map(shown, suspects), 2)}); rename the samples.'
    )
