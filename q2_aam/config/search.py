"""What a search tries: the space of each parameter; and settings, the parameters that it found, as a fit takes them."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
import warnings

from q2_aam.errors import AAMWarning, UserError, listed, missing_package, shown

from .fields import Group, check_value, option

if typing.TYPE_CHECKING:
    from .calls import Call

SETTINGS_FILE = 'settings.json'
# What must be given, or must not, for a parameter to be worth searching.
ENCODER, SCRATCH, DISTANCES = 'an encoder', 'no encoder', 'a distance matrix'


@dataclasses.dataclass(frozen=True)
class Space:
    """The space of one parameter: some values, or numbers from `low` to `high`.

    Attributes
    ----------
    name : str
        Of an option of a fit.
    choices : tuple
    low, high : float
    log : bool
        Whether small numbers are tried as often as large ones.
    needs : str
        One of ENCODER, SCRATCH and DISTANCES, or ''.
    with_default : tuple of str
        Options that must have their default: others decide what this one may be.
    """

    name: str
    choices: tuple = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    needs: str = ''
    with_default: tuple[str, ...] = ()


SPACE = (
    Space('learning_rate', low=3e-5, high=3e-3, log=True),
    Space('weight_decay', low=1e-3, high=0.3, log=True),
    Space('asv_dropout', low=0.0, high=0.6),
    Space('head_dropout', low=0.0, high=0.5, with_default=('head_layers',)),
    Space('width', choices=(32, 64, 128, 256), needs=SCRATCH, with_default=('attention_heads',)),
    Space('asv_layers', choices=(1, 2), needs=SCRATCH),
    Space('sample_layers', choices=(1, 2, 4), needs=SCRATCH),
    Space('freeze', choices=('none', 'asv', 'encoder'), needs=ENCODER, with_default=('nucleotide_weight',)),
    Space('distance_weight', low=0.01, high=1.0, log=True, needs=DISTANCES),
    Space('nucleotide_weight', choices=(0.0, 0.1, 0.3), needs=SCRATCH),
    Space('abundance_ensemble', choices=(True, False)),
)
SEARCHED = tuple(space.name for space in SPACE)


@dataclasses.dataclass(frozen=True)
class SearchConfig(Group):
    group = 'search'

    trials: int = option(
        20,
        'Number of trials of each of the four searches, that of all samples and those of the three outer folds. The '
        'first trial is of the default parameters. With the same seed they are the same trials.',
        low=1,
        high=10000,
    )
    minutes: float = option(
        0.0,
        'Time after which no more trials begin, a quarter of it for each search; 0 sets no limit. How many trials fit '
        'in depends on the machine, so that the result does not follow from the seed any more.',
        low=0.0,
        high=1e6,
    )
    search_parameters: tuple[str, ...] = option(
        (),
        'Parameters that are searched. None: all that apply, but those that are given another value than their '
        'default.',
        choices=SEARCHED,
    )


def check_optuna() -> None:
    """Raise UserError, in one sentence, unless Optuna is installed."""
    if missing_package(('optuna',)):
        raise UserError(
            "The search needs the Python package optuna, which is not installed; run pip install 'q2-aam[tune]'."
        )


def space_of(config: Call, search: SearchConfig, encoder: bool, distances: bool) -> tuple[Space, ...]:
    """Return what is searched for a configuration: what applies, and has its default.

    Parameters
    ----------
    config : q2_aam.config.FitRegressorConfig or FitClassifierConfig
    search : SearchConfig
    encoder, distances : bool
        Whether there are an encoder to start from and a distance matrix.

    Raises
    ------
    q2_aam.errors.UserError
        If nothing is left, or something that was asked for does not apply.
    """
    changed = _changed(config)
    given = {ENCODER: encoder, SCRATCH: not encoder, DISTANCES: distances, '': True}
    found, asked = [], set(search.search_parameters)
    for space in SPACE:
        if asked and space.name not in asked:
            continue
        others = sorted(changed & {space.name, *space.with_default})
        if given[space.needs] and not others:
            found.append(space)
        elif asked:
            why = f'{others[0]} is given' if others else f'that needs {space.needs}'
            raise UserError(
                f'Parameter search_parameters names {space.name}, but {why}; leave {others[0] if others else "it"} '
                f'{"at its default" if others else "out"}.'
            )
    if not found:
        raise UserError(
            'There is nothing to search: every parameter of the search is given; leave some of '
            f'{", ".join(SEARCHED)} at their default.'
        )
    return tuple(found)


def _changed(config):
    """Return the names of the options that have another value than their default."""
    values = config.to_flat()
    # an empty list is None where parameters are flat
    return {opt.name for opt in config.options() if values[opt.name] != (None if opt.default == () else opt.default)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Parameters that a search found.

    Attributes
    ----------
    kind : str
        Of the model.
    encoder : bool
        Whether it starts from an encoder.
    parameters : dict
        {option: value}; empty where the default ones were the best.
    """

    kind: str
    encoder: bool
    parameters: dict[str, typing.Any]

    def to_json(self) -> str:
        """Return the text of a file of settings."""
        return json.dumps({'format_version': FORMAT_VERSION} | dataclasses.asdict(self), indent=1) + '\n'

    def warn_of_test(self, tested: str) -> None:
        """Warn that the search may have seen the samples on which these settings are judged: `tested` names them."""
        if self.parameters:
            warnings.warn(
                f'The settings were found by a search, which has seen {tested} if it had the same table, so that '
                'their error may be too good; report the metrics of tune, which are of samples not seen.',
                AAMWarning,
            )

    def describe(self, config: Call) -> str:
        """Return one line on what a configuration takes from these settings, and what it says itself."""
        changed, given = _changed(config), config.to_flat()
        own = [name for name in self.parameters if name in changed and given[name] != self.parameters[name]]
        taken = listed(f'{name} {value}' for name, value in self.parameters.items() if name not in changed)
        kept = listed(f'{name} {given[name]} (found: {self.parameters[name]})' for name in own)
        none = 'nothing but what is given' if self.parameters else 'all is as by default'
        return f'Settings: {taken or none}{f"; as given, all the same: {kept}" if own else ""}.'

    def applied(self, config: Call, encoder: bool) -> Call:
        """Return a configuration of a fit with these settings; what it says other than by default stays.

        Raises
        ------
        q2_aam.errors.UserError
            If they are those of another kind of model, or of one that starts otherwise; or do not go with it.
        """
        kind = next(name for name, call in calls().items() if type(config) is call)
        if kind != self.kind:
            raise UserError(
                f'The settings were found for a {self.kind}, but this is a {kind}; search again with tune-{kind}.'
            )
        if encoder != self.encoder:
            how, now = ('with', 'none') if self.encoder else ('without', 'one')
            raise UserError(
                f'The settings were found {how} an encoder, but {now} is given; search again, or fit as the search did.'
            )
        changed = _changed(config)
        found = {name: value for name, value in self.parameters.items() if name not in changed}
        try:
            return type(config).from_flat(config.to_flat() | found)
        except ValueError as error:
            raise UserError(f'The settings do not go with the parameters that are given: {error}') from error


