"""The protocol of objectives.

Shapes: N samples, O outputs of the target's head.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from q2_aam.bundle import ClassTarget, NumericTarget
from q2_aam.config import HeadConfig
from q2_aam.data.batches import Batch, Budget, Drawn
from q2_aam.data.labels import Labels
from q2_aam.data.signs import Signs
from q2_aam.model.member_arrays import EXTRA_TREES, LINEAR, PERCEPTRONS
from q2_aam.model.network import Network, Outputs
from q2_aam.runtime.encode import StudyReader

from .context import Context

# Labels of a batch: the weights of its samples.
WEIGHTS = 'sample_weights'


def read(metrics: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return metrics of a loss as numbers."""
    return {name: value.item() for name, value in metrics.items()}


class Objective(Protocol):
    """One thing that is learned.

    Attributes
    ----------
    name : str
        Of its head in the network and in the bundle.
    weight : float
        Of its loss.
    head : HeadConfig
    """

    name: str
    weight: float
    head: HeadConfig

    @classmethod
    def align(cls, context: Context) -> 'Objective | None':
        """Return the objective with its labels aligned to the study; None where it is turned off or has no input.

        Raises
        ------
        q2_aam.errors.UserError
            If its input cannot be used.
        """

    def label(self, batch: Batch, drawn: Drawn, budget: Budget, generator: np.random.Generator) -> None:
        """Put into the batch, under its name, what the loss compares outputs with."""

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a batch (about 1 for knowing nothing) and its metrics.

        Metrics are tensors of one number each and stay where they are: to read one waits for the device.
        """

    def metrics(self, network: Network, reader: StudyReader) -> dict[str, float]:
        """Return metrics of the validation split; none where it has no samples.

        Pretraining chooses its best epoch by those whose name ends with ``_loss``, each times the weight of its
        objective.
        """

    def points(self, network: Network, reader: StudyReader) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield (plot, predicted, true) of the validation split."""

    def describe(self) -> str:
        """Return the line that tells the user what is learned."""


