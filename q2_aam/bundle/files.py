"""The files of a bundle: the only code that saves or loads one. Importable without torch; no pickle anywhere."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from q2_aam.config import HeadConfig
from q2_aam.data.references import References
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import UserError
from q2_aam.stats.conformal import Calibration

from .card import CARD_FILE, card_to_json, check_card
from .schema import CONFIG_FILE, REGRESSOR, BundleConfig, check_version, read_object

if TYPE_CHECKING:
    from q2_aam.model.abundance_ensemble import AbundanceEnsemble
    from q2_aam.model.network import Network

MODEL_FILE = 'model.safetensors'
FILES = (MODEL_FILE, CONFIG_FILE, CARD_FILE)
FLOATS = ('F32', 'F64')
# The types of arrays, as numpy and as safetensors name them.
TYPES = {'float32': 'F32', 'float64': 'F64', 'int64': 'I64', 'uint8': 'U8'}
# Arrays beside the weights of the network.
REFERENCES, SCORES, GROUPS = 'references', 'calibration.scores', 'calibration.groups'
ENSEMBLE, VOCABULARY = 'ensemble.', 'ensemble.vocabulary'
# Heads that prediction has no use for are not saved.
UNUSED_HEADS = ('nucleotides',)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A model, all of it.

    Attributes
    ----------
    config : BundleConfig
        Its target has the calibration.
    network : q2_aam.model.network.Network
    references : q2_aam.data.references.References or None
        None of an encoder.
    ensemble : q2_aam.model.abundance_ensemble.AbundanceEnsemble or None
    vocabulary : q2_aam.data.vocabulary.Vocabulary or None
        Of the ensemble.
    """

    config: BundleConfig
    network: 'Network'
    references: References | None = None
    ensemble: 'AbundanceEnsemble | None' = None
    vocabulary: Vocabulary | None = None


def heads_to_save(network) -> dict[str, HeadConfig]:
    """Return the heads of a network that belong into a bundle."""
    return {name: head for name, head in network.head_configs.items() if head.kind not in UNUSED_HEADS}


def save(folder, bundle: Bundle, card: dict) -> None:
    """Write a bundle and its card (:func:`q2_aam.bundle.card.make_card`) into `folder`, which exists."""
    import torch
    from safetensors.torch import save_file

    folder = pathlib.Path(folder)
    unused = tuple(f'heads.{name}.' for name in set(bundle.network.head_configs) - set(bundle.config.heads))
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in bundle.network.state_dict().items()
        if not name.startswith(unused)
    }
    arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in _arrays_of(bundle).items()}
    save_file(weights | arrays, folder / MODEL_FILE)
    (folder / CONFIG_FILE).write_text(bundle.config.to_json(), encoding='utf-8')
    (folder / CARD_FILE).write_text(card_to_json(card), encoding='utf-8')
    check(folder, 'min')


def _arrays_of(bundle):
    """Return {name: array} of what lies beside the network's weights."""
    arrays = {}
    if bundle.references is not None:
        arrays[REFERENCES] = bundle.references.codes
    if bundle.config.kind == REGRESSOR:
        calibration = bundle.config.target.calibration
        arrays |= {SCORES: calibration.scores, GROUPS: calibration.groups}
    if bundle.ensemble is not None:
        arrays |= {ENSEMBLE + name: array for name, array in bundle.ensemble.arrays().items()}
        arrays[VOCABULARY] = bundle.vocabulary.codes
    return arrays


def array_types(config: BundleConfig) -> dict[str, str]:
    """Return the type, as safetensors names it, of each array beside the network's weights, by its name."""
    from q2_aam.model.abundance_ensemble import ARRAYS

    types = {}
    if config.references is not None:
        types[REFERENCES] = 'uint8'
    if config.kind == REGRESSOR:
        types |= {SCORES: 'float64', GROUPS: 'int64'}
    if config.blend is not None:
        types |= {ENSEMBLE + name: kind for name, kind in ARRAYS.items()} | {VOCABULARY: 'uint8'}
    return {name: TYPES[kind] for name, kind in types.items()}


def load(folder, kind: str | None = None) -> Bundle:
    """Read a bundle; its network is on the CPU, in evaluation mode.

    Parameters
    ----------
    folder : path
    kind : str, optional
        The kind that is wanted.

    Raises
    ------
    UserError
        If it is damaged, of a newer version, or of another kind than wanted.
    """
    from safetensors.torch import load_file

    try:
        check(folder)
        folder = pathlib.Path(folder)
        config = read_config(folder)
        if kind not in (None, config.kind):
            raise ValueError(
                f'The model is of the kind {config.kind}, but {kind} is needed; give a model of that kind.'
            )
        tensors = load_file(folder / MODEL_FILE)
        arrays = {name: tensors.pop(name).numpy() for name in array_types(config)}
        network = _network(config)
        network.load_state_dict(tensors, assign=True)
        return _bundle(config, network.eval(), arrays)
    except ValueError as error:
        raise UserError(str(error)) from error


