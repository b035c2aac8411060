"""The members of the abundance ensemble that take no steps: linear models and trees.

Shapes: N labelled samples, C ASVs of the vocabulary, F of them and of columns of covariates, M members, O outputs,
P penalties, T samples learned from.
"""

import dataclasses
import functools
import math

import numpy as np
import scipy.linalg
import scipy.sparse
import threadpoolctl

from q2_aam.data.covariates import Covariates, beside
from q2_aam.model.linear_members import LinearMembers
from q2_aam.model.tree_members import LEAF, TreeMembers
from q2_aam.stats.metrics import log_loss
from q2_aam.stats.temperature import best_temperature

# The penalties that are tried, those of ridge regression as multiples of the mean of the kernel's diagonal, those of
# logistic regression as the C of scikit-learn. One is chosen for all members, by the out-of-fold error.
RIDGE_PENALTIES = 10.0 ** np.arange(-4, 3.5, 0.5)
LOGISTIC_C = (0.01, 0.1, 1.0)
LOGISTIC_TOLERANCE, LOGISTIC_STEPS = 1e-3, 10000
# Samples whose kernel is computed; more are fitted by conjugate gradients.
MAX_KERNEL_SAMPLES, RIDGE_TOLERANCE = 3000, 1e-5
# Relative to the largest, what eigenvalues of 0 may seem to be.
ROUNDING = 1e-9
# The logit of a class of which a member has seen no sample.
UNSEEN = -5.0
# Trees of all members together; each member has as many. No leaf is of fewer samples: none tells of one sample.
TREES, QUICK_TREES, MIN_SAMPLES_LEAF = 500, 100, 5
# Above so many samples there are fewer trees, but never fewer than this.
SAMPLES_OF_ALL_TREES, MIN_TREES = 5000, 50
# What the weights of linear members may take: with 8,192 ASVs, those of 60 classes.
MAX_LINEAR_BYTES = 2e7
# Leaves are larger where those of all trees would take more than this.
MAX_TREE_BYTES = 2e7
NODE_BYTES, VALUE_BYTES = 14, 4
# Shares of the ASVs among which a node chooses, of numbers and of classes; less where samples times ASVs are many, as
# that is what a tree costs.
FEATURES_OF_NUMBERS, FEATURES_OF_CLASSES, MIN_FEATURES, MAX_VALUES = 1.0, 0.1, 0.02, 1e6


@dataclasses.dataclass(frozen=True)
class MemberData:
    """What members learn from.

    Attributes
    ----------
    abundances : csr float32 [N, C]
        Logarithms; see :func:`q2_aam.data.log_abundances.log_abundances`.
    values : float64 [N] or int64 [N]
        Numbers as they are scaled for the network, or the number of the class.
    classes : int
        How many; 0 of numbers.
    balanced : bool
        Whether all classes count the same.
    fold : int64 [N]
        Number of the member that does not learn from a sample.
    seeds : int64 [M]
    threads : int
    covariates : q2_aam.data.covariates.Covariates or None
        Of the samples.
    weights : float64 [N] or None
        Of the samples in what is made as small as possible; None: all count the same.
    """

    abundances: scipy.sparse.csr_matrix
    values: np.ndarray
    classes: int
    balanced: bool
    fold: np.ndarray
    seeds: np.ndarray
    threads: int = 1
    covariates: Covariates | None = None
    weights: np.ndarray | None = None

    @functools.cached_property
    def features(self) -> scipy.sparse.csr_matrix:
        """All that members read: abundances and, where there are any, covariates behind them, csr float32 [N, F]."""
        return beside(self.abundances, self.covariates)

    @property
    def members(self) -> int:
        """How many members there are, M."""
        return int(self.fold.max()) + 1

    @property
    def class_weight(self) -> str | None:
        """What scikit-learn calls it."""
        return 'balanced' if self.balanced else None

    def of(self, samples: np.ndarray) -> 'MemberData':
        """Return what members learn from of some of the samples, at least one of each fold."""
        parts = {name: getattr(self, name)[samples] for name in ('abundances', 'values', 'fold')}
        covariates = None if self.covariates is None else self.covariates.of(samples)
        return dataclasses.replace(self, **parts, covariates=covariates, weights=self.weights_of(samples))

    def weights_of(self, samples: np.ndarray) -> np.ndarray | None:
        """Return the weights of some of the samples."""
        return None if self.weights is None else self.weights[samples]

    def shares_of(self, samples: np.ndarray) -> np.ndarray:
        """Return the share of each of some samples in the sum of their weights, float64."""
        weights = np.ones(len(samples)) if self.weights is None else self.weights[samples].astype(np.float64)
        # those of weight 0 alone count the same
        weights = weights if weights.any() else np.ones(len(samples))
        return weights / weights.sum()

    def learned(self, member: int) -> np.ndarray:
        """Return the samples that a member learns from, int64: of weight 0 only where there are no others."""
        others = self.fold != member
        heavy = others if self.weights is None else others & (self.weights > 0)
        return np.flatnonzero(heavy if heavy.any() else others)

    def out_of_fold(self, outputs_MNO: np.ndarray) -> np.ndarray:
        """Return for each sample the outputs of the member that has not learned from it, [N, O]."""
        return outputs_MNO[self.fold, np.arange(len(self.fold))]


