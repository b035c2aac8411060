"""An encoder tells distances and lays samples out: the same in any order and company, symmetric to the last bit."""

import dataclasses
import json
import types

import numpy as np
import pytest
import torch
from skbio import DistanceMatrix
from skbio.stats.ordination import pcoa

from q2_aam import bundle
from q2_aam.config import DistancesConfig, EmbedConfig
from q2_aam.data.inputs import read_study
from q2_aam.errors import AAMWarning, UserError
from q2_aam.inference import embed as embedding
from q2_aam.inference import matrix
from q2_aam.runtime import memory
from q2_aam.runtime.encode import StudyReader

TOLERANCE = 1e-5
QUICK = {'threads': 1, 'device': 'cpu'}


@pytest.fixture
def encoder(tiny_encoder):
    return tiny_encoder.folder


@pytest.fixture
def distances(tmp_path):
    """Predict distances: (tiny, encoder, name of a new folder, options) -> DataFrame."""

    def run(tiny, encoder, name='study', hashed=True, say=lambda line: None, **options):
        files = tiny.write(tmp_path / name, hashed)
        config = DistancesConfig.from_flat(QUICK | options)
        return embedding.predict_distances(files.table, encoder, config, files.sequences, say)

    return run


@pytest.fixture
def embedded(tmp_path):
    """Embed: (tiny, encoder, name of a new folder, options) -> Ordination, DataFrame."""

    def run(tiny, encoder, name='study', hashed=True, say=lambda line: None, **options):
        files = tiny.write(tmp_path / name, hashed)
        config = EmbedConfig.from_flat(QUICK | options)
        return embedding.embed(files.table, encoder, config, files.sequences, say)

    return run


def close(one, other):
    assert list(one.index) == list(other.index) and list(one.columns) == list(other.columns)
    np.testing.assert_allclose(one.to_numpy(), other.to_numpy(), rtol=0, atol=TOLERANCE)
    return True


def test_distances_are_those_by_which_pretraining_is_scored(tiny, distances, encoder, tmp_path):
    result = distances(tiny, encoder)
    model = bundle.load(encoder)
    longest = model.config.call.model.max_sequence_length
    study, _ = read_study(tmp_path / 'study/table.biom', tmp_path / 'study/sequences.fasta', max_length=longest)
    known = StudyReader(study).distances(model.network, 'distances', np.arange(24))
    assert list(result.index) == list(result.columns) == study.sample_ids
    np.testing.assert_allclose(result.to_numpy(), known, rtol=0, atol=TOLERANCE)
    # and they are no constant
    assert result.to_numpy()[np.triu_indices(24, 1)].std() > 0.01


def test_both_matrices_are_symmetric_to_the_last_bit_and_scikit_bio_takes_them(tiny, distances, embedded, encoder):
    for result in (distances(tiny, encoder), embedded(tiny, encoder, 'again')[1]):
        values = result.to_numpy()
        assert values.dtype == np.float32
        assert (values == values.T).all() and (np.diagonal(values) == 0).all() and (values >= 0).all()
        assert DistanceMatrix(values, list(result.index)).ids == tuple(tiny.counts.index)


