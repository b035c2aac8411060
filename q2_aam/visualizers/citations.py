"""The citations of actions and visualizers."""

from qiime2.plugin import Citations

CITATIONS = Citations.load('citations.bib', package='q2_aam')


def cite(*keys):
    """Return the citations with these keys of citations.bib, as the framework takes them.

    Provenance and Galaxy put those of the plugin beside those of an action, so that no action repeats them.
    """
    return [CITATIONS[key] for key in keys]
