"""Encoder: samples without labels learned, and distances and embeddings of any others."""

import numpy as np
import pandas as pd
from sklearn.base import TransformerMixin

from q2_aam import bundle
from q2_aam.config import DistancesConfig, EmbedConfig, PretrainConfig
from q2_aam.config.data import NewData
from q2_aam.config.embedding import EmbeddingConfig
from q2_aam.errors import UserError

from .base import Estimator, Model, constructor, options_of, warn_of_missing

INPUTS = {
    'sequences': 'Sequence of each feature by its ID, a dict. Default: the feature IDs are the sequences.',
    'distance_matrix': 'Distances between samples, which are learned: a pandas.DataFrame or skbio.DistanceMatrix.',
    'phylogeny': 'File with the rooted tree of the features (Newick), in place of a distance_matrix.',
    'taxonomy': 'Taxon of each feature, a pandas.Series by feature ID, which is learned, or what features without '
    'sequences share.',
    'alpha_diversity': 'Alpha diversities of samples, a list of pandas.Series by sample ID, which are learned.',
    'groups': 'What samples are balanced by, such as the study, a pandas.Series by sample ID.',
    'encoder': 'Encoder to go on from: bundle_ of a fitted Encoder, or the folder that one was saved to.',
}
# Of an ordination, which a transformer does not make: its axes depend on the samples beside a sample.
OF_ORDINATION = ('number_of_dimensions', 'max_samples_in_matrix')


class Encoder(TransformerMixin, Estimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Learns samples without labels: what ``pretrain``, ``embed`` and ``predict-distances`` do, on tables in memory."""

    _kind = bundle.ENCODER
    __init__ = constructor(options_of(PretrainConfig, NewData, EmbeddingConfig, leave_out=OF_ORDINATION), INPUTS)

    def fit(self, table, y=None, *, sequences=None):
        """Train the encoder.

        Parameters
        ----------
        table : pandas.DataFrame (samples by features), biom.Table, AnnData or (matrix, sample ids, feature ids)
            Counts or proportions.
        y : ignored
        sequences : dict, optional
            In place of those that the estimator was made with.

        Returns
        -------
        self
            With ``bundle_`` (the model) and ``history_`` (:class:`q2_aam.runtime.history.History`).

        Raises
        ------
        UserError
            If a parameter or an input cannot be used.
        """
        config = self._config(PretrainConfig)
        taxonomy, alpha_diversity = self._labels()
        with self._files(table, sequences) as files:
            # torch comes with it
            from q2_aam.training.pretrain import pretrain

            folder = files.folder / 'model'
            folder.mkdir()
            self.history_ = pretrain(
                files.table,
                folder,
                config,
                sequences=files.sequences,
                distance_matrix=self._distances(files.folder),
                phylogeny=self._phylogeny(),
                say=self._say,
                groups=self._groups(files.sample_ids),
                taxonomy=taxonomy,
                alpha_diversity=alpha_diversity,
                initial_encoder=self._encoder(files.folder),
            )
            self.bundle_ = Model.read(folder, self._kind)
        return self

    def transform(self, table, *, sequences=None):
        """Embed samples, each as it is in any table.

        Parameters
        ----------
        table, sequences
            See :meth:`fit`; features need not be those of the training.

        Returns
        -------
        numpy.ndarray, float32 [samples, D]
            In the order of the table; what D is depends on the parameter ``embedding``. NaN for samples without reads,
            which is warned of.

        Raises
        ------
        UserError
            If it is not fitted, or an input cannot be used.
        """
        model = self._fitted()
        config = self._config(EmbedConfig)
        with self._files(table, sequences) as files:
            from q2_aam.inference.embed import embed_samples

            folder = model.write(files.folder / 'model')
            embedded = embed_samples(files.table, folder, config, files.sequences, self._say, self._clades(model))
        embedded = embedded.reindex(files.sample_ids)
        warn_of_missing(embedded.isna().any(axis=1), 'embedding')
        return embedded.to_numpy(np.float32)

    def distances(self, table, *, sequences=None):
        """Predict the distances between all samples with reads, float32 pandas.DataFrame by their ids, without a tree.

        Parameters and errors as in :meth:`transform`; an encoder that learned no distances can predict none.
        """
        model = self._fitted()
        config = self._config(DistancesConfig)
        with self._files(table, sequences) as files:
            from q2_aam.inference.embed import predict_distances

            folder = model.write(files.folder / 'model')
            return predict_distances(files.table, folder, config, files.sequences, self._say, self._clades(model))

    def _labels(self):
        taxonomy, diversities = self._taxonomy(), self._input('alpha_diversity')
        diversities = () if diversities is None else diversities
        if not isinstance(diversities, (list, tuple)) or not all(isinstance(one, pd.Series) for one in diversities):
            raise UserError(
                'alpha_diversity must be a list of pandas.Series by sample ID, but it is of the type '
                f'{type(diversities).__name__} or holds something else.'
            )
        return taxonomy, diversities
