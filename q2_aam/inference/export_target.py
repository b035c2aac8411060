"""How outputs are read, in tensors: scaling undone, prediction intervals, probabilities.

Shapes: B samples, O outputs.
"""

import numpy as np
import torch
from torch import nn

from q2_aam.bundle.scales import LOG, MAX_LOGARITHM, SQRT
from q2_aam.bundle.targets import MIN_DIFFICULTY, ClassTarget, NumericTarget
from q2_aam.data.details import LOWER, QUANTILE, UPPER
from q2_aam.stats.difficulty import MAX_FACTOR, MAX_FAMILIARITY, MIN_DISAGREEMENT, MIN_FACTOR


class NumberGraph(nn.Module):
    """The columns of a numeric target: prediction, interval at its coverage, quantiles that are shown."""

    def __init__(self, target: NumericTarget):
        super().__init__()
        self.target = target
        self.columns = ['prediction']
        if target.calibration is not None:
            self.columns += [LOWER, UPPER]
            # bounds of a prediction of 0 where samples are as hard as the median
            ones = np.ones(1) if target.calibration.by_difficulty else None
            self.half_width = float(target.calibration.bounds(np.zeros(1), target.coverage, ones)[1][0])
        self.columns += [f'{QUANTILE}{level:g}' for level in target.shown]

    def forward(self, outputs_BO, signs):
        target = self.target
        ordered_BO = self._ordered(outputs_BO)
        center_B = self._linear(ordered_BO[:, 0])
        columns = [self._to_unit(center_B)]
        if target.calibration is not None:
            half_B = self.half_width * self._difficulty(ordered_BO, signs)
            columns += [self._to_unit(center_B - half_B), self._to_unit(center_B + half_B)]
        for level in target.shown:
            columns.append(self._to_unit(self._linear(ordered_BO[:, target.levels.index(level)])))
        return tuple(columns)

    def _ordered(self, outputs_BO):
        if not self.target.levels:
            return outputs_BO
        order = np.argsort(np.argsort(self.target.levels))
        return torch.sort(outputs_BO, dim=1).values[:, torch.from_numpy(order)]

    def _linear(self, outputs_B):
        values_B = outputs_B * self.target.scale + self.target.center
        return values_B.clamp_min(0) if self.target.on_scale.from_zero else values_B

    def _to_unit(self, values_B):
        if self.target.on_scale is SQRT:
            values_B = values_B.clamp_min(0).square()
        elif self.target.on_scale is LOG:
            values_B = torch.expm1(values_B.clamp(0, MAX_LOGARITHM))
        if self.target.highest is not None:
            values_B = values_B.clamp_max(self.target.highest)
        return values_B if self.target.lowest is None else values_B.clamp_min(self.target.lowest)

    def _difficulty(self, ordered_BO, signs):
        target = self.target
        if target.quantiles:
            half_B = (self._linear(ordered_BO[:, 2]) - self._linear(ordered_BO[:, 1])) / 2
            return half_B.clamp_min(MIN_DIFFICULTY * target.scale)
        if target.difficulty is None:
            return torch.ones_like(ordered_BO[:, 0])
        predicted_B = ordered_BO[:, 0]
        strange_B = torch.nan_to_num(signs.familiarity).clamp_max(MAX_FAMILIARITY)
        features_BF = torch.stack(
            [
                torch.log(signs.disagreement + MIN_DISAGREEMENT),
                1 - signs.vocabulary_coverage,
                strange_B,
                predicted_B,
                -predicted_B,
                -predicted_B.abs(),
            ],
            dim=1,
        )
        difficulty = target.difficulty
        lowest_F, highest_F, weight_F = map(
            torch.from_numpy, (difficulty.lowest, difficulty.highest, difficulty.coefficients)
        )
        clipped_BF = torch.minimum(torch.maximum(features_BF, lowest_F), highest_F)
        return torch.exp(float(difficulty.intercept[0]) + clipped_BF @ weight_F).clamp(MIN_FACTOR, MAX_FACTOR)


class ClassGraph(nn.Module):
    """The columns of a categorical target: the number of the most probable class, and the probability of each."""

    columns = ('prediction', 'probabilities')

    def __init__(self, target: ClassTarget):
        super().__init__()
        self.temperature = target.temperature

    def forward(self, outputs_BO, signs):
        probabilities_BO = torch.softmax(outputs_BO / self.temperature, dim=1)
        return probabilities_BO.argmax(1), probabilities_BO
