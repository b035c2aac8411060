"""What is damaged is refused in a sentence of its own."""

import shutil

import pytest
import torch

from q2_aam import bundle
from q2_aam.errors import UserError

MISMATCH = (
    "The model's {} does not match the checksum in its {}: one of them is damaged, or of another model; get the "
    'artifact again from where it was made.'
)


def refusal(folder):
    with pytest.raises(ValueError) as error:
        bundle.check(folder)
    return str(error.value)


@pytest.mark.parametrize('name', bundle.FILES)
def test_a_missing_file_is_named(encoder, name):
    (encoder / name).unlink()
    assert refusal(encoder) == f'The model lacks its file {name}; use a model that this plugin has made.'


@pytest.mark.parametrize('left', [0, 5, 200, -1])
def test_incomplete_weights_are_refused(encoder, left, seal):
    path = encoder / bundle.MODEL_FILE
    path.write_bytes(path.read_bytes()[:left])
    seal(encoder)
    for level in ('min', 'max'):
        with pytest.raises(ValueError) as error:
            bundle.check(encoder, level)
        assert str(error.value).startswith("The model's model.safetensors is damaged or incomplete (")
        assert str(error.value).endswith('); get the artifact again from where it was made.')


def test_a_pickle_in_the_place_of_weights_is_refused_and_not_run(encoder, seal):
    torch.save({'weights': torch.zeros(3)}, encoder / bundle.MODEL_FILE)
    seal(encoder)
    assert refusal(encoder).startswith("The model's model.safetensors is damaged or incomplete (")


def test_missing_weights_are_named(encoder, change_weights):
    change_weights(encoder, lambda weights: weights.pop('heads.distances.weight'))
    assert refusal(encoder) == (
        "The model's model.safetensors lacks the weights heads.distances.weight that its config.json asks for."
    )


def test_weights_too_many_are_named(encoder, change_weights):
    change_weights(encoder, lambda weights: weights.update({'heads.distances.more': torch.zeros(2)}))
    assert refusal(encoder) == (
        "The model's model.safetensors has weights that its config.json does not know: 'heads.distances.more'."
    )


def test_weights_of_another_shape_than_the_configuration_asks_for_are_named(encoder, change_weights):
    change_weights(encoder, lambda weights: weights.update({'heads.distances.weight': torch.zeros(15)}))
    assert refusal(encoder) == (
        'The weights heads.distances.weight of the model have the shape (15,), but its config.json asks for (16,); the '
        'two files do not belong together.'
    )


def test_classes_other_than_the_weights_are_for_are_refused(classifier, change_json):
    def change(fields):
        fields['target'].update(classes=['a', 'b'])
        fields['heads']['target'].update(outputs=2)

    change_json(classifier / bundle.CONFIG_FILE, change)
    assert refusal(classifier) == (
        'The weights heads.target.out.bias of the model have the shape (3,), but its config.json asks for (2,); the '
        'two files do not belong together.'
    )


@pytest.mark.parametrize('name', ['distances.more', '', 'keys'])
def test_a_head_whose_name_no_network_can_have_is_refused(encoder, name, change_json):
    def change(fields):
        fields['heads'][name] = {'kind': 'target', 'outputs': 1}

    change_json(encoder / bundle.CONFIG_FILE, change)
    sentence = refusal(encoder)
    assert sentence.startswith("The model's config.json has a head whose name cannot be used (")
    assert sentence.endswith('); use a model that this plugin has made.')


def test_numbers_beside_the_weights_that_are_missing_or_not_asked_for_are_named(encoder, regressor, change_weights):
    change_weights(regressor, lambda weights: weights.pop('references'))
    assert refusal(regressor) == (
        "The model's model.safetensors lacks the numbers references that its config.json asks for."
    )
    scores = {'calibration.scores': torch.ones(2, dtype=torch.float64)}
    change_weights(encoder, lambda weights: weights.update(scores))
    assert refusal(encoder) == (
        "The model's model.safetensors has weights that its config.json does not know: 'calibration.scores'."
    )


@pytest.mark.parametrize('level', ['min', 'max'])
def test_numbers_of_another_type_than_they_are_to_have_are_named(regressor, level, change_weights):
    change_weights(regressor, lambda weights: weights.update(references=weights['references'].int()))
    with pytest.raises(ValueError) as error:
        bundle.check(regressor, level)
    assert str(error.value) == (
        'The numbers references of the model are of the type I32 instead of U8; use a model that this plugin has made.'
    )


def test_references_that_are_no_sequences_are_refused_where_all_is_read(regressor, change_weights):
    change_weights(regressor, lambda weights: weights['references'][0].fill_(9))
    bundle.check(regressor, 'min')
    assert refusal(regressor) == (
        'The applicability references of the model are damaged: they must be sequences and thresholds; train the model '
        'again.'
    )


