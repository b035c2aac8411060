"""The random forest beside a model, on the same samples: logged, said and in the card, or not at all."""

import json

import pytest

from q2_aam import bundle


@pytest.mark.parametrize(('kind', 'headline'), [('numbers', 'mae'), ('classes', 'balanced_accuracy')])
@pytest.mark.parametrize('random_forest', [True, False])
def test_the_user_is_told_unless_it_is_turned_off(fitted, classified, tiny, kind, headline, random_forest):
    fit = {'numbers': fitted, 'classes': classified}[kind]
    run = fit(tiny, 'one', random_forest=random_forest)
    lines = [line for line in run.lines if line.startswith('Test samples: ')]
    logged = [row for row in run.history.rows if str(row[3]).startswith('final_random_forest_')]
    in_card = json.loads((run.folder / bundle.CARD_FILE).read_text())['metrics']['test']
    assert len(lines) == random_forest == bool(logged) == (f'random_forest_{headline}' in in_card)
    if random_forest:
        theirs = run.history.series('test', f'final_random_forest_{headline}')[-1]
        ours = run.history.series('test', f'final_{headline}')[-1]
        assert in_card[f'random_forest_{headline}'] == theirs
        assert lines[0] == (
            f'Test samples: {headline.replace("_", " ")} {ours:.3g}; a random forest: {theirs:.3g}. One split of few '
            'samples proves little: use cross-validate.'
        )


def test_a_forest_of_some_samples_is_said_to_be_so(fitted, tiny, monkeypatch):
    monkeypatch.setattr('q2_aam.evaluation.baselines.MAX_FOREST_SAMPLES', 8)
    monkeypatch.setattr('q2_aam.training.finish.MANY_SAMPLES', 4)
    run = fitted(tiny, random_forest=True)
    (line,) = [line for line in run.lines if line.startswith('Test samples: ')]
    assert '; a random forest on 8 ' in line and not line.endswith('cross-validate.')


def test_without_test_samples_there_is_none(fitted, tiny):
    run = fitted(tiny, random_forest=True, test_fraction=0.0)
    assert not [line for line in run.lines if 'forest' in line]


def test_it_changes_no_byte_of_the_model(fitted, tiny, tiny_regressor):
    run = fitted(tiny, random_forest=True)
    for name in (bundle.MODEL_FILE, bundle.CONFIG_FILE):
        one, other = ((folder / name).read_text('latin-1') for folder in (run.folder, tiny_regressor.folder))
        assert one.replace('"random_forest": true', '"random_forest": false') == other
