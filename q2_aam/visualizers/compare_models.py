"""The visualizer `compare_models`: which of several models errs less, for which samples, and how alike they err."""

import pandas as pd
import qiime2
from q2_sample_classifier import ClassifierPredictions, PredictionsFormat, RegressorPredictions
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, List, Metadata, MetadataColumn, Numeric, Str

from . import charts
from .blocks import Block, Figure, Heading, Table, Text
from .chart_parts import thinned
from .citations import cite
from .evaluate import text_of
from .examples import compare_models_example


def compare_models(
    output_dir: str,
    predictions: PredictionsFormat,
    truth: qiime2.MetadataColumn,
    names: str = None,  # type: ignore[assignment]
    metadata: qiime2.Metadata = None,
    groups: qiime2.MetadataColumn = None,
) -> None:
    # QIIME 2 loads this file to run any action of any plugin
    from q2_aam.evaluation.evaluated import evaluated
    from q2_aam.evaluation.side_by_side import side_by_side

    from .page import write_page

    further = None if metadata is None else metadata.to_dataframe()
    of_groups = None if groups is None else groups.to_series()
    evaluations = [
        evaluated(text_of(one).iloc[:, 0], truth.to_series(), metadata=further, groups=of_groups) for one in predictions
    ]
    compared = side_by_side(evaluations, names)
    write_page(output_dir, f'Models of {compared.target}', blocks_of(compared))


def blocks_of(compared):
    """Return the blocks of the page; `compared` is a :class:`q2_aam.evaluation.side_by_side.SideBySide`."""
    from q2_aam.evaluation.side_by_side import differences

    pairs = differences(compared)
    words = 'share of wrong predictions' if compared.is_class else 'mean absolute error'
    return [
        Text(_verdict(compared, pairs.iloc[0], words), 'verdict'),
        *(Text(note, 'note') for note in compared.notes),
        Heading('Errors'),
        *_errors(compared, pairs, words),
        *_alike(compared),
        *_for_whom(compared),
        _every(compared),
    ]


def _verdict(compared, first, words):
    samples = f'{len(compared.errors):,} samples'
    if compared.grouped:
        samples += f' of {compared.groups.nunique():,} groups'
    ours, other = (compared.errors[name].mean() for name in (first['better'], first['other']))
    means = f'{words} of {compared.target} {ours:.3g} against {other:.3g} on {samples}'
    if first['lower'] != first['lower']:
        return f'{first["better"]} errs less than {first["other"]} here ({means}); a single group gives no interval.'
    interval = f'95 % interval of the difference {first["lower"]:.3g} to {first["upper"]:.3g}'
    if first['upper'] < 0:
        return f'{first["better"]} errs less than {first["other"]}: {means} ({interval}).'
    return f'{first["better"]} and {first["other"]} are not clearly different: {means} ({interval}).'


def _errors(compared, pairs, words):
    from q2_aam.evaluation.error_analysis import mean_with_interval

    means = [(name, *mean_with_interval(compared.errors[name], compared.groups)) for name in compared.ranked]
    each = pd.DataFrame(means, columns=['label', 'value', 'lower', 'upper'])
    drawn = pairs.assign(label=[f'{one} minus {two}' for one, two in zip(pairs['better'], pairs['other'])])
    drawn = drawn[['label', 'value', 'lower', 'upper', 'better_for', 'worse_for']]
    return [
        Figure(
            'errors', f'{words[0].upper()}{words[1:]} of each model', 'With a 95 % interval that respects groups. '
            'These may overlap where the paired differences are clear.', charts.intervals({'': each}, words)[0],
        ),
        Figure(
            'differences', 'Paired differences', 'On the same samples, with a 95 % interval that respects groups: left '
            'of 0, the first of the two errs less.', charts.intervals({'': drawn}, f'difference in {words}', 0.0)[0],
        ),
        Table(
            'differences', 'Every pair', 'better_for and worse_for: shares of samples for which the first errs less '
            'and more.', pairs,
        ),
    ]  # fmt: skip


