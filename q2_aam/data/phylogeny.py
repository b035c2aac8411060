"""The phylogeny: a Newick file of any size, pruned to the features of a study while it is read."""

import dataclasses
import math
import os
import re
import typing
from array import array

import numpy as np

from q2_aam.errors import UserError, counted, shown

# Characters read at a time, and so the longest label or comment that is surely understood.
CHUNK = 1 << 20

# Unquoted text, in which Newick allows no mark of its own, and comments, which may hold other comments.
_PLAIN = r"[^()\[\]',:;]*"
_COMMENTS = r'(?:\s*\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\])*'
# A mark, what it begins (a label, a length, both or neither), up to the next mark.
_ELEMENT = re.compile(
    rf"([(),]?){_COMMENTS}(?:\s*'([^']*(?:''[^']*)*)'\s*|({_PLAIN})){_COMMENTS}"
    rf'\s*(?::{_COMMENTS}({_PLAIN}){_COMMENTS}\s*)?(?=[(),;])'
)
_END = re.compile(rf';{_COMMENTS}\s*\Z')


@dataclasses.dataclass(frozen=True)
class Phylogeny:
    """A rooted tree of A tips as intervals: numbered depth first, the tips below a node follow one another.

    No two nodes have the same interval: one with a single child is one with it, and their lengths are added. So what
    the tree has above the last common ancestor of its tips, up to the root of the file, is the length of the last node.
    A length that the file gives the root itself is not: there is no branch above it.

    Attributes
    ----------
    first, last : int64 [nodes]
        The tips below node i, itself where it is a tip, are those from first[i] up to, without, last[i]. A node stands
        behind all that is below it; tips are nodes too.
    length : float64 [nodes]
        Of the branch above the node.
    position : int64 [A]
        Number of each feature, in the order in which they were asked for, among the tips.
    """

    first: np.ndarray
    last: np.ndarray
    length: np.ndarray
    position: np.ndarray


def read_phylogeny(path: str | os.PathLike, feature_ids: list[str], all_of_them: bool = True) -> Phylogeny:
    """Read a tree, pruned to some features while it is read.

    Memory follows the features and the depth of the file's tree, not its number of tips.

    Parameters
    ----------
    path : path
        Newick: one rooted tree. Labels may be quoted and nodes may have any number of children; a length that is not
        given is 0, as is that of the root; comments in brackets are skipped. A tip without quotes is also looked up
        with spaces for underscores, as Newick has it.
    feature_ids : list of str
        No id twice. Only tips are features; labels of other nodes are skipped.
    all_of_them : bool
        Whether each must be a tip; else one suffices, and the position of those that are none is -1.

    Returns
    -------
    Phylogeny

    Raises
    ------
    UserError
        If the file is no Newick tree or is damaged (the place is named), if it has none or not all of the features, or
        one twice, or if the length of a branch above them is not finite or negative.
    """
    tree = _Tree(feature_ids)
    try:
        with open(path, encoding='utf-8-sig') as handle:
            _read_elements(handle, tree)
    except UnicodeDecodeError as error:
        raise UserError('The phylogeny is damaged: it is not text; create it again.') from error
    tree.refuse_missing(all_of_them)
    position = np.full(len(feature_ids), -1, dtype=np.int64)
    position[np.frombuffer(tree.tips, dtype=np.int64)] = np.arange(len(tree.tips))
    return Phylogeny(
        np.array(tree.first, dtype=np.int64),
        np.array(tree.last, dtype=np.int64),
        np.array(tree.length, dtype=np.float64),
        position,
    )


def _read_elements(handle, tree):
    """Hand every element of the file to `tree`, with no more than a few chunks of the file in memory."""
    text, place, before = handle.read(CHUNK), 0, 0
    while True:
        element = _ELEMENT.match(text, place)
        # the match is empty before a semicolon and where a chunk ends within an element
        if element and element.end() > place:
            tree.add(before + place, *element.groups())
            place = element.end()
            continue
        more = handle.read(CHUNK) if len(text) - place <= CHUNK else ''
        if not more:
            break
        text, place, before = text[place:] + more, 0, before + place
    if _END.match(text, place) and not handle.read(1):
        tree.close(before + place)
    elif (last := _ELEMENT.match(text[place:] + ';')) and last.end() == len(text) - place:
        _damaged(before + len(text), 'it ends without a semicolon')
    elif text[place] == ';':
        _damaged(before + place + 1, 'more follows after the semicolon, but it should hold one tree')
    else:
        _damaged(before + place, f'{text[place : place + 20]!r} is not Newick')


