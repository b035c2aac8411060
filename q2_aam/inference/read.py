"""How a model reads new samples: their sequences, harmonized, or their features by name."""

import dataclasses
import os
import warnings

import numpy as np
import pandas as pd

from q2_aam import bundle
from q2_aam.data.depths import check_depths
from q2_aam.data.harmonize import describe, harmonize
from q2_aam.data.inputs import read_study
from q2_aam.data.known_features import PHYLOGENY, SHARED, TAXONOMY
from q2_aam.data.study import Study
from q2_aam.errors import AAMWarning, UserError, counted, shown

# Share of reads from which on it is said what was done to them.
MIN_SHARE = 0.005


@dataclasses.dataclass(frozen=True, eq=False)
class Clades:
    """By what features without sequences are placed that a model does not know.

    Attributes
    ----------
    taxonomy : pandas.Series, optional
        Taxon by feature id.
    phylogeny : path, optional
        Newick; not all features need be in it.
    """

    taxonomy: pd.Series | None = None
    phylogeny: str | os.PathLike | None = None


NO_CLADES = Clades()


def read_new(
    model: bundle.Bundle, table, sequences, directory, how: str, say, clades: Clades = NO_CLADES
) -> tuple[Study, list[str], 'Harmonizer']:
    """Read a table as a model reads it.

    Parameters
    ----------
    model : q2_aam.bundle.Bundle
    table : path
        BIOM 2.1 HDF5.
    sequences : path or None
        FASTA with the sequence of each feature; without it the feature ids are the sequences, or their names.
    directory : path
        Where the study is kept.
    how : str
        The parameter ``harmonize``.
    say : callable
        Takes one line of progress.
    clades : Clades

    Returns
    -------
    study : q2_aam.data.study.Study
    without_reads : list of str
    changed : Harmonizer
        What was done to samples.

    Raises
    ------
    UserError
        If an input cannot be used, if the model reads names and the table has sequences, or the other way round, or if
        the model knows none of the features by name.
    """
    changed, known = Harmonizer(model, say), model.known_features
    _warn_of_useless(known, clades)
    if known is None:
        longest = model.config.call.model.max_sequence_length
        change = None if how == 'off' or model.references is None else changed
        study, without_reads = read_study(table, sequences, None, longest, directory, change, named=False)
        check_depths(model.config.call.model.abundance_as, study)
        return study, without_reads, changed
    study, without_reads = read_study(table, sequences, folder=directory, named=True)
    check_depths(model.config.call.model.abundance_as, study)
    study = known.on(study, clades.taxonomy, clades.phylogeny)
    if not study.readable.any():
        raise UserError(
            f'The model knows none of the {counted(len(study.feature_ids), "feature")} of the table by name (e.g. '
            f'{shown(study.feature_ids[0])}), but others (e.g. {shown(known.ids[0])}); give a table with such features '
            'as it was trained on.'
        )
    say(known.describe(study))
    _warn_of_unplaced(known, study, clades)
    return study, without_reads, changed


def _warn_of_unplaced(known, study, clades):
    """Warn of a taxonomy or a phylogeny of the right kind that places none of the unknown features."""
    given = {TAXONOMY: clades.taxonomy, PHYLOGENY: clades.phylogeny}.get(known.shared)
    unknown = np.flatnonzero(~np.isin(study.keys, known.keys))
    if given is None or not len(unknown) or study.readable[unknown].any():
        return
    example = min(study.feature_ids[feature] for feature in unknown)
    warnings.warn(
        f'The {known.shared} places none of the {counted(len(unknown), "feature")} that the model does not know (e.g. '
        f'{shown(example)}): it does not have them, or not half of the clades above them are known; give a '
        f'{known.shared} that has them and is made like that of the training.',
        AAMWarning,
        stacklevel=3,
    )


def _warn_of_useless(known, clades):
    """Warn of a taxonomy or a phylogeny by which a model cannot place features."""
    for kind, given in ((TAXONOMY, clades.taxonomy), (PHYLOGENY, clades.phylogeny)):
        if given is None or (known is not None and known.shared == kind):
            continue
        why = 'reads sequences' if known is None else f'was trained on features that share {SHARED[known.shared]}'
        warnings.warn(f'The model {why}, so that a {kind} changes no prediction.', AAMWarning, stacklevel=4)


class Harmonizer:
    """Reads a table as harmonized, says so, and keeps what was done to each of its samples."""

    def __init__(self, model, say):
        self.model, self.say = model, say
        self.samples = None

    def __call__(self, table, sequences):
        """Return the table that is read, and the sequence of each of its features."""
        model = self.model
        longest = model.config.call.model.max_sequence_length
        harmonized = harmonize(sequences, model.references, model.vocabulary, longest)
        if harmonized is None:
            return table, sequences
        self.samples = harmonized.samples(table)
        # less would be told as 0 %
        if np.average(self.samples['share_of_reads_harmonized'], weights=self.samples['reads']) >= MIN_SHARE:
            self.say(describe(self.samples))
        return harmonized.table(table), harmonized.sequences

    def columns(self, sample_ids):
        """Return what was done to samples, columns share_of_reads_harmonized and offset, and their reads shifted."""
        if self.samples is None:
            nothing = {'share_of_reads_harmonized': 0.0, 'offset': 0}
            return pd.DataFrame(nothing, pd.Index(sample_ids, name='id')), np.zeros(len(sample_ids))
        samples = self.samples.loc[sample_ids]
        return samples[['share_of_reads_harmonized', 'offset']], samples['shifted'].to_numpy()
