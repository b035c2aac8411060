"""Training on features without sequences: which of them the model knows, and what of its configuration follows."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import torch

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.data.feature_names import ids_in_names
from q2_aam.data.known_features import SHARED, TOKENS, KnownFeatures, learn_features
from q2_aam.data.study import Study
from q2_aam.errors import AAMWarning, UserError, counted, shown
from q2_aam.objectives import Inputs
from q2_aam.runtime.recorder import Recorder

# Parameters of the network that are about nucleotides, and what they are where tokens are clades and names.
OF_NUCLEOTIDES = {'nucleotides_per_token': 1, 'max_sequence_length': TOKENS}
# Parameters of training that are about nucleotides, beside nucleotide_weight.
AUGMENTATIONS = ('nucleotide_noise', 'max_shift', 'max_trim')
# The weights of tokens.
TOKEN_WEIGHTS = 'asv_encoder.token_embedding'
# Share of the reads below which an encoder that does not learn knows too little of a table.
MIN_KNOWN = 0.5


def reads_names(source: bundle.Bundle | None) -> bool | None:
    """Return whether what starts from an encoder reads named features; None where there is none, and ids tell."""
    return None if source is None else source.known_features is not None


def with_known_features(
    study: Study,
    rows: np.ndarray,
    inputs: Inputs,
    config: Any,
    source: bundle.Bundle | None,
    recorder: Recorder,
    learns: bool = True,
) -> tuple[Study, KnownFeatures | None, Any]:
    """Return a study whose named features have tokens, the features that are known, and the configuration for them.

    Of a study of sequences, nothing changes.

    Parameters
    ----------
    study : Study
    rows : int64
        Training samples, whose features are learned: those of others are as new as those of new samples.
    inputs : Inputs
    config : q2_aam.config.Call
        Not resolved yet.
    source : q2_aam.bundle.Bundle or None
        The encoder to start from.
    recorder : Recorder
    learns : bool
        Whether features that the encoder does not know are learned, too.

    Raises
    ------
    UserError
        If a parameter is about nucleotides, or a taxonomy or phylogeny has none of the features.
    """
    if not study.named:
        return study, None, config
    config = _without_nucleotides(config, source)
    before = None if source is None else source.known_features
    if before is None or learns:
        known = learn_features(study, rows, inputs.taxonomy, inputs.phylogeny, before)
    else:
        known = before
    study = known.on(study, inputs.taxonomy, inputs.phylogeny)
    recorder.say(
        f'Features: without sequences, known by their names (e.g. {shown(study.feature_ids[0])}); the model knows '
        f'{counted(len(known.ids), "feature")}, which share {SHARED[known.shared]}. No nucleotides are masked.'
    )
    _warn_of_ids(study, known, inputs.groups)
    if before is not None:
        recorder.say(known.describe(study))
        _warn_of_unknown(known, study)
    return study, known, config


def without_clades(inputs: Inputs, study: Study) -> Inputs:
    """Return the inputs of a fit without what its named features share, from which no objective learns; warn if unused.

    A fit learns neither taxonomy nor distances of a phylogeny.
    """
    given = [name for name in ('taxonomy', 'phylogeny') if getattr(inputs, name) is not None]
    if given and not study.named:
        warnings.warn(
            f'Features of the table have sequences, which are read, so that a {given[0]} changes nothing; pretrain '
            'learns from it.',
            AAMWarning,
            stacklevel=3,
        )
    elif len(given) == 2:
        warnings.warn(
            'Features without sequences share their taxonomy where one is given, so that the phylogeny changes '
            'nothing; give one of them.',
            AAMWarning,
            stacklevel=3,
        )
    return dataclasses.replace(inputs, taxonomy=None, phylogeny=None)


def _warn_of_ids(study, known, groups):
    """Warn where features that the model knows are named after samples, or groups, that have them."""
    rows_of = {name: [row] for row, name in enumerate(study.sample_ids)}
    if groups is not None:
        for row, name in enumerate(groups.reindex(study.sample_ids).tolist()):
            rows_of.setdefault(str(name), []).append(row)
    names = [study.feature_ids[feature] for feature in np.flatnonzero(np.isin(study.keys, known.keys))]
    place = {name: feature for feature, name in enumerate(study.feature_ids)}
    found = ids_in_names(names, set(rows_of))
    own = {
        name: one
        for name, one in found.items()
        if any(place[name] in study.asvs[study.offsets[row] : study.offsets[row + 1]] for row in rows_of[one])
    }
    # one ID may be a word, and numbers of features may be those of other samples
    if len(set(own.values())) < 2 or len(own) < len(found) / 2:
        return
    example = min(own)
    warnings.warn(
        f'Names of {counted(len(own), "feature")} hold the ID of a sample or group that has it (e.g. {shown(example)} '
        f'that of {shown(own[example])}), and a model holds names of features; rename them before training if others '
        'are to get the model.',
        AAMWarning,
        stacklevel=4,
    )


def _warn_of_unknown(known, study):
    share = known.share(study)
    if share < MIN_KNOWN:
        warnings.warn(
            f'The encoder knows features with {share:.0%} of the reads of the table, and the network reads no others; '
            'pretrain on these samples, too, with it as initial_encoder, or set freeze to none.',
            AAMWarning,
            stacklevel=3,
        )


def _without_nucleotides(config, source):
    """Return a configuration whose parameters of nucleotides say what is; refuse those that ask for something else."""
    training, model = config.training, config.model
    default = next(opt.default for opt in type(training).options() if opt.name == 'nucleotide_weight')
    asked = [name for name in AUGMENTATIONS if getattr(training, name)]
    if training.nucleotide_weight not in (0, default):
        asked.append('nucleotide_weight')
    if source is None:
        asked += [name for name, value in OF_NUCLEOTIDES.items() if getattr(model, name) not in (AUTO, value)]
        model = dataclasses.replace(model, **OF_NUCLEOTIDES)
    if asked:
        where = model if asked[0] in OF_NUCLEOTIDES else training
        value = getattr(config.model if where is model else training, asked[0])
        raise UserError(
            f'Parameter {asked[0]} is {value}, but features without sequences have no nucleotides; leave it at its '
            'default, or provide the input "sequences".'
        )
    more = {'taxonomy_weight': 0.0} if hasattr(training, 'taxonomy_weight') else {}
    training = dataclasses.replace(training, nucleotide_weight=0.0, **more)
    return dataclasses.replace(config, training=training, model=model)


def refuse_names_alone(study: Study) -> None:
    """Raise UserError where nothing can be learned of a study because its features are named."""
    if study.named:
        raise UserError(
            f'There is nothing to learn: features without sequences (e.g. {shown(study.feature_ids[0])}) have no '
            'nucleotides, and a taxonomy is what they share; provide the input "sequences" where there are some, or '
            'give a distance_matrix, a phylogeny or alpha_diversity.'
        )


def with_new_tokens(known: dict[str, torch.Tensor], drawn: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of an encoder with those of tokens that it does not know, which come behind the others.

    Parameters
    ----------
    known : dict
        {name: weights} of the encoder.
    drawn : dict
        The same of the network that begins with them, as they were drawn.
    """
    if TOKEN_WEIGHTS not in known or TOKEN_WEIGHTS not in drawn:
        return known
    tokens = drawn[TOKEN_WEIGHTS].clone()
    tokens[: len(known[TOKEN_WEIGHTS])] = known[TOKEN_WEIGHTS]
    return known | {TOKEN_WEIGHTS: tokens}


def describe_tokens(prepared: Any) -> str:
    """Return what tokens of ASVs are made of, in words; `prepared` is what training reads."""
    if prepared.known is None:
        return f'tokens of {counted(prepared.config.model.nucleotides_per_token, "nucleotide")}'
    return f'{counted(len(prepared.known.token_keys), "token")} of features'
