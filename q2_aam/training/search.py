"""A search of parameters: trials on one inner split, a loop that is stopped where it cannot win, and their settings.

Every trial learns from the same samples, with the same seed, and is scored on inner test samples that it has not seen.
What the best of them is worth is for other samples to tell: a search takes the outer folds of
:mod:`q2_aam.evaluation.search` one by one.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

from q2_aam.config.search import SETTINGS_FILE, Settings, Space, calls, check_optuna, space_of
from q2_aam.data.atomic import remove
from q2_aam.data.log_abundances import log_abundances
from q2_aam.data.splits import TEST
from q2_aam.errors import AAMWarning, MachineError, UserError
from q2_aam.evaluation.plan_design import check_repeats
from q2_aam.evaluation.search import trial_rows
from q2_aam.objectives import Inputs
from q2_aam.runtime import results
from q2_aam.runtime.heard import heard, hearing, ignoring
from q2_aam.runtime.recorder import Recorder
from q2_aam.runtime.run import Run, open_run
from q2_aam.runtime.screen import print_line
from q2_aam.runtime.seeds import Stream, numpy_generator

from .batch_size import with_batch_size
from .blend import blend
from .ensemble import FittedEnsemble
from .fit import hashes_of, with_default_encoder
from .prepare import PreparedFit, prepare_fit
from .train import train_fit

# Share of the labelled samples, in whole groups, that scores the trials.
INNER_TEST = 0.25
# Trials that are drawn at random before others are chosen by what these have told; epochs, and trials, after which a
# trial may be stopped that is worse than their median.
FIRST_TRIALS, FIRST_EPOCHS = 8, 1
# Share of the error of the default parameters by which others must be better: less is rounding, or chance.
MIN_GAIN = 0.01
# Digits of numbers that are tried: more would say more than is known.
DIGITS = 3
# In the run directory: the trials, and the working files of the one that is running.
TRIALS, TRIAL = 'trials.log', 'trial'
# What is of no use for features without sequences.
OF_NUCLEOTIDES = ('nucleotide_weight',)
# What became of a trial, by Optuna's names.
COMPLETE = 'complete'
STATES = {'COMPLETE': COMPLETE, 'PRUNED': 'stopped', 'FAIL': 'failed'}


class Stopped(Exception):
    """Ends a trial that is worse than the median of those before."""


@dataclasses.dataclass
class _Trials:
    """What the trials of a search have in common.

    Attributes
    ----------
    kind : str
    inputs : Inputs
    config : FitRegressorConfig or FitClassifierConfig
        That of the first trial.
    run : Run
    ensemble : FittedEnsemble or None
        That of the trials, which no parameter of the search changes.
    first : PreparedFit or None
        What the first trial of this process was prepared with.
    """

    kind: str
    inputs: Inputs
    config: Any
    run: Run
    ensemble: FittedEnsemble | None = None
    first: PreparedFit | None = None

    def score(self, parameters: dict[str, Any], after_epoch) -> float:
        """Train with these parameters; return the error of the inner test samples."""
        config = type(self.config).from_flat(self.config.to_flat() | parameters)
        folder = self.run.directory / TRIAL
        remove(folder)
        folder.mkdir()
        # nothing of it is kept, and it begins anew where it was interrupted
        run = dataclasses.replace(self.run, directory=folder, recorder=Recorder(lambda line: None))
        try:
            prepared = with_batch_size(lambda *call: prepare_fit(self.kind, self.inputs, *call), config, run)
            self.first = self.first or prepared
            given = self.ensemble if prepared.config.training.abundance_ensemble else None
            target = prepared.target
            sign = -1 if target.larger else 1
            trained = train_fit(
                prepared, run, given, lambda epoch, metrics: after_epoch(epoch, sign * metrics[target.score])
            )
            self.ensemble = trained.ensemble or self.ensemble
            rows = prepared.rows[TEST]
            return float(target.score_of(blend(prepared, trained, run.recorder).outputs[rows], rows))
        finally:
            remove(folder)


def search(
    kind: str, inputs: Inputs, folder: str | os.PathLike, config: Any, say=print_line, whole: bool = True
) -> pd.DataFrame:
    """Search parameters of a fit on these samples, and write the settings that were best into `folder`.

    A search that was interrupted goes on with its trials. With a limit of trials its result follows from the seed.

    Parameters
    ----------
    kind : str
        Of the model, as :mod:`q2_aam.bundle` names it.
    inputs : q2_aam.objectives.Inputs
    folder : path
        It exists.
    config : q2_aam.config.TuneRegressorConfig or TuneClassifierConfig
    say : callable
        Takes one line of progress.
    whole : bool
        Whether these are all samples, of which repeated subjects are warned of where no groups are given.

    Returns
    -------
    pandas.DataFrame
        One row a trial, as :func:`q2_aam.evaluation.search.trial_rows` makes them.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, nothing is left to search, or Optuna is not installed.

    Warns
    -----
    q2_aam.errors.AAMWarning
        If the result does not follow from the seed; or if subjects seem to be repeated that are not grouped.
    """
    check_optuna()
    if config.search.minutes and whole:
        warnings.warn(
            'Parameter minutes limits the search by time, so that its result depends on the machine and does not '
            'follow from random_seed; limit it by trials alone where it must.',
            AAMWarning,
        )
    inputs = with_default_encoder(inputs, config, say)
    fit = fit_config(kind, config)
    spaces = space_of(fit, config.search, inputs.encoder is not None, inputs.distance_matrix is not None)
    with open_run(f'search-{kind}', config, hashes_of(inputs), say) as run:
        result = run.result()
        if result is None:
            trials = _Trials(kind, inputs, fit, run)
            study = _study(run)
            _run_trials(study, trials, spaces, config.search, whole)
            settings = Settings(kind, inputs.encoder is not None, dict(_best(study).user_attrs['parameters']))
            run.save_bundle(folder, lambda into: _write(into, settings))
            result = run.keep(_table(study))
        results.deliver(result, folder)
    assert result.details is not None
    return result.details


def fit_config(kind: str, config: Any) -> Any:
    """Return the configuration of the fits of a search: what it holds fixed, and a split of its own."""
    call = calls()[kind]
    known = {opt.name for opt in call.options()}
    values = {name: value for name, value in config.to_flat().items() if name in known}
    return call.from_flat(values | {'test_fraction': INNER_TEST, 'random_forest': False})


def _study(run):
    """Return the study of Optuna in the run directory, new or with the trials of an interrupted search."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(run.directory / TRIALS))),
        study_name=f'{run.seed}',
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(FIRST_TRIALS // 2, FIRST_EPOCHS),
    )


