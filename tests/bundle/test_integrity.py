"""Each file of a bundle is vouched for by another: a change that nobody meant is found, whatever it changes."""

import json
import os
import pathlib
import shutil
import stat

import numpy as np
import pytest

from q2_aam import bundle
from q2_aam.errors import UserError

FIXTURE = pathlib.Path(__file__).parents[1] / 'data' / 'bundle-v1'
MISMATCH = (
    "The model's {} does not match the checksum in its {}: one of them is damaged, or of another model; get the "
    'artifact again from where it was made.'
)
OF_WEIGHTS = MISMATCH.format(bundle.MODEL_FILE, bundle.CONFIG_FILE)
OF_CONFIG = MISMATCH.format(bundle.CONFIG_FILE, bundle.CARD_FILE)


@pytest.fixture(params=list(bundle.CALLS))
def model(request, tmp_path):
    """A copy of a sound model of each kind, to be damaged."""
    return shutil.copytree(FIXTURE / request.param, tmp_path / 'model')


def refusal(folder, level='max'):
    with pytest.raises(ValueError) as error:
        bundle.check(folder, level)
    return str(error.value)


def test_a_changed_byte_of_the_weights_is_found_where_all_is_read(model):
    path = model / bundle.MODEL_FILE
    content = path.read_bytes()
    for place in np.random.default_rng(1).integers(8, len(content), 40).tolist() + [len(content) - 1]:
        changed = bytearray(content)
        # the least that can be changed of a number: nothing else would tell
        changed[place] ^= 1
        path.write_bytes(changed)
        assert refusal(model) == OF_WEIGHTS
        with pytest.raises(UserError) as error:
            bundle.load(model)
        assert str(error.value) == OF_WEIGHTS


def test_a_changed_byte_of_the_weights_is_not_looked_for_where_they_are_not_read(model):
    path = model / bundle.MODEL_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    bundle.check(model, 'min')


@pytest.mark.parametrize('level', ['min', 'max'])
def test_a_changed_byte_of_the_configuration_is_found_wherever_it_is(model, level):
    path = model / bundle.CONFIG_FILE
    content = path.read_bytes()
    others = {refusal_of_change(path, content, place, level) for place in range(0, len(content), 7)} - {OF_CONFIG}
    # what is JSON no longer, and a version that another plugin may read, say so
    assert all('it is not JSON' in other or 'format version' in other for other in others), others


def refusal_of_change(path, content, place, level):
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    return refusal(path.parent, level)


def test_a_setting_that_is_as_sound_as_before_is_found(model):
    path = model / bundle.CONFIG_FILE
    fields = json.loads(path.read_text())
    fields['call']['data']['max_asvs_per_sample'] = 3
    path.write_text(json.dumps(fields, indent=1, sort_keys=True) + '\n')
    assert refusal(model, 'min') == OF_CONFIG


@pytest.mark.parametrize('name', [bundle.MODEL_FILE, bundle.CONFIG_FILE])
def test_a_file_of_another_model_is_found(model, name):
    other = FIXTURE / ('classifier' if model.joinpath(bundle.CONFIG_FILE).read_text().count('"age"') else 'regressor')
    shutil.copy(other / name, model)
    assert refusal(model) == (OF_WEIGHTS if name == bundle.MODEL_FILE else OF_CONFIG)


def test_a_checksum_that_is_missing_is_named(model):
    config, card = model / bundle.CONFIG_FILE, model / bundle.CARD_FILE
    fields = json.loads(card.read_text())
    del fields['config_sha256']
    card.write_text(json.dumps(fields))
    assert refusal(model) == "The model's card.json lacks the field config_sha256; use a model of this plugin."
    fields = json.loads(config.read_text())
    del fields['weights_sha256']
    config.write_text(json.dumps(fields))
    assert refusal(model) == (
        "The model's config.json lacks the field weights_sha256 of format version 1, so that it cannot be read; train "
        'the model again with this version of q2-aam.'
    )


@pytest.mark.parametrize('checksum', [None, 1, 'abc', ['a']])
def test_a_checksum_that_is_none_does_not_match(model, checksum):
    path = model / bundle.CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {'config_sha256': checksum}))
    assert refusal(model) == OF_CONFIG


def test_saving_again_gives_the_same_bytes(model, tmp_path):
    card = json.loads((model / bundle.CARD_FILE).read_text())
    # of the frozen model, whose config.json newer versions say more in, and of what they have made
    for source, folder in ((model, tmp_path / 'once'), (tmp_path / 'once', tmp_path / 'again')):
        folder.mkdir()
        bundle.save(folder, bundle.load(source), card)
    for name in bundle.FILES:
        assert (tmp_path / 'again' / name).read_bytes() == (tmp_path / 'once' / name).read_bytes()
    assert (tmp_path / 'once' / bundle.MODEL_FILE).read_bytes() == (model / bundle.MODEL_FILE).read_bytes()


@pytest.mark.parametrize('mask', [0o022, 0o077, 0o002])
def test_all_files_of_a_bundle_may_be_read_by_whom_the_umask_allows(model, tmp_path, mask):
    (tmp_path / 'again').mkdir()
    loaded, card = bundle.load(model), json.loads((model / bundle.CARD_FILE).read_text())
    before = os.umask(mask)
    try:
        bundle.save(tmp_path / 'again', loaded, card)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / 'again' / name).stat().st_mode) for name in bundle.FILES}
    assert modes == {0o666 & ~mask}


def test_a_model_whose_weights_are_no_numbers_is_not_saved(tmp_path):
    loaded = bundle.load(FIXTURE / 'regressor')
    next(loaded.network.parameters()).data[0] = float('nan')
    card = json.loads((FIXTURE / 'regressor' / bundle.CARD_FILE).read_text())
    with pytest.raises(UserError, match='^The weights asv_encoder.nucleotide_embedding of the model are not all numb'):
        bundle.save(tmp_path, loaded, card)
