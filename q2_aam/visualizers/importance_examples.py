"""Usage example of the visualizer of importance, on numbers made in memory."""

import numpy as np
import pandas as pd


def importance():
    """Return the importance of six ASVs of two genera in ten samples: those of the first genus lower the prediction."""
    from q2_aam.data.importance import Importance

    random = np.random.default_rng(3)
    ids = [f'asv{number}' for number in range(6)]
    taxa = ['k__Bacteria; g__Juvenilia'] * 3 + ['k__Bacteria; g__Senectilia'] * 3
    effect = np.array([-2.0, -1.2, -0.5, 1.1, 0.8, 0.1])
    importance = pd.Series(np.abs(effect), ids)
    details = pd.DataFrame(
        {
            'importance': importance, 'effect': effect, 'effect_sd': 0.3, 'effect_sd_members': 0.1, 'samples': 10,
            'share_of_samples': 1.0, 'mean_share_of_reads': 1 / 6, 'in_vocabulary': 1, 'network_gradient': effect / 2,
            'taxonomy': taxa, 'clade': taxa, 'clade_importance': 2.5, 'clade_effect': [-2.5] * 3 + [2.0] * 3,
            'target': 'age',
        },
        pd.Index(ids, name='id'),
    )  # fmt: skip
    clades = pd.DataFrame(
        {
            'level': 2, 'clade': sorted(set(taxa)), 'importance': [2.5, 2.0], 'effect': [-2.5, 2.0], 'effect_sd': 0.4,
            'asvs': 3, 'samples': 10, 'share_of_samples': 1.0, 'mean_share_of_reads': 0.5,
        }
    )  # fmt: skip
    share = random.dirichlet(np.ones(6), 10)
    samples = pd.DataFrame(
        {
            'sample': np.repeat([f'S{number}' for number in range(10)], 6), 'id': ids * 10,
            'share_of_reads': share.ravel(), 'prediction': np.repeat(12 + 10 * (share @ effect), 6),
            'effect': (share * effect * 6).ravel(),
        }
    )  # fmt: skip
    return Importance(details.sort_values('importance', ascending=False), clades, samples)


def importance_factory():
    import qiime2

    from q2_aam.types import AAMImportanceDetailsDirectoryFormat

    folder = AAMImportanceDetailsDirectoryFormat()
    importance().save(str(folder))
    return qiime2.Artifact.import_data('FeatureData[AAMImportanceDetails]', folder)


def visualize_importance_example(use):
    importance_details = use.init_artifact('importance_details', importance_factory)

    (importance,) = use.action(
        use.UsageAction(plugin_id='aam', action_id='visualize_importance'),
        use.UsageInputs(importance_details=importance_details),
        use.UsageOutputNames(visualization='importance'),
    )

    importance.assert_output_type('Visualization')
    importance.assert_has_line_matching(path='index.html', expression=r'^ *<h1>Importance for age</h1>$')
