"""Errors and warnings for users: one sentence that says what is wrong, where, and what to do."""


class UserError(ValueError):
    """An error that the user can fix: one sentence that says what is wrong, in which input, and what to do."""


class AAMWarning(UserWarning):
    """Some input is ignored or changed, and the call continues."""


def counted(number, singular, plural=None):
    """Return '1 sample', '1,234 samples': a number with its noun."""
    return f'{number:,} {singular if number == 1 else plural or singular + "s"}'
