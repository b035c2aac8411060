"""What a user is told when an input cannot be used, or only in part: one sentence, what, where, what to do."""


class UserError(ValueError):
    """The user can mend this: the message is one sentence that says what is wrong, in which input, and what to do."""


class AAMWarning(UserWarning):
    """The call goes on, but the user should know: some input is ignored or changed."""


def counted(number, singular, plural=None):
    """Return '1 sample', '1,234 samples': a number with its noun."""
    return f'{number:,} {singular if number == 1 else plural or singular + "s"}'
