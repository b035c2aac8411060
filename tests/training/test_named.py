"""Features without sequences are learned by name: models, distances, unknown features, and what cannot be asked for."""

import dataclasses
import types
import warnings

import numpy as np
import pandas as pd
import pytest

from q2_aam import bundle
from q2_aam.config import DistancesConfig, EmbedConfig, FeatureImportanceConfig, PredictConfig, VisualizeAttentionConfig
from q2_aam.data.inputs import read_study
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference.embed import embed, predict_distances
from q2_aam.inference.explain import importance
from q2_aam.inference.explain_samples import NO_NUCLEOTIDES, attention
from q2_aam.inference.predict import predict
from q2_aam.inference.read import NO_CLADES, Clades
from q2_aam.training.named import _warn_of_ids
from tests.conftest import Tiny, make_tiny, run_fit, run_pretrain

AUTO = {'nucleotides_per_token': 'auto'}
ONE = {'threads': 1, 'device': 'cpu'}
# ten genera of three features that are common at the same time
TAXA = pd.Series({f'OTU{number}': f'k__A; p__B; g__{number // 3}' for number in range(30)})


def renamed(tiny, name='OTU{}'.format):
    names = {old: name(number) for number, old in enumerate(tiny.sequences)}
    return Tiny(tiny.counts.rename(columns=names), {}, tiny.distances, tiny.target, tiny.groups)


