"""What the OpenAPI description says of requests and answers, in words and examples."""

from typing import Any

from q2_aam.errors import counted

from .limits import Limits
from .models import Served

SEQUENCES = {'asv1': 'TACGGAGGATCCGAGCG', 'asv2': 'TACGTAGGGGGCAAGCG'}
JSON_EXAMPLE = {'table': {'S1': {'asv1': 120, 'asv2': 31}, 'S2': {'asv2': 88}}, 'sequences': SEQUENCES}
TSV_EXAMPLE = '#OTU ID\tS1\tS2\nTACGGAGGATCCGAGCG\t120\t0\nTACGTAGGGGGCAAGCG\t31\t88\n'
FORM_EXAMPLE = 'curl -F table=@table.tsv -F sequences=@dna-sequences.fasta http://.../predict'
REQUEST_BODY: dict[str, Any] = {
    'required': True,
    'content': {
        'application/json': {
            'schema': {
                'type': 'object',
                'description': 'table: counts or relative frequencies by sample and feature, or an object of BIOM 1; '
                'sequences: by feature, not needed where feature IDs are sequences; covariates: values by sample and '
                'column, needed where /model names some.',
                'required': ['table'],
                'properties': {name: {'type': 'object'} for name in ('table', 'sequences', 'covariates')},
            },
            'example': JSON_EXAMPLE,
        },
        'application/biom+json': {
            'schema': {
                'type': 'object',
                'description': 'BIOM 1 (biom convert --to-json), whose feature IDs are the sequences.',
            }
        },
        'text/tab-separated-values': {
            'schema': {
                'type': 'string',
                'description': 'A header with the IDs of samples, then a line a feature, whose ID is its sequence '
                '(biom convert --to-tsv).',
            },
            'example': TSV_EXAMPLE,
        },
        'multipart/form-data': {
            'schema': {
                'type': 'object',
                'description': 'table: as text or BIOM 1; sequences: FASTA; covariates: as text, a line a sample. '
                f'{FORM_EXAMPLE}',
                'required': ['table'],
                'properties': {name: {'type': 'string'} for name in ('table', 'sequences', 'covariates')},
            }
        },
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {'description': 'The request is malformed; the sentence in "error" says where.'},
    408: {'description': 'The body did not come in time.'},
    413: {'description': 'The request, its table or a sequence is too large.'},
    415: {'description': 'The body is of a type that is not read, such as BIOM 2 (HDF5).'},
    422: {'description': 'The table, the sequences, the covariates or a parameter cannot be used.'},
    503: {'description': 'Too many requests wait, or it took too long; send it again later.'},
}


def description_of(served: Served, limits: Limits) -> str:
    """Return what the page says of the model and of the limits."""
    needs = served.card['request']
    words = [
        f'POST a feature table to /predict and get, for each sample, a prediction of {served.card["target"]}, '
        + ('its interval' if served.kind == 'regressor' else 'the probability of each class')
        + ', and how well the model knows such samples (flag and applicability).'
    ]
    if not needs['reads_sequences']:
        words.append('It knows features by their names: name them as in the training, and send no sequences.')
    if needs['covariates']:
        words.append(f'Covariates are needed: {", ".join(needs["covariates"])}.')
    if needs['scale_by']:
        words.append(f'The covariates must have the column {needs["scale_by"]}, too, by which the target is scaled.')
    words.append(
        f'A request may have {limits.max_megabytes:,} MB, {counted(limits.max_samples, "sample")}, '
        f'{counted(limits.max_features, "feature")} and {limits.max_seconds:,} seconds.'
    )
    words.append('What is refused is answered with one sentence in "error".')
    return ' '.join(words)
