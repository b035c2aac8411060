"""Every signature of the plugin renders in Galaxy: the rules, each of which is shown to catch what it is for."""

import pytest
import qiime2
import qiime2.sdk.usage
from qiime2.plugin import Bool, Choices, Float, Int, List, Metadata, MetadataColumn, Numeric, Range, Str

from q2_aam.config import AUTO

NO_DEFAULT = object()


def members(ast):
    """The members of a union or of a type that an output has in common with an input, or the type itself."""
    if ast['type'] == 'variable':
        return [kinds[0] for kinds in ast['mapping']]
    return ast['members'] if ast['type'] == 'union' else [ast]


def nested(ast):
    """Every expression inside a type, its own fields included."""
    for member in members(ast):
        yield member
        for field in member.get('fields', ()):
            yield from nested(field)


def predicate(ast, name):
    of_ast = ast.get('predicate')
    return of_ast if of_ast and of_ast.get('name') == name else None


def float_bounds_are_inclusive(name, ast, default):
    """Galaxy moves an exclusive bound by 1e-6: a default of 1e-8 would fall out of range."""
    for member in nested(ast):
        bounds = predicate(member, 'Range')
        if member['name'] == 'Float' and bounds:
            for bound, inclusive in zip(bounds['range'], bounds['inclusive']):
                if bound is not None and not inclusive:
                    return f'{name} has the exclusive bound {bound}'


def no_union_of_collections(name, ast, default):
    if len(members(ast)) > 1 and any(member['name'] in ('List', 'Set') for member in members(ast)):
        return f'{name} is a union of collections'


def no_union_of_choices(name, ast, default):
    choices = [member for member in members(ast) if predicate(member, 'Choices')]
    joined = [member for member in nested(ast) if (member.get('predicate') or {}).get('type') == 'union']
    if len(choices) > 1 or joined:
        return f'{name} is a union of choices'


def no_collections(name, ast, default):
    if any(member['name'] == 'Collection' for member in nested(ast)):
        return f'{name} is a Collection'


def not_named_inputs(name, ast, default):
    if name == 'inputs':
        return 'a parameter is named inputs'


def columns_have_a_picker(name, ast, default):
    """One column is chosen by MetadataColumn; a list of names is the exception, for which Galaxy has no picker."""
    if 'column' in name and any(member['name'] == 'Str' and not member['predicate'] for member in members(ast)):
        return f'{name} is free text for the name of a column'


def switches_are_on_or_off(name, ast, default):
    if any(member['name'] == 'Bool' for member in members(ast)) and default is None:
        return f'{name} is a switch whose default is neither on nor off'


def no_paths(name, ast, default):
    if name.endswith(('path', 'file', 'folder', 'dir', 'directory')):
        return f'{name} looks like a path'


def only_types_that_galaxy_knows(name, ast, default):
    known = ('Int', 'Float', 'Bool', 'Str', 'Metadata', 'MetadataColumn', 'Numeric', 'Categorical', 'List', 'Threads')
    for member in nested(ast):
        if member.get('builtin', True) and member['name'] not in known:
            return f'{name} is of the unknown type {member["name"]}'


RULES = [
    float_bounds_are_inclusive,
    no_union_of_collections,
    no_union_of_choices,
    no_collections,
    not_named_inputs,
    columns_have_a_picker,
    switches_are_on_or_off,
    no_paths,
]
UNKNOWN = {'type': 'expression', 'builtin': True, 'name': 'Color', 'predicate': None, 'fields': []}
COLLECTION = {**UNKNOWN, 'name': 'Collection', 'fields': [Int.to_ast()]}
UNION_OF_LISTS = {'type': 'union', 'members': [List[Int].to_ast(), List[Str].to_ast()]}
UNION_OF_CHOICES = {'type': 'union', 'members': [(Str % Choices('a')).to_ast(), (Str % Choices('b')).to_ast()]}


@pytest.mark.parametrize(
    'rule, name, ast, default',
    [
        (float_bounds_are_inclusive, 'rate', (Float % Range(0, 1)).to_ast(), 0.5),
        (float_bounds_are_inclusive, 'rate', (Float % Range(0, None, inclusive_start=False)).to_ast(), 0.5),
        (float_bounds_are_inclusive, 'rate', (Float % Range(0, 1) | Str % Choices([AUTO])).to_ast(), AUTO),
        (float_bounds_are_inclusive, 'rates', List[Float % Range(0, 1)].to_ast(), NO_DEFAULT),
        (no_union_of_collections, 'values', UNION_OF_LISTS, NO_DEFAULT),
        (no_union_of_choices, 'word', UNION_OF_CHOICES, 'a'),
        (no_union_of_choices, 'word', (Str % (Choices('a') | Choices('b'))).to_ast(), 'a'),
        (no_collections, 'tables', COLLECTION, NO_DEFAULT),
        (not_named_inputs, 'inputs', Int.to_ast(), 1),
        (columns_have_a_picker, 'target_column', Str.to_ast(), NO_DEFAULT),
        (switches_are_on_or_off, 'compile', Bool.to_ast(), None),
        (no_paths, 'work_dir', Str.to_ast(), None),
        (only_types_that_galaxy_knows, 'hue', UNKNOWN, NO_DEFAULT),
    ],
)
def test_a_rule_catches_what_it_is_for(rule, name, ast, default):
    assert name in rule(name, ast, default)


