"""The study of the usage examples, and what their expressions must be for Galaxy; neither needs QIIME 2."""

import ast
import pathlib

import numpy as np

from q2_aam.actions import examples


def test_the_small_study_is_the_same_at_each_call_and_its_target_depends_on_its_asvs():
    (counts, sequences, metadata), (again, *_) = examples.study(), examples.study()
    assert counts.equals(again)
    assert counts.shape == (20, 20) and (counts.sum(axis=1) > 0).all()
    assert sequences.is_unique and sequences.str.fullmatch('[ACGT]{48}').all()
    assert metadata['subject'].value_counts().eq(2).all()
    assert ((metadata['age'] < 12) == (metadata['stage'] == 'young')).all()
    assert metadata['stage'].value_counts().min() >= 6
    late = counts.iloc[:, 10:].sum(axis=1) / counts.sum(axis=1)
    assert np.corrcoef(late, metadata['age'])[0, 1] > 0.9


def test_expressions_match_whole_lines_as_galaxy_matches_them():
    expressions = [
        keyword.value.value
        for path in pathlib.Path(examples.__file__).parent.glob('examples*.py')
        for node in ast.walk(ast.parse(path.read_text('utf-8')))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == 'expression'
    ]
    assert len(expressions) > 10
    assert [text for text in expressions if not (text.startswith('^') and text.endswith('$'))] == []