def files_of(tiny, place):
    files = tiny.write(place)
    files.sequences = None
    return files


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """An encoder, a regressor that begins from it, and one with a taxonomy; of the same tiny study by names."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp('named')
        patch.setenv('AAM_WORK_DIR', str(place / 'work'))
        tiny = renamed(make_tiny())
        files = files_of(tiny, place / 'files')
        encoder = run_pretrain(tiny, place / 'encoder', files=files, **AUTO)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AAMWarning)
            fitted = run_fit(tiny, place / 'fitted', encoder=encoder.folder, files=files)
            placed = run_fit(tiny, place / 'placed', files=files, more={'taxonomy': TAXA}, **AUTO)
        return types.SimpleNamespace(tiny=tiny, files=files, encoder=encoder, fitted=fitted, placed=placed)


def predicted(table, model, clades=NO_CLADES, **options):
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AAMWarning)
        _, details = predict(
            table, model, PredictConfig.from_flat(ONE | options), say=lines.append, clades=clades
        )  # fmt: skip
    return details, lines


def test_one_line_says_which_kind_it_is_and_the_bundle_holds_names_and_no_sequences(runs):
    assert runs.encoder.lines[0] == (
        "Features: without sequences, known by their names (e.g. 'OTU20'); the model knows 30 features, which share "
        'nothing. No nucleotides are masked.'
    )
    assert not any('ucleotide' in line for line in runs.encoder.lines[1:])
    for run, shared in ((runs.encoder, 'nothing'), (runs.fitted, 'nothing'), (runs.placed, 'taxonomy')):
        model = bundle.load(run.folder)
        assert model.references is None and model.config.features.shared == shared
        assert set(model.known_features.ids) <= set(runs.tiny.counts.columns)
        content = b''.join(path.read_bytes() for path in run.folder.iterdir())
        assert not any(sample.encode() in content for sample in runs.tiny.counts.index)


def test_a_fit_from_an_encoder_keeps_what_it_knows_and_predicts_what_it_said(runs, tmp_path):
    encoder, model = bundle.load(runs.encoder.folder), bundle.load(runs.fitted.folder)
    assert model.known_features.ids == encoder.known_features.ids
    name = 'asv_encoder.token_embedding'
    assert (model.network.state_dict()[name] == encoder.network.state_dict()[name]).all()
    details, lines = predicted(runs.files.table, runs.fitted.folder)
    assert lines[0].startswith('Known features: 100% of the reads are in features that the model knows by their names;')
    tested = runs.fitted.details['part'] == 'test'
    np.testing.assert_allclose(
        details['prediction'][tested], runs.fitted.details['prediction'][tested], rtol=1e-4, atol=1e-4
    )
    assert (details['share_of_reads_near'] == 1).all()


def test_features_that_training_samples_lack_are_unknown_there_as_anywhere(tmp_path):
    tiny = renamed(make_tiny())
    # in test samples alone
    split = pd.Series('training', tiny.counts.index).where(np.arange(24) % 4 != 0, 'test')
    split.iloc[1::4] = 'validation'
    tiny.counts['only tested'] = np.where(split == 'test', 50.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AAMWarning)
        run = run_fit(
            tiny, tmp_path / 'run', groups=False, files=files_of(tiny, tmp_path / 'files'), split=split, **AUTO
        )
    assert 'only tested' not in bundle.load(run.folder).known_features.ids
    near = run.details['share_of_reads_near']
    assert (near[split == 'test'] < 1).all() and (near[split != 'test'] == 1).all()


def test_order_of_samples_and_features_and_companions_change_no_prediction(runs, tmp_path):
    whole, _ = predicted(runs.files.table, runs.placed.folder)
    shuffled = Tiny(
        runs.tiny.counts.iloc[::-1, ::-1], {}, runs.tiny.distances, runs.tiny.target, runs.tiny.groups
    )  # fmt: skip
    again, _ = predicted(files_of(shuffled, tmp_path / 'shuffled').table, runs.placed.folder)
    pd.testing.assert_frame_equal(again, whole, rtol=1e-5)
    alone = Tiny(runs.tiny.counts.iloc[[5]], {}, runs.tiny.distances, runs.tiny.target, runs.tiny.groups)
    one, _ = predicted(files_of(alone, tmp_path / 'alone').table, runs.placed.folder)
    pd.testing.assert_frame_equal(one, whole.iloc[[5]], rtol=1e-5)


def test_unknown_features_are_left_out_counted_and_placed_by_their_taxonomy(runs, tmp_path):
    # a third of the features under names that the model does not know
    known = {name: f'new {name}' if int(name[3:]) % 3 == 0 else name for name in runs.tiny.counts}
    strange = Tiny(runs.tiny.counts.rename(columns=known), {}, runs.tiny.distances, None, None)
    files = files_of(strange, tmp_path / 'strange')
    taxonomy = TAXA.rename(known.get)
    left_out, lines = predicted(files.table, runs.placed.folder)
    assert lines[0].endswith('% in 10 unknown features, which are left out.')
    assert (left_out['share_of_reads_near'] < 1).all()
    placed, lines = predicted(files.table, runs.placed.folder, Clades(taxonomy))
    assert 'in others that are placed by their taxonomy' in lines[0]
    assert (placed['share_of_reads_near'] == 1).all()
    assert not np.allclose(placed['prediction'], left_out['prediction'], rtol=1e-6)
    with pytest.warns(AAMWarning) as warned:
        predict(files.table, runs.placed.folder, PredictConfig.from_flat(ONE), clades=Clades('d__' + TAXA))
    assert str(warned[0].message) == (
        "The taxonomy places none of the 10 features that the model does not know (e.g. 'new OTU0'): it does not have "
        'them, or not half of the clades above them are known; give a taxonomy that has them and is made like that of '
        'the training.'
    )
    # what the abundance ensemble knows of it stays the same
    pd.testing.assert_series_equal(placed['vocabulary_coverage'], left_out['vocabulary_coverage'])


def test_a_sample_of_unknown_features_alone_is_flagged_and_a_table_of_them_refused(runs, tmp_path):
    counts = runs.tiny.counts.iloc[:2].copy()
    counts.iloc[0] = 0
    counts['nobody knows'] = [700.0, 0.0]
    details, _ = predicted(
        files_of(Tiny(counts, {}, runs.tiny.distances, None, None), tmp_path / 'one').table, runs.fitted.folder,
        abstain=True,
    )  # fmt: skip
    assert details['flag'].iloc[0] == 'few_near' and np.isnan(details['prediction'].iloc[0])
    strange = renamed(make_tiny(), 'X{}'.format)
    with pytest.raises(UserError) as error:
        predicted(files_of(strange, tmp_path / 'all').table, runs.fitted.folder)
    assert str(error.value) == (
        "The model knows none of the 30 features of the table by name (e.g. 'X27'), but others (e.g. "
        f"'{bundle.load(runs.fitted.folder).known_features.ids[0]}'); give a table with such features as it was "
        'trained on.'
    )


def test_distances_and_embeddings_by_names(runs):
    distances = predict_distances(
        runs.files.table, runs.encoder.folder, DistancesConfig.from_flat(ONE), say=lambda line: None
    )
    true = runs.tiny.distances.loc[distances.index, distances.index]
    upper = np.triu_indices(len(true), 1)
    assert np.corrcoef(distances.to_numpy()[upper], true.to_numpy()[upper])[0, 1] > 0.9
    ordination, _ = embed(runs.files.table, runs.encoder.folder, EmbedConfig.from_flat(ONE), say=lambda line: None)
    assert np.isfinite(ordination.samples.to_numpy()).all() and len(ordination.samples) == 24


def test_importance_and_attention_by_names_have_no_nucleotides(runs):
    config = FeatureImportanceConfig.from_flat(ONE | {'max_samples': 6})
    found = importance(runs.files.table, runs.placed.folder, config, taxonomy=TAXA, say=lambda line: None)
    assert set(found.magnitudes.index) == set(runs.tiny.counts.columns)
    lines = []
    seen = attention(
        runs.files.table, runs.fitted.folder, VisualizeAttentionConfig.from_flat(ONE), say=lines.append
    )  # fmt: skip
    assert seen.sequences == [] and NO_NUCLEOTIDES in lines


def test_going_on_with_new_features_adds_them_to_what_is_known(runs, tmp_path):
    from q2_aam.config import PretrainConfig
    from q2_aam.training.pretrain import pretrain

    other = renamed(make_tiny(), lambda number: f'OTU{number + 10}')
    files = files_of(other, tmp_path / 'files')
    (tmp_path / 'more').mkdir()
    config = PretrainConfig.from_flat({'epochs': 2, 'batch_size': 8, 'random_seed': 7, **ONE})
    pretrain(
        files.table, tmp_path / 'more', config, distance_matrix=files.distance_matrix, say=lambda line: None,
        initial_encoder=runs.encoder.folder,
    )  # fmt: skip
    before, after = bundle.load(runs.encoder.folder).known_features, bundle.load(tmp_path / 'more').known_features
    assert after.ids[:30] == before.ids
    assert set(after.ids[30:]) == {f'OTU{number}' for number in range(30, 40)}


def test_an_encoder_of_names_and_a_table_of_sequences_are_not_combined_nor_the_other_way_round(
    runs, tiny, tiny_encoder, tmp_path
):
    files = tiny.write(tmp_path / 'files')
    with pytest.raises(
        UserError, match='^The model knows features by their names, because .* but sequences are given;'
    ):
        run_fit(tiny, tmp_path / 'one', encoder=runs.encoder.folder, files=files)
    with pytest.raises(
        UserError, match=r"^The feature IDs of the table are not sequences \(e.g. 'OTU0'\); provide the"
    ):
        run_fit(runs.tiny, tmp_path / 'two', encoder=tiny_encoder.folder, files=runs.files)


def test_an_encoder_that_knows_few_of_the_features_is_warned_of(runs, tmp_path):
    strange = renamed(make_tiny(), lambda number: f'OTU{number}' if number < 10 else f'X{number}')
    with pytest.warns(AAMWarning) as caught:
        run_fit(strange, tmp_path / 'few', encoder=runs.encoder.folder, files=files_of(strange, tmp_path / 'files'))
    assert any(
        str(one.message).startswith('The encoder knows features with 3') and 'the network reads no others' in
        str(one.message) for one in caught
    )  # fmt: skip


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'nucleotides_per_token': 6}, 'Parameter nucleotides_per_token is 6, but features without sequences have no '),
        ({'max_sequence_length': 100}, 'Parameter max_sequence_length is 100, but features without sequences have no '),
        ({'nucleotide_weight': 0.5}, 'Parameter nucleotide_weight is 0.5, but features without sequences have no '),
        ({'max_shift': 3}, 'Parameter max_shift is 3, but features without sequences have no nucleotides; leave it '),
        (
            {'matrix': False},
            "There is nothing to learn: features without sequences (e.g. 'OTU20') have no nucleotides, and a taxonomy "
            'is what they share; provide the input "sequences" where there are some, or give a distance_matrix, a ',
        ),
    ],
)
def test_what_is_about_nucleotides_is_refused(options, sentence, runs, tmp_path):
    with pytest.raises(UserError) as error:
        run_pretrain(runs.tiny, tmp_path / 'run', files=runs.files, **(AUTO | options))
    assert str(error.value).startswith(sentence)


def test_names_of_features_that_hold_sample_ids_are_warned_of(runs):
    study, _ = read_study(runs.files.table)
    holder = {name: sorted(runs.tiny.counts.index[runs.tiny.counts[name] > 0])[0] for name in runs.tiny.counts}
    lacks = {name: sorted(runs.tiny.counts.index[runs.tiny.counts[name] == 0])[0] for name in runs.tiny.counts}
    known = bundle.load(runs.fitted.folder).known_features

    def warned(named_after):
        ids = [f'{named_after[name]}.{name}' for name in study.feature_ids]
        renamed = dataclasses.replace(study, feature_ids=ids)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            _warn_of_ids(renamed, known, None)
        return [str(one.message) for one in caught]

    first = min(f'{sample}.{name}' for name, sample in holder.items())
    assert warned(holder) == [
        f'Names of 30 features hold the ID of a sample or group that has it (e.g. {first!r} that of '
        f'{first.rpartition(".")[0]!r}), and a model holds names of features; rename them before training if others '
        'are to get the model.'
    ]
    # numbers that are those of other samples by chance
    assert warned(lacks) == []


def test_what_changes_nothing_is_warned_of(runs, tiny, tmp_path):
    with pytest.warns(AAMWarning, match='^Features of the table have sequences, which are read, so that a taxonomy '):
        run_fit(tiny, tmp_path / 'run', more={'taxonomy': TAXA})
    tree = tmp_path / 'tree.nwk'
    tree.write_text(f'({",".join(runs.tiny.counts)});')
    with pytest.warns(AAMWarning, match='^Features without sequences share their taxonomy where one is given, so that'):
        run_fit(
            runs.tiny, tmp_path / 'both', files=runs.files, more={'taxonomy': TAXA, 'phylogeny': tree}, **AUTO
        )  # fmt: skip
    lines = []
    with pytest.warns(AAMWarning, match='^The model was trained on features that share nothing, so that a taxonomy '):
        predict(
            runs.files.table, runs.fitted.folder, PredictConfig.from_flat(ONE), say=lines.append, clades=Clades(TAXA)
        )


def test_a_phylogeny_gives_distances_and_what_features_share(runs, tmp_path):
    from q2_aam.config import PretrainConfig
    from q2_aam.training.pretrain import pretrain

    tree = tmp_path / 'tree.nwk'
    names = list(runs.tiny.counts)
    # neighbours in time are neighbours in the tree
    pairs = [f'({one}:1,{two}:1):1' for one, two in zip(names[::2], names[1::2])]
    fours = [f'({",".join(pairs[start : start + 3])}):1' for start in range(0, len(pairs), 3)]
    tree.write_text(f'({",".join(fours)});')
    (tmp_path / 'bundle').mkdir()
    config = PretrainConfig.from_flat(
        {'epochs': 2, 'batch_size': 8, 'random_seed': 7, 'width': 16, 'attention_heads': 2, **ONE}
    )
    lines = []
    pretrain(runs.files.table, tmp_path / 'bundle', config, phylogeny=tree, say=lines.append)
    assert 'which share clades of the phylogeny' in lines[0]
    known = bundle.load(tmp_path / 'bundle').known_features
    assert (np.array([len(lineage) for lineage in known.lineages]) >= 1).all()
    assert any(line.startswith('Distances: unweighted UniFrac, from the phylogeny') for line in lines)
