"""One module for each experiment tracker, with a class Tracker; see :mod:`q2_aam.runtime.tracking`."""
