"""The visualizer evaluate, called as QIIME 2 calls it."""

import types

import numpy as np
import pandas as pd
import pytest
import qiime2
from q2_sample_classifier import PredictionsFormat, ProbabilitiesFormat

from q2_aam.visualizers.evaluate import evaluate

METRICS = ['method', 'against', 'repeat', 'fold', 'metric', 'samples', 'value', 'sd', 'lower', 'upper', 'note']


def as_format(kind, values):
    view = kind()
    with view.open() as handle:
        values.to_csv(handle, sep='\t', index_label='id')
    return view


def given(study, **more):
    """Return what the action takes of a study: everything but probabilities and metrics."""
    column = qiime2.NumericMetadataColumn if study.truth.dtype.kind == 'f' else qiime2.CategoricalMetadataColumn
    return {
        'predictions': as_format(PredictionsFormat, study.predictions),
        'details': study.details,
        'truth': column(study.truth),
        'metadata': qiime2.Metadata(study.metadata),
        'groups': qiime2.CategoricalMetadataColumn(study.groups),
        **more,
    }


@pytest.fixture
def page(tmp_path):
    """Make the page: arguments of the action -> its folder and its text."""

    def make(**arguments):
        evaluate(str(tmp_path), **arguments)
        return types.SimpleNamespace(folder=tmp_path, text=(tmp_path / 'index.html').read_text('ascii'))

    return make


def metrics():
    rows = [
        ('AAM', 'ridge', 'all', 'all', 'verdict', 60, -1.0, np.nan, -2.0, -0.5, 'Best baseline: ridge.'),
        ('AAM', np.nan, 'all', 'all', 'warning', 60, 4.0, np.nan, np.nan, np.nan, 'Ignored: 3 samples.'),
        ('AAM', 'ridge', 'all', 'all', 'mae_difference', 60, -1.0, np.nan, -2.0, -0.5, np.nan),
        ('AAM', 'median', 'all', 'all', 'mae_difference', 60, -4.0, np.nan, -5.0, -3.0, np.nan),
        ('AAM', np.nan, 'all', 'all', 'mae', 60, 3.0, np.nan, np.nan, np.nan, np.nan),
        ('ridge', np.nan, 'all', 'all', 'mae', 60, 4.0, np.nan, np.nan, np.nan, np.nan),
        ('ridge', np.nan, '1', '2', 'mae', 20, 9.0, np.nan, np.nan, np.nan, np.nan),
    ]
    return pd.DataFrame(rows, columns=METRICS)


def test_the_page_of_a_number_begins_with_the_mean_error_and_its_interval(numbers, page):
    made = page(**given(numbers))
    error = (numbers.predictions - numbers.truth).abs().mean()
    verdict = made.text.split('aam-verdict">')[1].split('</p>')[0]
    assert verdict.startswith(
        f'Predictions of age for 60 samples of 20 groups are off by {error:.3g} on average (95 % '
    )
    assert 'That is better than guessing the median (' in made.text


def test_the_page_of_a_number_has_a_mark_for_every_sample(numbers, page, specs):
    found = specs(page(**given(numbers)).folder)
    assert list(found) == [
        'predicted', 'residual-by-true', 'residual-by-reads_used', 'calibration', 'coverage', 'baselines',
        'error-by-column',
    ]  # fmt: skip
    for name in list(found)[:3]:
        assert len(found[name]['spec']['datasets']['rows']) == 60
    assert [one['label'] for one in found['predicted']['variants']] == [
        'one colour', 'site', 'weight', 'group', 'fold', 'flag'
    ]  # fmt: skip
    assert len(found['calibration']['spec']['datasets']['rows']) == 6
    assert len(found['coverage']['spec']['datasets']['rows']) == 5


def test_baselines_are_compared_from_the_details(numbers, page, specs):
    rows = specs(page(**given(numbers)).folder)['baselines']['spec']['datasets']['rows']
    error = (numbers.predictions - numbers.truth).abs().mean()
    by_label = {row['c0']: row['c1'] for row in rows}
    assert list(by_label) == ['random forest', 'guessing the median']
    assert by_label['random forest'] == pytest.approx(error - 8, rel=1e-4)


