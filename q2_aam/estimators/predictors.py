"""Regressor and Classifier: a target learned from labelled samples, and predicted for any others."""

import typing

import numpy as np
import pandas as pd
import sklearn.metrics
from sklearn.base import ClassifierMixin, RegressorMixin

from q2_aam import bundle
from q2_aam.config import AUTO, Call, FitClassifierConfig, FitRegressorConfig, PredictClassesConfig, PredictConfig
from q2_aam.config.data import PredictData
from q2_aam.data.details import LOWER, PROBABILITY, UPPER
from q2_aam.data.in_memory import classes_of, column_of, counts_of, frame_of, numbers_of
from q2_aam.errors import UserError

from .base import Estimator, Model, constructor, options_of, warn_of_missing

INPUTS = {
    'sequences': 'Sequence of each feature by its ID, a dict. Default: the feature IDs are the sequences.',
    'encoder': 'Encoder to start from: bundle_ of a fitted Encoder, or the folder that one was saved to.',
    'groups': 'Group of each sample, a pandas.Series by sample ID: none is divided between training and validation.',
    'covariates': 'What is known of samples besides their reads, a pandas.DataFrame by sample ID.',
    'distance_matrix': 'Distances between samples, which are learned too: a pandas.DataFrame or skbio.DistanceMatrix.',
    'extra_targets': 'Further numbers that are learned, a pandas.DataFrame by sample ID; details_ has them.',
    'sample_weights': 'Weight of each sample in the loss, 0 or more, a pandas.Series by sample ID.',
    'taxonomy': 'Taxon of each feature without a sequence, a pandas.Series by feature ID: what they share.',
    'phylogeny': 'File with the rooted tree of features without sequences (Newick), in place of a taxonomy.',
}
INPUTS_OF_NUMBERS = INPUTS | {
    'scale_by': 'Category of each sample by which y is scaled, a pandas.Series by sample ID, also of new samples.',
}
# Test samples are held out by whoever calls, as everywhere in scikit-learn: all samples of a fit teach the model.
HELD_OUT = {'test_fraction': 0.0, 'random_forest': False}


class _Predictor(Estimator):
    """What learns a target."""

    _left_out = dict.fromkeys(
        HELD_OUT, 'all samples that fit is given teach the model, so leave those to test it on out of them.'
    )
    _fit_call: typing.ClassVar[type[Call]]
    _predict_call: typing.ClassVar[type[Call]]
    details_: pd.DataFrame

    def fit(self, table, y, *, sequences=None, groups=None, covariates=None):
        """Train the model.

        Parameters
        ----------
        table : pandas.DataFrame (samples by features), biom.Table, AnnData or (matrix, sample ids, feature ids)
            Counts or proportions.
        y : pandas.Series or sequence
            A Series is by sample id, others have a value for each sample of the table, in its order. Samples without a
            value are ignored.
        sequences, groups, covariates : optional
            In place of those that the estimator was made with.

        Returns
        -------
        self
            With ``bundle_`` (the model), ``details_`` (one row a sample, see docs/outputs.md; of a training sample the
            prediction is out-of-fold) and ``history_`` (:class:`q2_aam.runtime.history.History`).

        Raises
        ------
        UserError
            If a parameter or an input cannot be used.
        """
        config = self._config(self._fit_call, **HELD_OUT)
        with self._files(table, sequences) as files:
            target = self._read(column_of(y, files.sample_ids, 'y', 'target'))
            folder = files.folder / 'model'
            folder.mkdir()
            *_, details, history = self._train(
                files.table,
                target,
                folder,
                config,
                sequences=files.sequences,
                encoder=self._encoder(files.folder),
                groups=self._groups(files.sample_ids, groups),
                distance_matrix=self._distances(files.folder),
                say=self._say,
                covariates=self._covariates(covariates),
                taxonomy=self._taxonomy(),
                phylogeny=self._phylogeny(),
                **self._beside(files.sample_ids),
            )
            self.bundle_ = Model.read(folder, self._kind)
        self.details_, self.history_ = details, history
        return self

    def details(self, table, *, sequences=None, covariates=None):
        """Predict, and tell what of each sample was read and how well the model covers it.

        Parameters
        ----------
        table
            See :meth:`fit`; its features need not be those of the training.
        sequences, covariates : optional
            In place of those that the estimator was made with.

        Returns
        -------
        pandas.DataFrame
            One row a sample, in the order of the table; columns as docs/outputs.md explains.

        Raises
        ------
        UserError
            If it is not fitted, or an input cannot be used.
        """
        return self._details(table, sequences, covariates)

    def predict(self, table, *, sequences=None, covariates=None):
        """Predict the target of each sample; parameters and errors as in :meth:`details`.

        Returns
        -------
        numpy.ndarray [samples]
            In the order of the table: numbers in the unit of y, or classes. NaN where there is no prediction (no reads,
            or the model abstains), which is warned of.
        """
        predicted = self._details(table, sequences, covariates)['prediction']
        warn_of_missing(predicted.isna(), 'prediction')
        return predicted.to_numpy()

    def _details(self, table, sequences, covariates, coverage=AUTO):
        model = self._fitted()
        # only predictions of numbers know a coverage, and that of the training stays unless another is asked for
        config = self._config(self._predict_call, coverage=coverage)
        with self._files(table, sequences) as files:
            covariates = self._covariates(covariates)
            folder = model.write(files.folder / 'model')
            given = files.table, folder, config, files.sequences, self._say, covariates
            more = self._of_new(files.sample_ids)
            *_, details = self._apply(*given, clades=self._clades(model), **more)
        return details.loc[files.sample_ids]

    def _beside(self, sample_ids):
        """Return what else a fit is given."""
        extra, weights = self._input('extra_targets'), self._input('sample_weights')
        if weights is not None:
            weights = numbers_of(column_of(weights, sample_ids, 'sample_weights', 'sample_weights'), 'sample_weights')
        return {
            'extra_targets': None if extra is None else frame_of(extra, 'extra_targets'),
            'sample_weights': weights,
        }

    def _of_new(self, sample_ids):
        """Return what else predictions are given."""
        return {}

    def _covariates(self, given):
        covariates = self._input('covariates', given)
        return None if covariates is None else frame_of(covariates, 'covariates')

    def _score(self, metric, table, y, sample_weight):
        """Return a metric over the samples that have both a true value and a prediction."""
        predicted = pd.Series(self.predict(table), counts_of(table).sample_ids)
        true = self._read(column_of(y, list(predicted.index), 'y')).reindex(predicted.index)
        known = (true.notna() & predicted.notna()).to_numpy()
        if not known.any():
            raise UserError('No sample of the table has both a value in y and a prediction; give some that have.')
        weights = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(metric(true[known], predicted[known], sample_weight=weights))


