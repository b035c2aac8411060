"""What an evaluation's page says of numbers and of classes alike: baselines, errors by column, worst samples, flags."""

import numpy as np
import pandas as pd

from q2_aam.data.applicability import (
    FEW_NEAR,
    FEW_READS,
    LOW_COVERAGE,
    NO_READS,
    OK,
    OTHER_LENGTH,
    OTHER_REGION,
    OTHER_TRIMMING,
    REVERSE_COMPLEMENT,
    UNLIKE_TRAINING,
)
from q2_aam.errors import counted
from q2_aam.evaluation.error_analysis import bins_of, errors_by_category, explain_errors
from q2_aam.evaluation.evaluated import FLAG, READ
from q2_aam.evaluation.extra_targets import is_of_extra_target, table_of_metrics
from q2_aam.evaluation.out_of_fold import GUESS, OURS
from q2_aam.evaluation.sites import SITES
from q2_aam.evaluation.verdict import ALL, DIFFERENCE, WEIGHTS

from . import charts
from .blocks import Figure, Heading, Table, Text

# Columns by which a reader can colour or divide samples; more fill no menu.
MAX_COLUMNS = 30
# Categories that a chart of errors draws; the table has all.
MAX_ROWS_DRAWN = 20
# A column with more tells names apart.
MAX_CATEGORIES = 200
# Below this, a column counts as one that explains the error.
SIGNIFICANT = 0.05
MEANINGS = {
    OK: 'Nothing speaks against the prediction.',
    REVERSE_COMPLEMENT: 'At least half of the reads are in reverse complement to the training sequences.',
    OTHER_REGION: 'At least half of the reads resemble no training sequence: another region or organism.',
    OTHER_TRIMMING: 'At least half of the reads begin elsewhere than the training sequences.',
    FEW_NEAR: 'Less than half of the reads are near training sequences.',
    OTHER_LENGTH: 'At least half of the reads are shorter or longer than the training sequences.',
    FEW_READS: 'Fewer than 100 reads: rare ASVs are missed.',
    LOW_COVERAGE: 'Less of the sample is in ASVs that the model knows than of training samples of other groups.',
    UNLIKE_TRAINING: 'It lies farther from the training samples than nearly all samples of left-out groups.',
    NO_READS: 'No reads that the model can read; nothing is predicted.',
}


def samples_and_groups(seen):
    """Return '126 samples of 43 groups', or '126 samples' where there are no groups."""
    samples = counted(len(seen.frame), 'sample')
    return f'{samples} of {counted(seen.frame["group"].nunique(), "group")}' if seen.grouped else samples


def compared_with(difference, other):
    """Return how ours compares with another way to predict, from an interval of the difference of errors."""
    if np.isnan(difference.lower):
        return f'There are too few groups to tell whether that is better than {other}.'
    interval = f'95 % interval of the difference {difference.lower:.3g} to {difference.upper:.3g}'
    if difference.upper < 0:
        return f'That is better than {other} ({difference.other:.3g}; {interval}).'
    if difference.lower > 0:
        return f'That is worse than {other} ({difference.other:.3g}; {interval}).'
    return f'That is not clearly different from {other} ({difference.other:.3g}; {interval}).'


def verdict_of_metrics(metrics):
    """Return the verdict that stands in metrics, and their warnings, with how many models they are about."""
    if metrics is None:
        return '', []
    ours = metrics[metrics['method'].eq(OURS) & ~metrics['fold'].isin([ALL, SITES])]
    models, repeats = len(ours[['repeat', 'fold']].drop_duplicates()), metrics['repeat'].loc[lambda one: one.ne(ALL)]
    said = ' (Said of {:.0f} of {} models; figures in it are those of the first.)'.format
    warned = [
        f'{row.note}{said(row.value, models) if 0 < row.value < models else ""}'
        for row in metrics[metrics['metric'] == 'warning'].itertuples()
    ]
    verdict = ' '.join(metrics.loc[metrics['metric'] == 'verdict', 'note'].dropna())
    if verdict and (number := repeats.nunique()) > 1:
        verdict += f' These are means over {number} repeats; all other errors are of predictions averaged over them.'
    return verdict, warned


