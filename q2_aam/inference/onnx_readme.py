"""The page that goes with a model for other runtimes: what its files are, and a reader in Python of one screen."""

HEAD = """# {title}

Made by {made_by}. The model is one graph, `model.onnx`, for any runtime of ONNX: nothing of q2-aam is needed.

| file | what it is |
|---|---|
| `model.onnx` | the graph |
| `inputs.json` | its inputs and outputs: names, types, axes, meaning; codes of nucleotides, classes, covariates |
| `vocabulary.txt` | {vocabulary} |

## Inputs

{inputs}

- A sequence is read up to nucleotide {max_length} and no further; cut longer ones. Features with the same sequence are
  one ASV: add their reads.
- Counts or shares will do, the graph divides by the sum of a sample. A sample without reads has no place, or only
  places with -1; all that is said of it is NaN. There may be no ASV at all.
- Sequences must be of the same region, orientation and trimming as those of the training: what `harmonize` mends in
  `qiime aam predict` is not in the graph. The numbers are those of `predict --p-harmonize off`.
{ties}
## Outputs

{outputs}
{reading}
## A reader

It needs numpy and onnxruntime. Run it in this folder.

```python
"""

# Flags that outputs tell, as INPUTS_FILE names them.
LOW, UNLIKE = 'low_vocabulary_coverage', 'unlike_training'

READER = '''import hashlib
import json

import numpy as np
import onnxruntime

described = json.load(open('inputs.json', encoding='utf-8'))
entries = open('vocabulary.txt', encoding='ascii').read().split()
line = {entry: number for number, entry in enumerate(entries)}
session = onnxruntime.InferenceSession('model.onnx', providers=['CPUExecutionProvider'])
codes = {'A': 1, 'C': 2, 'G': 3, 'T': 4}


def index_of(tokens):
    """Number of a sequence in the vocabulary, or -1."""
    if described['vocabulary']['form'] == 'blake2b':
        return line.get(hashlib.blake2b(bytes(tokens), digest_size=8).hexdigest(), -1)
    return line.get(''.join('-ACGTN'[code] for code in tokens), -1)


def inputs_of(samples, sequences, covariates=None):
    """samples: {sample: {feature: reads}}; sequences: {feature: 'ACGT...'}; covariates: {sample: {column: value}}."""
    longest = described['tokens']['max_length']
    rows = []
    for reads in samples.values():
        row = {}
        for feature, count in reads.items():
            sequence = sequences[feature].upper().replace('U', 'T')[:longest]
            if count > 0:
                row[sequence] = row.get(sequence, 0) + count
        rows.append(sorted(row.items()))
    asvs = sorted({sequence for row in rows for sequence, _ in row})
    place = {sequence: number for number, sequence in enumerate(asvs)}
    spelled = [[codes.get(letter, 5) for letter in sequence] for sequence in asvs]
    tokens = np.zeros((len(asvs), max(map(len, spelled), default=1)), np.int32)
    for number, letters in enumerate(spelled):
        tokens[number, : len(letters)] = letters
    asv_index = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    abundances = np.zeros(asv_index.shape, np.float32)
    for number, row in enumerate(rows):
        asv_index[number, : len(row)] = [place[sequence] for sequence, _ in row]
        abundances[number, : len(row)] = [count for _, count in row]
    given = {
        'tokens': tokens,
        'vocabulary_index': np.array([index_of(letters) for letters in spelled], np.int32),
        'asv_index': asv_index,
        'abundances': abundances,
    }
    known = [(covariates or {}).get(sample, {}) for sample in samples]
    if categorical := described['covariates']['categorical']:
        number = [{name: place + 1 for place, name in enumerate(column['categories'])} for column in categorical]
        given['covariate_categories'] = np.array(
            [[of.get(row.get(column['name']), 0) for of, column in zip(number, categorical)] for row in known], np.int32
        )
    if numeric := described['covariates']['numeric']:
        rows = [[row.get(name, np.nan) for name in numeric] for row in known]
        given['covariate_numbers'] = np.array(rows, np.float32)
    return given


def run(samples, sequences, covariates=None):
    """{output: array}, a row a sample, in the order given."""
    names = [output['name'] for output in described['outputs']]
    return dict(zip(names, session.run(names, inputs_of(samples, sequences, covariates))))
'''


def readme(described: dict) -> str:
    """Return the page of a model whose INPUTS_FILE says this."""
    of = described['kind'] if described['target'] is None else f'{described["kind"]} of {described["target"]}'
    form = described['vocabulary']['form']
    vocabulary = {
        'sequences': 'the ASVs that the abundance ensemble knows, a sequence a line, the first is number 0; other '
        'letters than A, C, G and T are N',
        'blake2b': 'the ASVs that the encoder learned from, a line each: BLAKE2b with a digest of 8 bytes of the codes '
        'of the sequence, a byte a nucleotide, in hexadecimal',
        'none': 'empty: this model has no vocabulary, so that vocabulary_index is -1 throughout',
    }[form]
    head = HEAD.format(
        title=f'An ONNX model: {of}',
        made_by=described['made_by'],
        vocabulary=vocabulary,
        inputs=_table(described['inputs']),
        outputs=_table(described['outputs']),
        max_length=described['tokens']['max_length'],
        ties=_ties(described),
        reading=_reading(described),
    )
    return f'{head}{READER}```\n\n{_example(described)}'


def _table(ports):
    lines = ['| name | type | axes | what it is |', '|---|---|---|---|']
    for port in ports:
        axes = ', '.join(map(str, port['shape']))
        lines.append(f'| `{port["name"]}` | {port["dtype"]} | {axes} | {port["meaning"]} |')
    return '\n'.join(lines)


def _ties(described):
    limit = described['abundances']['max_asvs_per_sample']
    if not limit:
        return ''
    return (
        f'- The graph reads no more of a sample than the model does (max_asvs_per_sample {limit:g}); of equally '
        'abundant ASVs\n  it takes those at earlier places: put them in the alphabetical order of their sequences.\n'
    )


def _reading(described):
    if _has(described, 'distances'):
        return '\nDistances are among the samples that are given together.\n'
    told = described['applicability']
    words = [' and '.join(f'`{name}` is below {least:.4g}' for name, least in told.get(LOW, {}).items())]
    words += [f'`{name}` is above {most:g}' for name, most in told.get(UNLIKE, {}).items()]
    words = [part for part in words if part]
    if not words:
        return ''
    return (
        f'\nA sample is unlike those of the training where {", or where ".join(words)}:\n'
        'do not trust its prediction. `qiime aam predict` looks at its sequences, too.\n'
    )


def _has(described, name):
    return any(output['name'] == name for output in described['outputs'])


def _example(described):
    columns = described['covariates']['categorical'] or described['covariates']['numeric']
    more = ', {"my sample": {...}}' if columns else ''
    return (
        'For example: `run({"my sample": {"feature 1": 12, "feature 2": 3}}, {"feature 1": "TACG...", "feature 2": '
        f'"TACA..."}}{more})`.\n'
        'Samples of like richness go together best: each is padded to the richest of those given.\n'
    )
