"""docs/options.md says what the code says."""

import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).parents[2]


def script():
    spec = importlib.util.spec_from_file_location('options_table', ROOT / 'recipe' / 'options_table.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_options_is_that_of_the_code():
    made = script().page()
    assert (ROOT / 'docs' / 'options.md').read_text('utf-8') == made, 'run python recipe/options_table.py'


def test_every_option_of_every_action_stands_in_it_with_its_default_and_help():
    from q2_aam.config import Call

    module = script()
    text = (ROOT / 'docs' / 'options.md').read_text('utf-8')
    calls = [call for call in vars(module.options).values() if isinstance(call, type) and issubclass(call, Call)]
    seen = 0
    for call in calls:
        for opt in call.options():
            (row, *_) = [
                line for line in text.splitlines() if line.startswith(f'| `{opt.name}` |') and opt.help in line
            ]
            default = 'none' if opt.many else str(opt.default)
            assert f'| {default} |' in row and ('*advanced.*' in row) == opt.advanced
            seen += 1
    assert seen > 200


def test_names_of_the_reference_are_of_options_that_exist_or_are_left_out_with_a_reason():
    from q2_aam.config import Group, runtime

    module = script()
    # those of several devices, too, which not every action has
    groups = [group for group in vars(runtime).values() if isinstance(group, type) and issubclass(group, Group)]
    names = {row[0].strip('`') for rows in module.rows().values() for row in rows}
    names |= {opt.name for group in groups for opt in group.options()}
    assert set(module.OF_AAM) <= names
    assert set(module.TRIED) <= names
    assert all(text.endswith('.') for text in [*module.LEFT_OUT.values(), *module.TRIED.values()])
