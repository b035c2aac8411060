"""What goes with an exported model, in words and numbers: its inputs and outputs, its vocabulary.

Importable without a package of ONNX.
"""

from typing import Any

import numpy as np

import q2_aam
from q2_aam import bundle
from q2_aam.data.applicability import MAX_FAMILIARITY
from q2_aam.data.extra_targets import EXTRA
from q2_aam.data.sequences import UNKNOWN, A, C, G, T

from .onnx_files import FORMAT_VERSION, HASHES, NOTHING, SEQUENCES, VOCABULARY_FILE

LETTERS = np.array(list('-ACGTN'))


def inputs_of(model: bundle.Bundle) -> list[tuple[str, str, list, str]]:
    """Return (name, type, axes, what it is) of each input of the graph of a model."""
    inputs: list[tuple[str, str, list, str]] = [
        ('tokens', 'int32', ['asvs', 'length'], 'Nucleotides of each distinct ASV; 0 behind the end of a sequence.'),
        (
            'vocabulary_index', 'int32', ['asvs'],
            f'Line of the ASV in {VOCABULARY_FILE}, from 0 on; -1 if it is not there.',
        ),
        (
            'asv_index', 'int32', ['samples', 'places'],
            'Which ASV stands at each place of a sample: its row in tokens, from 0 on; -1 where there is none.',
        ),
        (
            'abundances', 'float32', ['samples', 'places'],
            'Reads of that ASV, as counts or as shares; 0 where there is none.',
        ),
    ]  # fmt: skip
    schema = model.config.covariates
    if schema is not None and schema.categorical:
        axes: list = ['samples', len(schema.categorical)]
        what = 'Number of the category of each categorical covariate, from 1 on; 0 if it is unknown.'
        inputs.append(('covariate_categories', 'int32', axes, what))
    if schema is not None and schema.numeric:
        axes = ['samples', len(schema.numeric)]
        what = 'Value of each numeric covariate, in the unit of its column; NaN if it is unknown.'
        inputs.append(('covariate_numbers', 'float32', axes, what))
    return inputs


def outputs_of(columns: list[str], model: bundle.Bundle) -> list[tuple[str, str, list, str]]:
    """Return (name, type, axes, what it is) of each output of the graph of a model."""
    config, target = model.config, model.config.target
    width, memberships = config.call.model.width, config.call.model.memberships
    words = {
        'prediction': ('float64', [], 'The prediction, in the unit of the target.'),
        'probabilities': ('float64', ['classes'], 'Probability of each class, in the order of classes.'),
        'vocabulary_coverage': ('float64', [], 'Share of the sample in ASVs of the vocabulary, by logarithms.'),
        'share_of_reads_in_vocabulary': ('float64', [], 'The same by reads.'),
        'familiarity': ('float64', [], 'Distance from the training samples; NaN where the model cannot tell.'),
        'disagreement': ('float64', [], 'How far the kinds of members of the abundance ensemble are apart.'),
        'summary': ('float32', [width], 'Embedding of the summary token.'),
        'mean': ('float32', [width], 'Mean of the embeddings of the ASVs.'),
        'memberships': ('float32', [memberships], 'Embedding by memberships, as embed gives it by default.'),
        'distances': ('float32', ['samples'], 'Predicted distances among the samples given.'),
    }
    if config.kind == bundle.CLASSIFIER:
        words['prediction'] = (
            'int64', [], 'Number of the most probable class, from 0 on; -1 of a sample without reads.'
        )  # fmt: skip
    words |= {
        EXTRA + one.name: ('float64', [], f'The prediction of {one.name}, in its unit, by the network alone.')
        for one in config.extra_targets
    }
    outputs = []
    for name in columns:
        dtype, axes, what = words.get(name, ('float64', [], None))
        if what is None:
            level = name.removeprefix('quantile_')
            end = 'Lower' if name == 'lower_bound' else 'Upper'
            of_interval = f'{end} end of the prediction interval that is to hold {getattr(target, "coverage", 0):.4g}'
            what = of_interval if level == name else f'Quantile {level}'
            what += ' of new samples, in the unit of the target.' if level == name else ', in the unit of the target.'
        axes = [len(_classes(model))] if axes == ['classes'] else axes
        outputs.append((name, dtype, ['samples', *axes], what))
    return outputs


def described_of(columns: list[str], model: bundle.Bundle, weights_sha256: str) -> dict[str, Any]:
    """Return what INPUTS_FILE says, but for the checksums of files beside it."""
    config, target, schema = model.config, model.config.target, model.config.covariates

    def ports(rows):
        return [dict(zip(('name', 'dtype', 'shape', 'meaning'), row)) for row in rows]

    lines = len(vocabulary_lines(model))
    return {
        'format_version': FORMAT_VERSION,
        'made_by': f'q2-aam {q2_aam.__version__}',
        'kind': config.kind,
        'target': None if target is None else target.name,
        'inputs': ports(inputs_of(model)),
        'outputs': ports(outputs_of(columns, model)),
        'tokens': {
            'codes': {'A': A, 'C': C, 'G': G, 'T': T, 'U': T, 'any other letter': UNKNOWN},
            'max_length': config.call.model.max_sequence_length,
        },
        'vocabulary': {'form': _form(model), 'entries': lines},
        'abundances': {
            'scaling': 'none needed: the graph divides by the sum of each sample',
            'max_asvs_per_sample': config.call.data.max_asvs_per_sample,
        },
        'covariates': {
            'categorical': [] if schema is None else [
                {'name': column.name, 'categories': list(column.categories)} for column in schema.categorical
            ],
            'numeric': [] if schema is None else [column.name for column in schema.numeric],
        },
        'classes': _classes(model),
        'applicability': _applicability(model),
        'weights_sha256': weights_sha256,
    }  # fmt: skip


def _classes(model):
    target = model.config.target
    return list(target.classes) if isinstance(target, bundle.ClassTarget) else []


def _applicability(model):
    """Return by flag which outputs tell it: those below a share together, or the one above a distance."""
    told = {}
    if model.ensemble is not None and any(model.config.min_coverage):
        names = ('vocabulary_coverage', 'share_of_reads_in_vocabulary')
        told['low_vocabulary_coverage'] = dict(zip(names, map(float, model.config.min_coverage)))
    if model.domain is not None:
        told['unlike_training'] = {'familiarity': MAX_FAMILIARITY}
    return told


def _form(model):
    if model.vocabulary is not None:
        return SEQUENCES
    return NOTHING if model.known_asvs is None else HASHES


def vocabulary_lines(model: bundle.Bundle) -> list[str]:
    """Return the vocabulary of a model, an entry a line: sequences, or hashes where the model holds no more of them."""
    if model.vocabulary is not None:
        return [''.join(LETTERS[row[row > 0]]) for row in model.vocabulary.codes]
    if model.known_asvs is None:
        return []
    return [key.tobytes().hex() for key in model.known_asvs.keys.astype('<i8')]
