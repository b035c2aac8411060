"""How warnings of the library reach the user: one line each, once, also where the command line is quiet.

Where it runs pipelines in parallel, an action is in a worker, which no user sees: its warnings also go into what it
gives (:func:`warnings_given`).
"""

import contextlib
import contextvars
import sys
import warnings

from q2_aam.errors import AAMWarning

try:
    from qiime2.core.exceptions import RachisWarning
except ImportError:
    # frameworks up to 2024.10 have no class of warnings that their command line shows without --verbose
    Shown = AAMWarning
else:

    class Shown(AAMWarning, RachisWarning):
        """A warning of ours that newer frameworks show without --verbose."""


_GIVEN = contextvars.ContextVar('given', default=())


def warnings_given():
    """Return the texts of our warnings that the running action has given so far, each once."""
    return list(_GIVEN.get())


@contextlib.contextmanager
def warnings_to_user():
    """While an action runs, show each of our warnings once, in one line, and remember it.

    Warnings of other packages are shown as ever.
    """
    # a dict, for its order
    shown = {}
    # a new context shows again what an earlier call has warned of, and restores showwarning at its end
    with warnings.catch_warnings():
        show, form = warnings.showwarning, warnings.formatwarning

        def show_ours(message, category, *where, **more):
            if not issubclass(category, AAMWarning):
                return show(message, category, *where, **more)
            text = ' '.join(str(message).split())
            if text not in shown:
                shown[text] = True
                show(message, Shown, *where, **more)
                if Shown is AAMWarning:
                    print_when_command_ends(one_line(text), fg='yellow')

        def form_ours(message, category, *where, **more):
            return one_line(message) if issubclass(category, AAMWarning) else form(message, category, *where, **more)

        warnings.showwarning, warnings.formatwarning = show_ours, form_ours
        given = _GIVEN.set(shown)
        try:
            yield
        finally:
            _GIVEN.reset(given)
            warnings.formatwarning = form


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