def test_metrics_bring_their_verdict_their_warnings_and_their_differences(numbers, page, specs):
    made = page(**given(numbers, metrics=metrics()))
    assert 'Best baseline: ridge.' in made.text and 'Ignored: 3 samples.' in made.text
    rows = specs(made.folder)['baselines']['spec']['datasets']['rows']
    assert [list(row.values())[:2] for row in rows] == [['guessing the median', -4.0], ['ridge', -1.0]]
    methods = pd.read_csv(made.folder / 'tables' / 'methods.tsv', sep='\t', index_col='method')
    assert methods['mae'].to_dict() == {'AAM': 3.0, 'ridge': 4.0}


def test_a_warning_of_some_models_says_of_how_many(numbers, page):
    given_metrics = metrics()
    folds = [
        ('AAM', np.nan, '1', fold, 'mae', 12, 3.0, np.nan, np.nan, np.nan, np.nan) for fold in ('1', '2', '3', '4', '5')
    ]
    few = ('AAM', np.nan, 'all', 'all', 'warning', 60, 2.0, np.nan, np.nan, np.nan, 'Few groups.')
    every = ('AAM', np.nan, 'all', 'all', 'warning', 60, 5.0, np.nan, np.nan, np.nan, 'Far reads.')
    sites = ('AAM', np.nan, 'all', 'sites', 'mae', 60, 3.0, np.nan, np.nan, np.nan, np.nan)
    given_metrics = pd.concat([given_metrics, pd.DataFrame([few, every, *folds, sites], columns=METRICS)])
    text = page(**given(numbers, metrics=given_metrics)).text
    assert 'Few groups. (Said of 2 of 5 models; figures in it are those of the first.)</p>' in text
    assert 'Far reads.</p>' in text and 'all other errors' not in text


def test_of_repeats_it_says_which_errors_are_means_and_which_of_averaged_predictions(numbers, page):
    repeats = [('AAM', np.nan, str(one), 'all', 'mae', 60, 3.0, np.nan, np.nan, np.nan, np.nan) for one in (1, 2)]
    given_metrics = pd.concat([metrics(), pd.DataFrame(repeats, columns=METRICS)])
    text = page(**given(numbers, metrics=given_metrics)).text
    assert (
        'Best baseline: ridge. These are means over 2 repeats; all other errors are of predictions averaged over them.'
    ) in text


def test_the_column_that_makes_the_error_is_named_first(numbers, page):
    made = page(**given(numbers))
    assert (
        'First is site: largest in skin (' in made.text
        or 'one explains the errors: site: largest in skin (' in made.text
    )
    columns = pd.read_csv(made.folder / 'tables' / 'columns.tsv', sep='\t')
    assert columns['column'][0] == 'site' and 'study (one value)' in made.text


def test_the_worst_samples_come_first_with_what_their_flags_mean(numbers, page):
    made = page(**given(numbers))
    worst = pd.read_csv(made.folder / 'tables' / 'worst.tsv', sep='\t', index_col='id')
    assert worst.index[0] == (numbers.predictions - numbers.truth).abs().idxmax() and len(worst) == 50
    flags = pd.read_csv(made.folder / 'tables' / 'flags.tsv', sep='\t', index_col='flag')
    assert flags['samples'].to_dict() == {'ok': 59, 'few_near': 1}
    assert flags['meaning']['few_near'] == 'Less than half of the reads are near training sequences.'
    assert '1 sample flagged.' in made.text


def test_intervals_that_are_too_wide_are_called_so(numbers, page):
    wide = numbers.details.assign(lower_bound=-100.0, upper_bound=100.0)
    made = page(**given(numbers, details=wide, coverage=0.5))
    assert 'The intervals are too wide: 100 % of true values are in them (50 % expected' in made.text


def test_values_whose_intervals_are_too_narrow_are_named(numbers, page):
    high = numbers.truth > 12
    narrow = numbers.details.assign(
        lower_bound=numbers.truth - 1 + 3 * high, upper_bound=numbers.truth + 1 + 3 * high
    )  # fmt: skip
    text = page(**given(numbers, details=narrow, coverage=0.5)).text
    said = text.split('There are fewer than expected for ')[1].split(' %. ')[0]
    # the highest quarter of 60 samples
    assert said.endswith(f' to {numbers.truth.max():.3g} (n = 15): 0')