class _Tree:
    """What is kept of the tree so far: the nodes above features, each behind those below it."""

    def __init__(self, feature_ids):
        self.feature_ids = feature_ids
        self.row = {name: i for i, name in enumerate(feature_ids)}
        self.first, self.last, self.length = array('q'), array('q'), array('d')
        self.tips = array('q')
        # of each parenthesis that is open, the number of tips before it
        self.open = array('q')
        # True where a node may begin: nothing but a mark has been read of it
        self.begun = True

    def add(self, place, mark, quoted, plain, length):
        """Take in a mark and the label and length behind it, which begin at the character `place` of the file."""
        if mark == '(':
            if not self.begun:
                _damaged(place, 'a parenthesis opens inside a node')
            self.open.append(len(self.tips))
        elif mark and not self.open:
            _damaged(place, f'{mark!r} stands outside all parentheses')
        label = plain.strip() if quoted is None else quoted.replace("''", "'")
        if mark == ')':
            self.begun = False
            first = self.open.pop()
            self._add_inner(place, first, label, length if self.open else None)
            return
        self.begun = not label and length is None
        row = self.row.get(label)
        if row is None and quoted is None and '_' in label:
            row = self.row.get(label.replace('_', ' '))
        if row is not None:
            self._add_tip(place, row, length if self.open else None)

    def _add_tip(self, place, row, length):
        number = len(self.tips)
        self.tips.append(row)
        self.first.append(number)
        self.last.append(number + 1)
        self.length.append(_length(place, self.feature_ids[row], length))

    def _add_inner(self, place, first, label, length):
        last = len(self.tips)
        if first == last:
            # nothing of it is a feature
            return
        length = _length(place, label, length)
        if self.first[-1] == first and self.last[-1] == last:
            # all that was kept of it is one child
            self.length[-1] += length
            return
        self.first.append(first)
        self.last.append(last)
        self.length.append(length)

    def close(self, place):
        """Take in the end of the tree."""
        if self.open:
            _damaged(place, f'it ends with {counted(len(self.open), "parenthesis", "parentheses")} open')

    def refuse_missing(self, all_of_them):
        """Raise a UserError unless each feature is a tip, once, or at least one of them."""
        times = np.bincount(np.frombuffer(self.tips, dtype=np.int64), minlength=len(self.feature_ids))
        if not len(self.tips):
            raise UserError(
                f'The phylogeny contains none of the features in the table (e.g. {shown(self.feature_ids[0])}); '
                'provide the tree whose tips have their IDs.'
            )
        if times.max() > 1:
            twice = self.feature_ids[int(times.argmax())]
            raise UserError(
                f'Tip names must be unique: {shown(twice)} occurs twice in the phylogeny; rename one of them.'
            )
        if all_of_them and not times.min():
            missing = self.feature_ids[int(times.argmin())]
            raise UserError(
                f'The phylogeny lacks {(times == 0).sum():,} of the {counted(len(times), "feature")} in the table '
                f'(e.g. {shown(missing)}); filter such features from the table, or provide a tree that contains them.'
            )


def _length(place, label, text):
    """Return the length of a branch above features."""
    text = '0' if text is None else text.strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # what Python reads and Newick does not
    if not math.isfinite(value) or '_' in text:
        _damaged(place, f'a branch has the length {shown(text)}, which is no number')
    if value < 0:
        whose = f'above {shown(label)}' if label else 'above a node without a name'
        raise UserError(
            f'Branch lengths must not be negative: the phylogeny has {value:g} {whose} (character {place + 1:,}); set '
            'negative lengths to 0.'
        )
    return value


def _damaged(place, why) -> typing.NoReturn:
    raise UserError(f'The phylogeny is damaged at character {place + 1:,}: {why}; create it again.')
