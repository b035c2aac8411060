"""What QIIME 2 loads: the plugin object, to which each family adds what it has."""

from qiime2.plugin import Plugin

import q2_aam
from q2_aam import types, visualizers
from q2_aam.actions import cross_validate, embed, fit, predict, pretrain
from q2_aam.actions.shared import cite

plugin = Plugin(
    name='aam',
    version=q2_aam.__version__,
    website='https://github.com/q2-aam/q2-aam',
    package='q2_aam',
    short_description='Transformers for feature tables: pretrain, fit, predict.',
    description=(
        'Attention All Microbes (AAM) trains a transformer on a feature table and its sequences. Nucleotides make an '
        'ASV, and ASVs with their abundances make a sample. It first learns from samples without labels, then learns a '
        'metadata column from few labels, then predicts new samples, with ASVs it never saw included.'
    ),
    citations=cite('vaswani2017'),
)

for family in (types, pretrain, fit, predict, cross_validate, embed, visualizers):
    family.register(plugin)