def test_the_page_of_classes_has_every_curve(classes, page, specs):
    made = page(**given(classes))
    found = specs(made.folder)
    assert list(found) == ['confusion', 'roc', 'precision', 'reliability', 'probability-by-reads', 'error-by-column']
    counts, shares = (dict_of(one) for one in found['confusion']['variants'])
    cells = [row['c2'] for row in counts['datasets']['rows']]
    assert sum(cells) == 60 and len(cells) == 9
    assert sum(row['c2'] for row in shares['datasets']['rows']) == pytest.approx(3, abs=1e-4)
    assert [one['label'] for one in found['roc']['variants']] == [
        'all classes',
        'class gut',
        'class oral',
        'class skin',
    ]
    assert 'area' in [layer['mark']['type'] for layer in dict_of(found['roc']['variants'][1])['layer']]


def dict_of(variant):
    return {path[0]: value for path, value in variant['patches']}


def test_the_page_of_classes_begins_with_the_share_that_is_right(classes, page):
    made = page(**given(classes))
    right = (classes.predictions == classes.truth).mean()
    verdict = made.text.split('aam-verdict">')[1].split('</p>')[0]
    assert verdict.startswith(
        f'{100 * right:.0f} % of 60 samples of 20 groups are assigned their true class of site (95 % '
    )
    assert 'In the mean over classes, ' in made.text and 'always guessing the most frequent class' in made.text


def of_two_classes(prior, of_cases):
    """Return details and truth of 400 samples of which one in eight is a case.

    A sign is seen in a share `of_cases` of the cases, and in one in five of the other samples. The probabilities follow
    from it alone, and are right where a share `prior` of the samples are cases.
    """
    ids = pd.Index([f'S{number:03d}' for number in range(400)], name='id')
    case, place = np.arange(400) % 8 == 0, np.arange(400) // 8
    sign = np.where(case, place < of_cases * 50, place < 10)
    odds = prior / (1 - prior) * np.where(sign, of_cases / 0.2, (1 - of_cases) / 0.8)
    shares = pd.DataFrame({'case': odds / (1 + odds), 'control': 1 / (1 + odds)}, ids)
    details = pd.DataFrame({'part': 'test', 'prediction': shares.idxmax(axis=1), 'flag': 'ok'}, ids)
    truth = pd.Series(np.where(case, 'case', 'control'), ids, name='status').astype(object)
    return details.join(shares.add_prefix('probability_')), truth


@pytest.mark.parametrize(
    'prior, of_cases, trusted, why',
    [
        (0.5, 0.8, True, 'Not so those of single classes: '),
        (0.5, 0.3, False, 'The reason: '),
        (0.125, 0.8, True, ''),
    ],
)
def test_the_page_says_that_probabilities_are_off_since_the_training_was_balanced(page, prior, of_cases, trusted, why):
    details, truth = of_two_classes(prior, of_cases)
    made = page(
        predictions=as_format(PredictionsFormat, details['prediction'].rename('status')),
        details=details,
        truth=qiime2.CategoricalMetadataColumn(truth),
    )
    caption = made.text.split('id="figure-reliability"')[1].split('</figcaption>')[0].split('<figcaption>')[1]
    assert ('can be taken at their word' in caption) == trusted
    assert ('underconfident: probabilities are lower' in caption) != trusted
    assert (f'{why}class_weights balanced, the default of fit-classifier, makes' in caption) == bool(why)
    assert ('its share of these samples is 0.' in caption) == bool(why)
    assert ('Train with class_weights none' in caption) == bool(why)


def test_probabilities_of_another_plugin_are_not_said_to_follow_from_our_parameter(page):
    details, truth = of_two_classes(0.5, 0.3)
    shares = details.filter(like='probability_').rename(columns=lambda name: name.removeprefix('probability_'))
    made = page(
        predictions=as_format(PredictionsFormat, details['prediction'].rename('status')),
        probabilities=as_format(ProbabilitiesFormat, shares),
        truth=qiime2.CategoricalMetadataColumn(truth),
    )
    assert 'underconfident' in made.text and 'class_weights' not in made.text