def _bundle(config, network, arrays):
    """Return the Bundle of a network and the arrays beside it; ValueError if these are damaged."""
    from q2_aam.model.abundance_ensemble import AbundanceEnsemble

    references = ensemble = vocabulary = None
    if config.references is not None:
        references = References(arrays[REFERENCES], **config.references)
    if config.kind == REGRESSOR:
        calibration = Calibration(arrays[SCORES], arrays[GROUPS], config.target.quantiles)
        config = dataclasses.replace(config, target=dataclasses.replace(config.target, calibration=calibration))
    if config.blend is not None:
        vocabulary = Vocabulary(arrays[VOCABULARY])
        weights = {
            name.removeprefix(ENSEMBLE): array
            for name, array in arrays.items()
            if name.startswith(ENSEMBLE) and name != VOCABULARY
        }
        ensemble = AbundanceEnsemble.from_arrays(weights, len(vocabulary), config.blend.members, config.target.outputs)
    return Bundle(config, network, references, ensemble, vocabulary)


def read_config(folder) -> BundleConfig:
    """Return the BundleConfig of a bundle, without its arrays."""
    return BundleConfig.from_json(_text(pathlib.Path(folder) / CONFIG_FILE))


def check(folder, level: str = 'max') -> None:
    """Raise ValueError, in one sentence, unless `folder` holds a sound bundle.

    Parameters
    ----------
    folder : path
    level : str
        'min' reads everything but weights and arrays themselves, whose names, shapes and types it takes from the
        file's header.
    """
    folder = pathlib.Path(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f'The model lacks its file {name}; use a model that this plugin has made.')
    config = read_config(folder)
    card = read_object(_text(folder / CARD_FILE), CARD_FILE)
    check_version(card, CARD_FILE)
    check_card(card)
    if card['kind'] != config.kind:
        raise ValueError(f"The model's {CARD_FILE} belongs to another model: its kind is {card['kind']!r}.")
    _check_tensors(folder / MODEL_FILE, config, level)


def _check_tensors(path, config, level):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='numpy') as tensors:
            types = array_types(config)
            _check_header({name: tensors.get_slice(name) for name in tensors.keys()}, config, types)
            if level != 'max':
                return
            for name in tensors.keys():
                is_float = tensors.get_slice(name).get_dtype() in FLOATS
                if is_float and not np.isfinite(tensors.get_tensor(name)).all():
                    raise ValueError(f'The {_called(name, types)} of the model are not all numbers; train it again.')
            _bundle(config, None, {name: tensors.get_tensor(name) for name in types})
    except SafetensorError as error:
        raise ValueError(
            f"The model's {MODEL_FILE} is damaged or incomplete ({error}); get the artifact again from where it was "
            'made.'
        ) from error


def _check_header(slices, config, arrays):
    """Check names, shapes and types of tensors; `slices` is {name: slice of a safetensors file}."""
    shapes = {name: tuple(value.shape) for name, value in _network(config).state_dict().items()}
    types = dict.fromkeys(shapes, 'F32') | arrays
    if missing := sorted(set(types) - set(slices)):
        raise ValueError(
            f"The model's {MODEL_FILE} lacks the {_called(missing[0], arrays)} that its {CONFIG_FILE} asks for."
        )
    if unknown := sorted(set(slices) - set(types)):
        raise ValueError(f"The model's {MODEL_FILE} has weights that its {CONFIG_FILE} does not know: {unknown[0]}.")
    for name in sorted(types):
        shape, kind = tuple(slices[name].get_shape()), slices[name].get_dtype()
        # arrays are of the size that they are
        if shape != shapes.get(name, shape):
            raise ValueError(
                f'The weights {name} of the model have the shape {shape}, but its {CONFIG_FILE} asks for '
                f'{shapes[name]}; the two files do not belong together.'
            )
        if kind != types[name]:
            raise ValueError(
                f'The {_called(name, arrays)} of the model are of the type {kind} instead of {types[name]}; use a '
                'model that this plugin has made.'
            )


def _called(name, arrays):
    return f'numbers {name}' if name in arrays else f'weights {name}'


def _network(config):
    """Return the network of a bundle, without memory for its weights."""
    from q2_aam.model.network import build_network

    return build_network(config.call.model, config.heads)


def _text(path):
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f"The model's {path.name} is damaged: it is not text.") from error