@pytest.mark.parametrize(
    'name, kind, default',
    [
        ('compile', Bool, False),
        ('seed', Int, 0),
        ('share', Float % Range(0, 1, inclusive_end=True), 1e-8),
        ('limit', Int % Range(1, None), None),
        ('metadata', Metadata, None),
        ('groups', MetadataColumn[Numeric], None),
        ('device', Str % Choices('cpu', 'cuda'), 'cpu'),
        ('covariate_columns', List[Str], None),
        ('rate', Float | Str % Choices([AUTO]), AUTO),
    ],
)
def test_no_rule_minds_what_renders_well(name, kind, default):
    assert [rule(name, kind.to_ast(), default) for rule in (*RULES, only_types_that_galaxy_knows)] == [None] * 9


def test_every_parameter_and_input_of_every_action_keeps_every_rule(plugin):
    complaints, seen = [], 0
    for action in plugin.actions.values():
        signature = action.signature
        for specs, rules in ((signature.inputs, RULES), (signature.parameters, [*RULES, only_types_that_galaxy_knows])):
            for name, spec in specs.items():
                default = spec.default if spec.has_default() else NO_DEFAULT
                answers = [rule(name, spec.qiime_type.to_ast(), default) for rule in rules]
                complaints += [f'{action.id}: {answer}' for answer in answers if answer]
                seen += 1
    assert complaints == []
    assert seen > 50


def doubled(inputs, outputs):
    """Names that are both of an input or parameter and of an output: InputsNameDuplicateOutput of Galaxy's linter."""
    return sorted(set(inputs) & set(outputs))


def cited_twice(*lists):
    """DOIs, without regard to case, that stand more than once in what Galaxy renders."""
    dois = [record.fields['doi'].lower() for records in lists for record in records if 'doi' in record.fields]
    return sorted({doi for doi in dois if dois.count(doi) > 1})


def test_names_and_citations_that_stand_twice_are_caught(plugin):
    assert doubled(['table', 'details'], ['details', 'metrics']) == ['details']
    records = plugin.actions['pretrain'].citations
    assert cited_twice(records, records[:1]) == [records[0].fields['doi'].lower()]


def test_no_input_or_parameter_is_named_like_an_output(plugin):
    names = {}
    for action in plugin.actions.values():
        signature = action.signature
        names[action.id] = doubled([*signature.inputs, *signature.parameters], signature.outputs)
    assert any(name.startswith('_') for name in names), 'hidden actions become tools, too'
    assert {action: twice for action, twice in names.items() if twice} == {}


def test_no_doi_stands_twice_in_a_rendered_citation(plugin):
    # Galaxy's tool cites the action, then the plugin, then QIIME 2
    twice = {
        action.id: cited_twice(action.citations, plugin.citations, qiime2.__citations__)
        for action in plugin.actions.values()
    }
    assert {action: dois for action, dois in twice.items() if dois} == {}


class Lines(qiime2.sdk.usage.Usage):
    """Runs an example without running its action, and collects the lines that it expects of its outputs."""

    def __init__(self):
        super().__init__()
        self.expressions, self.types = [], []
        usage = self

        class Variable(qiime2.sdk.usage.UsageVariable):
            def assert_has_line_matching(self, path, expression, key=None):
                usage.expressions.append(expression)

            def assert_output_type(self, semantic_type, key=None):
                usage.types.append(semantic_type)

        self.variable = Variable

    def usage_variable(self, name, factory, var_type):
        return self.variable(name, factory, var_type, self)

    def get_metadata_column(self, name, column_name, variable):
        return self.usage_variable(name, lambda: None, 'column')


def test_examples_expect_whole_lines_and_the_type_of_every_output(plugin):
    """Galaxy matches ^expression$ where QIIME 2 searches: an expression of whole lines means the same to both."""
    for action in plugin.actions.values():
        for example in action.examples.values():
            use = Lines()
            example(use)
            assert use.expressions, f'the test of {action.id} would look into no output'
            assert [text for text in use.expressions if not (text.startswith('^') and text.endswith('$'))] == []
            assert sorted(use.types) == sorted(str(spec.qiime_type) for spec in action.signature.outputs.values())


def test_everything_is_described_and_every_action_has_an_example(plugin):
    for action in plugin.actions.values():
        signature = action.signature
        # the framework gives the page of a visualizer no description
        outputs = {} if action.type == 'visualizer' else signature.outputs
        for specs in (signature.inputs, signature.parameters, outputs):
            nameless = [name for name, spec in specs.items() if not spec.has_description()]
            assert nameless == [], f'{action.id} does not describe {nameless}'
        assert action.name and len(action.description) > 100
        # hidden actions become tools without a test
        hidden = action.id.startswith('_')
        assert action.examples or hidden, f'{action.id} has no usage example, so its Galaxy tool would have no test'
        assert action.citations
