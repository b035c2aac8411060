"""A tree is read into intervals of tips, pruned to the features of a study; a damaged one is refused by name."""

import numpy as np
import pytest

from q2_aam.data import phylogeny
from q2_aam.data.phylogeny import read_phylogeny
from q2_aam.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Read a text as a tree: (text, feature ids) -> {the features below a node: its length}."""

    def read(text, features):
        path = tmp_path / 'tree.nwk'
        path.write_text(text, encoding='utf-8')
        tree = read_phylogeny(path, list(features))
        tips = np.argsort(tree.position)
        below = [''.join(features[i] for i in tips[one:end]) for one, end in zip(tree.first, tree.last)]
        assert len(set(below)) == len(below)
        return dict(zip(below, tree.length.tolist()))

    return read


def test_nodes_are_intervals_of_tips_in_depth_first_order(tmp_path):
    path = tmp_path / 'tree.nwk'
    path.write_text('((a:1,b:2):3,(c:4,d:5,e:6):7)root:8;\n')
    tree = read_phylogeny(path, ['e', 'a', 'c', 'b', 'd'])
    assert tree.position.tolist() == [4, 0, 2, 1, 3]
    assert tree.first.tolist() == [0, 1, 0, 2, 3, 4, 2, 0]
    assert tree.last.tolist() == [1, 2, 2, 3, 4, 5, 5, 5]
    assert tree.length.tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
    assert (tree.first.dtype, tree.last.dtype, tree.length.dtype) == (np.int64, np.int64, np.float64)


def test_what_is_not_asked_for_is_pruned_and_lengths_of_single_children_are_added(read):
    text = '((a:1,b:2):4,((c:8,x:9):16,(y:1,z:1):1):32,(w:1,v:1):1):64;'
    assert read(text, 'ac') == {'a': 5, 'c': 56, 'ac': 0}
    assert read(text, 'ab') == {'a': 1, 'b': 2, 'ab': 4}
    assert read(text, 'abc') == {'a': 1, 'b': 2, 'ab': 4, 'c': 56, 'abc': 0}
    assert read(text, 'c') == {'c': 8 + 16 + 32}


@pytest.mark.parametrize(
    'text',
    [
        "(('a':1,'b':2):3);",
        '\ufeff ( ( a : 1 ,\n\tb : 2 )\n: 3 ) ;\n\n',
        '[what ( it, [is:]] ((a[the first]:[long]1,[&&NHX:S=x]b:2[;])[0.9]:3[x]);[the end]\n',
        '(((a:1e0)100:0,b:+.2E+1)1.00:300.0e-2);',
        '((((((a:0.5)):0.5),b:2)):3);',
        "((((,'it''s (x)':1):2,:3,):1,a:1,b:2)'a':3);",
    ],
    ids=['quoted', 'blanks', 'comments', 'scientific', 'single children', 'without names'],
)
def test_a_tree_may_be_written_in_many_ways(read, text):
    assert read(text, 'ab') == {'a': 1, 'b': 2, 'ab': 3}


def test_lengths_that_are_missing_are_0(read):
    assert read('((a,b),c);', 'abc') == {'a': 0, 'b': 0, 'ab': 0, 'c': 0, 'abc': 0}


def test_labels_are_found_quoted_and_with_underscores_for_blanks(tmp_path):
    path = tmp_path / 'tree.nwk'
    path.write_text("(('it''s; (a, [b]:c)':1,a_b:2):0,(c_d:4,'e_f':8,'g h':16):0,a:1);")
    tree = read_phylogeny(path, ['c d', "it's; (a, [b]:c)", 'g h', 'a_b', 'e_f'])
    assert tree.position.tolist() == [2, 0, 4, 1, 3]


def test_a_length_of_the_root_is_no_branch(read):
    assert read('((a:1,b:2):4,c:8):16;', 'abc') == {'a': 1, 'b': 2, 'ab': 4, 'c': 8, 'abc': 0}
    # what lies between the root and the last common ancestor is one
    assert read('((a:1,b:2):4,c:8):16;', 'ab') == {'a': 1, 'b': 2, 'ab': 4}
    assert read('((a:1):4):16;', 'a') == {'a': 5}


def test_a_tree_of_one_node_is_read(read):
    assert read('a:2;', 'a') == {'a': 0}


@pytest.mark.parametrize('chunk', [1, 2, 3, 7, 50])
def test_where_the_file_is_cut_into_chunks_changes_nothing(read, monkeypatch, chunk):
    text = "(('it''s':1.25,[a [nested] one]feature_1:2.5e-1)0.9:3,(x:1,b:2)):0.5 ; \n"
    features = ["it's", 'feature_1', 'b']
    full = read(text, features)
    monkeypatch.setattr(phylogeny, 'CHUNK', max(chunk, len('[a [nested] one]feature_1:2.5e-1)')))
    assert read(text, features) == full == {
        "it's": 1.25, 'feature_1': 0.25, "it'sfeature_1": 3, 'b': 2, "it'sfeature_1b": 0
    }  # fmt: skip


def test_a_tree_as_deep_as_it_has_tips_is_read(tmp_path):
    tips = 50_000
    path = tmp_path / 'tree.nwk'
    path.write_text('(' * tips + 'a:1' + ''.join(f',t{i}:1):1' for i in range(tips)) + ';')
    tree = read_phylogeny(path, ['t0', 't49999', 'a'])
    assert tree.position.tolist() == [1, 2, 0]
    # a, t0, both with all that is pruned above them, t49999, all
    assert tree.last.tolist() == [1, 2, 2, 3, 3]
    assert tree.length.tolist() == [1, 1, tips - 1, 1, 0]


DAMAGED = 'The phylogeny is damaged at character {}; create it again.'


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('((a:1,b:2):3', '13: it ends without a semicolon'),
        ('(a:1,b:2)\n', '11: it ends without a semicolon'),
        ('', '1: it ends without a semicolon'),
        ('((a:1,b:2):3;', '13: it ends with 1 parenthesis open'),
        ('(((a:1,b:2):3;', '14: it ends with 2 parentheses open'),
        ('(a:1,b:2));', "10: ')' stands outside all parentheses"),
        ('(a:1,b:2),c;', "10: ',' stands outside all parentheses"),
        ('(a:1,b:2)c(d,e);', '11: a parenthesis opens inside a node'),
        ('(a:1,b(c:1):2);', '7: a parenthesis opens inside a node'),
        ('(a:1,b:x);', "5: a branch has the length 'x', which is no number"),
        ('(a:1,b:);', "5: a branch has the length '', which is no number"),
        ('((a:1,b:2):nan);', "10: a branch has the length 'nan', which is no number"),
        ('(a:1_0,b:2);', "1: a branch has the length '1_0', which is no number"),
        ('(a:1,b:2);(a:1,b:2);', '11: more follows after the semicolon, but it should hold one tree'),
        ("(a:1,'b:2);", '5: ",\'b:2);" is not Newick'),
        ('(a:1:2,b);', "1: '(a:1:2,b);' is not Newick"),
        ('(a:1,b]:2);', "5: ',b]:2);' is not Newick"),
        ('>a\nACGT\n', '9: it ends without a semicolon'),
    ],
)
def test_a_damaged_tree_is_refused_with_the_place(read, text, why):
    with pytest.raises(UserError) as error:
        read(text, 'ab')
    assert str(error.value) == DAMAGED.format(why)


def test_the_place_is_counted_over_chunks(read, monkeypatch):
    monkeypatch.setattr(phylogeny, 'CHUNK', 8)
    with pytest.raises(UserError, match=r'^The phylogeny is damaged at character 4,005: a branch has the length .x., '):
        read('(' + 'x:1,' * 1000 + 'a:1,b:x);', 'ab')


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / 'tree.nwk'
    path.write_bytes(b'(a:1,b\xff:2);')
    with pytest.raises(UserError) as error:
        read_phylogeny(path, ['a'])
    assert str(error.value) == 'The phylogeny is damaged: it is not text; create it again.'


@pytest.mark.parametrize(
    ('features', 'sentence'),
    [
        (
            'xy',
            "The phylogeny contains none of the features in the table (e.g. 'x'); provide the tree whose tips have "
            'their IDs.',
        ),
        (
            'axc',
            "The phylogeny lacks 1 of the 3 features in the table (e.g. 'x'); filter such features from the table, or "
            'provide a tree that contains them.',
        ),
        # the label of a node that is no tip
        (
            'ai',
            "The phylogeny lacks 1 of the 2 features in the table (e.g. 'i'); filter such features from the table, or "
            'provide a tree that contains them.',
        ),
        ('ab', "Tip names must be unique: 'b' occurs twice in the phylogeny; rename one of them."),
        (
            'd',
            "Branch lengths must not be negative: the phylogeny has -0.5 above 'd' (character 19); set negative "
            'lengths to 0.',
        ),
        (
            'ef',
            'Branch lengths must not be negative: the phylogeny has -1 above a node without a name (character 37); set '
            'negative lengths to 0.',
        ),
    ],
)
def test_features_that_are_missing_or_twice_and_negative_lengths_are_refused(read, features, sentence):
    with pytest.raises(UserError) as error:
        read('((a:1,b:1)i:1,(b:1,d:-.5):1,(e:1,f:1):-1,c:1);', features)
    assert str(error.value) == sentence


def test_damage_and_negative_lengths_of_what_is_pruned_do_not_matter(read):
    assert read('((a:1,b:2):3,(x:-1,y:z):-4);', 'ab') == {'a': 1, 'b': 2, 'ab': 3}
