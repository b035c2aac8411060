"""The citations of actions and visualizers."""

import importlib.resources
import re

from qiime2.plugin import CitationRecord

ENTRY, FIELD, END = (
    re.compile(form)
    for form in (r'@(?P<type>[a-z]+)\{(?P<key>\w+),', r'  (?P<name>[a-z]+) = \{(?P<value>.*)\},?', r'\}?')
)


def read(text):
    """Return {key: citation} of BibTeX that is written as citations.bib is: a field a line, letters without commands.

    The framework's parser takes any BibTeX, and 50 milliseconds of every call of every plugin.

    Raises
    ------
    ValueError
        If a line has another form, or a key stands there twice.
    """
    citations, fields = {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        if (found := ENTRY.fullmatch(line)) and found['key'] not in citations:
            fields = {}
            citations[found['key']] = CitationRecord(found['type'], fields)
        elif (found := FIELD.fullmatch(line)) and '\\' not in line:
            # braces keep capitals
            fields[found['name']] = found['value'].replace('{', '').replace('}', '')
        elif not END.fullmatch(line):
            raise ValueError(f'Line {number} of the citations is not written as the others, or its key stands twice.')
    return citations


CITATIONS = read(importlib.resources.files('q2_aam').joinpath('citations.bib').read_text('utf-8'))


def cite(*keys):
    """Return the citations with these keys of citations.bib, as the framework takes them.

    Provenance and Galaxy put those of the plugin beside those of an action, so that no action repeats them.
    """
    return [CITATIONS[key] for key in keys]
