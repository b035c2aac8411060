"""A trained model as a folder: the only code that saves or loads one. Importable without torch; no pickle anywhere."""

import dataclasses
import hashlib
import json
import math
import pathlib

from q2_aam.config import AUTO, Call, FitConfig, PretrainConfig
from q2_aam.errors import UserError

MODEL_FILE = 'model.safetensors'
CONFIG_FILE = 'config.json'
CARD_FILE = 'card.json'
FILES = (MODEL_FILE, CONFIG_FILE, CARD_FILE)

FORMAT_VERSION = 1
ENCODER, REGRESSOR = 'encoder', 'regressor'
CALLS: dict[str, type[Call]] = {ENCODER: PretrainConfig, REGRESSOR: FitConfig}
# What every card tells; a reader may rely on these.
CARD_FIELDS = (
    'format_version', 'kind', 'samples', 'asvs', 'amplicon_length', 'input_sha256', 'target', 'unit', 'seed', 'device',
    'precision', 'versions', 'wall_seconds', 'figures',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Target:
    """The metadata column that a model predicts, and the scaling that is undone: value = center + scale * output."""

    name: str
    center: float
    scale: float

    def __post_init__(self):
        numbers = (self.center, self.scale)
        if not isinstance(self.name, str) or not all(_is_number(number) for number in numbers) or not self.scale > 0:
            raise ValueError(f'The target must have a name, a finite center and a scale above 0, but it is {self}.')

    def scaled(self, values):
        """Return values of the column as the network is to give them."""
        return (values - self.center) / self.scale

    def unscaled(self, outputs):
        """Return outputs of the network in the unit of the column."""
        return outputs * self.scale + self.center


@dataclasses.dataclass(frozen=True)
class BundleConfig:
    """What `config.json` holds: all that prediction needs besides the weights.

    Attributes
    ----------
    kind : str
        'encoder' or 'regressor'.
    call : PretrainConfig or FitConfig
        The parameters of the call that made the model, those of the model resolved.
    distance_divisor : float or None
        What true distances were divided by; None where no distances were learned.
    target : Target or None
        Of a regressor.
    """

    kind: str
    call: object
    distance_divisor: float | None = None
    target: Target | None = None

    def to_json(self):
        """Return the text of `config.json`."""
        fields = {'format_version': FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + '\n'

    @classmethod
    def from_json(cls, text):
        """Read what :meth:`to_json` wrote; ValueError in one sentence where it cannot be."""
        fields = _object(text, CONFIG_FILE)
        _check_version(fields, CONFIG_FILE)
        del fields['format_version']
        _check_names(fields, [field.name for field in dataclasses.fields(cls)], CONFIG_FILE)
        if not isinstance(fields['kind'], str) or fields['kind'] not in CALLS:
            raise ValueError(f'The kind of a model must be one of {", ".join(CALLS)}, but it is {fields["kind"]!r}.')
        try:
            call = CALLS[fields['kind']].from_dict(fields['call'])
        except ValueError as error:
            raise ValueError(f"In the model's {CONFIG_FILE}: {error}") from error
        if unresolved := [name for name, value in vars(call.model).items() if value == AUTO]:
            raise ValueError(f"The model's {CONFIG_FILE} gives 'auto' for {unresolved[0]}, where a value must stand.")
        divisor = fields['distance_divisor']
        if divisor is not None and not (_is_number(divisor) and divisor > 0):
            raise ValueError(f"The model's {CONFIG_FILE} has the distance divisor {divisor!r}, which is not above 0.")
        target = fields['target']
        if (target is None) == (fields['kind'] == REGRESSOR):
            raise ValueError(f"The model's {CONFIG_FILE} must have a target if, and only if, it is a regressor.")
        if target is not None:
            _check_names(target, [field.name for field in dataclasses.fields(Target)], f'target of {CONFIG_FILE}')
            target = Target(**target)
        return cls(fields['kind'], call, divisor, target)


def save(folder, network, config, card):
    """Write a bundle into `folder`, which exists.

    Parameters
    ----------
    folder : path
    network : q2_aam.model.network.Network
        Its head for hidden nucleotides is left out: prediction has no use for it.
    config : BundleConfig
    card : dict
        What a reader is told: every one of ``CARD_FIELDS`` but the format version and the kind. No ids of samples.
    """
    from safetensors.torch import save_file

    folder = pathlib.Path(folder)
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in network.state_dict().items()
        if not name.startswith('nucleotide_head.')
    }
    save_file(weights, folder / MODEL_FILE)
    (folder / CONFIG_FILE).write_text(config.to_json(), encoding='utf-8')
    card = {'format_version': FORMAT_VERSION, 'kind': config.kind, **card}
    _check_names(card, CARD_FIELDS, CARD_FILE)
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
    network.load_state_dict(load_file(folder / MODEL_FILE))
    return network.eval(), config


def read_config(folder):
    """Return the BundleConfig of a bundle."""
    return BundleConfig.from_json(_text(pathlib.Path(folder) / CONFIG_FILE))


def check(folder, level='max'):
    """Raise ValueError, in one sentence, unless `folder` holds a sound bundle.

    Parameters
    ----------
    folder : path
    level : str
        'min' reads everything but the weights themselves, whose names and shapes it takes from the file's header.
    """
    folder = pathlib.Path(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f'The model lacks its file {name}; use a model that this plugin has made.')
    config = read_config(folder)
    card = _object(_text(folder / CARD_FILE), CARD_FILE)
    _check_version(card, CARD_FILE)
    _check_names(card, CARD_FIELDS, CARD_FILE)
    if card['kind'] != config.kind:
        raise ValueError(f"The model's {CARD_FILE} is that of another model: its kind is {card['kind']!r}.")
    _check_weights(folder / MODEL_FILE, config, level)


def _check_weights(path, config, level):
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='numpy') as weights:
            shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}
            _check_shapes(shapes, _shapes(config))
            for name in shapes:
                if (kind := weights.get_slice(name).get_dtype()) != 'F32':
                    raise ValueError(
                        f'The weights {name} of the model are of the type {kind} instead of F32; use a model that this '
                        'plugin has made.'
                    )
            for name in shapes if level == 'max' else ():
                if not np.isfinite(weights.get_tensor(name)).all():
                    raise ValueError(f'The weights {name} of the model are not all numbers; train it again.')
    except SafetensorError as error:
        raise ValueError(
            f"The model's {MODEL_FILE} is damaged or cut off ({error}); get the artifact again from where it was made."
        ) from error


