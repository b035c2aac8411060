"""Embeddings that are kept are those that would be computed, bit for bit; what is wrong with them costs time only."""

import dataclasses
import errno
import hashlib
import os
import stat
import threading
import time

import numpy as np
import pytest
import torch

from q2_aam import bundle
from q2_aam.config import FitRegressorConfig
from q2_aam.errors import AAMWarning, UserError
from q2_aam.model.network import build_network
from q2_aam.runtime import encode, kept_embeddings
from q2_aam.runtime.encode import StudyReader, embed_asvs, embed_frozen, embed_in_blocks
from q2_aam.runtime.kept_embeddings import KeptEmbeddings, digest_of, keeping, open_kept
from q2_aam.runtime.run import open_run
from q2_aam.runtime.run_root import EMBEDDINGS

EVERY = np.arange(30)
SOME = np.array([5, 0, 23, 11, 7, 8, 2])


@pytest.fixture
def network(tiny_encoder):
    return bundle.load(tiny_encoder.folder).network.eval()


@pytest.fixture
def computed(monkeypatch):
    """How many ASVs each call encodes in blocks."""
    sizes = []

    def embed(network, study, asvs):
        sizes.append(len(asvs))
        return embed_in_blocks(network, study, asvs)

    monkeypatch.setattr(encode, 'embed_in_blocks', embed)
    return sizes


@pytest.fixture
def kept(work_dir):
    """What is kept of an encoder of width 4: at most 500 bytes, which are two files of four ASVs and not three."""
    (work_dir / EMBEDDINGS).mkdir(parents=True)
    return KeptEmbeddings(work_dir / EMBEDDINGS, 'ab' * 16, 500)


@pytest.fixture
def frozen(network, study):
    """Embed ASVs of the study where embeddings are kept."""

    def embed(asvs, network=network):
        with keeping():
            return embed_frozen(network, study, asvs)

    return embed


def files_of(work_dir):
    return sorted((work_dir / EMBEDDINGS).iterdir())


def names(*numbers):
    return [bytes([number]) * 16 for number in numbers]


@pytest.mark.parametrize(
    ('threads', 'form'), [(1, {}), (2, {}), (1, {'width': 64, 'asv_layers': 2, 'nucleotides_per_token': 3})]
)
def test_what_an_asv_becomes_does_not_depend_on_the_others(network, study, monkeypatch, threads, form):
    monkeypatch.setitem(encode.TOKENS_OF_BLOCK, 'cpu', 160)
    network = build_network(dataclasses.replace(network.config, **form), {}, torch.Generator().manual_seed(1)).eval()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = embed_in_blocks(network, study, EVERY)
        random = np.random.default_rng(1)
        for asvs in (SOME, EVERY[::-1].copy(), EVERY[:1], *(random.permutation(30)[:size] for size in (3, 17, 29))):
            assert torch.equal(embed_in_blocks(network, study, asvs), whole[asvs])
        assert torch.allclose(whole, embed_asvs(network, study, EVERY), atol=1e-5)
    finally:
        torch.set_num_threads(before)


def test_what_is_kept_is_not_computed_again_and_is_the_same_bit_for_bit(network, study, frozen, computed, work_dir):
    expected = embed_in_blocks(network, study, EVERY)
    assert torch.equal(frozen(SOME), expected[SOME])
    assert torch.equal(frozen(EVERY), expected)
    # 23 that are new, and a few of the 7 that are of one length
    assert computed[0] == 7 and 23 < computed[1] < 30
    assert torch.equal(frozen(EVERY[::-1].copy()), expected.flip(0))
    assert computed[2] <= encode.ASVS_TO_CHECK and len(files_of(work_dir)) == 2
    # of another study, or of a fold
    assert torch.equal(frozen(SOME[:2]), expected[SOME[:2]]) and computed[3] <= 2


def test_nothing_is_kept_of_an_encoder_that_learns(network, study, work_dir):
    StudyReader(study).remember(network)
    with keeping(False):
        StudyReader(study).remember(network)
    assert not (work_dir / EMBEDDINGS).exists()
    with keeping():
        StudyReader(study).remember(network)
    assert len(files_of(work_dir)) == 1


def test_a_fit_is_the_same_with_an_empty_a_full_and_no_store(
    tiny, fitted, tiny_encoder, computed, monkeypatch, work_dir
):
    def fit(name):
        run = fitted(tiny, name, encoder=tiny_encoder.folder)
        model = hashlib.sha256((run.folder / 'model.safetensors').read_bytes()).hexdigest()
        return model, run.predictions.tolist(), run.details.to_csv()

    empty = fit('empty')
    full = fit('full')
    assert computed[0] == 30 and max(computed[1:]) <= encode.ASVS_TO_CHECK and len(files_of(work_dir)) == 1
    monkeypatch.setenv('AAM_EMBEDDINGS_GB', '0')
    assert empty == full == fit('none') and computed[-1] == 30


