"""The kernel head: outputs from how near a sample is to landmarks, in one view or two, all in closed form.

It stands beside the network's own head because with a hundred labels a Gaussian process on abundances is hard to beat,
and because the two err differently (docs/accuracy.md). A landmark is a random mixture of three training samples: the
head holds the profile of none, and no id.

Shapes: B samples, M landmarks, C ASVs that the landmarks hold, D width, O outputs.
"""

import dataclasses

import numpy as np
import scipy.sparse

# How much of which ASVs a sample holds; and the mean of their embeddings, where these are the same before and after the
# network learns its target.
ASVS, MEAN = 'asvs', 'mean'
# Samples whose distances from all landmarks are held at a time.
SAMPLES_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class View:
    """A radial kernel on one view of samples.

    Attributes
    ----------
    landmarks : float32 [M, C] sparse, or [M, D]
    coefficients : float64 [M, O]
    length : float
        Distance over which the kernel falls to exp(-1/2).
    """

    landmarks: object
    coefficients: np.ndarray
    length: float


@dataclasses.dataclass(frozen=True)
class KernelHead:
    """Outputs as a sum over views.

    Attributes
    ----------
    center_O : float64 [O]
        Outputs far from every landmark.
    keys_C : int64 [C]
        Sorted keys of the ASVs that landmarks hold (:func:`q2_aam.data.composition.sequence_keys`).
    views : dict of str to View
        ``ASVS``, and ``MEAN`` or not.
    """

    center_O: np.ndarray
    keys_C: np.ndarray
    views: dict

    def outputs(self, composition):
        """Return float64 [B, O] for a :class:`q2_aam.data.composition.Composition`."""
        asvs_BC, unknown_B = known_asvs(composition, self.keys_C)
        outputs_BO = np.tile(self.center_O, (asvs_BC.shape[0], 1))
        for start in range(0, len(outputs_BO), SAMPLES_AT_ONCE):
            some = slice(start, start + SAMPLES_AT_ONCE)
            for name, view in self.views.items():
                samples, extra = (asvs_BC, unknown_B) if name == ASVS else (composition.mean_BD, 0 * unknown_B)
                outputs_BO[some] += radial(samples[some], view.landmarks, view.length, extra[some]) @ view.coefficients
        return outputs_BO

    def arrays(self):
        """Return {name: array}: everything that :meth:`from_arrays` needs, no id and no sample in it."""
        arrays = {'center': self.center_O, 'keys': self.keys_C}
        for name, view in self.views.items():
            arrays |= {f'{name}.coefficients': view.coefficients, f'{name}.length': np.array([view.length])}
            if name == ASVS:
                arrays['asvs.values'] = view.landmarks.data.astype(np.float32)
                arrays['asvs.columns'] = view.landmarks.indices.astype(np.int32)
                arrays['asvs.offsets'] = view.landmarks.indptr.astype(np.int64)
            else:
                arrays[f'{name}.landmarks'] = view.landmarks
        return arrays

    @classmethod
    def from_arrays(cls, arrays, width, outputs):
        """Read what :meth:`arrays` gave; ValueError unless it fits a model of that width and outputs."""
        names = (ASVS, MEAN) if 'mean.landmarks' in arrays else (ASVS,)
        wanted = types_of_arrays(names)
        if odd := sorted(set(wanted) ^ set(arrays)):
            raise ValueError(f"The model's kernel head is not whole: see {odd[0]}; train the model again.")
        for name, array in arrays.items():
            if array.dtype != wanted[name] or not np.isfinite(array).all():
                raise ValueError(f"The model's kernel head is damaged in {name}; train the model again.")
        try:
            head = cls._assembled(arrays, names)
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(f"The model's kernel head is damaged ({error}); train the model again.") from error
        shape = (head.views[ASVS].landmarks.shape[0], outputs)
        for name, view in head.views.items():
            columns = len(head.keys_C) if name == ASVS else width
            fits = view.coefficients.shape == shape and view.landmarks.shape == (shape[0], columns)
            if not fits or head.center_O.shape != (outputs,) or not view.length > 0:
                raise ValueError(
                    f"The model's kernel head is that of another model: see {name}; train the model again."
                )
        return head

    @classmethod
    def _assembled(cls, arrays, names):
        keys = arrays['keys']
        if keys.ndim != 1 or not len(keys) or (np.diff(keys) <= 0).any():
            raise ValueError('keys are not sorted')
        parts = (arrays['asvs.values'], arrays['asvs.columns'], arrays['asvs.offsets'])
        sparse = scipy.sparse.csr_matrix(parts, shape=(len(parts[2]) - 1, len(keys)))
        sparse.check_format(full_check=True)
        landmarks = {ASVS: sparse, **{name: arrays[f'{name}.landmarks'] for name in names[1:]}}
        return cls(
            arrays['center'],
            keys,
            {
                name: View(values, arrays[f'{name}.coefficients'], float(arrays[f'{name}.length'][0]))
                for name, values in landmarks.items()
            },
        )


def types_of_arrays(views):
    """Return {name: numpy type} of the arrays of a head that has these views."""
    types = {'center': 'float64', 'keys': 'int64'}
    types |= {'asvs.values': 'float32', 'asvs.columns': 'int32', 'asvs.offsets': 'int64'}
    for view in views:
        types |= {f'{view}.coefficients': 'float64', f'{view}.length': 'float64'}
    return types | ({'mean.landmarks': 'float32'} if MEAN in views else {})


def known_asvs(composition, keys_C):
    """Return what samples hold of the ASVs of `keys_C`, sparse [B, C], and the squared length of the rest, [B]."""
    place_A = np.searchsorted(keys_C, composition.keys_A).clip(max=len(keys_C) - 1)
    is_known_A = keys_C[place_A] == composition.keys_A
    samples = composition.asvs_BA.tocoo()
    known_N = is_known_A[samples.col]
    asvs_BC = scipy.sparse.csr_matrix(
        (samples.data[known_N], (samples.row[known_N], place_A[samples.col[known_N]])),
        shape=(samples.shape[0], len(keys_C)),
    )
    squared_N = samples.data.astype(np.float64) ** 2
    return asvs_BC, np.bincount(samples.row[~known_N], squared_N[~known_N], minlength=samples.shape[0])


def radial(samples, landmarks, length, extra_B=0.0):
    """Return exp(-d^2 / 2 length^2) between B samples and M landmarks, float64 [B, M]."""
    return np.exp(squared_distances(samples, landmarks, extra_B) / (-2 * length**2))


def squared_distances(samples, landmarks, extra_B=0.0):
    """Return squared Euclidean distances, float64 [B, M], of rows that are both sparse or both dense.

    `extra_B` is the squared distance of a sample in what no landmark has.
    """
    products = samples.astype(np.float64) @ landmarks.astype(np.float64).T
    products = products.toarray() if scipy.sparse.issparse(products) else products
    return np.maximum((_squares(samples) + extra_B)[:, None] + _squares(landmarks) - 2 * products, 0.0)


def _squares(rows):
    if scipy.sparse.issparse(rows):
        return np.asarray(rows.astype(np.float64).power(2).sum(axis=1)).ravel()
    return (rows.astype(np.float64) ** 2).sum(axis=1)