class TargetObjective(Objective, Protocol):
    """The metadata column that a model is to predict: what is known of it beyond what every objective knows.

    Those of numbers and of classes are subclasses, and have in common what is written out here.

    Attributes
    ----------
    values : array [N]
        Of the study's samples: numbers, or the number of the class.
    groups : array [N]
    target : NumericTarget or ClassTarget
        Before calibration.
    score : str
        The metric of the validation split that chooses the epoch.
    larger : bool
        Whether it is to be large; else it is to be small.
    error : str
        The metric that :meth:`beside_guess` gives of each sample.
    kinds : tuple of str
        The kinds of members of the abundance ensemble that can learn it, the cheapest first.
    dropout : float
        Share of the hidden units of the head that is dropped, of `width` in each layer.
    priors : dict
        {kind: its share without observations}, up to a factor.
    headline : str
        The metric of the test split that its user is told.
    codes : int64 [N] or None
        Number of the category by which the target of each sample is scaled, 0 where it is unknown; None: by none.
    weights : float32 [N] or None
        Of each sample in losses, with a mean of 1 over training samples; None: all count the same.
    validation_rows : int64
        Of the study.
    validation_outputs : float64 [validation samples, O]
        Of the network, when :meth:`metrics` was last called.
    """

    name: str = 'target'
    weight: float = 1.0
    dropout: float
    width: int
    values: np.ndarray
    groups: np.ndarray
    target: NumericTarget | ClassTarget
    score: str
    larger: bool
    error: str
    kinds: tuple[str, ...] = (LINEAR, EXTRA_TREES, PERCEPTRONS)
    priors: dict[str, float] = dict.fromkeys(kinds, 1.0)
    headline: str
    codes: np.ndarray | None = None
    weights: np.ndarray | None = None
    validation_rows: np.ndarray
    validation_outputs: np.ndarray
    align_labels: Callable[..., Labels]

    def __init__(self, context: Context):
        """Learn what is learned on the training split: scaling, weights of classes."""

    @classmethod
    def align(cls, context: Context) -> 'TargetObjective':
        """Return the objective; its labels have been aligned with the study."""
        return cls(context)

    def label(self, batch: Batch, drawn: Drawn, budget: Budget, generator: np.random.Generator) -> None:
        """Put the labels of the samples into the batch, and which units of its head are dropped."""
        batch.labels[self.name] = self.labels_of(drawn.rows)
        if (weights := self.weights_of(drawn.rows)) is not None:
            batch.labels[WEIGHTS] = weights
        kept = None
        if self.dropout and self.head.layers:
            shape = self.head.layers, len(drawn.rows), self.width
            dropped = generator.random(shape, dtype=np.float32) >= self.dropout
            kept = torch.from_numpy(dropped / np.float32(1 - self.dropout))
        given = self.given_to_head
        if given is not None:
            batch.given[self.name] = [kept, torch.from_numpy(given[drawn.rows])]
        elif kept is not None:
            batch.given[self.name] = [kept]

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a batch and its metric."""
        loss = self.outputs_loss(outputs.heads[self.name], batch.labels[self.name], batch.labels.get(WEIGHTS))
        return loss, {'target_loss': loss.detach()}

    def points(self, network: Network, reader: StudyReader) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield (plot, predicted, true) of the validation split."""
        outputs = reader.outputs(network, self.name, self.validation_rows)
        yield from self.points_of(self.target, outputs, self.validation_rows)

    @staticmethod
    def resolved(
        training: Any,
        labels: Labels,
        rows: np.ndarray,
        predict: Callable[[np.ndarray], np.ndarray],
        scale_by: pd.Series | None = None,
    ) -> Any:
        """Return the training configuration with each 'auto' that depends on the labels of `rows` resolved.

        `predict` takes numbers for `rows`, float64 [N], and returns out-of-fold predictions of them; `scale_by` has the
        category by sample id, where the target is scaled by one.
        """

    @staticmethod
    def strata(labels: Labels) -> np.ndarray | None:
        """Return what each split is to have its share of; None: splits are blind to labels."""

    @property
    def given_to_head(self) -> np.ndarray | None:
        """What its head is given of each sample besides embeddings, int64 [N]: its category; None: nothing."""
        return self.codes if self.head.categories else None

    def weights_of(self, rows: np.ndarray) -> torch.Tensor | None:
        """Return the weights of samples in :meth:`outputs_loss`, [N]; None where all count the same."""
        return None if self.weights is None else torch.from_numpy(self.weights[rows])

    def read_as(self, target: Any, rows: np.ndarray) -> Any:
        """Return `target` as outputs for `rows` are read by it; see :meth:`q2_aam.bundle.NumericTarget.of`."""
        return target if self.codes is None else target.of(self.codes[rows])

    def outputs_loss(
        self, outputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of outputs [N, O], whichever model they are of."""

    def learned(self, rows: np.ndarray) -> tuple[np.ndarray, int, bool]:
        """Return what members of the abundance ensemble that take no steps learn for `rows`.

        Returns
        -------
        values : float64 [N] or int64 [N]
            Numbers as they are scaled, or the number of the class.
        classes : int
            How many; 0 of numbers.
        balanced : bool
            Whether all classes count the same.
        """

    def combine(
        self,
        outputs: list[np.ndarray],
        rows: np.ndarray,
        noise: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return how out-of-fold outputs [N, O] for `rows` of several kinds of members are best put together.

        Parameters
        ----------
        noise : float64 [kinds], optional
            The variance of these outputs that predictions, which are means over members, have not.
        prior : float64 [kinds], optional
            Their shares without observations, up to a factor; by default equal ones.

        Returns
        -------
        shares : float64 [kinds]
            With a sum of 1.
        scales : float64 [kinds]
            What outputs of each are multiplied by first.
        cost : float
            The error that is left, freed from noise; the smaller, the better.
        """

    def labels_of(self, rows: np.ndarray) -> torch.Tensor:
        """Return what :meth:`outputs_loss` compares outputs for `rows` with."""

    def share(
        self, network: np.ndarray, ensemble: np.ndarray, gate: np.ndarray, rows: np.ndarray, prior: float
    ) -> tuple[float, float, float]:
        """Return how out-of-fold outputs [N, O] for `rows` are best put together.

        Returns
        -------
        share : float
            Of the network.
        network_scale, ensemble_scale : float
            What outputs of each are multiplied by first.
        """

    def calibrated(
        self,
        outputs: np.ndarray,
        rows: np.ndarray,
        signs: Signs | None = None,
        thinned: Iterable[tuple[np.ndarray, Signs]] = (),
        generator: np.random.Generator | None = None,
    ) -> NumericTarget | ClassTarget:
        """Return the target calibrated on out-of-fold outputs [N, O] for `rows`.

        Parameters
        ----------
        signs : Signs, optional
            Of these samples, by which some may be harder to predict than others.
        thinned : iterable of (float64 [N, O], Signs)
            Outputs and signs where a share of the vocabulary was hidden.
        generator : numpy.random.Generator, optional
            Needed with signs.
        """

    def metrics_of(self, target: Any, outputs: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return metrics of outputs [N, O] for `rows`, read as `target` tells."""

    def score_of(self, outputs: np.ndarray, rows: np.ndarray) -> float:
        """Return the score of outputs [N, O] for `rows`, as an epoch is scored; the smaller, the better."""

    def beside_guess(
        self, target: Any, outputs: np.ndarray, rows: np.ndarray, fold: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what outputs [N, O] for `rows` miss, what a guess misses that looks at no sample, and weights.

        Parameters
        ----------
        fold : int64 [N]
            Samples of one number are guessed from the labels of the others. There are two or more.

        Returns
        -------
        errors, guesses, weights : float64 [N]
            The weighted mean of the errors is the score.
        """

    def test_metrics(
        self, target: Any, outputs: np.ndarray, rows: np.ndarray, signs: Signs | None = None
    ) -> dict[str, float]:
        """Return metrics, too, that mean something only where `rows` had no part in the calibration."""

    def points_of(
        self, target: Any, outputs: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield (plot, predicted, true) of outputs [N, O] for `rows`."""

    def random_forest(
        self, counts: Any, rows: np.ndarray, new_counts: Any, new_rows: np.ndarray, seed: int, threads: int
    ) -> dict[str, float]:
        """Return metrics for `new_rows` of a random forest that has learned from `rows`; both with their counts."""