def test_all_that_bits_depend_on_makes_another_encoder(network, monkeypatch):
    digests = {digest_of(network)}
    assert len(next(iter(digests))) == 32 and digest_of(network) in digests
    monkeypatch.setattr(network, 'precision', torch.bfloat16)
    digests.add(digest_of(network))
    monkeypatch.setattr(kept_embeddings, 'hash_of_code', lambda: 'other')
    digests.add(digest_of(network))
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 3)
    digests.add(digest_of(network))
    monkeypatch.setattr(torch, '__version__', '0')
    digests.add(digest_of(network))
    with torch.no_grad():
        network.asv_encoder.norm.bias[0] += 1e-6
    digests.add(digest_of(network))
    network.config = dataclasses.replace(network.config, nucleotides_per_token=3)
    digests.add(digest_of(network))
    assert len(digests) == 7
    # samples are none of its business
    with torch.no_grad():
        next(network.sample_encoder.parameters()).add_(1.0)
    assert digest_of(network) in digests


def test_another_processor_makes_another_encoder(network, monkeypatch, tmp_path):
    digests = {digest_of(network)}
    for model in ('model name\t: One', 'model name\t: Other', 'processor\t: 0'):
        (tmp_path / 'cpuinfo').write_text(f'{model}\nMHz\t: 1\n{model}\nMHz\t: 2\n')
        monkeypatch.setattr(kept_embeddings, 'CPU_INFO', tmp_path / 'cpuinfo')
        digests.add(digest_of(network))
    assert len(digests) == 4
    # clocks differ from call to call
    (tmp_path / 'cpuinfo').write_text('processor\t: 0\nMHz\t: 3\n')
    assert digest_of(network) in digests
    monkeypatch.setattr(kept_embeddings, 'CPU_INFO', tmp_path / 'nowhere')
    assert digest_of(network) in digests


@pytest.mark.parametrize('damage', ['cut', 'longer', 'changed', 'empty'])
def test_a_damaged_file_is_named_deleted_and_made_anew(network, study, frozen, computed, work_dir, damage):
    expected = frozen(EVERY)
    (path,) = files_of(work_dir)
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    damaged = {'cut': content[:-1], 'longer': content + b'0', 'changed': content, 'empty': b''}[damage]
    path.write_bytes(damaged)
    why = {'changed': 'it does not match its checksum', 'empty': 'it is too short'}
    with pytest.warns(AAMWarning) as warned:
        again = frozen(EVERY)
    assert [str(warning.message) for warning in warned] == [
        f'The embeddings in {path} are damaged ({why.get(damage, "it has another size than it says")}) and were '
        'deleted; they are computed again.'
    ]
    assert torch.equal(again, expected) and computed == [30, 30] and files_of(work_dir) != [path]


def test_what_would_be_computed_otherwise_here_is_not_taken(network, study, frozen, computed, work_dir):
    expected = embed_in_blocks(network, study, EVERY)
    names_of_all = kept_embeddings.names_of(*encode.read_sequences(study, EVERY))
    # as of a processor of another kind
    open_kept(digest_of(network)).add(names_of_all, np.nextafter(expected.numpy(), np.float32(9)))
    assert torch.equal(frozen(EVERY), expected)
    assert computed[-1] == 30 and len(files_of(work_dir)) == 1


def test_without_room_it_is_said_and_all_goes_on(network, study, frozen, monkeypatch, work_dir):
    expected = embed_in_blocks(network, study, EVERY)

    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kept_embeddings, '_write', full)
    with pytest.warns(AAMWarning) as warned:
        assert torch.equal(frozen(EVERY), expected)
    assert [str(warning.message) for warning in warned] == [
        f'The embeddings of 30 ASVs cannot be kept in {work_dir / EMBEDDINGS} (No space left on device): other folds, '
        'trials and calls compute them again.'
    ]
    assert files_of(work_dir) == []


