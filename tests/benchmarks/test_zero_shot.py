"""The benchmarks of encoders: what they call agreement, a reading and itself; they run on what is made here."""

import dataclasses
import importlib
import json
import pathlib
import sys

import numpy as np
import pytest

from q2_aam.data.sequences import encode

FOLDER = pathlib.Path(__file__).parent


@pytest.fixture
def load(monkeypatch):
    """Import a script as it is when it runs."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER.parents[1] / 'recipe'))
    return importlib.import_module


@pytest.fixture
def out(load, tiny, tmp_path):
    """What recipe/train_encoder.py writes, of three studies of the same samples, without a tree program."""
    train_encoder, bench = load('train_encoder'), load('bench')
    files = tiny.write(tmp_path / 'inputs')
    study, _ = bench.read_study(files.table, files.sequences)
    matrix = bench_counts(study)
    sequences = [''.join(np.array(list('?ACGTN'))[row[row > 0]]) for row in study.codes]
    names = {sequence: f'asv{i}' for i, sequence in enumerate(sequences)}
    folder = tmp_path / 'out'
    folder.mkdir()
    for file, studies in (('table.biom', ['learned']), ('left-out.biom', ['left', 'other'])):
        parts = [([f'{name}.{one}' for one in study.sample_ids], sequences, matrix) for name in studies]
        train_encoder.write_table(folder / file, parts, names)
    (folder / 'sequences.fasta').write_text(''.join(f'>{name}\n{one}\n' for one, name in names.items()))
    ladder = 'asv0:1'
    for i in range(1, len(names)):
        ladder = f'({ladder},asv{i}:1):0.3'
    (folder / 'tree.nwk').write_text(f'{ladder};')
    return folder


def bench_counts(study):
    import scipy.sparse

    counts = np.round(study.abundances * np.repeat(study.reads, study.richness)).astype(np.int64)
    return scipy.sparse.csr_matrix((counts, study.asvs, study.offsets), shape=(len(study), len(study.codes)))


def test_agreement_is_1_with_the_truth_and_r_knows_no_scale(load):
    zero_shot = load('zero_shot')
    true = np.abs(np.subtract.outer([0.0, 0.1, 0.4, 0.9], [0.0, 0.1, 0.4, 0.9]))
    assert zero_shot.agreement(true, true) == pytest.approx((1, 1))
    r, r2 = zero_shot.agreement(true / 2, true)
    pairs = true[np.triu_indices(4, 1)]
    assert r == pytest.approx(1) and r2 == pytest.approx(1 - (pairs**2).mean() / 4 / pairs.var())


def test_itself_is_nearest_unless_another_is_nearer(load):
    shifted_asvs = load('shifted_asvs')
    known = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    assert shifted_asvs.share_of_itself(known + 0.1, known) == 1
    assert shifted_asvs.share_of_itself(known[[0, 0, 2]], known) == pytest.approx(2 / 3)


def test_readings_are_what_they_are_called(load):
    random, full = np.random.default_rng(1), 'TACGGAAGCTACGTACGATCGAATTCCAGT' * 4
    readings = load('shifted_asvs').readings(1, 101)
    assert readings['as it is'](full, random) == full[1:101]
    assert readings['start +8, as N'](full, random) == 'N' * 8 + full[9:101]
    assert readings['start -1'](full, random) == full[:100] and readings['end -20'](full, random) == full[1:81]
    assert load('zero_shot').READINGS['start +1, N in front'](full) == 'N' + full[1:]


def test_a_part_of_a_study_at_a_depth_has_its_samples_and_only_asvs_that_occur(load):
    zero_shot, bench = load('zero_shot'), load('bench')
    study = bench.make_up(samples=6, asvs=40, richness=20, length=30, seed=3)
    part = zero_shot.at_depth(zero_shot.part_of(study, np.array([1, 4])), 8, 1)
    assert part.sample_ids == [study.sample_ids[1], study.sample_ids[4]]
    assert (part.richness <= 8).all() and len(part.codes) == len(part.feature_ids) == len(np.unique(part.asvs)) < 40
    place = {name: row for row, name in enumerate(study.feature_ids)}
    for row, name in enumerate(part.feature_ids):
        assert np.array_equal(part.codes[row], study.codes[place[name]])


def test_studies_that_were_left_out_are_scored_with_the_encoder_that_was_trained_on_others(
    load, out, monkeypatch, capsys
):
    train_encoder, zero_shot = load('train_encoder'), load('zero_shot')
    monkeypatch.setitem(train_encoder.LEARNED, 'rarefaction_depth', 50)
    given = ['train_encoder.py', str(out), str(out), '--steps', '2', '--width', '16', '--memberships', '16']
    monkeypatch.setattr(sys, 'argv', given)
    # no study is there to be merged: all that is merged is
    with pytest.raises(SystemExit):
        train_encoder.main()
    assert f'there is no {out / "INDEX.tsv"}' in capsys.readouterr().err
    row = {'name': 'learned', 'environment': 'made up', 'citation': 'none', 'source': 'here', 'licence': 'MIT'}
    (out / 'INDEX.tsv').write_text('\t'.join(row) + '\n' + '\t'.join(row.values()) + '\n')
    train_encoder.main()
    assert (out / 'encoder' / 'model.safetensors').exists() and not list(out.glob('*.part'))
    assert '| learned | made up | none | here | MIT |' in (out / 'encoder' / 'SOURCES.md').read_text()
    monkeypatch.setattr(sys, 'argv', ['zero_shot.py', str(out), '--quick', '--tokens'])
    zero_shot.main()
    said = capsys.readouterr().out
    assert 'left: 8 samples' in said and 'start +8, N in front' in said and 'Aim: r 0.9 on average' in said
    monkeypatch.setattr(sys, 'argv', ['continued_encoder.py', str(out), '--quick', '--scratch', '--studies', 'left'])
    load('continued_encoder').main()
    said = capsys.readouterr().out
    for what in ('held-out, before', 'held-out, after', 'held-out, from scratch', 'other, before', 'other, after'):
        assert f'"{what}": [' in said
    assert 'kept_distances_r2' in said and said.count('\nleft ') == 2


def test_encoders_with_and_without_branches_of_tokens_are_judged_on_samples_that_they_never_saw(
    load, out, monkeypatch, capsys
):
    given = ['branches_from_scratch.py', str(out), '--quick', '--studies', 'learned', '--reads', '50', '--ratios', '2']
    monkeypatch.setattr(sys, 'argv', given)
    load('branches_from_scratch').main()
    said = capsys.readouterr().out
    assert 'learned: 24 samples, seed 1' in said
    r2 = {line.split('  ')[0]: line.split()[-2] for line in said.splitlines() if line.startswith(('off', 'on'))}
    assert list(r2) == ['off', 'on', 'on, new 2 as long'] and r2['off'] != r2['on']


def test_an_encoder_can_go_on_without_branches_of_tokens(load, tiny_encoder, tmp_path):
    from q2_aam import bundle
    from q2_aam.bundle.token_branches import TokenBranches

    model, folder = bundle.load(tiny_encoder.folder), tmp_path / 'tokens'
    folder.mkdir()
    card = json.loads((tiny_encoder.folder / bundle.CARD_FILE).read_text())
    branches = TokenBranches(np.array([1]), np.array([0.06, 0.15]))
    bundle.save(folder, dataclasses.replace(model, token_branches=branches), card)
    without = load('continued_encoder').without_tokens(folder, tmp_path / 'without')
    assert bundle.load(folder).token_branches is not None and bundle.load(without).token_branches is None


def test_tokens_tell_samples_apart_without_an_encoder(load):
    zero_shot = load('zero_shot')
    codes, lengths = encode(['ACGTACGTAA' + 'C' * 10, 'ACGTACGTAA' + 'G' * 10, 'T' * 20])
    # the first sample has the first ASV, the second half of it and half of the second, the third the last one
    made = type('Study', (), {
        'codes': codes, 'lengths': lengths, 'asvs': np.array([0, 0, 1, 2]), 'offsets': np.array([0, 1, 3, 4]),
        'abundances': np.array([1.0, 0.5, 0.5, 1.0]), '__len__': lambda self: 3,
    })()  # fmt: skip
    present, of_reads = zero_shot.token_distances(made)
    np.testing.assert_allclose(present, [[0, 1 / 3, 1], [1 / 3, 0, 1], [1, 1, 0]])
    # of two tokens of each, half of the reads differ in the second
    np.testing.assert_allclose(of_reads, [[0, 0.25, 1], [0.25, 0, 1], [1, 1, 0]])
