"""Helpers of the tab-separated formats: rows with their line numbers, and columns."""

import csv

from qiime2.plugin import ValidationError

from q2_aam.errors import listed, shown

# rows that are read at level 'min', which the framework asks for whenever it passes an artifact on
MIN_ROWS = 5


def read_rows(file_format, level):
    """Yield (line number, cells) of the header and of each row; at level 'min' of the first rows only.

    Raises ValidationError if the file is not tab-separated text or if a row is not as long as the header.
    """
    try:
        with file_format.open() as handle:
            reader = csv.reader(handle, delimiter='\t', strict=True)
            header = None
            for number, cells in enumerate(reader):
                header = header or cells
                if len(cells) != len(header):
                    raise ValidationError(
                        f'Line {reader.line_num} has {len(cells)} cells, but the header has {len(header)} columns.'
                    )
                yield reader.line_num, cells
                if level == 'min' and number == MIN_ROWS:
                    return
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValidationError(f'The file is not tab-separated text: {error}.') from error


def check_columns(rows, columns, exactly=True):
    """Take the header off `rows`; raise ValidationError unless it is (or begins with) `columns`. Return the header."""
    _, header = next(rows, (1, []))
    if (header if exactly else header[: len(columns)]) != list(columns):
        raise ValidationError(
            f'The header must {"be" if exactly else "begin with"} {", ".join(columns)}, but it is '
            f'{listed(map(shown, header)) or "empty"}.'
        )
    return header
