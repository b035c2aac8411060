"""A parameter is declared once: its bounds, words and 'auto' are kept by every group, in one sentence."""

import dataclasses

import numpy as np
import pytest

from q2_aam.config import AUTO, FitRegressorConfig, Group, PredictConfig, PretrainConfig
from q2_aam.config.fields import Option, limits_of, option

# Options that need another one (tests/config/test_conflicts.py).
NEEDS = ('nodes', 'momentum', 'restarts', 'plateau_factor', 'plateau_patience', 'over_penalty', 'under_penalty')


@dataclasses.dataclass(frozen=True)
class Example(Group):
    group = 'example'

    number: int = option(2, 'A whole number.', low=1, high=10)
    share: float = option(0.5, 'A share.', low=0.0, high=1.0)
    free: float = option(3.0, 'A number without an upper bound.', low=0.0)
    derived: float | str = option(AUTO, 'A number or auto.', low=0.1, high=9.0)
    word: str = option('red', 'A colour.', choices=('red', 'blue'))
    text: str = option('any', 'Any text.')
    switch: bool = option(True, 'On or off.', advanced=True, absent=False)
    numbers: tuple[float, ...] = option((), 'Numbers.', low=0.0, high=1.0)
    names: tuple[str, ...] = option((), 'Names.')
    found: float | str = option(AUTO, 'A number or a word.', low=0.1, high=9.0, words=('find',))
    span: int | str = option(2, 'A number or a range.', low=1, high=10, ranges=True)


def test_the_declared_parameters_are_listed_in_order():
    options = Example.options()
    assert [opt.name for opt in options] == [field.name for field in dataclasses.fields(Example)]
    assert [opt.kind for opt in options] == [int, float, float, float, str, str, bool, float, str, float, int]
    assert [opt.name for opt in options if opt.auto] == ['derived', 'found']
    assert [opt.name for opt in options if opt.many] == ['numbers', 'names']
    assert options[0] == Option('example', 'number', int, False, 2, 'A whole number.', 1, 10, (), False, 2)
    assert options[4].choices == ('red', 'blue')
    assert [opt.name for opt in options if opt.advanced] == ['switch']
    assert [opt.name for opt in options if opt.absent != opt.default] == ['switch']


@pytest.mark.parametrize(
    'values',
    [
        {'number': 1},
        {'number': 10},
        {'share': 0},
        {'share': 1.0},
        {'free': 1e300},
        {'derived': AUTO},
        {'derived': 9},
        {'word': 'blue'},
        {'text': ''},
        {'switch': False},
        {'numbers': (0.0, 1)},
        {'names': ('',)},
        {'found': 'find'},
        {'span': 10},
        {'span': '1:10'},
    ],
)
def test_values_up_to_and_on_the_bounds_are_taken_as_they_are(values):
    ((name, value),) = values.items()
    assert getattr(Example(**values), name) == value


@pytest.mark.parametrize(
    'name, value, sentence',
    [
        ('number', 0, 'Parameter number must be a whole number from 1 to 10, but it is 0.'),
        ('number', 11, 'Parameter number must be a whole number from 1 to 10, but it is 11.'),
        ('number', 2.0, 'Parameter number must be a whole number from 1 to 10, but it is 2.0.'),
        ('number', True, 'Parameter number must be a whole number from 1 to 10, but it is True.'),
        ('number', AUTO, "Parameter number must be a whole number from 1 to 10, but it is 'auto'."),
        ('number', None, 'Parameter number must be a whole number from 1 to 10, but it is None.'),
        ('share', -1e-9, 'Parameter share must be a number from 0.0 to 1.0, but it is -1e-09.'),
        ('share', float('nan'), 'Parameter share must be a number from 0.0 to 1.0, but it is nan.'),
        ('share', float('inf'), 'Parameter share must be a number from 0.0 to 1.0, but it is inf.'),
        ('share', '0.5', "Parameter share must be a number from 0.0 to 1.0, but it is '0.5'."),
        ('free', '3', "Parameter free must be a number of at least 0.0, but it is '3'."),
        ('free', float('nan'), 'Parameter free must be a number of at least 0.0, but it is nan.'),
        ('derived', 0.0, "Parameter derived must be a number from 0.1 to 9.0 or 'auto', but it is 0.0."),
        ('derived', 'Auto', "Parameter derived must be a number from 0.1 to 9.0 or 'auto', but it is 'Auto'."),
        ('word', 'green', "Parameter word must be one of red, blue, but it is 'green'."),
        ('word', 1, 'Parameter word must be one of red, blue, but it is 1.'),
        ('text', 1, 'Parameter text must be text, but it is 1.'),
        ('numbers', (0.5, 2.0), 'Each of numbers must be a number from 0.0 to 1.0, but it is 2.0.'),
        ('numbers', 0.5, 'Parameter numbers must be a list, but it is 0.5.'),
        ('numbers', '1', "Parameter numbers must be a list, but it is '1'."),
        ('names', ('a', 1), 'Each of names must be text, but it is 1.'),
        ('found', 'seek', "Parameter found must be a number from 0.1 to 9.0 or 'auto' or 'find', but it is 'seek'."),
        ('switch', 1, 'Parameter switch must be True or False, but it is 1.'),
        *(
            (
                'span',
                value,
                'Parameter span must be a whole number from 1 to 10, or a range of them from low to high, '
                "such as '2:4', but it is "
                f'{value!r}.',
            )
            for value in (0, AUTO, '2', '4:2', '2:2', '0:4', '2:11', '2:', '2:4:6', '2:' + 10 * '9')
        ),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_sentence(name, value, sentence):
    with pytest.raises(ValueError) as error:
        Example(**{name: value})
    assert str(error.value) == sentence


@pytest.mark.parametrize('value, limits', [(3, (3, 3)), ('2:4', (2, 4))])
def test_a_number_is_a_range_of_one(value, limits):
    assert limits_of(value) == limits


def test_a_group_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Example().number = 3


@pytest.mark.parametrize('call', [PretrainConfig, FitRegressorConfig, PredictConfig])
def test_every_parameter_has_a_sentence_of_help_and_bounds_or_choices(call):
    for opt in call.options():
        assert opt.help[0].isupper() and opt.help.endswith('.'), opt.name
        if opt.kind in (int, float):
            assert opt.low is not None and opt.high is not None, opt.name
        else:
            # the name of a machine may be any
            assert opt.kind is bool or opt.choices or opt.many or opt.name == 'rendezvous', opt.name


@pytest.mark.parametrize('call', [PretrainConfig, FitRegressorConfig, PredictConfig])
def test_every_bound_is_allowed_and_what_lies_beyond_is_not(call):
    groups = {opt.name: group for group in call.groups().values() for opt in group.options()}
    for opt in call.options():
        for bound, beyond in ((opt.low, -np.inf), (opt.high, np.inf)):
            # a list, or an option that others must allow, has tests of its own
            if bound is None or opt.many or opt.name in NEEDS:
                continue
            assert getattr(groups[opt.name](**{opt.name: bound}), opt.name) == bound
            with pytest.raises(ValueError, match=f'^Parameter {opt.name} must be '):
                groups[opt.name](**{opt.name: type(bound)(bound + np.sign(beyond))})