def extra_targets_blocks(seen, metrics):
    """Return the section on extra targets, or nothing where none were learned."""
    table = seen.extra_targets if metrics is None else table_of_metrics(metrics)
    if table.empty:
        return []
    caption = (
        'Further columns that the network has learned beside the target, out of fold: mean absolute error (mae), R2 '
        'and correlation (r), and the errors of guessing the median and, of the first 8 columns, of a random forest. '
        'A difference is the 95 % interval of the error of the network minus the other one, and respects groups: '
        'below 0, the network errs less.'
        if metrics is not None
        else 'Further columns that the network has learned beside the target, in samples with a true value.'
    )
    return [Heading('Extra targets'), Table('extra-targets', 'Every extra target', caption, table)]


def colour_columns(seen):
    """Return a frame of the columns that tell samples apart, and the sentence that says which are not there."""
    known = seen.metadata.copy()
    for name in (*(['group'] if seen.grouped else []), 'fold', FLAG):
        if name in seen.frame and name not in known:
            known[name] = seen.frame[name].map(str)
    useful = [name for name in known if _tells_apart(known[name])]
    said = ''
    if len(useful) > MAX_COLUMNS:
        said = f' The first {MAX_COLUMNS} of {len(useful)} columns can be chosen.'
    return known[useful[:MAX_COLUMNS]], said


def with_colours(seen, frame):
    """Return one row a sample with the columns that it can be coloured by.

    Parameters
    ----------
    seen : q2_aam.evaluation.evaluated.Evaluated
    frame : pandas.DataFrame
        By sample id.

    Returns
    -------
    frame : pandas.DataFrame
        Its first column is `sample`.
    colours : list of str
        Columns; one that is named like one of `frame` says so.
    said : str
        Which are left out.
    """
    columns, said = colour_columns(seen)
    frame = frame.drop(columns=['group', 'fold', FLAG], errors='ignore')
    names = {name: f'{name} (column)' if name in frame or name == 'sample' else name for name in columns}
    joined = frame.join(columns.rename(columns=names)).rename_axis('sample').reset_index()
    return joined, list(names.values()), said


def _tells_apart(column):
    values = column.dropna()
    if pd.api.types.is_numeric_dtype(values):
        return values.nunique() > 1
    # names of single samples are no categories
    return 1 < values.nunique() < max(3, len(values) / 1.5)


def baselines_blocks(metrics, computed, first, words):
    """Return the section that compares with baselines, or nothing.

    Parameters
    ----------
    metrics : pandas.DataFrame or None
    computed : list of (str, q2_aam.evaluation.comparison.Difference)
        Where there are no metrics.
    first : str
        Name of the metric whose differences are drawn.
    words : str
        What it is called.
    """
    if metrics is not None:
        of_all = metrics[(metrics['fold'] == ALL) & (metrics['repeat'] == ALL)]
        drawn = of_all[of_all['metric'] == first + DIFFERENCE]
        drawn = drawn[['against', 'value', 'lower', 'upper', 'samples']].rename(columns={'against': 'label'})
    else:
        of_all = None
        rows = [(name, one.value, one.lower, one.upper, one.samples) for name, one in computed]
        drawn = pd.DataFrame(rows, columns=['label', 'value', 'lower', 'upper', 'samples'])
    drawn = drawn.dropna(subset=['value'])
    if drawn.empty:
        return []
    drawn = drawn.sort_values('value', ignore_index=True)
    guesses = [name for name in GUESS if name in set(drawn['label'])]
    drawn['label'] = drawn['label'].map(lambda name: _named(name, guesses))
    blocks = [
        Heading('Compared with baselines'),
        Figure(
            'baselines', f'Difference in {words}',
            f'{OURS} minus each baseline, on the same samples, with a 95 % interval that respects groups: left of 0, '
            f'{OURS} errs less.{_weights_of(metrics)}',
            charts.intervals({'': drawn}, f'{OURS} minus baseline: {words}', marked=0.0)[0],
        ),
    ]  # fmt: skip
    if of_all is not None:
        scores = of_all[of_all['against'].isna() & ~of_all['metric'].isin(['verdict', 'warning', WEIGHTS])]
        scores = scores[~is_of_extra_target(scores)]
        wide = scores.pivot_table(index='method', columns='metric', values='value', sort=False)
        blocks.append(
            Table(
                'methods',
                'Every method',
                'Means over repeats, of all folds together.',
                wide.rename_axis('method'),
                beside=True,
            )
        )
    else:
        blocks.append(
            Table('methods', 'Differences', 'Computed from the details.', drawn.set_index('label'), beside=True)
        )
    return blocks


