"""Inputs are known by their content, and not by their place, order or date."""

import biom
import h5py
import numpy as np
import pandas as pd

from q2_aam.runtime.content import hash_files, hash_frame, hash_series


def test_a_file_is_known_by_its_content_and_a_folder_by_all_its_files(tmp_path):
    for folder in ('one', 'two', 'three'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'a').write_text('same')
        (tmp_path / folder / 'b').write_text('other' if folder == 'three' else 'too')
    hashes = hash_files(
        **{name: tmp_path / name for name in ('one', 'two', 'three')}, file=tmp_path / 'one' / 'a', none=None
    )
    assert hashes['one'] == hashes['two'] != hashes['three']
    # sha256sum of "same"
    assert hashes['file'] == '0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5'
    assert 'none' not in hashes


def test_a_table_is_known_by_what_is_in_it_and_not_by_when_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr('q2_aam.runtime.content.VALUES_PER_BLOCK', 2)
    counts = np.array([[1.0, 2, 0], [0, 3, 4]])
    for name, values, samples in (
        ('one', counts, 'xyz'),
        ('two', counts, 'xyz'),
        ('three', counts, 'xyw'),
        ('four', counts * 2, 'xyz'),
        ('five', counts, 'xyz'),
    ):
        table = biom.Table(values, ['f1', 'f2'], list(samples))
        table.create_date = f'2026-11-2{len(name)}T00:00:00'
        with h5py.File(tmp_path / name, 'w') as file:
            table.to_hdf5(file, name)
            file['number'] = float(name == 'five')
    hashes = hash_files(**{name: tmp_path / name for name in ('one', 'two', 'three', 'four', 'five')})
    assert (tmp_path / 'one').read_bytes() != (tmp_path / 'two').read_bytes()
    assert hashes['one'] == hashes['two'] and len(set(hashes.values())) == 4


def test_a_column_is_known_by_its_ids_values_and_name_in_any_order():
    series = pd.Series([1.0, np.nan, 3.0], index=['a', 'b', 'c'], name='age')
    assert hash_series(series) == hash_series(series[::-1])
    others = [series.rename('days'), series.fillna(2.0), series.rename({'a': 'x'})]
    assert len({hash_series(series), *map(hash_series, others)}) == 4


def test_metadata_are_known_by_their_columns_in_any_order():
    frame = pd.DataFrame({'age': [1.0, np.nan], 'site': ['x', None]}, index=['a', 'b'])
    assert hash_frame(frame) == hash_frame(frame.iloc[::-1][['site', 'age']])
    others = [frame[['age']], frame.rename(columns={'age': 'days'}), frame.fillna({'site': 'y'})]
    assert len({hash_frame(frame), *map(hash_frame, others)}) == 4


def test_text_that_is_no_unicode_has_a_hash_too():
    assert hash_series(pd.Series(['a'], ['s\ud800'])) != hash_series(pd.Series(['a'], ['s\ud801']))
