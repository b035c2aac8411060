"""A search of parameters: trials follow from the seed, go on after a kill, are stopped where they cannot win."""

import contextlib
import importlib.util
import threading
import types
import warnings

import pytest

from q2_aam import bundle
from q2_aam.actions.messages import warnings_given, warnings_to_user
from q2_aam.config import TuneClassifierConfig, TuneRegressorConfig
from q2_aam.config.search import SETTINGS_FILE, read_settings
from q2_aam.errors import AAMWarning, UserError
from q2_aam.objectives import Inputs
from tests.conftest import TINY, few_steps

pytest.importorskip('optuna', reason='optuna is an extra (tune)')

FORM = {name: value for name, value in TINY.items() if name not in ('width', 'asv_layers', 'sample_layers')}
# small networks alone
QUICK = FORM | {'width': 16, 'asv_layers': 1, 'sample_layers': 1, 'abundance_ensemble': False, 'trials': 3}
QUICK |= {'target_scaling': 'standard'}
NAMES = ['learning_rate', 'asv_dropout']


def _known(call, values):
    names = {opt.name for opt in call.options()}
    return {name: value for name, value in values.items() if name in names}


@pytest.fixture
def searched(tiny, tmp_path, monkeypatch):
    """Search on the tiny study: options -> settings, trials and lines. The files are the same in each call."""
    from q2_aam.training import search

    few_steps(monkeypatch)
    files = tiny.write(tmp_path / 'inputs')

    def run(name='search', kind='regressor', encoder=None, groups=True, whole=True, say=None, **options):
        folder = tmp_path / name
        folder.mkdir()
        target = tiny.target if kind == 'regressor' else tiny.stages
        call = TuneRegressorConfig if kind == 'regressor' else TuneClassifierConfig
        lines = []
        inputs = Inputs(files.table, files.sequences, target, tiny.groups if groups else None, encoder)
        trials = search.search(
            kind, inputs, folder, call.from_flat(_known(call, QUICK | options)), say or lines.append, whole
        )
        settings = read_settings((folder / SETTINGS_FILE).read_text('utf-8'))
        return types.SimpleNamespace(settings=settings, trials=trials, lines=lines, inputs=inputs)

    return run


def test_trials_follow_from_the_seed_and_the_first_one_is_of_default_parameters(searched):
    one, again = searched('one', search_parameters=NAMES), searched('again', search_parameters=NAMES)
    assert one.trials.equals(again.trials) and one.settings == again.settings
    assert list(one.trials['method']) == ['trial_1', 'trial_2', 'trial_3']
    assert set(one.trials['metric']) == {'inner_mae'} and set(one.trials['samples']) == {6}
    assert one.trials['note'][0] == 'the default parameters'
    # what the number is, too
    assert any(line.startswith('Trial 1/3: mae ') for line in one.lines)
    assert set(one.settings.parameters) in (set(), set(NAMES)) and not one.settings.encoder
    best = one.trials['value'].idxmin() if one.settings.parameters else 0
    words = ', '.join(f'{name} {one.settings.parameters[name]}' for name in NAMES if one.settings.parameters)
    assert one.trials['note'][best] == (words or 'the default parameters')