def test_without_a_folder_it_is_said_and_all_goes_on(network, study, frozen, monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('AAM_WORK_DIR', str(tmp_path / 'file' / 'work'))
    with pytest.warns(AAMWarning) as warned:
        frozen(EVERY)
    assert [str(warning.message) for warning in warned] == [
        f'Embeddings cannot be kept in {tmp_path / "file" / "work" / EMBEDDINGS} (Not a directory): other folds, '
        'trials and calls compute them again.'
    ]


def test_nobody_else_can_read_them_and_they_name_no_sequence(study, frozen, work_dir):
    work_dir.mkdir()
    (work_dir / EMBEDDINGS).mkdir(mode=0o755)
    frozen(EVERY)
    (path,) = files_of(work_dir)
    assert stat.S_IMODE((work_dir / EMBEDDINGS).stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    assert not any(study.codes[asv, :16].tobytes() in content for asv in EVERY)


def test_a_folder_of_somebody_else_is_not_used(monkeypatch, work_dir):
    monkeypatch.setattr(kept_embeddings, 'make_private', lambda folder: False)
    assert open_kept('ab' * 16) is None


@pytest.mark.parametrize('text', ['much', '-1', 'inf', 'nan', '1e300'])
def test_the_limit_must_be_a_number_which_is_said_when_a_run_begins(monkeypatch, text):
    monkeypatch.setenv('AAM_EMBEDDINGS_GB', text)
    sentence = (
        f'The environment variable AAM_EMBEDDINGS_GB is {text!r}, but it must be a number of GB, 0 or more; set it to '
        'how much may be kept of the embeddings of ASVs, 0 for nothing.'
    )
    with pytest.raises(UserError) as error:
        open_kept('ab' * 16)
    assert str(error.value) == sentence
    with pytest.raises(UserError) as error, open_run('fit', FitRegressorConfig(), {}):
        pass
    assert str(error.value) == sentence


def test_of_too_many_those_go_that_were_not_used_for_the_longest_time(kept, work_dir):
    one, two, three = (np.full((4, 4), number, dtype=np.float32) for number in (1, 2, 3))
    ours = names(1, 2, 3, 4), names(5, 6, 7, 8), names(9, 10, 11, 12)
    for number, rows in enumerate((one, two)):
        before = files_of(work_dir)
        kept.add(ours[number], rows)
        (written,) = set(files_of(work_dir)) - set(before)
        os.utime(written, (100 + number, 100 + number))
    (work_dir / EMBEDDINGS / 'mine.txt').write_text('x' * 1000)
    into = np.zeros((4, 4), dtype=np.float32)
    assert kept.take(ours[0], into).all() and (into == one).all()
    # each has 56 bytes of a head, 64 of names and 64 of embeddings
    kept.add(ours[2], three)
    assert not kept.take(ours[1], into).any() and kept.take(ours[0], into).all() and kept.take(ours[2], into).all()
    assert (work_dir / EMBEDDINGS / 'mine.txt').exists() and len(files_of(work_dir)) == 3


def test_more_than_may_be_kept_is_not_written(kept, work_dir):
    kept.add(names(*range(30)), np.zeros((30, 4), dtype=np.float32))
    kept.add([], np.zeros((0, 4), dtype=np.float32))
    assert files_of(work_dir) == []


def test_who_reads_a_file_goes_on_when_it_is_deleted(kept, work_dir):
    rows = np.arange(16, dtype=np.float32).reshape(4, 4)
    kept.add(names(1, 2, 3, 4), rows)
    (path,) = files_of(work_dir)
    with path.open('rb') as file:
        known, mapped = kept_embeddings._read(file, 4)
    path.unlink()
    assert known == names(1, 2, 3, 4) and (mapped == rows).all()


def test_a_file_that_cannot_be_read_hides_no_other(kept, work_dir, monkeypatch):
    kept.add(names(1), np.ones((1, 4), dtype=np.float32))
    kept.add(names(2), np.full((1, 4), 2, dtype=np.float32))
    first, read = files_of(work_dir)[0], kept_embeddings._read

    def broken(file, width):
        if file.name == str(first):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(file, width)

    monkeypatch.setattr(kept_embeddings, '_read', broken)
    assert kept.take(names(1, 2), np.zeros((2, 4), dtype=np.float32)).sum() == 1


def test_use_does_not_make_them_last_longer(kept, work_dir):
    kept.add(names(1), np.ones((1, 4), dtype=np.float32))
    (path,) = files_of(work_dir)
    then = time.time() - 86400
    os.utime(path, (then, then))
    kept.take(names(1), np.zeros((1, 4), dtype=np.float32))
    assert path.stat().st_mtime == pytest.approx(then, abs=1) and path.stat().st_atime > then + 80000


def test_many_at_once_read_add_and_delete(kept, recwarn):
    wrong = []

    def work(seed):
        random = np.random.default_rng(seed)
        for _ in range(40):
            numbers = random.permutation(60)[:4]
            into = np.zeros((4, 4), dtype=np.float32)
            found = kept.take(names(*numbers), into)
            wrong.extend(numbers[found & (into != numbers[:, None]).any(axis=1)])
            new = numbers[~found]
            kept.add(names(*new), np.repeat(new[:, None], 4, axis=1).astype(np.float32))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and not recwarn.list
    assert sum(path.stat().st_size for path in kept.folder.iterdir()) <= kept.max_bytes
