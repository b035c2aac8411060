"""Features share clades: the ranks of their taxa, or branches where a tree is cut."""

import numpy as np
import pandas as pd
import pytest

from q2_aam.data.lineages import lineages_of_taxa, lineages_of_tips, parents_of, taxa_given, taxa_of_ids
from q2_aam.data.phylogeny import read_phylogeny


@pytest.fixture
def read(tmp_path):
    def read(text, ids):
        path = tmp_path / 'tree.nwk'
        path.write_text(text)
        return read_phylogeny(path, ids, all_of_them=False)

    return read


def test_taxa_share_the_clades_down_to_where_they_part_whatever_their_spelling():
    one, two, three, none = lineages_of_taxa(['k__A; p__B; g__C', 'k__A;p__B;g__D', 'k__A; p__E; g__', ''])
    assert (len(one), len(two), len(three), none) == (3, 3, 2, [])
    assert one[:2] == two[:2] and one[2] != two[2] and three[0] == one[0] and three[1] != one[1]
    # a genus of the same name elsewhere is another clade
    assert lineages_of_taxa(['k__Z; p__Y; g__C'])[0][2] != one[2]


def test_a_taxon_that_is_a_feature_lies_below_the_ranks_above_it():
    assert taxa_of_ids(['k__A;p__B;g__C', 'OTU1', 'k__A;__;__']) == ['k__A;p__B', '', 'k__A']


def test_taxa_are_looked_up_by_what_is_seen_of_ids():
    taxonomy = pd.Series({'OTU 1': 'k__A', 'OTU2': np.nan})
    assert taxa_given(taxonomy, ['OTU  1', 'OTU2', 'other']) == ['k__A', '', '']


def test_parents_are_those_of_the_tree(read):
    tree = read('((a:1,b:2):3,(c:4,d:5,e:6):7);', list('abcde'))
    # tips a b, their node, tips c d e, their node, the root
    assert parents_of(tree).tolist() == [2, 2, 7, 6, 6, 6, 7, -1]


def test_tips_share_the_branches_at_which_the_tree_is_cut_and_clades_have_the_same_key_anywhere(read):
    text = '(((a:1,b:1):1,(c:1,d:1):1):1,((e:1,f:1):1,(g:1,h:1):1):1);'
    ids = list('abcdefghx')
    keys = np.array([3, 5, 7, 11, 13, 17, 19, 2**63 - 1, 23], dtype=np.int64)
    lineages = lineages_of_tips(read(text, ids), keys)
    # four branches at the depth of pairs; at that of tips, eight of a single tip
    assert [len(one) for one in lineages] == [1] * 8 + [0]
    assert lineages[0] == lineages[1] == [8] and lineages[2] == lineages[3] == [18]
    again = lineages_of_tips(read('((c:9,d:9):9,(b:9,a:9):9,e:1,f:1);', list('abcdef')), keys[:6])
    assert again[0] == again[1] == lineages[0] and again[2] == lineages[2]
    assert again[4] == [] == again[5]


def test_deeper_cuts_lie_within_those_above_them(read):
    def made(depth, name):
        if depth == 0:
            return f'{name}:1'
        return f'({made(depth - 1, name + "a")},{made(depth - 1, name + "b")}):1'

    text = made(5, 't') + ';'
    ids = [f't{path}' for path in sorted(''.join('ab'[number >> bit & 1] for bit in range(5)) for number in range(32))]
    lineages = lineages_of_tips(read(text, ids), np.arange(1, 33, dtype=np.int64))
    assert {len(one) for one in lineages} == {3}
    sizes = [len({one[level] for one in lineages}) for level in range(3)]
    assert sizes == [4, 8, 16]
    for level in (1, 2):
        above = {}
        for one in lineages:
            assert above.setdefault(one[level], one[level - 1]) == one[level - 1]


def test_a_tree_without_lengths_has_no_depths_to_cut_it_at(read):
    assert lineages_of_tips(read('((a,b),(c,d));', list('abcd')), np.arange(4)) == [[], [], [], []]