def _check_shapes(found, wanted):
    if missing := sorted(set(wanted) - set(found)):
        raise ValueError(f"The model's {MODEL_FILE} lacks the weights {missing[0]} that its {CONFIG_FILE} asks for.")
    if unknown := sorted(set(found) - set(wanted)):
        raise ValueError(f"The model's {MODEL_FILE} has weights that its {CONFIG_FILE} does not know: {unknown[0]}.")
    for name in sorted(wanted):
        if found[name] != wanted[name]:
            raise ValueError(
                f'The weights {name} of the model have the shape {found[name]}, but its {CONFIG_FILE} asks for '
                f'{wanted[name]}; the two files are not of one model.'
            )


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
        return Network(config.call.model, outputs=int(config.kind == REGRESSOR))


def sha256(folder):
    """Return the SHA-256 of a bundle's weights and configuration, which say all that it does."""
    parts = [(pathlib.Path(folder) / name).read_bytes() for name in (MODEL_FILE, CONFIG_FILE)]
    return hashlib.sha256(b''.join(parts)).hexdigest()


def _text(path):
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f"The model's {path.name} is damaged: it is not text.") from error


def _object(text, name):
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The model's {name} is damaged or cut off: it is not JSON ({error}).") from error
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {name} is damaged: it holds no object.")
    return fields


def _check_version(fields, name):
    version = fields.get('format_version')
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"The model's {name} has no format version; use a model that this plugin has made.")
    if version > FORMAT_VERSION:
        raise ValueError(
            f'The model has format version {version}, but this version of q2-aam reads up to {FORMAT_VERSION}; '
            'update q2-aam.'
        )


def _check_names(fields, wanted, where):
    if not isinstance(fields, dict):
        raise ValueError(f"The model's {where} must be an object, but it is {fields!r}.")
    if unknown := sorted(set(fields) - set(wanted)):
        raise ValueError(
            f"The model's {where} has a field that format version {FORMAT_VERSION} does not know: {unknown[0]}."
        )
    if missing := sorted(set(wanted) - set(fields)):
        raise ValueError(f"The model's {where} lacks the field {missing[0]} of format version {FORMAT_VERSION}.")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value):
    """Return a JSON value in which numbers that are not finite are null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
