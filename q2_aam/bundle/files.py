"""The files of a bundle: the only code that saves or loads one. Importable without torch; no pickle anywhere."""

import dataclasses
import hashlib
import pathlib
import shutil
from typing import TYPE_CHECKING

import numpy as np

from q2_aam.config import HeadConfig
from q2_aam.data.atomic import hash_file
from q2_aam.data.known_features import ARRAYS as KNOWN_FEATURES
from q2_aam.data.known_features import KnownFeatures
from q2_aam.data.references import References, Similarity
from q2_aam.data.study import Study
from q2_aam.data.tokens import MAX_SIZE
from q2_aam.data.vocabulary import Vocabulary
from q2_aam.errors import UserError
from q2_aam.stats.conformal import Calibration
from q2_aam.stats.difficulty import FEATURES, NAMES, Difficulty

from . import domain, known_asvs, token_branches
from .card import CARD_FILE, CONFIG_SHA256, card_to_json, check_card
from .domain import Domain
from .known_asvs import KnownASVs
from .network import network_of
from .schema import CONFIG_FILE, ENCODER, REGRESSOR, WEIGHTS_SHA256, BundleConfig, check_version
from .tensors import (
    ABUNDANCE,
    DIFFICULTIES,
    DIFFICULTY,
    ENSEMBLE,
    GROUPS,
    MODEL_FILE,
    REFERENCES,
    SCORES,
    VOCABULARY,
    called,
    check_header,
)  # fmt: skip
from .token_branches import TokenBranches
from .untrusted import MAX_BYTES, brief, one_line, read_bytes, read_object

if TYPE_CHECKING:
    from q2_aam.model.abundance_ensemble import AbundanceEnsemble
    from q2_aam.model.network import Network

FILES = (MODEL_FILE, CONFIG_FILE, CARD_FILE)
FLOATS = ('F32', 'F64')
# The types of arrays, as numpy and as safetensors name them.
TYPES = {'float32': 'F32', 'float64': 'F64', 'int64': 'I64', 'int32': 'I32', 'int16': 'I16', 'uint8': 'U8'}
# Heads that prediction has no use for are not saved.
UNUSED_HEADS = ('nucleotides', 'asv_classes', 'sample_numbers', 'abundances')


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A model, all of it.

    Attributes
    ----------
    config : BundleConfig
        Its target has the calibration.
    network : q2_aam.model.network.Network
    references : q2_aam.data.references.References or None
        None of an encoder that an older version made, and where features have no sequences.
    ensemble : q2_aam.model.abundance_ensemble.AbundanceEnsemble or None
    vocabulary : q2_aam.data.vocabulary.Vocabulary or None
        Of the ensemble.
    domain : q2_aam.bundle.domain.Domain or None
        Of the ensemble, too; older models have none, nor have those of few groups.
    known_asvs : q2_aam.bundle.known_asvs.KnownASVs or None
        Of an encoder whose own branches differ between ASVs that it learned from and others.
    known_features : q2_aam.data.known_features.KnownFeatures or None
        Of a model that knows features by their names.
    token_branches : q2_aam.bundle.token_branches.TokenBranches or None
        Of an encoder that compares samples by tokens, too; they take the place of ASVs' own branches.
    """

    config: BundleConfig
    network: 'Network'
    references: References | None = None
    ensemble: 'AbundanceEnsemble | None' = None
    vocabulary: Vocabulary | None = None
    domain: Domain | None = None
    known_asvs: KnownASVs | None = None
    known_features: KnownFeatures | None = None
    token_branches: TokenBranches | None = None

    def similarity(self, study: Study) -> Similarity:
        """Compare the ASVs of a study with what the model learned from; an encoder must have references for that."""
        known = self.references if self.known_features is None else self.known_features
        return known.of_study(study)  # type: ignore[union-attr]


def heads_to_save(network) -> dict[str, HeadConfig]:
    """Return the heads of a network that belong into a bundle."""
    return {name: head for name, head in network.head_configs.items() if head.kind not in UNUSED_HEADS}


def save(folder, bundle: Bundle, card: dict) -> None:
    """Write a bundle and its card (:func:`q2_aam.bundle.card.make_card`) into `folder`, which exists.

    Each file is vouched for: the weights by a checksum in config.json, and that by one in the card. The card has none,
    but nothing that a model gives depends on it.

    Raises
    ------
    UserError
        If :func:`load` would refuse what was written.
    """
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
    config = bundle.config.to_json(hash_file(folder / MODEL_FILE)).encode()
    (folder / CONFIG_FILE).write_bytes(config)
    (folder / CARD_FILE).write_text(card_to_json(card, hashlib.sha256(config).hexdigest()), encoding='utf-8')
    # safetensors lets nobody else read its file, whatever the umask says
    shutil.copymode(folder / CONFIG_FILE, folder / MODEL_FILE)
    try:
        check(folder)
    except ValueError as error:
        raise UserError(str(error)) from error


def _arrays_of(bundle):
    """Return {name: array} of what lies beside the network's weights."""
    arrays = {}
    if bundle.references is not None:
        arrays[REFERENCES] = bundle.references.codes
    if bundle.config.kind == REGRESSOR:
        target = bundle.config.target
        arrays |= {SCORES: target.calibration.scores, GROUPS: target.calibration.groups}
        if target.difficulty is not None:
            arrays |= {DIFFICULTY + name: array for name, array in target.difficulty.arrays().items()}
    if bundle.ensemble is not None:
        arrays |= {ENSEMBLE + name: array for name, array in bundle.ensemble.arrays().items()}
        arrays[VOCABULARY] = bundle.vocabulary.codes
        if bundle.vocabulary.abundance is not None:
            arrays[ABUNDANCE] = bundle.vocabulary.abundance
    for more in (bundle.domain, bundle.known_asvs, bundle.known_features, bundle.token_branches):
        if more is not None:
            arrays |= more.arrays()
    return arrays