def test_a_search_that_was_killed_goes_on_with_the_trials_that_it_would_have_made(searched):
    whole = searched('whole', search_parameters=NAMES)

    def kill(line):
        if line.startswith('Trial 2/3'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched('killed', search_parameters=NAMES, say=kill)
    resumed = searched('resumed', search_parameters=NAMES)
    assert 'Search: 2 of 3 trials were finished before.' in resumed.lines
    assert resumed.trials.equals(whole.trials) and resumed.settings == whole.settings


def test_a_score_is_the_error_of_inner_test_samples_of_a_fit_with_these_parameters(searched, tiny, fitted, monkeypatch):
    from q2_aam.training import search

    given = {'asv_dropout': 0.1, 'learning_rate': 0.01}
    monkeypatch.setattr(search, 'suggested', lambda trial, space: given[space.name])
    run = searched(search_parameters=NAMES, trials=2)
    form = {name: value for name, value in QUICK.items() if name not in ('trials', *TINY)}
    for row, parameters in enumerate(({}, given)):
        fit = fitted(tiny, f'fit-{row}', test_fraction=0.25, **form, **parameters)
        assert fit.history.last('test')['final_mae'] == pytest.approx(run.trials['value'][row], rel=1e-4)
    assert run.settings.parameters == (given if run.trials['value'][1] < 0.99 * run.trials['value'][0] else {})


def test_a_trial_that_is_worse_than_the_median_is_stopped(searched, monkeypatch):
    from q2_aam.training import search

    monkeypatch.setattr(search, 'FIRST_TRIALS', 2)
    values = iter([3e-3, 3e-3, 1e-8])
    monkeypatch.setattr(search, 'suggested', lambda trial, space: next(values))
    # the learning rate of the last one is too low to learn anything
    run = searched(trials=4, epochs=4, patience=4, search_parameters=['learning_rate'])
    assert run.trials['note'][3].startswith('learning_rate 1e-08; stopped after epoch ')
    assert run.trials['value'].isna().tolist() == [False, False, False, True]


@pytest.mark.parametrize(('gain', 'found'), [(0.005, {}), (0.05, {'learning_rate': 0.1}), (-0.05, {})])
def test_default_parameters_stay_unless_others_are_clearly_better(searched, monkeypatch, gain, found):
    from q2_aam.training import search

    monkeypatch.setattr(search, 'suggested', lambda trial, space: 0.1)
    monkeypatch.setattr(search._Trials, 'score', lambda self, parameters, hook: 4.0 * (1 - gain * bool(parameters)))
    assert searched(trials=2, search_parameters=['learning_rate']).settings.parameters == found


def test_a_combination_that_cannot_be_trained_is_a_failed_trial(searched, monkeypatch):
    from q2_aam.training import search

    monkeypatch.setattr(search, 'suggested', lambda trial, space: 1.0)
    real = search.train_fit

    def train(prepared, *more):
        if prepared.config.training.learning_rate == 1.0:
            raise UserError('The loss is nan in step 3; lower learning_rate.')
        return real(prepared, *more)

    monkeypatch.setattr(search, 'train_fit', train)
    run = searched(trials=2, search_parameters=['learning_rate'])
    assert run.trials['note'][1] == 'learning_rate 1.0; failed: The loss is nan in step 3; lower learning_rate.'
    assert run.settings.parameters == {}


@pytest.mark.slow
def test_the_ensemble_is_fitted_once_for_all_trials(searched, monkeypatch):
    from q2_aam.training import train

    fits, real = [], train.fit_ensemble
    monkeypatch.setattr(train, 'fit_ensemble', lambda *given: fits.append(1) or real(*given))
    run = searched(abundance_ensemble=True, search_parameters=NAMES)
    assert len(fits) == 1 and run.trials['value'].notna().any()


def test_classes_and_an_encoder_are_searched_too(searched, tiny_encoder):
    # that of the encoder
    form = dict.fromkeys(set(TINY) - {'epochs', 'random_seed', 'threads', 'device', 'batch_size'}, 'auto')
    run = searched(kind='classifier', encoder=tiny_encoder.folder, search_parameters=['freeze'], **form)
    assert run.settings.kind == 'classifier' and run.settings.encoder
    assert set(run.trials['metric']) == {'inner_balanced_log_loss'}
    assert all(note.startswith(('the default', 'freeze ')) for note in run.trials['note'])


def test_minutes_end_a_search_and_are_said_to_cost_its_seed(searched):
    with pytest.warns(AAMWarning, match='^Parameter minutes limits the search by time, so that its result depends on '):
        run = searched(minutes=1e-9, trials=50, search_parameters=NAMES)
    assert len(run.trials) == 1 and 'Search: time is up after 1 of 50 trials.' in run.lines
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'Parameter minutes', AAMWarning)
        searched('fold', minutes=1e-9, whole=False, search_parameters=NAMES)


