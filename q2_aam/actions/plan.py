"""The visualizer `plan`: what speaks against training on a study, before it is trained on."""

import qiime2
from q2_types.distance_matrix import LSMatFormat
from q2_types.feature_data import DNAFASTAFormat
from q2_types.feature_table import BIOMV210Format
from qiime2.plugin import Categorical, Metadata, MetadataColumn, Numeric

from q2_aam.config import FitClassifierConfig, FitRegressorConfig, PlanConfig, PretrainConfig
from q2_aam.types import AAMEncoder, AAMModelDirectoryFormat
from q2_aam.visualizers.citations import cite

from .examples_plan import plan_example
from .fit import group_names
from .shared import GROUPS_DESCRIPTION, INPUT_DESCRIPTIONS, INPUTS, path_of
from .signature import descriptions, flat, parameters

DESCRIPTION = (
    'Look at a study before a model is trained on it, and say in one page what speaks against it, with a way out: IDs '
    'that do not match, hashes of other sequences, reads of several lengths, orientations or starts, shallow samples, '
    'samples that share no ASVs, targets that are missing, constant, skewed or no values, small classes, repeated '
    'subjects without groups, copies of samples, and columns that go with the target (confounding). It also fits '
    'simple models for a learning curve, times a few steps of training for what it would cost, shows what is derived '
    'automatically, and ends with the commands to run. Nothing is trained that is kept.'
)


@flat(PlanConfig)
def plan(
    output_dir: str,
    table: BIOMV210Format,
    sequences: DNAFASTAFormat = None,
    encoder: AAMModelDirectoryFormat = None,
    distance_matrix: LSMatFormat = None,
    metadata: qiime2.MetadataColumn = None,
    groups: qiime2.MetadataColumn = None,
    batches: qiime2.Metadata = None,
    *,
    config: PlanConfig,
) -> None:
    # QIIME 2 loads this file to run any action of any plugin
    from q2_aam import bundle
    from q2_aam.evaluation.plan_study import Given, look
    from q2_aam.runtime.heard import noting
    from q2_aam.visualizers.page import write_page
    from q2_aam.visualizers.plan import blocks_of

    start = None if encoder is None else bundle.load(str(encoder), bundle.ENCODER)
    given = Given(
        str(table),
        path_of(sequences),
        path_of(distance_matrix),
        None if metadata is None else metadata.to_series(),
        None if groups is None else group_names(groups),
        None if batches is None else batches.to_dataframe(),
        None if start is None else start.references,
        None if start is None else start.config.call.model.max_sequence_length,
        None if start is None else start.known_features,
    )
    looked = look(given, noting)
    rehearsal, curve, more = _rehearse(looked, given, path_of(encoder), config)
    blocks = blocks_of(looked, [*looked.findings, *more], given, encoder is not None, rehearsal, curve)
    write_page(output_dir, 'Plan of a training', blocks)


def _rehearse(looked, given, encoder, config):
    """Return the rehearsal, its learning curve, and what both found; None where nothing can be trained."""
    if not (config.plan.rehearse and looked.may_train):
        return None, None, []
    from q2_aam import bundle
    from q2_aam.errors import UserError
    from q2_aam.evaluation.plan import ERROR, from_message
    from q2_aam.evaluation.plan_curve import check_skill, summarize
    from q2_aam.objectives import Inputs
    from q2_aam.runtime.heard import ignoring
    from q2_aam.training.rehearsal import rehearse_fit, rehearse_pretraining

    inputs = Inputs(given.table, given.sequences, given.target, given.groups, encoder, given.distance_matrix)
    try:
        # what it would warn of is among the findings
        with ignoring():
            if given.target is None:
                return rehearse_pretraining(inputs, _with_runtime(PretrainConfig(), config)), None, []
            numbers = looked.labels.values.dtype != object
            kind, call = (bundle.REGRESSOR, FitRegressorConfig) if numbers else (bundle.CLASSIFIER, FitClassifierConfig)
            rehearsal = rehearse_fit(kind, inputs, _with_runtime(call(), config))
    except UserError as error:
        return None, None, [from_message(ERROR, 'refused', 'training', error)]
    curve = summarize(rehearsal.curve.errors)
    return rehearsal, curve, check_skill(curve, looked.labels.name)


def _with_runtime(call, config):
    import dataclasses

    # what only a training has keeps its default: a plan is measured on one device
    runtime = type(call.runtime)(**dataclasses.asdict(config.runtime))
    return dataclasses.replace(call, runtime=runtime)


def register(plugin):
    """Register the visualizer with the plugin object."""
    plugin.visualizers.register_function(
        function=plan,
        inputs={**INPUTS, 'encoder': AAMEncoder},
        parameters={
            'metadata': MetadataColumn[Numeric | Categorical],
            'groups': MetadataColumn[Categorical | Numeric],
            'batches': Metadata,
            **parameters(PlanConfig),
        },
        input_descriptions={
            **INPUT_DESCRIPTIONS,
            'encoder': 'Encoder from pretrain that a model would start from: can it read these sequences?',
        },
        parameter_descriptions={
            'metadata': 'Column to predict (the target), numeric or categorical. Without it, pretraining is planned.',
            'groups': GROUPS_DESCRIPTION.format(split='split'),
            'batches': 'Columns that should not tell the target (run, plate, site, kit, ...), or could name subjects: '
            'each is tested. All other metadata will do, too.',
            **descriptions(PlanConfig),
        },
        name='Plan a training',
        description=DESCRIPTION,
        citations=cite('pedregosa2011', 'satyanarayan2017', 'vanderplas2018'),
        examples={'plan_a_training': plan_example},
    )
