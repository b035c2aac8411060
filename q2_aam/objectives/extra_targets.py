"""The objective of extra targets: several numbers of each sample beside the target, each scaled on its own.

The network alone learns them. They decide neither when training stops nor which epoch is kept.

Shapes: N samples of the study, B of a batch, K extra targets.
"""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import torch

from q2_aam.bundle import NumericTarget
from q2_aam.config import HeadConfig
from q2_aam.data.covariate_schema import equal_numbers
from q2_aam.data.extra_targets import EXTRA, HEAD, TRUE_EXTRA, select_extra_targets
from q2_aam.data.splits import TRAINING, VALIDATION
from q2_aam.errors import AAMWarning, UserError, counted, have, listed, shown
from q2_aam.model.losses import TARGET_LOSSES, known_losses
from q2_aam.stats.metrics import regression_metrics

from .by_category import loss_weights
from .regression import TRANSFORMED, scaling_of


class ExtraTargets:
    """Learn further numbers of samples; a sample that lacks one counts for nothing in it.

    Attributes
    ----------
    targets : tuple of NumericTarget
    values : float64 [N, K]
        NaN where unknown.
    weights : float32 [N] or None
        Those that the user gives.
    """

    name = HEAD

    def __init__(self, context, values):
        training = context.config.training
        self.weight = training.extra_target_weight
        rows, learned = context.rows[TRAINING], np.concatenate([context.rows[TRAINING], context.rows[VALIDATION]])
        if not set(values.index) & set(context.labels.sample_ids):
            raise UserError(
                'The labelled samples and the extra targets share no sample IDs (e.g. '
                f'{shown(context.labels.sample_ids[0])} in the feature table, {shown(values.index[0])} in the extra '
                'targets); use the same IDs in both.'
            )
        values = values.reindex(context.labels.sample_ids)
        usable = [name for name in values.columns if values[name].iloc[rows].nunique() > 1]
        if unusable := [name for name in values.columns if name not in usable]:
            text = (
                f'Extra targets that are not learned: {listed(map(shown, unusable))}; the training samples have no two '
                'values of them.'
            )
            if not usable:
                raise UserError(f'{text[:-1]}, so that there is none; give others, or no extra targets.')
            warnings.warn(text, AAMWarning, stacklevel=2)
        _warn_of_target(values[usable].iloc[learned], context.labels, learned)
        self.values = values[usable].to_numpy()
        self.targets = tuple(
            self._target(name, column, rows, learned, training.extra_target_scaling, context.labels.sample_ids)
            for name, column in zip(usable, self.values.T)
        )
        self.weights = loss_weights(context, training)
        # those that know no other quantile, and err as much on either side
        self.losses = TARGET_LOSSES.get(getattr(training, 'loss', 'huber'), TARGET_LOSSES['mae'])
        self.head = HeadConfig(
            'target',
            len(self.targets),
            layers=training.head_layers,
            residual=training.residual_head,
            pooling=training.pooling,
        )

    @staticmethod
    def _target(name, column, rows, learned, how, sample_ids):
        known = column[rows][~np.isnan(column[rows])]
        every = column[learned][~np.isnan(column[learned])]
        if how in TRANSFORMED and every.min() < 0:
            below = learned[np.flatnonzero(column[learned] < 0)[0]]
            raise UserError(
                f'Parameter extra_target_scaling is {how}, but extra target {shown(name)} is {column[below]:g} for '
                f'sample {shown(sample_ids[below])}; choose standard.'
            )
        target = scaling_of(str(name), known, how)
        return dataclasses.replace(target, lowest=0.0 if every.min() >= 0 else None)

    @classmethod
    def align(cls, context):
        inputs, covariates = context.inputs, context.study.covariates
        values = select_extra_targets(
            inputs.extra_targets,
            context.labels.name,
            None if inputs.groups is None else inputs.groups.name,
            () if covariates is None else covariates.schema.names,
        )
        return None if values is None or context.config.training.extra_target_weight == 0 else cls(context, values)

    def label(self, batch, drawn, budget, generator):
        scaled = [target.scaled(column) for target, column in zip(self.targets, self.values[drawn.rows].T)]
        batch.labels[self.name] = torch.from_numpy(np.stack(scaled, axis=1).astype(np.float32))
        if self.weights is not None:
            batch.labels[f'{self.name}_weights'] = torch.from_numpy(self.weights[drawn.rows])

    def loss(self, outputs, batch):
        weights = batch.labels.get(f'{self.name}_weights')
        losses = known_losses(self.losses, outputs.heads[self.name], batch.labels[self.name], weights)
        each = {f'loss_of_{target.name}': value for target, value in zip(self.targets, losses.detach().unbind())}
        return losses.mean(), {'extra_target_loss': losses.mean().detach(), **each}

    def metrics(self, network, reader):
        """Return nothing: the target alone is scored after each epoch."""
        return {}

    def points(self, network, reader):
        yield from ()

    def describe(self):
        return f'Extra targets: {listed(shown(target.name) for target in self.targets)}, by the network alone.'

    def columns(self, outputs: np.ndarray, parts: np.ndarray) -> dict[str, np.ndarray]:
        """Return columns of the details: what outputs [N, K] predict, and true values.

        Training samples taught the network: what it says of them is not shown.
        """
        columns = columns_of(self.targets, outputs)
        for name in columns:
            columns[name] = np.where(parts == TRAINING, np.nan, columns[name])
        return columns | {TRUE_EXTRA + target.name: column for target, column in zip(self.targets, self.values.T)}

    def metrics_of(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return the mean absolute error and R2 of each target in outputs [N, K] for `rows`, where it is known."""
        metrics = {}
        for target, column, predicted in zip(self.targets, self.values.T, outputs.T):
            known = rows[~np.isnan(column[rows])]
            if len(known):
                found = regression_metrics(target.predictions(predicted[known, None]), column[known])
                metrics |= {f'{name}_of_{target.name}': found[name] for name in ('mae', 'r2')}
        return metrics


def _warn_of_target(values, labels, learned):
    """Warn of extra targets, a frame, that are the target of the samples that are learned from, in whatever unit."""
    if labels.values.dtype.kind != 'f':
        return
    target = pd.Series(labels.values[learned], values.index)
    if same := [name for name in values.columns if equal_numbers(values[name], target)]:
        warnings.warn(
            f'{counted(len(same), "extra target")} {have(len(same))} the values of the target '
            f'{shown(labels.name)} in nearly all samples ({listed(map(shown, same))}), and can teach nothing more; '
            'leave such columns out.',
            AAMWarning,
            stacklevel=3,
        )


def columns_of(targets: tuple[NumericTarget, ...], outputs: np.ndarray) -> dict[str, np.ndarray]:
    """Return what outputs [N, K] say of extra targets, each in its own unit."""
    return {EXTRA + target.name: target.predictions(column[:, None]) for target, column in zip(targets, outputs.T)}