def test_predictions_alone_are_enough(classes, page, specs):
    # as q2-sample-classifier gives them
    made = page(
        predictions=as_format(PredictionsFormat, classes.predictions),
        truth=qiime2.CategoricalMetadataColumn(classes.truth),
    )
    assert list(specs(made.folder)) == ['confusion']
    assert 'There are no probabilities' in made.text


def test_probabilities_of_sample_classifier_are_taken(classes, page, specs):
    made = page(
        predictions=as_format(PredictionsFormat, classes.predictions),
        probabilities=as_format(ProbabilitiesFormat, classes.probabilities),
        truth=qiime2.CategoricalMetadataColumn(classes.truth),
    )
    assert list(specs(made.folder)) == ['confusion', 'roc', 'precision', 'reliability']


def test_numbers_without_details_have_no_intervals(numbers, page, specs):
    made = page(
        predictions=as_format(PredictionsFormat, numbers.predictions), truth=qiime2.NumericMetadataColumn(numbers.truth)
    )
    assert list(specs(made.folder)) == ['predicted', 'residual-by-true', 'calibration']


def test_baselines_have_curves_beside_those_of_a_single_class(classes, page, specs):
    forest = classes.probabilities.sample(frac=1, random_state=1).set_axis(classes.probabilities.index)
    details = classes.details.join(forest.add_prefix('random_forest|'))
    found = specs(page(**given(classes, details=details)).folder)
    for kind in ('roc', 'precision'):
        (of_class,) = (one for one in found[kind]['variants'] if one['label'] == 'class gut')
        (rows,) = (value['rows'] for (key, *_), value in of_class['patches'] if key == 'datasets')
        drawn = pd.Series([value for row in rows for value in row.values() if isinstance(value, str)])
        assert drawn.value_counts().to_dict() == {'AAM': 101, 'random forest': 101}


def test_more_than_thirty_classes_are_grouped_and_it_is_said(page):
    ids = pd.Index([f'S{number}' for number in range(120)], name='id')
    truth = pd.Series([f'class {number % 40:02d}' for number in range(120)], ids, name='kind')
    made = page(predictions=as_format(PredictionsFormat, truth), truth=qiime2.CategoricalMetadataColumn(truth))
    assert 'Of 40 classes, the 29 with the most samples are told apart' in made.text


@pytest.mark.parametrize('kind', ['numbers', pytest.param('classes', marks=pytest.mark.slow)])
def test_a_page_opens_in_a_browser(kind, request, page, browser):
    made = page(**given(request.getfixturevalue(kind)))
    asked = browser(
        made.folder,
        """
        const fills = (name) => new Set([...document.querySelectorAll(
          `#figure-${name} path[aria-roledescription="point"]`)].map((mark) => mark.getAttribute('fill')));
        const name = document.getElementById('figure-predicted') ? 'predicted' : 'probability-by-reads';
        const before = fills(name).size;
        const points = document.querySelectorAll(`#figure-${name} path[aria-roledescription="point"]`).length;
        const choice = document.querySelector(`#figure-${name} .aam-choice`);
        choice.value = '1';
        choice.dispatchEvent(new Event('change'));
        await rest(500);
        const sort = [...document.querySelectorAll('#table-worst .aam-sort')][1];
        const first = () => document.querySelector('#table-worst tbody td').textContent;
        const rows = [first()];
        sort.click(); rows.push(first()); sort.click(); rows.push(first());
        document.getElementById('aam-theme').click();
        const saved = {};
        HTMLAnchorElement.prototype.click = function () { saved[this.download] = this.href; };
        for (const button of document.querySelectorAll('#figure-error-by-column [data-save]')) button.click();
        await rest(500);
        const picture = new Image();
        picture.src = saved['error-by-column.png'];
        await picture.decode();
        const canvas = document.createElement('canvas');
        canvas.getContext('2d').drawImage(picture, 0, 0);
        const svg = await (await fetch(saved['error-by-column.svg'])).text();
        return {
          figures: document.querySelectorAll('.aam-figure').length,
          drawn: document.querySelectorAll('.aam-figure svg.marks').length,
          points, before, after: fills(name).size, rows,
          svg: svg.slice(0, 60), corner: [...canvas.getContext('2d').getImageData(0, 0, 1, 1).data],
          theme: document.documentElement.dataset.theme, wide: document.documentElement.scrollWidth - innerWidth,
        };
        """,
    )  # fmt: skip
    assert asked.faults == []
    assert asked.answer['figures'] == asked.answer['drawn'] >= 6
    assert (asked.answer['points'], asked.answer['before'], asked.answer['after']) == (60, 1, 2)
    # saved on white, from a page that is dark
    assert asked.answer['svg'].startswith('<svg style="background:white;color:black" ')
    assert asked.answer['corner'] == [255, 255, 255, 255]
    assert len(set(asked.answer['rows'][1:])) == 2 and asked.answer['theme'] == 'dark' and asked.answer['wide'] <= 0


