"""Importance finds known biology: which taxa of the infant gut make a sample look young, and which old.

Guts of infants hold Bifidobacterium and Enterobacteriaceae in the first months, and Clostridiales from weaning on
(Bokulich et al. 2016, doi:10.1126/scitranslmed.aad7121).
"""

import pathlib
import zipfile

import pandas as pd
import pytest

from q2_aam.config import FeatureImportanceConfig, FitRegressorConfig
from q2_aam.inference.explain import importance
from q2_aam.training.fit import fit_regressor

ECAM = pathlib.Path(__file__).parents[1] / 'data' / 'ecam'
# A small network: most of what can be learned of 126 samples lies in the ensemble.
OPTIONS = {
    'width': 32, 'asv_layers': 1, 'sample_layers': 1, 'attention_heads': 2, 'memberships': 32, 'epochs': 5,
    'random_seed': 3, 'threads': 1, 'device': 'cpu', 'random_forest': False,
}  # fmt: skip


def unpacked(name, ending, folder):
    """Return the path of the only file of this ending in an artifact's data."""
    with zipfile.ZipFile(ECAM / name) as file:
        (member,) = [one for one in file.namelist() if '/data/' in one and one.endswith(ending)]
        return pathlib.Path(file.extract(member, folder))


@pytest.mark.slow
def test_bacteria_of_the_first_months_lower_the_predicted_age_and_those_of_later_ones_raise_it(tmp_path):
    table, sequences, taxa = (
        unpacked(name, ending, tmp_path)
        for name, ending in (('table.qza', '.biom'), ('rep-seqs.qza', '.fasta'), ('taxonomy.qza', '.tsv'))
    )
    metadata = pd.read_csv(ECAM / 'metadata.tsv', sep='\t', index_col=0, comment=None).dropna(subset=['month_of_life'])
    age = pd.to_numeric(metadata['month_of_life'], errors='coerce').dropna()
    folder = tmp_path / 'model'
    folder.mkdir()
    fit_regressor(
        table, age, folder, FitRegressorConfig.from_flat(OPTIONS), sequences, groups=metadata['subject'][age.index],
        say=lambda line: None,
    )  # fmt: skip
    taxonomy = pd.read_csv(taxa, sep='\t', index_col=0)['Taxon']
    # nearly all of these samples have no label, so that nothing was learned from them
    config = FeatureImportanceConfig.from_flat(
        {'threads': 1, 'device': 'cpu', 'gradient_steps': 0, 'max_asvs': 300, 'max_samples': 300}
    )
    found = importance(table, folder, config, sequences, taxonomy, say=lambda line: None)
    clades = found.clades.assign(name=found.clades['clade'].str.split('; ').str[-1]).set_index('name')
    for name in ('g__Bifidobacterium', 'f__Enterobacteriaceae', 'o__Clostridiales'):
        row = clades.loc[name]
        error = row['effect_sd'] / row['samples'] ** 0.5
        sign = 1 if name == 'o__Clostridiales' else -1
        assert sign * row['effect'] > 2 * error, (name, row['effect'], error)
