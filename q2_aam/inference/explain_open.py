"""What every explanation begins with: a model and samples, read as predicting reads them.

Shapes: A ASVs of the study.
"""

import dataclasses
import warnings

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.config import AUTO
from q2_aam.data.augmentation import make_augmentation
from q2_aam.data.known_features import TAXONOMY
from q2_aam.data.splits import NEW
from q2_aam.errors import AAMWarning, UserError, counted, shown
from q2_aam.runtime.device import choose_device, device_name, place
from q2_aam.runtime.encode import StudyReader
from q2_aam.runtime.memory import with_less_memory
from q2_aam.training.train import describe_study

from .categories import check_categories, read_categories
from .covariates import check_covariates, with_covariates
from .read import NO_CLADES, Clades, read_new

# Share of the table's ASVs without a taxon from which on this is said.
MANY = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """A model and the samples that it is asked about.

    Attributes
    ----------
    model : q2_aam.bundle.Bundle
    reader : StudyReader
        Its ASVs are remembered.
    device : torch.device
    codes : int64 [samples] or None
        Number of the category by which the target of each sample is scaled; None where it is by none.
    """

    model: bundle.Bundle
    reader: StudyReader
    device: object
    codes: np.ndarray | None = None

    @property
    def study(self):
        """The samples as the model reads them."""
        return self.reader.study

    @property
    def target(self):
        """What the model predicts."""
        return self.model.config.target

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the model tells apart; none of a regressor."""
        return getattr(self.target, 'classes', ())


def open_model(
    table, model, runtime, harmonize, sequences, covariates, directory, say, taxonomy=None, scale_by=None
) -> Opened:
    """Read a model and a table as predicting reads them, and encode each ASV once.

    Effects are differences of predictions: they are computed in float32 unless another precision is asked for.

    Raises
    ------
    q2_aam.errors.UserError
        If an input cannot be used, or the model knows nothing like the table's ASVs.
    """
    device = choose_device(runtime.device)
    loaded = bundle.load(model)
    if loaded.config.target is None:
        raise UserError('An encoder predicts nothing that could be explained; give a regressor or a classifier.')
    check_covariates(loaded.config.covariates, covariates)
    check_categories(loaded.config.target, scale_by)
    precision = 'float32' if runtime.precision == AUTO else runtime.precision
    clades = Clades(taxonomy) if _shares_taxonomy(loaded.known_features) else NO_CLADES
    study, _, _ = read_new(loaded, table, sequences, directory, harmonize, say, clades)
    study = with_covariates(study, loaded.config.covariates, covariates, say)
    describe_study(study, {NEW: len(study)}, say)
    _check_known(loaded, study)
    say(f'Model: predicts {shown(loaded.config.target.name)}, on {device_name(device)}.')
    place(loaded.network, dataclasses.replace(runtime, precision=precision), device)
    reader = StudyReader(study, make_augmentation(loaded.config.call.data))
    codes = read_categories(loaded.config.target, scale_by, study.sample_ids, say)
    if codes is not None and loaded.config.heads['target'].categories:
        reader.given['target'] = codes
    with_less_memory(loaded.network, lambda: reader.remember(loaded.network))
    return Opened(loaded, reader, device, codes)


def _shares_taxonomy(known):
    return known is not None and known.shared == TAXONOMY


def known_asvs(model, study) -> np.ndarray:
    """Return which ASVs of a study are in the vocabulary of the abundance ensemble, bool [A]."""
    if model.vocabulary is None:
        return np.zeros(len(study.feature_ids), dtype=bool)
    return np.isin(study.keys, model.vocabulary.keys)


def _check_known(model, study):
    near = model.similarity(study).near
    if not (near | known_asvs(model, study)).any():
        raise UserError(
            f'The model knows nothing like the {counted(len(near), "ASV")} of the table (e.g. '
            f'{shown(study.feature_ids[0])}): none is near a training sequence, so that importance would mean nothing; '
            'give samples of the region and kind that the model was trained on.'
        )


def taxa_of(feature_ids, taxonomy: pd.Series) -> list[str]:
    """Return the taxon of each ASV, '' where there is none; refuse a taxonomy of other features."""
    taxa = taxonomy.reindex(feature_ids)
    missing = taxa.isna().to_numpy()
    if missing.all():
        raise UserError(
            f'The taxonomy has none of the {counted(len(taxa), "ASV")} of the table (the table has e.g. '
            f'{shown(feature_ids[0])}, the taxonomy {shown(str(taxonomy.index[0]))}); give the taxonomy of '
            'the features of this table.'
        )
    if missing.mean() > MANY:
        warnings.warn(
            f'The taxonomy lacks {counted(int(missing.sum()), "ASV")} of {len(taxa):,} (e.g. '
            f'{shown(feature_ids[int(missing.argmax())])}), which belong to no clade.',
            AAMWarning,
            stacklevel=3,
        )
    return ['' if lacks else str(taxon) for taxon, lacks in zip(taxa, missing)]