def deal(groups: np.ndarray, parts: int, generator: np.random.Generator) -> np.ndarray:
    """Deal whole groups to parts at random: part of each sample, int64 [N]; as many parts as groups at most."""
    _, group_N = np.unique(groups, return_inverse=True)
    numbers = group_N.max() + 1
    return (generator.permutation(numbers) % min(parts, numbers))[group_N]


def quick_predictions(abundances: scipy.sparse.csr_matrix, values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return out-of-fold predictions of numbers, float64 [N], by what is fitted in a second.

    Parameters
    ----------
    abundances, values, fold
        See :class:`MemberData`.
    """
    data = MemberData(abundances, values, 0, False, fold, np.arange(fold.max() + 1))
    both = fit_linear(data), fit_extra_trees(data, QUICK_TREES)
    return np.mean([data.out_of_fold(members.outputs(abundances))[:, 0] for members in both if members], axis=0)


def fit_linear(data: MemberData) -> LinearMembers | None:
    """Fit linear members: ridge regression of numbers, logistic regression of classes; None of too many classes."""
    if VALUE_BYTES * data.members * data.features.shape[1] * max(1, data.classes) > MAX_LINEAR_BYTES:
        return None
    # sums in another order are other sums: the number of threads must change nothing
    with threadpoolctl.threadpool_limits(1, 'blas'):
        return _logistic(data) if data.classes else _ridge(data)


def _ridge(data):
    """Fit ridge regression with the penalty of the smallest out-of-fold error."""
    # of many samples, the kernel of some tells the penalty
    some = np.arange(len(data.fold))
    if len(some) > MAX_KERNEL_SAMPLES:
        some = np.sort(np.random.default_rng(data.seeds).permutation(some)[:MAX_KERNEL_SAMPLES])
    members, penalty = _ridge_by_kernel(data.of(some))
    return members if len(some) == len(data.fold) else _ridge_by_steps(data, penalty)


def _ridge_by_kernel(data):
    """Fit every penalty at once, from the eigenvalues of the kernel of each member's samples; return the best one."""
    x_NC, y_N = data.features, data.values
    # in float64: small penalties make much of what float32 rounds
    exact_NC = x_NC.astype(np.float64)
    kernel_NN = (exact_NC @ exact_NC.T).toarray()
    penalties_P = RIDGE_PENALTIES * (np.diagonal(kernel_NN).mean() or 1.0)
    errors_P, duals = np.zeros(len(penalties_P)), []
    for member in range(data.members):
        learned, left = data.learned(member), np.flatnonzero(data.fold == member)
        share_T = data.shares_of(learned)
        # 1 where all weights are the same
        root_T = np.sqrt(len(learned) * share_T)
        kernel_TT, mean = kernel_NN[np.ix_(learned, learned)], share_T @ y_N[learned]
        column_T = kernel_TT @ share_T
        centered_TT = kernel_TT - column_T - column_T[:, None] + share_T @ column_T
        values, vectors = scipy.linalg.eigh(root_T[:, None] * centered_TT * root_T)
        projected = vectors.T @ (root_T * (y_N[learned] - mean))
        dual_TP = root_T[:, None] * (vectors @ (projected[:, None] / (np.maximum(values, 0)[:, None] + penalties_P)))
        dual_TP -= share_T[:, None] * dual_TP.sum(axis=0)
        predicted = mean + (kernel_NN[np.ix_(left, learned)] - column_T) @ dual_TP
        errors_P += np.square(predicted - y_N[left][:, None]).sum(axis=0)
        duals.append((learned, mean, dual_TP))
    best = errors_P.argmin()
    weights, biases = [], []
    for learned, mean, dual_TP in duals:
        weight_C = exact_NC[learned].T @ dual_TP[:, best]
        weights.append(weight_C[:, None])
        biases.append([mean - (exact_NC[learned].T @ data.shares_of(learned)) @ weight_C])
    made = LinearMembers(np.stack(weights).astype(np.float32), np.array(biases, dtype=np.float32))
    return made, float(penalties_P[best])


def _ridge_by_steps(data, penalty):
    """Fit one penalty by conjugate gradients, which need no kernel."""
    # scikit-learn takes a second to load
    from sklearn.linear_model import Ridge

    weights, biases = [], []
    for member in range(data.members):
        learned = data.learned(member)
        model = Ridge(penalty, solver='sparse_cg', tol=RIDGE_TOLERANCE)
        heavy = len(learned) * data.shares_of(learned)
        model.fit(data.features[learned].astype(np.float64), data.values[learned], heavy)
        weights.append(model.coef_[:, None])
        biases.append([model.intercept_])
    return LinearMembers(np.stack(weights).astype(np.float32), np.array(biases, dtype=np.float32))


def _logistic(data):
    """Fit one penalty after the other."""
    tried = [_logistic_members(data, strength) for strength in LOGISTIC_C]
    return min(tried, key=lambda members: _log_loss(data, members))


def _logistic_members(data, strength):
    # scikit-learn takes a second to load
    from sklearn.linear_model import LogisticRegression

    weight_MCO = np.zeros((data.members, data.features.shape[1], data.classes), dtype=np.float32)
    bias_MO = np.full((data.members, data.classes), UNSEEN, dtype=np.float32)
    for member in range(data.members):
        learned = data.learned(member)
        seen = np.unique(data.values[learned])
        if len(seen) == 1:
            bias_MO[member, seen] = 0
            continue
        model = LogisticRegression(
            C=strength, class_weight=data.class_weight, tol=LOGISTIC_TOLERANCE, max_iter=LOGISTIC_STEPS
        )
        x_TR, back_RC = _rotated(data.features[learned])
        model.fit(x_TR, data.values[learned], data.weights_of(learned))
        weight, bias = back_RC.T @ model.coef_.T, model.intercept_
        if len(seen) == 2:
            # there is one logit then: that of the second class over the first
            weight, bias = np.hstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        weight_MCO[member][:, seen], bias_MO[member, seen] = weight, bias
    return LinearMembers(weight_MCO, bias_MO)


def _rotated(x_TC):
    """Return samples in as few numbers as there are samples, where that is less, and what turns weights of them back.

    A penalty on the squares of weights knows no directions, so that the model is the same, and found sooner.
    """
    if x_TC.shape[0] ** 2 >= x_TC.nnz:
        # newer versions of scikit-learn compute in the type that they are given
        return x_TC.astype(np.float64), scipy.sparse.identity(x_TC.shape[1], format='csr')
    # in float64: small eigenvalues, and what is divided by them, would be rounding
    x_TC = x_TC.astype(np.float64)
    values, vectors = scipy.linalg.eigh((x_TC @ x_TC.T).toarray())
    kept = values > ROUNDING * values[-1]
    lengths = np.sqrt(values[kept])
    return vectors[:, kept] * lengths, (x_TC.T @ (vectors[:, kept] / lengths)).T


def _log_loss(data, members):
    logits = data.out_of_fold(members.outputs(data.features))
    temperature = best_temperature(logits, data.values, data.balanced)
    return log_loss(logits / temperature, data.values, data.balanced)


def fit_extra_trees(data: MemberData, trees: int = TREES) -> TreeMembers | None:
    """Fit extremely randomised trees (Geurts, Ernst and Wehenkel 2006, doi:10.1007/s10994-006-6226-1).

    None where a member has so few samples that not even the root could be a leaf.
    """
    if min(len(data.learned(member)) for member in range(data.members)) < MIN_SAMPLES_LEAF:
        return None
    # scikit-learn takes a second to load
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    outputs, samples = max(1, data.classes), len(data.fold)
    # with many samples a tree is dear, and better
    each = math.ceil(max(min(MIN_TREES, trees), trees * min(1, SAMPLES_OF_ALL_TREES / samples)) / data.members)
    bytes_of_leaves = each * samples * data.members * (VALUE_BYTES * outputs + 2 * NODE_BYTES)
    settings = {
        'n_estimators': each,
        'min_samples_leaf': max(MIN_SAMPLES_LEAF, math.ceil(bytes_of_leaves / MAX_TREE_BYTES)),
        'max_features': _features(data),
        'n_jobs': data.threads,
    }
    parts = []
    for member in range(data.members):
        learned, seed = data.learned(member), int(data.seeds[member])
        if data.classes:
            model = ExtraTreesClassifier(class_weight=data.class_weight, random_state=seed, **settings)
        else:
            model = ExtraTreesRegressor(random_state=seed, **settings)
        model.fit(data.features[learned], data.values[learned], data.weights_of(learned))
        seen = np.unique(data.values[learned]) if data.classes else np.zeros(1, dtype=int)
        parts += [_arrays_of(tree.tree_, seen, outputs) for tree in model.estimators_]
    return _joined(parts, data.members)


def _features(data):
    affordable = MAX_VALUES / max(1, np.prod(data.features.shape, dtype=float))
    return min(FEATURES_OF_CLASSES if data.classes else FEATURES_OF_NUMBERS, max(MIN_FEATURES, affordable))


def _arrays_of(tree, seen, outputs):
    """Return asv, threshold, right and value of a tree of scikit-learn, whose left child is always the next node."""
    leaf = tree.children_left == -1
    asv = np.where(leaf, LEAF, tree.feature).astype(np.int16)
    # the largest float32 that is not above the threshold: the same samples, which are float32, go to the left
    threshold = tree.threshold.astype(np.float32)
    above = threshold.astype(np.float64) > tree.threshold
    threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
    threshold[leaf] = 0
    right = np.where(leaf, np.cumsum(leaf) - 1, tree.children_right)
    value, given = np.zeros((leaf.sum(), outputs), dtype=np.float32), tree.value[leaf][:, 0, :]
    # older versions of scikit-learn give sums of the weights of a class, newer ones shares
    value[:, seen] = given if outputs == 1 else given / given.sum(axis=1, keepdims=True)
    return asv, threshold, right, value


def _joined(parts, members):
    """Return TreeMembers of the arrays of trees, one after the other."""
    first = np.cumsum([0] + [len(asv) for asv, *_ in parts])
    values = np.cumsum([0] + [len(value) for *_, value in parts])
    right = [
        np.where(asv == LEAF, right + value, right + node)
        for (asv, _, right, _), node, value in zip(parts, first, values)
    ]
    asv, threshold, _, value = (np.concatenate(arrays) for arrays in zip(*parts))
    return TreeMembers(
        members, first[:-1].astype(np.int32), asv, threshold, np.concatenate(right).astype(np.int32), value
    )