def finished(study) -> list:
    """Return the trials that are done, in order; one that was interrupted is not, and is begun anew."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _run_trials(study, trials, spaces, limits, whole):
    say, done = trials.run.recorder.say, finished(study)
    if done:
        say(f'Search: {len(done)} of {limits.trials} trials were finished before.')
        for text in done[0].user_attrs.get('warned', ()):
            warnings.warn(text, AAMWarning)
    while len(done) < limits.trials:
        # a quarter: the three outer folds have the others
        if limits.minutes and done and sum(one.user_attrs['seconds'] for one in done) >= 15 * limits.minutes:
            say(f'Search: time is up after {len(done)} of {limits.trials} trials.')
            break
        if done and done[0].user_attrs.get('named'):
            spaces = tuple(space for space in spaces if space.name not in OF_NUCLEOTIDES)
        _run_trial(study, trials, spaces, len(done), whole and trials.inputs.groups is None)
        done = finished(study)
        say(_line(done, limits.trials))


def _run_trial(study, trials, spaces, number, may_repeat):
    """Ask for parameters, train with them and tell what came of it.

    With the first trial, it is looked whether samples may be repeated, where this is to be known.
    """
    import optuna

    # drawn anew for each trial, so that a search that goes on draws what it would have drawn
    seed = int(numpy_generator(trials.run.seed, Stream.SEARCH, number).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST_TRIALS)
    trial = study.ask()
    parameters = {} if number == 0 else {space.name: suggested(trial, space) for space in spaces}
    trial.set_user_attr('parameters', parameters)
    began = time.monotonic()

    def after_epoch(epoch, error):
        if not math.isfinite(error):
            return
        trial.report(error, epoch)
        trial.set_user_attr('epoch', epoch)
        # the default parameters are what others are compared with
        if number and trial.should_prune():
            raise Stopped

    value, state = None, optuna.trial.TrialState.FAIL
    with _warned(trial, number):
        try:
            value = trials.score(parameters, after_epoch)
            state = optuna.trial.TrialState.COMPLETE if math.isfinite(value) else state
        except Stopped:
            state = optuna.trial.TrialState.PRUNED
        except UserError as error:
            # a combination that cannot be trained is a bad one; where it is the user's own, it is an error
            if number == 0 or isinstance(error, MachineError):
                raise
            trial.set_user_attr('error', str(error))
        if number == 0 and may_repeat:
            _warn_of_repeats(trials.first, trials.run.seed)
    trial.set_user_attr('seconds', time.monotonic() - began)
    if trials.first is not None:
        trial.set_user_attr('named', trials.first.known is not None)
        trial.set_user_attr('score', trials.first.target.score)
        trial.set_user_attr('samples', len(trials.first.rows[TEST]))
    study.tell(trial, value if state == optuna.trial.TrialState.COMPLETE else None, state)


@contextlib.contextmanager
def _warned(trial, number):
    """Ignore warnings of trials, but give those of the first, whose parameters are the user's, and keep them with it.

    A search that was interrupted gives them again, where somebody heard them (:mod:`q2_aam.runtime.heard`).
    """
    if number:
        with ignoring():
            yield
        return
    # not caught: other work in this process would lose its own
    with hearing():
        yield
        trial.set_user_attr('warned', heard())


def suggested(trial, space: Space):
    """Return the value of a parameter that a trial of Optuna is to try."""
    if space.choices:
        return trial.suggest_categorical(space.name, space.choices)
    return float(f'{trial.suggest_float(space.name, space.low, space.high, log=space.log):.{DIGITS}g}')


def _best(study):
    """Return the best trial: the first one, of default parameters, unless another has clearly less error."""
    complete = [one for one in finished(study) if not math.isnan(_value(one))]
    if not complete:
        raise UserError('No trial of the search gave a finite error; raise trials, or lower learning_rate.')
    best, first = min(complete, key=lambda one: (one.value, one.number)), complete[0]
    default = not first.user_attrs['parameters']
    return first if default and first.value - best.value < MIN_GAIN * abs(first.value) else best


def _table(study):
    """Return one row a trial."""
    rows = []
    for number, trial in enumerate(finished(study)):
        attributes = trial.user_attrs
        rows.append(
            {
                'number': number,
                'parameters': attributes['parameters'],
                'state': STATES[trial.state.name],
                'value': _value(trial),
                'epoch': attributes.get('epoch', 0),
                'score': attributes.get('score', 'error'),
                'samples': attributes.get('samples', 0),
                'error': attributes.get('error', ''),
            }
        )
    return trial_rows(rows)


def _line(done, number):
    last = done[-1]
    words = ' '.join(f'{name}={value}' for name, value in last.user_attrs['parameters'].items()) or 'default parameters'
    value = _value(last)
    score = last.user_attrs.get('score', 'error').replace('_', ' ')
    came = STATES[last.state.name] if math.isnan(value) else f'{score} {value:.3g}'
    best = min((_value(one) for one in done if not math.isnan(_value(one))), default=math.nan)
    return f'Trial {len(done)}/{number}: {came} (best {best:.3g}); {words}; {last.user_attrs["seconds"]:.0f} s.'


def _value(trial):
    """Return the error of a trial; NaN of one that was stopped, which Optuna gives that of its last epoch."""
    return trial.value if STATES[trial.state.name] == COMPLETE else math.nan


def _warn_of_repeats(prepared, seed):
    """Warn where subjects seem to be repeated that are not grouped, as a plan of the training does."""
    study, ids = prepared.study, list(prepared.study.sample_ids)
    target = pd.Series(prepared.labels.values, index=ids, name=prepared.labels.name)
    profiles = log_abundances(study, np.arange(len(study)), prepared.augment)
    generator = np.random.default_rng(seed)
    for found in check_repeats(profiles, ids, pd.DataFrame(index=ids), target, None, generator):
        warnings.warn(f'{found.what} {found.action}', AAMWarning)


def _write(folder, settings):
    (pathlib.Path(folder) / SETTINGS_FILE).write_text(settings.to_json(), 'utf-8')
