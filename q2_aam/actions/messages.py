"""How warnings of the library reach the user: one line each, once, also where the command line is quiet.

Where it runs pipelines in parallel, an action is in a worker, which no user sees: its warnings also go into what it
gives (:func:`warnings_given`).
"""

import contextlib
import sys
import threading
import warnings

from q2_aam.errors import AAMWarning
from q2_aam.runtime.heard import hear, heard, hearing, is_hearing, note

try:
    from qiime2.core.exceptions import RachisWarning
except ImportError:
    # frameworks up to 2024.10 have no class of warnings that their command line shows without --verbose
    Shown = AAMWarning
else:

    class Shown(AAMWarning, RachisWarning):
        """A warning of ours that newer frameworks show without --verbose."""


# Of several threads, the first puts the hook into the module warnings, and the last takes it out.
_LOCK = threading.Lock()


class _Hook:
    """Stands in the place of warnings.showwarning and warnings.formatwarning while any action runs."""

    def __init__(self):
        self.show, self.form, self.users = warnings.showwarning, warnings.formatwarning, 0

    def __call__(self, message, category, *where, **more):
        if not issubclass(category, AAMWarning) or not is_hearing():
            return self.show(message, category, *where, **more)
        if note(message):
            return None
        text = ' '.join(str(message).split())
        if hear(text):
            self.show(message, Shown, *where, **more)
            if Shown is AAMWarning:
                print_when_command_ends(one_line(text), fg='yellow')

    def format(self, message, category, *where, **more):
        return one_line(message) if issubclass(category, AAMWarning) else self.form(message, category, *where, **more)


def warnings_given():
    """Return the texts of our warnings that the running action has given so far, each once."""
    return heard()


@contextlib.contextmanager
def warnings_to_user():
    """While an action runs, show each of our warnings once, in one line, and remember it.

    Warnings of other packages are shown as ever. Actions may run in several threads: each hears its own warnings.
    """
    hook = _put_in()
    try:
        with hearing():
            yield
    finally:
        _take_out(hook)


def _put_in():
    with _LOCK:
        # Python itself would show once what several actions warn of; behind all other filters, which still hold
        warnings.simplefilter('always', AAMWarning, append=True)
        hook = warnings.showwarning
        if not isinstance(hook, _Hook):
            hook = _Hook()
            warnings.showwarning, warnings.formatwarning = hook, hook.format
        hook.users += 1
        return hook


def _take_out(hook):
    with _LOCK:
        hook.users -= 1
        if hook.users:
            return
        # unless another has put its own there meanwhile
        if warnings.showwarning is hook:
            warnings.showwarning = hook.show
        if warnings.formatwarning == hook.format:
            warnings.formatwarning = hook.form


def one_line(message):
    """Return the line in which a warning is printed."""
    return f'Warning: {" ".join(str(message).split())}\n'


def print_when_command_ends(line, **style):
    """Print `line` once, when the running `qiime` command ends.

    Without --verbose, q2cli sends what an action prints to a log, which it deletes on success. It runs every command in
    a click context, whose end is the first moment at which the user sees what is printed. With --verbose the line is
    on the screen already, and --quiet asks for silence.
    """
    click = sys.modules.get('click')
    context = click and click.get_current_context(silent=True)
    if context is None or 'verbose' not in context.params or context.params['verbose'] is not None:
        return
    # a pipeline and each of its actions would print the same
    printed = context.meta.setdefault(__name__, set())
    if line not in printed:
        printed.add(line)
        context.call_on_close(lambda: click.secho(line, err=True, nl=False, **style))
