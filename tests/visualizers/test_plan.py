"""The page of plan, made as QIIME 2 makes it: of the study of the usage examples, and of one with faults."""

import types

import pandas as pd
import pytest
import qiime2
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format

from q2_aam.actions import examples
from q2_aam.actions.plan import plan
from q2_aam.types import AAMModelDirectoryFormat
from tests.evaluation.planned import make_study

QUICK = {'threads': 1, 'device': 'cpu'}


@pytest.fixture(scope='module')
def small():
    """The study of the usage examples: artifacts, whose files live as long as they do, and their views."""
    kept = examples.table_factory(), examples.sequences_factory(), examples.distances_factory()
    views = (one.view(kind) for one, kind in zip(kept, (BIOMV210Format, DNAFASTAFormat, LSMatFormat)))
    table, sequences, distances = views
    return types.SimpleNamespace(
        kept=kept, table=table, sequences=sequences, distances=distances, metadata=qiime2.Metadata(examples.study()[2])
    )


@pytest.fixture
def faulty(tmp_path):
    """Write a study: (study) -> arguments of the action."""

    def write(study):
        table, sequences = study.write(tmp_path / 'study')
        return {
            'table': BIOMV210Format(str(table), mode='r'),
            'sequences': DNAFASTAFormat(str(sequences), mode='r'),
            'metadata': qiime2.NumericMetadataColumn(study.target),
            'batches': qiime2.Metadata(study.batches.assign(age=study.target)),
        }

    return write


@pytest.fixture
def page(tmp_path):
    """Make the page: arguments of the action -> its folder and its text."""

    def make(*given, **arguments):
        folder = tmp_path / 'page'
        folder.mkdir()
        plan(str(folder), *given, **QUICK, **arguments)
        return types.SimpleNamespace(folder=folder, text=(folder / 'index.html').read_text('ascii'))

    return make


def test_the_page_begins_with_what_was_found_and_ends_with_what_is_derived(small, page, specs):
    age, subject = small.metadata.get_column('age'), small.metadata.get_column('subject')
    made = page(small.table, small.sequences, metadata=age, groups=subject)
    assert made.text.split('aam-verdict">')[1].startswith('Found 1 warning: few labelled samples.</p>')
    found = pd.read_csv(made.folder / 'tables' / 'findings.tsv', sep='\t')
    assert list(found.columns) == ['severity', 'fault', 'where', 'what', 'what to do']
    assert found['fault'][0] == 'few_labels' and made.text.count('<li class="aam-card ') == len(found)
    derived = pd.read_csv(made.folder / 'tables' / 'derived.tsv', sep='\t', index_col='parameter')
    assert derived['value']['max_sequence_length'] == '48'
    costs = pd.read_csv(made.folder / 'tables' / 'costs.tsv', sep='\t', index_col='part')
    assert costs['seconds']['steps of the network'] > 0
    assert list(specs(made.folder)) == ['learning-curve', 'depth', 'target']


def test_the_commands_name_the_columns_and_the_inputs(small, page):
    metadata = small.metadata.to_dataframe().rename(columns={'stage': 'the "stage"'})
    stage, subject = map(qiime2.Metadata(metadata).get_column, ('the "stage"', 'subject'))
    made = page(small.table, metadata=stage, groups=subject, sequences=small.sequences, rehearse=False)
    text = made.text.replace('&#34;', '"').replace('&#39;', "'")
    assert (
        'qiime aam evaluate-classifier \\\n  --i-table table.qza \\\n  --i-sequences rep-seqs.qza \\\n'
        '  --i-encoder pretrained/encoder.qza \\\n'
        '  --m-metadata-file metadata.tsv --m-metadata-column \'the "stage"\' \\\n'
        '  --m-groups-file metadata.tsv --m-groups-column subject \\\n'
        '  --p-random-seed 1 --output-dir evaluation'
    ) in text
    assert 'qiime aam pretrain' in text and 'qiime aam fit-classifier' in text
    # nothing was rehearsed
    assert not (made.folder / 'tables' / 'costs.tsv').exists()


def test_an_encoder_is_looked_at_and_need_not_be_made(small, page, tiny_encoder):
    encoder = AAMModelDirectoryFormat(str(tiny_encoder.folder), mode='r')
    made = page(small.table, small.sequences, encoder, metadata=small.metadata.get_column('age'), rehearse=False)
    assert 'qiime aam pretrain' not in made.text and '--i-encoder encoder.qza' in made.text
    assert 'unlike anything that the encoder has read' in made.text
    assert 'Mend the errors above first.' in made.text


def test_without_a_target_pretraining_is_planned(small, page):
    made = page(small.table, small.sequences, distance_matrix=small.distances)
    assert 'Nothing was found that speaks against training' in made.text
    assert '--i-distance-matrix distance-matrix.qza' in made.text and 'fit-regressor' not in made.text


def test_faults_are_on_the_page_and_no_target_is_its_own_batch(faulty, page, specs):
    study = make_study()
    study.batches['run'] = (study.target > study.target.median()).map({True: 'one', False: 'two'})
    made = page(**faulty(study), rehearse=False)
    assert 'Warning: something else goes with the target</b> <span>(column run)' in made.text
    tested = pd.read_csv(made.folder / 'tables' / 'confounding.tsv', sep='\t')
    assert list(tested['column']) == ['run', 'read depth'] and 'by-category' in specs(made.folder)


def test_an_error_ends_the_plan_before_anything_is_trained(faulty, page):
    study = make_study()
    study.target[:] = 3.0
    made = page(**faulty(study))
    assert 'Found 1 error: the target.' in made.text and 'has only the value 3 (80 labelled samples)' in made.text
    assert 'Mend the errors above first.' in made.text and not (made.folder / 'tables' / 'costs.tsv').exists()


def test_samples_of_a_large_study_are_thinned_on_the_page_alone(faulty, page, specs, monkeypatch):
    monkeypatch.setattr('q2_aam.visualizers.chart_parts.MAX_MARKS', 20)
    made = page(**faulty(make_study()), rehearse=False)
    assert len(specs(made.folder)['depth']['spec']['datasets']['rows']) == 20
    assert '20 of 80 samples are drawn' in made.text
    assert len(pd.read_csv(made.folder / 'tables' / 'samples.tsv', sep='\t')) == 80


@pytest.mark.slow
def test_a_plan_opens_in_a_browser(faulty, page, specs, browser):
    made = page(**faulty(make_study()))
    asked = browser(
        made.folder,
        'document.querySelector(".aam-copy").click(); await rest(100);'
        'return [document.querySelectorAll("svg.marks").length, document.querySelector(".aam-copy").textContent];',
    )
    assert asked.faults == []
    assert asked.answer[0] == len(specs(made.folder)) and asked.answer[1] in ('Copied', 'Selected')