@pytest.mark.parametrize(
    ('name', 'dtype', 'called'),
    [
        ('calibration.scores', torch.float32, 'F32 instead of F64'),
        ('calibration.groups', torch.int32, 'I32 instead of I64'),
        ('ensemble.vocabulary', torch.int64, 'I64 instead of U8'),
        ('ensemble.first.weight', torch.float64, 'F64 instead of F32'),
    ],
)
@pytest.mark.parametrize('level', ['min', 'max'])
def test_every_array_is_of_its_type(regressor, name, dtype, called, level, change_weights):
    change_weights(regressor, lambda weights: weights.update({name: weights[name].to(dtype)}))
    with pytest.raises(ValueError) as error:
        bundle.check(regressor, level)
    assert str(error.value) == (
        f'The numbers {name} of the model are of the type {called}; use a model that this plugin has made.'
    )


@pytest.mark.parametrize(
    ('name', 'change', 'sentence'),
    [
        (
            'scores',
            lambda scores: scores / 0,
            'The numbers calibration.scores of the model are not all numbers; train it again.',
        ),
        ('scores', lambda scores: -scores, None),
        ('scores', lambda scores: scores.flip(0).contiguous(), None),
        ('scores', lambda scores: scores[1:].clone(), None),
        ('groups', lambda groups: groups + 1, None),
        ('groups', lambda groups: groups * 10**9, None),
    ],
)
def test_a_damaged_calibration_is_refused_where_all_is_read(regressor, name, change, sentence, change_weights):
    name = f'calibration.{name}'
    change_weights(regressor, lambda weights: weights.update({name: change(weights[name])}))
    bundle.check(regressor, 'min')
    assert refusal(regressor) == sentence or (
        'The calibration of the model is damaged: it must hold sorted scores of 0 or more and the number of the group '
        'of each; train the model again.'
    )


def test_weights_of_another_type_are_named(encoder, change_weights):
    change_weights(encoder, lambda weights: weights.update({'heads.distances.weight': torch.zeros(16).bfloat16()}))
    assert refusal(encoder) == (
        'The weights heads.distances.weight of the model are of the type BF16 instead of F32; use a model that this '
        'plugin has made.'
    )


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_no_numbers_are_named_where_all_is_read(encoder, value, change_weights):
    def spoil(weights):
        weights['heads.distances.weight'][3] = value

    change_weights(encoder, spoil)
    bundle.check(encoder, 'min')
    assert refusal(encoder) == ('The weights heads.distances.weight of the model are not all numbers; train it again.')


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
def test_files_that_are_not_json_objects_are_refused(encoder, name):
    path = encoder / name
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    assert refusal(encoder).startswith(f"The model's {name} is damaged or incomplete: it is not JSON (")
    path.write_text('[1, 2]')
    assert refusal(encoder) == f"The model's {name} is damaged: it holds no object."
    path.write_bytes(b'\xff\xfe\x00')
    assert refusal(encoder) == f"The model's {name} is damaged: it is not text."


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
def test_a_newer_format_version_is_refused_and_one_that_is_missing_too(encoder, name, change_json):
    change_json(encoder / name, lambda fields: fields.update(format_version=2))
    assert refusal(encoder) == (
        'The model has format version 2, but this version of q2-aam reads up to 1; update q2-aam.'
    )
    for wrong in (0, 'one', True, None):
        change_json(encoder / name, lambda fields: fields.update(format_version=wrong))  # noqa: B023
        assert refusal(encoder) == (f"The model's {name} has no format version; use a model that this plugin has made.")


@pytest.mark.parametrize('name', [bundle.CONFIG_FILE, bundle.CARD_FILE])
def test_a_field_that_is_unknown_or_missing_is_named(encoder, name, change_json):
    unknown, lacks = {
        bundle.CONFIG_FILE: (
            "The model's config.json has a field that format version 1 does not know: 'flavour'; use the version of "
            'q2-aam that made it, or train the model again.',
            "The model's config.json lacks the field heads of format version 1, so that it cannot be read; train the "
            'model again with this version of q2-aam.',
        ),
        bundle.CARD_FILE: (
            "The model's card.json has the unknown field 'flavour'; use a model of this plugin.",
            "The model's card.json lacks the field metrics; use a model of this plugin.",
        ),
    }[name]
    field = {bundle.CONFIG_FILE: 'heads', bundle.CARD_FILE: 'metrics'}[name]
    change_json(encoder / name, lambda fields: fields.update(flavour='sweet'))
    assert refusal(encoder) == unknown
    change_json(encoder / name, lambda fields: fields.pop('flavour') and fields.pop(field))
    assert refusal(encoder) == lacks


def test_the_card_of_another_kind_of_model_is_refused(encoder, tiny_regressor, seal):
    shutil.copy(tiny_regressor.folder / bundle.CARD_FILE, encoder)
    assert refusal(encoder) == MISMATCH.format(bundle.CONFIG_FILE, bundle.CARD_FILE)
    seal(encoder)
    assert refusal(encoder) == "The model's card.json belongs to another model: its kind is 'regressor'."


def test_a_model_of_another_kind_than_needed_is_refused(tiny_encoder):
    with pytest.raises(UserError) as error:
        bundle.load(tiny_encoder.folder, bundle.REGRESSOR)
    assert str(error.value) == ('The model is of the kind encoder, but regressor is needed; give a model of that kind.')


def test_loading_a_damaged_model_is_an_error_of_the_user(encoder):
    (encoder / bundle.CARD_FILE).unlink()
    with pytest.raises(UserError, match='^The model lacks its file card.json; '):
        bundle.load(encoder)