def array_types(config: BundleConfig) -> dict[str, str]:
    """Return the type, as safetensors names it, of each array beside the network's weights, by its name."""
    from q2_aam.model.abundance_ensemble import array_types as types_of

    types = {} if config.features is None else dict(KNOWN_FEATURES)
    if config.references is not None:
        types[REFERENCES] = 'uint8'
    if config.kind == ENCODER:
        types |= known_asvs.ARRAYS | token_branches.ARRAYS
    if config.kind == REGRESSOR:
        types |= {SCORES: 'float64', GROUPS: 'int64'}
        if config.blend is not None:
            # it follows from what the ensemble knows of a sample
            types |= DIFFICULTIES
    if config.blend is not None:
        types |= {ENSEMBLE + name: kind for name, kind in types_of(config.blend.kinds).items()}
        types |= {VOCABULARY: 'uint8', ABUNDANCE: 'float32'} | domain.ARRAYS
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
        arrays = {name: tensors.pop(name).numpy() for name in array_types(config) if name in tensors}
        network = network_of(config)
        network.load_state_dict(tensors, assign=True)
        return _bundle(config, network.eval(), arrays)
    except ValueError as error:
        raise UserError(str(error)) from error


def _bundle(config, network, arrays):
    """Return the Bundle of a network and the arrays beside it; ValueError if these are damaged."""
    from q2_aam.model.abundance_ensemble import AbundanceEnsemble

    references = ensemble = vocabulary = known = None
    if config.references is not None:
        references = References(arrays[REFERENCES], **config.references)
    if config.kind == REGRESSOR:
        config = dataclasses.replace(config, target=_calibrated(config.target, arrays))
    if config.blend is not None:
        vocabulary = Vocabulary(arrays[VOCABULARY], arrays.get(ABUNDANCE))
        known = Domain.from_arrays(arrays, len(vocabulary))
        weights = {
            name.removeprefix(ENSEMBLE): array
            for name, array in arrays.items()
            if name.startswith(ENSEMBLE) and name not in (VOCABULARY, ABUNDANCE)
        }
        ensemble = AbundanceEnsemble.from_arrays(
            weights,
            len(vocabulary),
            config.blend.kinds,
            config.blend.members,
            config.target.outputs,
            config.covariates,
        )
    named = None if config.features is None else KnownFeatures.from_arrays(arrays, config.features.shared)
    if named is not None and len(named.token_keys) != config.features.tokens:
        raise ValueError(f"The model's named features do not fit its {CONFIG_FILE}; train the model again.")
    branches = TokenBranches.from_arrays(arrays)
    if branches is not None and config.call.model.nucleotides_per_token > MAX_SIZE:
        raise ValueError(
            f"The model's branches of tokens do not fit its {CONFIG_FILE}, whose tokens have "
            f'{config.call.model.nucleotides_per_token} nucleotides, of at most {MAX_SIZE}; train the model again.'
        )
    more = KnownASVs.from_arrays(arrays), named, branches
    return Bundle(config, network, references, ensemble, vocabulary, known, *more)


