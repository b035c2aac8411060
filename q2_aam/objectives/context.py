"""What objectives are aligned with: the inputs of a call, its study, its splits and its configuration."""

import dataclasses
import os
from typing import Any

import numpy as np
import pandas as pd

from q2_aam.data.labels import Labels
from q2_aam.data.study import Study


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The inputs of a call: files by their paths, metadata as Series or DataFrame by sample id."""

    table: str | os.PathLike
    sequences: str | os.PathLike | None = None
    target: pd.Series | None = None
    groups: pd.Series | None = None
    encoder: str | os.PathLike | None = None
    distance_matrix: str | os.PathLike | None = None
    phylogeny: str | os.PathLike | None = None
    covariates: pd.DataFrame | None = None
    split: pd.Series | None = None
    taxonomy: pd.Series | None = None
    alpha_diversity: pd.DataFrame | None = None
    extra_targets: pd.DataFrame | None = None
    scale_by: pd.Series | None = None
    sample_weights: pd.Series | None = None


@dataclasses.dataclass(frozen=True)
class Context:
    """What an objective is aligned with.

    Attributes
    ----------
    inputs : Inputs
    study : q2_aam.data.study.Study
    rows : dict
        Rows of the study by split, int64 each.
    config : q2_aam.config.Call
        With every 'auto' resolved.
    seed : int
    labels : q2_aam.data.labels.Labels or None
        Of the study's samples, in order, where there is a target.
    """

    inputs: Inputs
    study: Study
    rows: dict[str, np.ndarray]
    config: Any
    seed: int
    labels: Labels | None = None