def _weights_of(metrics):
    """Return the sentence that says with which weights baselines have learned, if any."""
    if metrics is None:
        return ''
    return ''.join(f' {note}' for note in metrics.loc[metrics['metric'] == WEIGHTS, 'note'])


def _named(name, guesses):
    words = name.replace('_', ' ')
    return f'guessing the {words}' if name in guesses else words


def errors_by_column(seen, words):
    """Return the figure of errors by any column, and a table of all of them."""
    columns, said = colour_columns(seen)
    frames = []
    for name in columns:
        column = columns[name]
        if pd.api.types.is_numeric_dtype(column):
            column = bins_of(column) if column.nunique() > MAX_ROWS_DRAWN else column.map(lambda value: f'{value:g}')
        if column.nunique() > MAX_CATEGORIES:
            continue
        frame = errors_by_category(seen.frame['error'], column.astype(object), seen.frame['group'])
        frame.insert(0, 'column', name)
        frames.append(frame)
    # columns whose categories have an interval come first
    frames = sorted((frame for frame in frames if len(frame) > 1), key=lambda frame: frame['lower'].isna().all())
    if not frames:
        return []
    rows = {str(frame['column'].iloc[0]): rows_of(frame) for frame in frames}
    spec, variants = charts.intervals(rows, words, marked=float(seen.frame['error'].mean()))
    caption = (
        f'Mean over the samples of each category, whose number stands beside it, with a 95 % interval that respects '
        f'groups; the line is the mean of all. At most {MAX_ROWS_DRAWN} categories, those with the largest errors '
        f'first.{said}'
    )
    return [
        Figure('error-by-column', f'{words[0].upper()}{words[1:]} by column', caption, spec, 'Column', variants),
        Table(
            'error-by-column', 'The same as a table', 'One row a category.',
            pd.concat(frames, ignore_index=True).rename(columns={'value': 'mean error'}), 8, True,
        ),
    ]  # fmt: skip


def rows_of(frame):
    """Return the rows of :func:`q2_aam.visualizers.charts.intervals` from errors by category."""
    drawn = frame.head(MAX_ROWS_DRAWN).copy()
    drawn.insert(0, 'label', [f'{name} (n = {n:,})' for name, n in zip(drawn['category'], drawn['samples'])])
    return drawn[['label', 'value', 'lower', 'upper', 'samples', 'groups']]


