"""What a fit makes of inputs beside the target: extra targets, and categories by which the target is scaled.

Shapes: N samples of the study, C columns of counts.
"""

import numpy as np
import scipy.sparse

from q2_aam.bundle import NumericTarget
from q2_aam.bundle.finite import TRAINED, check_finite
from q2_aam.data.splits import TEST, VALIDATION
from q2_aam.errors import listed, shown
from q2_aam.runtime.memory import with_less_memory
from q2_aam.runtime.run import Run

from .prepare import PreparedFit
from .train import Trained


def extra_outputs(
    prepared: PreparedFit, trained: Trained, run: Run
) -> tuple[tuple[NumericTarget, ...], dict[str, np.ndarray]]:
    """Return the extra targets as the bundle has them, and their columns of the details; log how well they are told.

    Both are empty where there are none.
    """
    extra = prepared.extra_targets
    if extra is None:
        return (), {}
    every = np.arange(len(prepared.study))
    outputs = with_less_memory(trained.network, lambda: trained.reader.outputs(trained.network, extra.name, every))
    check_finite(outputs, prepared.study.sample_ids, TRAINED)
    for part in (VALIDATION, TEST):
        metrics = extra.metrics_of(outputs, prepared.rows[part])
        run.recorder.log(trained.step, trained.epoch, part, **{f'final_{name}': one for name, one in metrics.items()})
    told = [
        f'{shown(target.name)} {metrics[f"mae_of_{target.name}"]:.3g} (r2 {metrics[f"r2_of_{target.name}"]:.2f})'
        for target in extra.targets
        if f'mae_of_{target.name}' in metrics
    ]
    if told:
        run.recorder.say(f'Extra targets of test samples, mean absolute error: {listed(told)}.')
    return extra.targets, extra.columns(outputs, prepared.parts)


def with_categories(counts: scipy.sparse.spmatrix, codes: np.ndarray, categories: int) -> scipy.sparse.csr_matrix:
    """Return counts [N, C] and, behind them, a column for each of so many categories: 1 in that of the sample."""
    columns = scipy.sparse.csr_matrix(codes[:, None] == np.arange(categories))
    return scipy.sparse.csr_matrix(scipy.sparse.hstack([counts, columns]))