def _alike(compared):
    """Return how alike the models err, and the errors of the best two against each other."""
    from q2_aam.evaluation.side_by_side import correlations

    matrix = correlations(compared)
    blocks = [
        Heading('Do they err alike?'),
        Figure(
            'correlations', 'Correlation of errors', 'Near 1, models err on the same samples in the same direction; '
            'the lower, the more is won by averaging them.', charts.heatmap(matrix, ('model', 'other model'), '.2f'),
        ),
    ]  # fmt: skip
    if not compared.is_class:
        one, two = compared.ranked[:2]
        titles = across, up = f'absolute error of {one}', f'absolute error of {two}'
        frame = compared.errors[[one, two]].set_axis(list(titles), axis=1).rename_axis('sample').reset_index()
        drawn, said = thinned(frame)
        spec, _ = charts.scatter(drawn, across, up, titles, ['sample', *titles], diagonal=True)
        caption = f'One point a sample; below the dashed line, {two} errs less.{said}'
        blocks.append(Figure('pairs', f'Errors of {one} and {two}', caption, spec))
    return blocks


def _for_whom(compared):
    """Return for which samples the best model wins against the second, and what explains it."""
    from q2_aam.evaluation.error_analysis import bins_of, errors_by_category, explain_errors

    from .evaluate_page import MAX_CATEGORIES, MAX_COLUMNS, rows_of

    one, two = compared.ranked[:2]
    difference = compared.errors[one] - compared.errors[two]
    true = compared.true.astype(str if compared.is_class else float)
    columns = pd.concat([true.rename(f'{compared.target} (true value)'), compared.metadata], axis=1)
    rows = {}
    for name in list(columns)[:MAX_COLUMNS]:
        column = columns[name]
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > MAX_CATEGORIES // 10:
            column = bins_of(column)
        if 1 < column.nunique() <= MAX_CATEGORIES:
            rows[name] = rows_of(errors_by_category(difference, column.astype(object), compared.groups))
    tested, skipped = explain_errors(difference, columns, compared.groups)
    untested = f' Not tested: {", ".join(f"{name} ({why})" for name, why in skipped[:10])}.' if skipped else ''
    blocks: list[Block] = [Heading(f'For which samples is {one} ahead of {two}?')]
    if rows:
        spec, variants = charts.intervals(rows, f'error of {one} minus that of {two}', 0.0)
        caption = f'Left of 0, {one} errs less. With a 95 % interval that respects groups.'
        blocks.append(Figure('by-column', 'Difference by column', caption, spec, 'Column', variants))
    return [
        *blocks,
        Table(
            'columns', 'Columns that explain who wins', 'Numbers by Spearman, categories by Kruskal-Wallis, p adjusted '
            f'by Benjamini-Hochberg; "errors" are differences here.{untested}', tested, 10,
        ),
    ]  # fmt: skip


def _every(compared):
    frame = pd.concat(
        [compared.true, compared.predicted.add_prefix('predicted by '), compared.errors.add_prefix('error of ')], axis=1
    )
    if compared.grouped:
        frame.insert(1, 'group', compared.groups)
    return Table(
        'samples',
        'Every sample',
        'All that this page rests on.',
        frame.join(compared.metadata, rsuffix=' (metadata)'),
        5,
    )


def register(plugin):
    """Register the visualizer with the plugin object."""
    plugin.visualizers.register_function(
        function=compare_models,
        inputs={'predictions': List[SampleData[RegressorPredictions | ClassifierPredictions]]},
        parameters={
            'truth': MetadataColumn[Numeric | Categorical],
            'names': List[Str],
            'metadata': Metadata,
            'groups': MetadataColumn[Numeric | Categorical],
        },
        input_descriptions={
            'predictions': 'Predictions of two models or more for the same samples, for example of two '
            'cross-validations, or of this plugin and of q2-sample-classifier.',
        },
        parameter_descriptions={
            'truth': 'Metadata column with the true values.',
            'names': 'A name for each set of predictions, in the same order. By default model 1, model 2 and so on.',
            'metadata': 'Further columns, by which it is explained which model is ahead.',
            'groups': 'Metadata column with the group of each sample (such as a subject or a site). Intervals then '
            'respect that samples of one group are alike.',
        },
        name='Compare models on the same samples',
        description='Show which of several models errs less, in one page: errors and their paired differences with '
        'intervals, for which samples each is ahead, which metadata columns explain that, and how alike the models '
        'err. Every figure can be saved as SVG or PNG, every table as TSV.',
        citations=cite('hesterberg2015', 'satyanarayan2017', 'vanderplas2018'),
        examples={'compare_two_models': compare_models_example},
    )