def error_analysis_blocks(seen):
    """Return the section that tells what explains the errors, which samples are worst, and what flags mean."""
    columns = seen.metadata.copy()
    for name in READ:
        if name in seen.frame:
            columns[f'{name} (details)'] = seen.frame[name]
    if FLAG in seen.frame:
        columns[f'{FLAG} (details)'] = seen.frame[FLAG]
    truth = seen.frame['true'] if seen.classes else seen.frame['true'].astype(float)
    columns.insert(0, f'{seen.target} (true value)', truth)
    tested, skipped = explain_errors(seen.frame['error'], columns, seen.frame['group'])
    found = tested[tested['p_adjusted'] < SIGNIFICANT]
    return [
        Heading('What explains the errors'),
        Text(explained(found, tested)),
        Table(
            'columns', 'Columns ranked by how well they explain the error', _how_tested(skipped),
            tested.rename(columns={'p_adjusted': 'adjusted p'}),
        ),
        *_flags(seen),
        _worst(seen),
        _every(seen),
    ]  # fmt: skip


def explained(found, tested):
    """Return the sentence that says which columns explain the errors."""
    if tested.empty:
        return 'No column could be tested: give metadata with more columns to learn for which samples errors are large.'
    if found.empty:
        return (
            f'None of {counted(len(tested), "column")} explains the errors (every adjusted p is above {SIGNIFICANT}).'
        )
    first = found.iloc[0]
    best = f'{first["column"]}: {first["finding"]}'
    if len(found) == 1:
        return f'Of {counted(len(tested), "column")}, one explains the errors: {best}.'
    rest = ', '.join(found['column'].iloc[1:5])
    return f'Of {len(tested)} columns, {len(found)} explain the errors. First is {best}. Then follow {rest}.'


def _how_tested(skipped):
    text = (
        'Numbers: Spearman rank correlation with the error. Categories: Kruskal-Wallis. Strength: absolute rank '
        'correlation, or the share of the variance of ranks that categories explain. p adjusted by Benjamini-Hochberg. '
        'A column with one value in each group is tested on the mean errors of groups; where it varies within groups, '
        'p is that of permutations that keep groups together.'
    )
    if skipped:
        names = ', '.join(f'{name} ({why})' for name, why in skipped[:10])
        text += f' Not tested: {names}{f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""}.'
    return text


def _flags(seen):
    if FLAG not in seen.frame:
        return []
    frame = errors_by_category(seen.frame['error'], seen.frame[FLAG], seen.frame['group'])
    frame = frame.rename(columns={'category': FLAG, 'value': 'mean error'})
    frame['meaning'] = [MEANINGS.get(flag, '') for flag in frame[FLAG]]
    flagged = int((seen.frame[FLAG].dropna() != OK).sum())
    caption = 'No sample is flagged.' if not flagged else f'{counted(flagged, "sample")} flagged.'
    return [Table('flags', 'Applicability of the model: flags and their errors', caption, frame)]


def _worst(seen):
    first = ['true', 'predicted', 'error', 'probability of the true class', 'lower_bound', 'upper_bound', 'group',
             'fold', FLAG, 'reads_used', 'asvs_used', 'share_of_reads_near']  # fmt: skip
    frame = with_true_probability(seen).sort_values('error', ascending=False, kind='stable')
    if seen.probabilities is not None:
        frame = frame.sort_values('probability of the true class', kind='stable')
    if not seen.grouped:
        frame = frame.drop(columns='group')
    kept = frame[[name for name in first if name in frame]].head(50)
    return Table('worst', 'Samples with the largest errors', 'The worst first, with their applicability.', kept, 15)


def with_true_probability(seen):
    """Return the frame with the probability that the true class was given, where there are probabilities."""
    if seen.probabilities is None:
        return seen.frame
    places = [seen.classes.index(name) for name in seen.frame['true']]
    shares = seen.probabilities.to_numpy()[np.arange(len(places)), places]
    return seen.frame.assign(**{'probability of the true class': shares})


def _every(seen):
    frame = seen.frame if seen.grouped else seen.frame.drop(columns='group')
    if seen.probabilities is not None:
        frame = frame.join(seen.probabilities.add_prefix('probability of '))
    return Table(
        'samples', 'Every sample', 'All that this page rests on.', frame.join(seen.metadata, rsuffix=' (metadata)'), 5
    )
