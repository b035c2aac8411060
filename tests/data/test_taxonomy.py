"""Taxonomy: named ranks, clades at each level, and what a taxon is called in little room."""

import pytest

from q2_aam.data.taxonomy import MAX_LEVELS, clade_at, clades_of, deepest_clade, grouped, ranks_of, short_name

GREENGENES = 'k__Bacteria; p__Firmicutes; c__Bacilli; o__Lactobacillales; f__Lactobacillaceae; g__Lactobacillus; s__'


@pytest.mark.parametrize(
    'taxon, named',
    [
        (GREENGENES, 6),
        ('d__Bacteria;p__Firmicutes;c__;o__;f__;g__;s__', 2),
        ('D_0__Bacteria;D_1__Proteobacteria', 2),
        ('D_0__Bacteria;D_1__', 1),
        ('Bacteria;Firmicutes;Bacilli', 3),
        ('Unassigned', 0),
        ('', 0),
        (';'.join('abcdefghijklmnopqrstuvwxyz'), MAX_LEVELS),
    ],
)
def test_ranks_end_with_the_last_that_is_named(taxon, named):
    assert len(ranks_of(taxon)) == named


def test_a_clade_is_the_whole_way_down_to_its_level():
    assert clade_at(GREENGENES, 2) == 'k__Bacteria; p__Firmicutes'
    assert clade_at(GREENGENES, 7) == '' and deepest_clade(GREENGENES, 7).endswith('; g__Lactobacillus')
    # blanks between ranks make no other clade
    assert clade_at('k__Bacteria;p__Firmicutes', 2) == clade_at(GREENGENES, 2)


@pytest.mark.parametrize(
    'taxon, name',
    [
        (GREENGENES, 'Lactobacillus'),
        (GREENGENES + 'zeae', 'Lactobacillus zeae'),
        ('d__Bacteria;p__Firmicutes', 'Firmicutes'),
        ('Bacteria;Firmicutes', 'Firmicutes'),
        ('Unassigned', 'unnamed taxon'),
    ],
)
def test_a_taxon_is_called_by_its_deepest_named_rank(taxon, name):
    assert short_name(taxon) == name


def test_clades_of_a_level_hold_the_asvs_that_are_named_there():
    taxa = ['k__B; f__X; g__1', 'k__B; f__X; g__2', 'k__B; f__X; g__', 'k__B; f__Y; g__1', 'Unassigned']
    kingdom, family, genus = clades_of(taxa)
    assert kingdom.names == ['k__B'] and list(kingdom.codes) == [0, 0, 0, 0, -1]
    assert family.names == ['k__B; f__X', 'k__B; f__Y'] and list(family.codes) == [0, 0, 0, 1, -1]
    # genera of one name in two families are two
    assert len(genus.names) == 3 and list(genus.codes) == [0, 1, -1, 2, -1]
    assert clades_of(['', 'Unassigned']) == []


def test_features_of_one_id_are_one_group():
    level = grouped(['b', 'a', 'b', ''])
    assert level.names == ['a', 'b'] and list(level.codes) == [1, 0, 1, -1]