def test_repeated_subjects_without_groups_are_warned_of(searched, tiny, monkeypatch):
    expected = '^No groups are given, but samples seem to be repeated: the first part of the sample ID has '
    from q2_aam.evaluation.plan import WARNING, Finding
    from q2_aam.training import search

    asked = []

    def check(profiles, ids, columns, target, groups, generator):
        asked.append((profiles.shape[0], list(ids), target.name, groups))
        return [Finding(WARNING, 'repeats', 'groups', f'{expected[1:]}5 values.', 'Give a column as groups.')]

    monkeypatch.setattr(search, 'check_repeats', check)
    with pytest.warns(AAMWarning, match=f'{expected}5 values. Give a column as groups.$'):
        searched(groups=False, trials=1, search_parameters=NAMES)
    assert asked == [(24, sorted(tiny.counts.index), 'age', None)]
    searched('grouped', trials=1, search_parameters=NAMES)
    searched('fold', groups=False, whole=False, trials=1, search_parameters=NAMES)
    assert len(asked) == 1


def test_a_search_that_goes_on_warns_again_of_what_its_first_trial_warned_of(searched, monkeypatch):
    from q2_aam.evaluation.plan import WARNING, Finding
    from q2_aam.training import search

    found = [Finding(WARNING, 'repeats', 'groups', 'Samples seem to be repeated.', 'Give a column as groups.')]
    monkeypatch.setattr(search, 'check_repeats', lambda *given: found)

    def warned(name, say=None):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            with contextlib.suppress(KeyboardInterrupt), warnings_to_user():
                searched(name, groups=False, trials=2, search_parameters=NAMES, say=say)
        return {str(one.message) for one in caught if issubclass(one.category, AAMWarning)}

    def kill(line):
        if line.startswith('Trial 1/2'):
            raise KeyboardInterrupt

    whole, killed, resumed = warned('whole'), warned('killed', kill), warned('resumed')
    assert 'Samples seem to be repeated. Give a column as groups.' in whole
    assert whole == killed == resumed


def test_trials_silence_no_warnings_of_other_work_in_the_process():
    from q2_aam.training.search import _warned

    inside, told = threading.Event(), threading.Event()
    heard = []

    def trial():
        with warnings_to_user(), _warned(None, 1):
            inside.set()
            assert told.wait(20)
            warnings.warn('of a trial', AAMWarning)
            heard.append(warnings_given())

    with warnings.catch_warnings(), warnings_to_user():
        warnings.simplefilter('always')
        thread = threading.Thread(target=trial)
        thread.start()
        assert inside.wait(20)
        warnings.warn('of a fit', AAMWarning)
        told.set()
        thread.join()
        assert warnings_given() == ['of a fit'] and heard == [[]]


def test_without_optuna_there_is_one_sentence(searched, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        UserError, match=r"^The search needs the Python package optuna, .* pip install 'q2-aam\[tune\]'"
    ):
        searched()


def test_a_fit_takes_settings_and_what_is_given_otherwise_wins(tiny, fitted, tiny_regressor):
    from q2_aam.config.search import Settings

    found = Settings('regressor', False, {'learning_rate': 0.001, 'asv_dropout': 0.5, 'epochs': 1})
    # epochs of the tiny study are given
    with pytest.warns(AAMWarning, match='^The settings were found by a search, which has seen the test samples '):
        run = fitted(tiny, settings=found)
    with warnings.catch_warnings():
        # nothing is scored, or nothing was found
        warnings.filterwarnings('error', 'The settings were found', AAMWarning)
        fitted(tiny, 'untested', settings=found, test_fraction=0.0)
        same = fitted(
            tiny, 'same', settings=Settings('regressor', False, {}), learning_rate=0.001, asv_dropout=0.5
        )  # fmt: skip
    training = bundle.read_config(run.folder).call.training
    assert (training.learning_rate, training.asv_dropout, training.epochs) == (0.001, 0.5, TINY['epochs'])
    assert (run.folder / bundle.MODEL_FILE).read_bytes() == (same.folder / bundle.MODEL_FILE).read_bytes()
    with pytest.raises(UserError, match='^The settings were found with an encoder, but none is given; '):
        fitted(tiny, 'encoder', settings=Settings('regressor', True, {}))
