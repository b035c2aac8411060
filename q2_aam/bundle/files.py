"""A trained model as a folder: the only code that saves or loads one. Importable without torch; no pickle anywhere."""

import hashlib
import json
import math
import pathlib

import numpy as np

from q2_aam.data.references import References
from q2_aam.errors import UserError

from .schema import (
    CONFIG_FILE,
    FORMAT_VERSION,
    PROFILE,
    BundleConfig,
    check_names,
    check_version,
    read_object,
)

MODEL_FILE = 'model.safetensors'
CARD_FILE = 'card.json'
FILES = (MODEL_FILE, CONFIG_FILE, CARD_FILE)

FLOATS = ('F32', 'F64')
# What every card tells; a reader may rely on these.
CARD_FIELDS = (
    'format_version', 'kind', 'samples', 'asvs', 'amplicon_length', 'input_sha256', 'target', 'unit', 'seed', 'device',
    'precision', 'versions', 'wall_seconds', 'figures',
)  # fmt: skip


def save(folder, network, config, card, arrays=None):
    """Write a bundle into `folder`, which exists.

    Parameters
    ----------
    folder : path
    network : q2_aam.model.network.Network
        Its head for hidden nucleotides is left out: prediction has no use for it.
    config : BundleConfig
    card : dict
        What a reader is told: every one of ``CARD_FIELDS`` but the format version and the kind. No ids of samples.
    arrays : dict, optional
        {name: numpy array} of what lies beside the network's weights: those that ``config.arrays`` asks for.
    """
    import torch
    from safetensors.torch import save_file

    folder = pathlib.Path(folder)
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
        if not name.startswith('nucleotide_head.')
    }
    arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in (arrays or {}).items()}
    save_file(weights | arrays, folder / MODEL_FILE)
    _check_tensors(folder / MODEL_FILE, config, 'min')
    (folder / CONFIG_FILE).write_text(config.to_json(), encoding='utf-8')
    card = {'format_version': FORMAT_VERSION, 'kind': config.kind, **card}
    check_names(card, CARD_FIELDS, CARD_FILE)
    (folder / CARD_FILE).write_text(json.dumps(_finite(card), indent=1) + '\n', encoding='utf-8')


def load(folder, kind=None):
    """Read a bundle.

    Parameters
    ----------
    folder : path
    kind : str, optional
        The kind that is wanted.

    Returns
    -------
    network : q2_aam.model.network.Network
        On the CPU, in evaluation mode.
    config : BundleConfig
    arrays : dict
        {name: numpy array} of what lies beside the network's weights.

    Raises
    ------
    UserError
        If it is damaged, of a newer version, or of another kind than wanted.
    """
    from safetensors.torch import load_file

    try:
        check(folder)
    except ValueError as error:
        raise UserError(str(error)) from error
    folder = pathlib.Path(folder)
    config = read_config(folder)
    if kind not in (None, config.kind):
        raise UserError(f'The model is of the kind {config.kind}, but {kind} is wanted; give a model of that kind.')
    network = _network(config)
    weights = load_file(folder / MODEL_FILE)
    arrays = {name: weights.pop(name).numpy() for name in config.arrays}
    network.load_state_dict(weights)
    return network.eval(), config, arrays


def profile_head_of(arrays, config):
    """Return the ProfileHead among the arrays of a bundle, None if it has none; ValueError if it is damaged."""
    from q2_aam.model.abundance_ensemble import ProfileHead

    if config.blend is None:
        return None
    own = {name.removeprefix(PROFILE): array for name, array in arrays.items() if name.startswith(PROFILE)}
    return ProfileHead.from_arrays(own, config.blend.members, config.target.outputs)


def read_config(folder):
    """Return the BundleConfig of a bundle."""
    return BundleConfig.from_json(_text(pathlib.Path(folder) / CONFIG_FILE))


def check(folder, level='max'):
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
    check_names(card, CARD_FIELDS, CARD_FILE)
    if card['kind'] != config.kind:
        raise ValueError(f"The model's {CARD_FILE} is that of another model: its kind is {card['kind']!r}.")
    _check_tensors(folder / MODEL_FILE, config, level)


def _check_tensors(path, config, level):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='numpy') as tensors:
            found = {name: tensors.get_slice(name) for name in tensors.keys()}
            _check_header(found, config)
            if level != 'max':
                return
            for name, own in found.items():
                if own.get_dtype() in FLOATS and not np.isfinite(tensors.get_tensor(name)).all():
                    raise ValueError(f'The {_called(name, config)} of the model are not all numbers; train it again.')
            if config.references is not None:
                References(tensors.get_tensor('references'), **config.references)
            profile_head_of({name: tensors.get_tensor(name) for name in config.arrays}, config)
    except SafetensorError as error:
        raise ValueError(
            f"The model's {MODEL_FILE} is damaged or cut off ({error}); get the artifact again from where it was made."
        ) from error


def _check_header(found, config):
    """Check names, shapes and types of tensors; `found` is {name: slice of a safetensors file}."""
    shapes = _shapes(config)
    wanted = dict.fromkeys(shapes, 'F32') | config.arrays
    if missing := sorted(set(wanted) - set(found)):
        raise ValueError(
            f"The model's {MODEL_FILE} lacks the {_called(missing[0], config)} that its {CONFIG_FILE} asks for."
        )
    if unknown := sorted(set(found) - set(wanted)):
        raise ValueError(f"The model's {MODEL_FILE} has weights that its {CONFIG_FILE} does not know: {unknown[0]}.")
    for name in sorted(wanted):
        shape, kind = tuple(found[name].get_shape()), found[name].get_dtype()
        # arrays are of the size that they are
        if shape != shapes.get(name, shape):
            raise ValueError(
                f'The weights {name} of the model have the shape {shape}, but its {CONFIG_FILE} asks for '
                f'{shapes[name]}; the two files are not of one model.'
            )
        if kind != wanted[name]:
            raise ValueError(
                f'The {_called(name, config)} of the model are of the type {kind} instead of {wanted[name]}; use a '
                'model that this plugin has made.'
            )


def _called(name, config):
    return f'numbers {name}' if name in config.arrays else f'weights {name}'


def _shapes(config):
    """Shapes of the weights by name, from the network itself, built without memory for them."""
    import torch

    with torch.device('meta'):
        return {name: tuple(value.shape) for name, value in _network(config).state_dict().items()}


def _network(config):
    import torch

    from q2_aam.model.network import Network

    # weights are drawn and then overwritten; the caller's generator must not notice
    with torch.random.fork_rng(devices=[]):
        return Network(config.call.model, outputs=config.target.outputs if config.target else 0)


def sha256(folder):
    """Return the SHA-256 of a bundle's weights and configuration, which say all that it does."""
    parts = [(pathlib.Path(folder) / name).read_bytes() for name in (MODEL_FILE, CONFIG_FILE)]
    return hashlib.sha256(b''.join(parts)).hexdigest()


def _text(path):
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f"The model's {path.name} is damaged: it is not text.") from error


def _finite(value):
    """Return a JSON value in which numbers that are not finite are null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
