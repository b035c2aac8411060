"""What a bundle says of covariates, read as anybody may have written it. Importable without torch."""

from q2_aam.data.covariates import (
    MAX_CATEGORIES,
    MAX_COLUMNS,
    MAX_ENTRIES,
    CategoricalCovariate,
    CovariateSchema,
    NumericCovariate,
)
from q2_aam.data.names import OF_CLASSES, OF_COLUMNS, first_fault
from q2_aam.data.numbers import MAX_VALUE, MIN_RANGE
from q2_aam.errors import shown

from .targets import is_number
from .untrusted import brief

# The fields of a schema that are lists of columns.
COLUMNS: dict[str, type] = {'categorical': CategoricalCovariate, 'numeric': NumericCovariate}
# A scale beyond these says nothing of abundances, whose logarithms are at most 9.2.
MIN_SCALE, MAX_SCALE = 1e-6, 1e6
# What shares, which are written as decimals, may miss 1 by.
ROUNDING = 1e-6


def read_covariates(fields: dict) -> CovariateSchema:
    """Return the schema in an object of JSON whose fields are known; ValueError, in one sentence, if it is damaged."""
    columns = {name: [dict(column) for column in fields.get(name, [])] for name in COLUMNS}
    every = [column for name in COLUMNS for column in columns[name]]
    names = [column['name'] for column in every]
    if not 1 <= len(every) <= MAX_COLUMNS:
        raise ValueError(f'The model must have 1 to {MAX_COLUMNS} covariates, but it has {len(every):,}.')
    _check_names(names, OF_COLUMNS, 'Covariates of the model')
    for column in columns['categorical']:
        _check_categories(column)
    for column in columns['numeric']:
        if not is_number(column['center'], -MAX_VALUE, MAX_VALUE) or not is_number(
            column['scale'], MIN_RANGE, MAX_VALUE
        ):
            raise ValueError(
                f'Covariate {shown(column["name"])} of the model must have a center from -{MAX_VALUE:g} to '
                f'{MAX_VALUE:g} and a scale from {MIN_RANGE:g} to {MAX_VALUE:g}, but it has the center '
                f'{brief(column["center"])} and the scale {brief(column["scale"])}.'
            )
    scale = fields.get('ensemble_scale', 1.0)
    if not is_number(scale, MIN_SCALE, MAX_SCALE):
        raise ValueError(
            f'The scale of covariates of the model must be a number from {MIN_SCALE:g} to {MAX_SCALE:g}, but it is '
            f'{brief(scale)}.'
        )
    schema = CovariateSchema(
        tuple(
            CategoricalCovariate(column['name'], tuple(column['categories']), tuple(column['shares']))
            for column in columns['categorical']
        ),
        tuple(NumericCovariate(**column) for column in columns['numeric']),
        scale,
    )
    if schema.width > MAX_ENTRIES:
        raise ValueError(f'The covariates of the model have {schema.width:,} entries, of at most {MAX_ENTRIES:,}.')
    return schema


def _check_categories(column):
    categories, shares = column['categories'], column['shares']
    what = f'covariate {shown(column["name"])} of the model'
    if not isinstance(categories, list) or not 1 <= len(categories) <= MAX_CATEGORIES:
        raise ValueError(f'The {what} must have 1 to {MAX_CATEGORIES:,} categories, but they are {brief(categories)}.')
    _check_names(categories, OF_CLASSES, f'Categories of {what}')
    if (
        not isinstance(shares, list)
        or len(shares) != len(categories)
        or not all(is_number(share, 0, 1) for share in shares)
        or abs(sum(shares) - 1) > ROUNDING
    ):
        raise ValueError(f'The {what} must have a share for each category, with a sum of 1, but has {brief(shares)}.')


def _check_names(names, faults, what):
    """Raise ValueError unless all are names that could have been learned, none of them twice."""
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ValueError(f'{what} must have names of text, but one is {brief(wrong[0])}.')
    fault = first_fault(names, faults)
    if fault is not None:
        words, wrong = fault
        raise ValueError(f'{what} must not {words}, but one is named {shown(wrong[0])}.')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'{what} must have different names, but two are named {shown(twice)}.')
