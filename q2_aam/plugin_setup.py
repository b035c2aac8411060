"""What QIIME 2 loads: the plugin object, with which each family registers."""

from qiime2.plugin import Plugin

import q2_aam
from q2_aam import types, visualizers
from q2_aam.actions import (
    cross_validate,
    embed,
    encoders,
    evaluate,
    explain,
    export,
    fit,
    plan,
    predict,
    pretrain,
    tune,
)
from q2_aam.visualizers.citations import cite

plugin = Plugin(
    name='aam',
    version=q2_aam.__version__,
    website='https://github.com/q2-aam/q2-aam',
    package='q2_aam',
    short_description='Transformers for feature tables: pretrain, fit, predict.',
    description=(
        'Attention All Microbes (AAM) trains a transformer on a feature table and its representative sequences: ASVs '
        'are encoded from their nucleotides, and samples from their ASVs and abundances. An encoder is pretrained on '
        'samples without labels; a model is then trained on a metadata column with few labels, and predicts new '
        'samples, including ASVs that it has never seen.'
    ),
    citations=cite('vaswani2017'),
)

for family in (
    types, pretrain, fit, predict, cross_validate, embed, encoders, explain, visualizers, evaluate, plan, export, tune,
):  # fmt: skip
    family.register(plugin)