FORMAT_VERSION = 1
KEYS = {'format_version', *(field.name for field in dataclasses.fields(Settings))}
# Where work is done, and its seed, are never settings.
NEVER = ('runtime', 'folds')


def calls() -> dict[str, type[Call]]:
    """Return {kind of model: configuration of its fit}."""
    from .calls import FitClassifierConfig, FitRegressorConfig

    return {'regressor': FitRegressorConfig, 'classifier': FitClassifierConfig}


def read_settings(text: str) -> Settings:
    """Read what :meth:`Settings.to_json` wrote.

    Raises
    ------
    ValueError
        In one sentence, if it is anything else.
    """
    try:
        values = json.loads(text)
    # text that is no JSON, JSON that is nested too deep
    except (ValueError, RecursionError):
        raise ValueError('The settings are not JSON.') from None
    if not isinstance(values, dict) or set(values) != KEYS:
        raise ValueError(f'The settings must be an object with the fields {", ".join(sorted(KEYS))}.')
    if type(values['format_version']) is not int or values.pop('format_version') != FORMAT_VERSION:
        raise ValueError(
            f'The settings must have format_version {FORMAT_VERSION}; use the version of q2-aam that made them, or a '
            'later one.'
        )
    if not isinstance(values['kind'], str) or values['kind'] not in calls() or not isinstance(values['encoder'], bool):
        raise ValueError('The kind of settings must be regressor or classifier, and encoder true or false.')
    if not isinstance(values['parameters'], dict):
        raise ValueError('The parameters of settings must be an object.')
    call = calls()[values['kind']]
    known = {opt.name: opt for opt in call.options() if opt.group not in NEVER and opt.name != 'random_seed'}
    for name, value in values['parameters'].items():
        if name not in known:
            raise ValueError(f'The settings have a parameter that no fit takes from them: {shown(name)}.')
        many = known[name].many and isinstance(value, list)
        check_value(known[name], tuple(value) if many else value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'Parameter {name} of the settings must be finite, but it is {value}.')
    call.from_flat(values['parameters'])
    return Settings(**values)