def test_a_class_that_is_a_script_does_not_run(classes, page, browser):
    attack = '</script><script>window.attacked = true</script><img src=x onerror="window.attacked = true">'
    names = {'gut': attack, 'oral': '${window.attacked = true}', 'skin': "'); window.attacked = true; ('"}
    renamed = types.SimpleNamespace(
        predictions=classes.predictions.map(names), truth=classes.truth.map(names), groups=classes.groups.map(str),
        details=classes.details[['part', 'reads_used', 'flag']].assign(prediction=classes.predictions.map(names)),
        metadata=classes.metadata.rename(columns={'run': attack}),
    )  # fmt: skip
    made = page(
        **given(renamed, probabilities=as_format(ProbabilitiesFormat, classes.probabilities.rename(columns=names)))
    )
    asked = browser(
        made.folder,
        """
        for (const choice of document.querySelectorAll('.aam-choice')) {
          choice.selectedIndex = choice.options.length - 1;
          choice.dispatchEvent(new Event('change'));
        }
        await rest(500);
        const point = document.querySelector('#figure-probability-by-reads path[aria-roledescription="point"]');
        const { x, y, width } = point.getBoundingClientRect();
        for (const kind of ['pointerover', 'pointermove', 'mouseover', 'mousemove']) {
          const place = { bubbles: true, clientX: x + width / 2, clientY: y + width / 2, view: window };
          point.dispatchEvent(new (kind.startsWith('p') ? PointerEvent : MouseEvent)(kind, place));
        }
        await rest(300);
        return {
          attacked: window.attacked ?? false, images: document.querySelectorAll('#aam img').length,
          tip: document.getElementById('vg-tooltip-element').textContent,
        };
        """,
    )
    assert asked.faults == []
    assert (asked.answer['attacked'], asked.answer['images']) == (False, 0)
    # the pointer shows the sample, its classes as text
    assert 'probability of the true class' in asked.answer['tip'] and 'window.attacked' in asked.answer['tip']


@pytest.mark.slow
def test_ten_thousand_samples_open_in_two_seconds(page, browser):
    random = np.random.default_rng(1)
    ids = pd.Index([f'S{number}' for number in range(10_000)], name='id')
    truth = pd.Series(random.normal(size=10_000), ids, name='age')
    predicted = (truth + random.normal(size=10_000)).rename('age')
    bounds = {
        'lower_bound': predicted - 1,
        'upper_bound': predicted + 1,
        'reads_used': random.integers(1, 9999, 10_000),
    }
    details = pd.DataFrame({'part': 'test', 'prediction': predicted, 'flag': 'ok', **bounds}, ids)
    metadata = {f'column {number}': random.integers(0, 5, 10_000).astype(float) for number in range(20)}
    made = page(
        predictions=as_format(PredictionsFormat, predicted), truth=qiime2.NumericMetadataColumn(truth), details=details,
        metadata=qiime2.Metadata(pd.DataFrame(metadata, ids)),
    )  # fmt: skip
    assert ' 1,000 of 10,000 samples are drawn; the table has all of them.' in made.text
    assert len(pd.read_csv(made.folder / 'tables' / 'samples.tsv', sep='\t')) == 10_000
    # the first one also starts the browser
    times = [browser(made.folder, 'return performance.now();').answer for _ in range(3)]
    assert min(times) < 2000