@pytest.mark.parametrize('count', [1, 2, 7, 8, 9])
def test_every_pair_of_a_matrix_of_any_size_is_computed_once(count, monkeypatch):
    monkeypatch.setattr(matrix, 'MAX_BLOCK', 4)
    points = torch.arange(count, dtype=torch.float32)[:, None] ** 2
    pairs = []

    def between(one, other):
        pairs.append(len(one) * len(other))
        return matrix.euclidean(one, other)

    result = matrix.pairs_matrix(points, between, floats=1e6)
    squares = np.arange(count) ** 2
    assert (result == np.abs(squares[:, None] - squares)).all()
    blocks = -(-count // 4)
    assert len(pairs) == blocks * (blocks + 1) // 2


def test_a_call_between_blocks_holds_no_more_than_it_may():
    sizes = []

    def between(one, other):
        sizes.append(2 * len(one) * len(other) * one.shape[1])
        return one @ other.T

    matrix.pairs_matrix(torch.ones(30, 10), between, floats=800)
    assert max(sizes) == 2 * 6 * 6 * 10
    sizes.clear()
    # one pair at a time is the least
    assert (matrix.pairs_matrix(torch.ones(3, 10), between, floats=1) == 10 - 10 * np.eye(3)).all()
    assert sizes == [20] * 6


def test_the_divisor_of_the_distances_that_were_learned_is_undone(tiny, distances, encoder, tmp_path):
    before = distances(tiny, encoder)
    model = bundle.load(encoder)
    assert model.config.distance_divisor == 1.0
    divided = dataclasses.replace(model, config=dataclasses.replace(model.config, distance_divisor=40.0))
    folder = tmp_path / 'divided'
    folder.mkdir()
    bundle.save(folder, divided, json.loads((encoder / bundle.CARD_FILE).read_text()))
    assert (distances(tiny, folder, 'again') == before * np.float32(40)).all(axis=None)


def test_a_pair_alone_is_as_far_apart_as_in_any_company(tiny, distances, embedded, encoder):
    together, euclidean = distances(tiny, encoder), embedded(tiny, encoder, 'embedded')[1]
    counts = tiny.counts
    for one, other in ((0, 1), (3, 20), (23, 11)):
        tiny.counts = counts.iloc[[one, other]]
        pair = sorted(tiny.counts.index)
        close(distances(tiny, encoder, f'{one} and {other}'), together.loc[pair, pair])
        close(embedded(tiny, encoder, f'embedded {one} and {other}')[1], euclidean.loc[pair, pair])


def test_a_sample_alone_has_a_matrix_of_one_zero(tiny, distances, encoder):
    tiny.counts = tiny.counts.iloc[[5]]
    result = distances(tiny, encoder)
    assert list(result.index) == ['sample-of-visit-05'] and result.to_numpy() == [[0]]


def test_the_order_of_samples_and_features_and_their_names_change_nothing(tiny, distances, embedded, encoder):
    before, (ordination, euclidean) = distances(tiny, encoder), embedded(tiny, encoder, 'embedded')
    shuffled = tiny.shuffled()
    shuffled.counts['nowhere'] = 0.0
    shuffled.sequences['nowhere'] = 'A' * 80
    assert distances(shuffled, encoder, 'shuffled').equals(before)
    assert distances(shuffled, encoder, 'plain', hashed=False).equals(before)
    again, euclidean_again = embedded(shuffled, encoder, 'embedded shuffled')
    assert again.samples.equals(ordination.samples) and again.proportions.equals(ordination.proportions)
    assert euclidean_again.equals(euclidean)


def test_memory_cuts_the_work_and_not_the_result(tiny, distances, embedded, encoder, monkeypatch):
    together, (ordination, euclidean) = distances(tiny, encoder), embedded(tiny, encoder, 'embedded')
    monkeypatch.setattr(memory, 'SHARE_FOR_ACTIVATIONS', 1e-9)
    assert close(distances(tiny, encoder, 'cut', max_memory_gb=0.1), together)
    again, euclidean_again = embedded(tiny, encoder, 'embedded cut', max_memory_gb=0.1)
    assert close(euclidean_again, euclidean)
    np.testing.assert_allclose(again.eigenvalues, ordination.eigenvalues, rtol=0, atol=TOLERANCE)


def test_a_sample_without_reads_is_ignored_with_a_warning(tiny, distances, embedded, encoder):
    tiny.counts.iloc[2] = 0
    for run, name in ((distances, 'distances'), (lambda *given: embedded(*given)[1], 'embedded')):
        with pytest.warns(AAMWarning) as shown:
            result = run(tiny, encoder, name)
        assert [str(one.message) for one in shown] == ["Ignored: 1 sample without reads (e.g. 'sample-of-visit-02')."]
        assert result.shape == (23, 23) and 'sample-of-visit-02' not in result.index


@pytest.mark.filterwarnings('ignore:The result contains negative eigenvalues')
@pytest.mark.parametrize('name', ['memberships', 'mean', 'summary'])
def test_the_ordination_is_the_pcoa_of_the_matrix_beside_it(tiny, embedded, encoder, name):
    result, euclidean = embedded(tiny, encoder, embedding=name)
    # 24 samples, and for memberships as many branches of their own as there are ASVs
    width = 23 if name == 'memberships' else 16
    known = pcoa(DistanceMatrix(euclidean.to_numpy().astype(float), list(euclidean.index)))
    assert list(result.samples.columns) == [f'PC{axis}' for axis in range(1, width + 1)]
    assert list(result.samples.index) == list(euclidean.index)
    largest = known.eigvals.iloc[0]
    np.testing.assert_allclose(result.eigenvalues, known.eigvals.iloc[:width], rtol=0, atol=1e-4 * largest)
    np.testing.assert_allclose(result.proportions, known.proportion_explained.iloc[:width], rtol=0, atol=1e-4)
    # axes may point either way
    first, other = result.samples.iloc[:, 0].to_numpy(), known.samples.iloc[:, 0].to_numpy()
    assert abs(first @ other) / largest == pytest.approx(1, abs=1e-3)
    apart = np.linalg.norm(result.samples.to_numpy()[:, None] - result.samples.to_numpy(), axis=-1)
    np.testing.assert_allclose(apart, euclidean.to_numpy(), rtol=0, atol=TOLERANCE * max(1, euclidean.to_numpy().max()))


def test_embeddings_by_memberships_do_not_tell_how_many_asvs_a_sample_has():
    length_K = torch.tensor([1.0, 4.0, 9.0])
    # softplus undone
    head = types.SimpleNamespace(weight=torch.nn.Parameter(torch.log(torch.expm1(length_K))))
    memberships_BK = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [0, 0, 1]])
    shares = embedding._shares(head, memberships_BK, None)
    # Ochiai's coefficient: 1 of lengths 1 and 1 + 4 is shared, over the square root of their product
    expected = [[1, 5**-0.5, 5**-0.5, 0], [5**-0.5, 1, 1, 0], [5**-0.5, 1, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose((shares @ shares.T).numpy(), expected, rtol=0, atol=1e-6)


def test_points_of_a_plane_are_laid_out_as_they_lie():
    points = np.array([[0.0, 0, 5], [3, 0, 5], [0, 1, 5], [3, 1, 5]])
    result = embedding.ordinate(points, ['a', 'b', 'c', 'd'])
    # four points in three dimensions, one of which does not vary
    np.testing.assert_allclose(result.eigenvalues, [9, 1, 0], atol=1e-12)
    np.testing.assert_allclose(result.proportions, [0.9, 0.1, 0], atol=1e-12)
    np.testing.assert_allclose(result.samples['PC1'], [-1.5, 1.5, -1.5, 1.5])
    np.testing.assert_allclose(result.samples['PC2'], [-0.5, -0.5, 0.5, 0.5])
    assert result.samples.index.name == 'id'


def test_axes_point_the_same_way_whatever_the_order_of_samples():
    random = np.random.default_rng(3)
    points, order = random.normal(size=(12, 5)), random.permutation(12)
    one = embedding.ordinate(points, list('abcdefghijkl'))
    other = embedding.ordinate(points[order], [list('abcdefghijkl')[i] for i in order])
    assert close(other.samples.loc[one.samples.index], one.samples)


@pytest.mark.parametrize('samples, dimensions, axes', [(24, 3, 3), (24, 99, 23), (5, 'auto', 4), (2, 'auto', 1)])
def test_there_are_as_many_axes_as_asked_for_and_as_there_can_be(tiny, embedded, encoder, samples, dimensions, axes):
    tiny.counts = tiny.counts.iloc[:samples]
    result, _ = embedded(tiny, encoder, number_of_dimensions=dimensions)
    assert result.samples.shape == (samples, axes) and len(result.eigenvalues) == len(result.proportions) == axes
    if axes == 3:
        together, _ = embedded(tiny, encoder, 'whole')
        assert result.samples.equals(together.samples.iloc[:, :3]) and result.proportions.equals(
            together.proportions[:3]
        )
        assert together.proportions.sum() == pytest.approx(1)


def test_samples_that_are_all_the_same_lie_on_one_spot():
    result = embedding.ordinate(np.ones((3, 2)), ['a', 'b', 'c'])
    assert (result.samples == 0).all(axis=None) and list(result.proportions) == [0, 0]


def test_a_matrix_that_cannot_hold_all_samples_holds_the_same_ones_at_each_call(tiny, embedded, encoder):
    together, euclidean = embedded(tiny, encoder)
    shown = []
    result, fewer = embedded(tiny, encoder, 'fewer', max_samples_in_matrix=7, say=shown.append)
    assert 'Distances: of 7 samples, drawn at random; max_samples_in_matrix allows no more.' in shown
    assert result.samples.equals(together.samples)
    assert len(set(fewer.index)) == 7 and list(fewer.index) != list(euclidean.index[:7])
    assert fewer.equals(euclidean.loc[fewer.index, fewer.columns])
    assert embedded(tiny.shuffled(), encoder, 'shuffled', max_samples_in_matrix=7)[1].equals(fewer)


def test_progress_is_said(tiny, distances, embedded, encoder):
    shown = []
    distances(tiny, encoder, say=shown.append)
    assert shown == [
        f'Samples: 24 (24 new); median richness {(tiny.counts > 0).sum(axis=1).median():.0f}.',
        'ASVs: 30 distinct, of 40 to 60 nucleotides.',
        'Encoder: predicts distances without a tree, on cpu.',
    ]
    shown.clear()
    result, _ = embedded(tiny, encoder, 'embedded', say=shown.append)
    assert shown[2:] == [
        'Encoder: embeds samples by memberships, on cpu.',
        f'Ordination: the first 3 axes explain {result.proportions[:3].sum():.1%} of the variance.',
    ]


def test_an_encoder_without_distances_is_refused_but_for_embeddings_that_need_none(
    tiny, pretrained, distances, embedded
):
    folder = pretrained(tiny, matrix=False).folder
    with pytest.raises(UserError) as error:
        distances(tiny, folder)
    assert str(error.value) == (
        'The encoder was pretrained without distances and can predict none; pretrain one with a distance_matrix or a '
        'phylogeny.'
    )
    with pytest.raises(UserError) as error:
        embedded(tiny, folder, 'memberships')
    assert str(error.value) == (
        'The encoder was pretrained without distances and has no memberships to embed samples by; pretrain one with a '
        'distance_matrix or a phylogeny, or set embedding to mean.'
    )
    assert embedded(tiny, folder, 'mean', embedding='mean')[0].samples.shape == (24, 16)


def test_a_regressor_is_no_encoder(tiny, distances, embedded, tiny_regressor):
    for run in (distances, embedded):
        with pytest.raises(UserError) as error:
            run(tiny, tiny_regressor.folder, run.__qualname__)
        assert str(error.value) == (
            'The model is of the kind regressor, but encoder is needed; give a model of that kind.'
        )


def test_one_sample_alone_cannot_be_laid_out(tiny, embedded, encoder):
    tiny.counts = tiny.counts.iloc[[5]]
    with pytest.raises(UserError) as error:
        embedded(tiny, encoder)
    assert str(error.value) == 'An ordination needs two samples with reads, but the table has one; give more samples.'


@pytest.mark.parametrize(
    'samples, given, sentence',
    [
        (20000, 1.0, 'of 20,000 samples takes 1.6 GB of memory, but max_memory_gb allows 1.0 GB'),
        (40000, 'auto', 'of 40,000 samples takes 6.4 GB of memory, but this process may use 4.0 GB'),
    ],
)
def test_a_matrix_too_large_for_the_memory_is_refused(samples, given, sentence, monkeypatch):
    monkeypatch.setattr(matrix, 'available_memory_gb', lambda: 4.0)
    with pytest.raises(UserError) as error:
        matrix.check_room(samples, given)
    assert str(error.value) == f'The distance matrix {sentence}; give a table of fewer samples or more memory.'
    assert matrix.check_room(14000, given) is None


def test_the_room_is_checked_before_anything_is_computed(tiny, distances, embedded, encoder, monkeypatch):
    monkeypatch.setattr(matrix, 'BYTES_A_PAIR', 1e6)
    monkeypatch.setattr(embedding, 'StudyReader', None)
    for run in (distances, embedded):
        with pytest.raises(UserError, match=r'^The distance matrix of 24 samples takes 0\.6 GB of memory, but max_'):
            run(tiny, encoder, run.__qualname__, max_memory_gb=0.1)


def test_no_working_files_are_left(tiny, distances, embedded, encoder, work_dir):
    distances(tiny, encoder)
    embedded(tiny, encoder, 'embedded')
    assert list(work_dir.iterdir()) == []