def _calibrated(target, arrays):
    """Return a numeric target with what its intervals are made from."""
    difficulty = None
    if given := {name.removeprefix(DIFFICULTY): array for name, array in arrays.items() if name in DIFFICULTIES}:
        if missing := sorted(set(NAMES) - set(given)):
            raise ValueError(f'The model lacks the numbers {DIFFICULTY}{missing[0]}; train it again.')
        difficulty = Difficulty.from_arrays(given, FEATURES)
    by_difficulty = target.quantiles or difficulty is not None or target.by_category is not None
    calibration = Calibration(arrays[SCORES], arrays[GROUPS], by_difficulty)
    return dataclasses.replace(target, calibration=calibration, difficulty=difficulty)


def read_config(folder) -> BundleConfig:
    """Return the BundleConfig of a bundle, without its arrays."""
    return BundleConfig.from_json(read_bytes(pathlib.Path(folder) / CONFIG_FILE))


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
    content = read_bytes(folder / CONFIG_FILE)
    fields, card = read_object(content, CONFIG_FILE), read_object(read_bytes(folder / CARD_FILE), CARD_FILE)
    check_version(fields, CONFIG_FILE)
    check_version(card, CARD_FILE)
    # before all else that is said of what they hold: a field that is unknown because it is damaged is not of a newer
    # version; a file without a checksum lacks a field
    if CONFIG_SHA256 in card and card[CONFIG_SHA256] != hashlib.sha256(content).hexdigest():
        raise ValueError(_mismatch(CONFIG_FILE, CARD_FILE))
    config = BundleConfig.from_json(content)
    check_card(card)
    if card['kind'] != config.kind:
        raise ValueError(f"The model's {CARD_FILE} belongs to another model: its kind is {brief(card['kind'])}.")
    if level == 'max' and fields[WEIGHTS_SHA256] != hash_file(folder / MODEL_FILE):
        raise ValueError(_mismatch(MODEL_FILE, CONFIG_FILE))
    _check_tensors(folder / MODEL_FILE, config, level)


def _mismatch(name, other):
    return (
        f"The model's {name} does not match the checksum in its {other}: one of them is damaged, or of another model; "
        'get the artifact again from where it was made.'
    )


def _check_tensors(path, config, level):
    from safetensors import SafetensorError, safe_open

    with path.open('rb') as file:
        header = int.from_bytes(file.read(8), 'little')
    # where the file itself is shorter, it is no header
    if MAX_BYTES < header <= path.stat().st_size:
        raise ValueError(
            f"The model's {MODEL_FILE} has a header of {header:,} bytes, of at most {MAX_BYTES:,}; use a model that "
            'this plugin has made.'
        )
    try:
        with safe_open(path, framework='numpy') as tensors:
            types = array_types(config)
            check_header({name: tensors.get_slice(name) for name in tensors.keys()}, config, types)
            if level != 'max':
                return
            for name in tensors.keys():
                is_float = tensors.get_slice(name).get_dtype() in FLOATS
                if is_float and not np.isfinite(tensors.get_tensor(name)).all():
                    raise ValueError(f'The {called(name, types)} of the model are not all numbers; train it again.')
            _bundle(config, None, {name: tensors.get_tensor(name) for name in types if name in tensors.keys()})
    except SafetensorError as error:
        raise ValueError(
            f"The model's {MODEL_FILE} is damaged or incomplete ({one_line(error)}); get the artifact again from where "
            'it was made.'
        ) from error