class Regressor(RegressorMixin, _Predictor):
    """Predicts a number: what ``fit-regressor`` and ``predict`` do, on tables in memory."""

    _kind = bundle.REGRESSOR
    _fit_call, _predict_call = FitRegressorConfig, PredictConfig
    __init__ = constructor(options_of(FitRegressorConfig, PredictData, leave_out=HELD_OUT), INPUTS_OF_NUMBERS)

    def predict_interval(self, table, *, coverage=AUTO, sequences=None, covariates=None):
        """Return prediction intervals, float64 [samples, 2]: lower and upper bounds, NaN as in :meth:`predict`.

        Parameters
        ----------
        table, sequences, covariates
            See :meth:`details`.
        coverage : float, optional
            Share of new samples whose true value they should contain, by default that of the training.
        """
        bounds = self._details(table, sequences, covariates, coverage)[[LOWER, UPPER]]
        warn_of_missing(bounds.isna().any(axis=1), 'prediction')
        return bounds.to_numpy(np.float64)

    def score(self, table, y, sample_weight=None):
        """Return R2, the share of the variance that is explained; samples without y or prediction do not count."""
        return self._score(sklearn.metrics.r2_score, table, y, sample_weight)

    def _beside(self, sample_ids):
        return super()._beside(sample_ids) | self._of_new(sample_ids)

    def _of_new(self, sample_ids):
        categories = self._input('scale_by')
        return {'scale_by': None if categories is None else column_of(categories, sample_ids, 'scale_by', 'scale_by')}

    @staticmethod
    def _read(column):
        return numbers_of(column, 'y')

    @staticmethod
    def _train(*given, **more):
        # torch comes with it
        from q2_aam.training.fit import fit_regressor

        return fit_regressor(*given, **more)

    @staticmethod
    def _apply(*given, **more):
        from q2_aam.inference.predict import predict

        return predict(*given, **more)


class Classifier(ClassifierMixin, _Predictor):
    """Predicts a class: what ``fit-classifier`` and ``predict-classes`` do, on tables in memory.

    Classes are text: a model knows them by name.
    """

    _kind = bundle.CLASSIFIER
    _fit_call, _predict_call = FitClassifierConfig, PredictClassesConfig
    __init__ = constructor(options_of(FitClassifierConfig, PredictData, leave_out=HELD_OUT), INPUTS)

    @property
    def classes_(self) -> np.ndarray:
        """Names of classes, in the order of :meth:`predict_proba`."""
        target = typing.cast(bundle.ClassTarget, self._fitted().config.target)
        return np.array(target.classes, dtype=object)

    def predict_proba(self, table, *, sequences=None, covariates=None):
        """Return calibrated probabilities, float64 [samples, classes], in the order of ``classes_``.

        Parameters and errors as in :meth:`details`; NaN as in :meth:`predict`.
        """
        columns = [PROBABILITY + name for name in self.classes_]
        probabilities = self._details(table, sequences, covariates)[columns]
        warn_of_missing(probabilities.isna().any(axis=1), 'probabilities')
        return probabilities.to_numpy(np.float64)

    def score(self, table, y, sample_weight=None):
        """Return the accuracy; samples without y or prediction do not count."""
        return self._score(sklearn.metrics.accuracy_score, table, y, sample_weight)

    @staticmethod
    def _read(column):
        return classes_of(column, 'y')

    @staticmethod
    def _train(*given, **more):
        # torch comes with it
        from q2_aam.training.fit import fit_classifier

        return fit_classifier(*given, **more)

    @staticmethod
    def _apply(*given, **more):
        from q2_aam.inference.predict import predict_classes

        return predict_classes(*given, **more)
