"""Samples of Laplace's approximation by optimisation, where neither weights nor targets are few enough for a matrix.

With N H = Cᵀ C, each sample solves a least-squares problem whose targets and prior mean are drawn at random. C is known
by its factors for each Dense layer: it is multiplied, and never computed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import tensorflow as tf
from scipy.optimize import brentq

from bnnrl.checks import available_bytes
from bnnrl.inference.curvature import RowFactors
from bnnrl.inference.laplace_evidence import NOISE_RANGE, Evidence
from bnnrl.inference.nystrom import inverse_of_sum, nystrom
from bnnrl.learned_prior import LOG_RANGE, LearnedPrior
from bnnrl.posterior import LowRank
from bnnrl.problem import Problem
from bnnrl.seeds import fold_in, normal

_PROBES = 16  # random vectors by which the effective number of parameters is estimated
_ROUNDS, _CLOSE = 20, 0.01  # M-steps at most, and the change of the log-scales below which no other follows
_TOLERANCE = 1e-3  # of the residual for each entry: the error of a sample is smaller, in prior standard deviations
_TOLERANCE_OF_PROBES = 1e-2  # the same of random vectors, whose products alone are needed
_ITERATIONS = 1000  # of conjugate gradients at most
_REST = 10.0  # largest eigenvalue, beside the 1 of the prior, that a preconditioner leaves: some 15 iterations are left
_COLUMNS = 128  # at a time, of a Nyström approximation
_SEED = 0x6E797374  # of its directions
_ELEMENTS = 2**24  # of float64 arrays [S, rows, width] and [S, P], 128 MB; each of the latter for 16 samples at least


@dataclass(frozen=True)
class RowProducts:
    """N H as Cᵀ C + diag(own), by products with C.

    In units of Λ'^(−½) with Λ' = Λ + own, the precision is I + Bᵀ B with B = C f Λ'^(−½). A sample is the solution z of

        (I + Bᵀ B) z = z₀ + Bᵀ ε,    z₀ ~ N(0, I),  ε ~ N(0, I),

    which minimises |B z − ε|² + |z − z₀|² and has the covariance (I + Bᵀ B)⁻¹. It is found by conjugate gradients on
    all rows, which need no step size; the paper takes stochastic gradients. A Nyström approximation of Bᵀ B
    preconditions them: without it a thousand iterations are not enough where the noise is small. It is made once, and
    again when prior or noise have moved by more than a factor of two.

    Source: Antorán et al., "Sampling-based inference for large linear models, with application to linearised Laplace",
    ICLR 2023; Papandreou & Yuille, "Gaussian Sampling by Local Perturbations", NeurIPS 2010, for conjugate gradients.

    Args:
        rows: the factors of C.
        samples: the number of samples of the normal distribution.
    """

    rows: RowFactors
    samples: int
    _made: list[tuple[tf.Tensor, tf.Tensor]] = field(default_factory=list, init=False, repr=False, compare=False)

    def normal(
        self, loc: np.ndarray, precision: np.ndarray, factor: np.ndarray, unit: np.ndarray, offset: int
    ) -> LowRank:
        """Return N(loc, Z Zᵀ / S) for S samples Z around 0."""
        scale = self._scale(precision, factor)
        nearly_inverse = self._preconditioner(scale)
        size = max(_PROBES, _ELEMENTS // len(precision))
        sizes = [min(size, self.samples - first) for first in range(0, self.samples, size)]
        drawn = (self._drawn(scale, samples, i) for i, samples in enumerate(sizes))
        z = tf.concat([self._solution(scale, b, nearly_inverse, _TOLERANCE) for b in drawn], axis=0)
        root = z.numpy() / np.sqrt(precision + self.rows.own) / unit / math.sqrt(self.samples)
        root = np.pad(root, [(0, 0), (offset, len(loc) - offset - len(unit))])
        return LowRank(*(tf.constant(a, tf.float32) for a in (loc, np.zeros(len(loc)), root)))

    def determined(self, precision: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Return an estimate of each entry's share in the effective number of parameters, 1 − ((I + Bᵀ B)⁻¹)ᵢᵢ, [P].

        vᵢ (v − (I + Bᵀ B)⁻¹ v)ᵢ has these means for random signs v, and standard deviations of at most ½ (Hutchinson,
        "A Stochastic Estimator of the Trace of the Influence Matrix", 1990). The signs are the same at each call.
        """
        scale = self._scale(precision, factor)
        signs = tf.sign(tf.cast(normal([_PROBES, len(precision)], _SEED), tf.float64))
        solved = self._solution(scale, signs, self._preconditioner(scale), _TOLERANCE_OF_PROBES)
        return tf.reduce_mean(signs * (signs - solved), axis=0).numpy()

    def _scale(self, precision: np.ndarray, factor: np.ndarray) -> tf.Tensor:
        """Return f Λ'^(−½), [P]."""
        return tf.constant(factor / np.sqrt(precision + self.rows.own))

    def _preconditioner(self, scale: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the function u -> (I + W Wᵀ)⁻¹ u, [S, P], with W Wᵀ near Bᵀ B; W of an earlier scale if it is near."""
        if self._made:
            earlier, root = self._made[0]
            ratio = scale / earlier
            if float(tf.reduce_max(tf.abs(tf.math.log(ratio)))) < math.log(2.0):
                return inverse_of_sum(ratio[:, tf.newaxis] * root)
        groups = list(self._groups(_COLUMNS))
        image = lambda u: scale * tf.add_n([group.transposed_times(group.times(scale * u)) for group in groups])
        gram = lambda u: tf.concat([image(u[i : i + _COLUMNS]) for i in range(0, len(u), _COLUMNS)], axis=0)
        root = nystrom(gram, len(scale), _REST, _ELEMENTS // len(scale), _SEED)
        self._made[:] = [(scale, root)]
        return inverse_of_sum(root)

    def _drawn(self, scale: tf.Tensor, samples: int, seed: int) -> tf.Tensor:
        """Return z₀ + Bᵀ ε, [S, P]."""
        draw = lambda shape, i: tf.cast(normal(shape, fold_in(seed, i)), tf.float64)
        total = draw([samples, scale.shape[0]], 0)
        for i, group in enumerate(self._groups(samples)):
            total += scale * group.transposed_times(draw([samples, *group.params.shape[:2]], i + 1))
        return total

    def _solution(
        self, scale: tf.Tensor, b: tf.Tensor, nearly_inverse: Callable[[tf.Tensor], tf.Tensor], tolerance: float
    ) -> tf.Tensor:
        """Return the solution of z + Bᵀ B z = b, [S, P], by preconditioned conjugate gradients for each sample."""
        groups = list(self._groups(len(b)))
        gram = lambda u: tf.add_n([group.transposed_times(group.times(u)) for group in groups])
        dot = lambda u, v: tf.reduce_sum(u * v, axis=-1, keepdims=True)
        z = nearly_inverse(b)
        r = b - z - scale * gram(scale * z)
        p = q = nearly_inverse(r)
        rq = dot(r, q)
        enough = tolerance * math.sqrt(b.shape[-1])
        for _ in range(_ITERATIONS):
            if float(tf.reduce_max(tf.norm(r, axis=-1))) <= enough:
                return z
            image = p + scale * gram(scale * p)
            step = tf.math.divide_no_nan(rq, dot(p, image))
            z, r = z + step * p, r - step * image
            q, before = nearly_inverse(r), rq
            rq = dot(r, q)
            p = q + tf.math.divide_no_nan(rq, before) * p
        excess = float(tf.reduce_max(tf.norm(r, axis=-1))) / enough
        warnings.warn(
            f"Samples of Laplace's approximation are not exact: after {_ITERATIONS} iterations the residual is "
            f"{excess:.1f} times too large. Standardise inputs and targets.",
            stacklevel=2,
        )
        return z

    def _groups(self, samples: int) -> Iterator[RowFactors]:
        """Yield the rows in float64, few enough at a time that the arrays of a product fit into memory."""
        width = max(grads.shape[-1] for grads in self.rows.grads)
        size = max(1, _ELEMENTS // (samples * width))
        for first in range(0, self.rows.params.shape[0], size):
            yield self.rows.some(slice(first, first + size))


class SampledEvidence(Evidence):
    """The hyper-parameters where the gradient of evidence times hyperprior is 0, by samples and without a determinant.

    The M-step of MacKay: with γ the effective number of parameters of a group, its scale is the root mean square of its
    weights over γ, and the noise's variance is the squared residuals over the number of targets less all γ.
    """

    def maximised(self) -> tuple[np.ndarray, None]:
        """Return the hyper-parameters, and None in place of the log evidence, which is not known."""
        hyper = self._start
        for _ in range(_ROUNDS if len(hyper) else 0):
            std, factor, _ = self._std_and_factor(hyper)
            new = self._m_step(cast(RowProducts, self._curvature).determined(1 / std**2, factor))
            change, hyper = np.abs(new - hyper).max(), new
            if change < _CLOSE:
                break
        return hyper, None

    def _m_step(self, determined: np.ndarray) -> np.ndarray:
        """Return the hyper-parameters for the entries' shares in the effective number of parameters."""
        W, counts = self._num_weights, np.zeros(0)
        hyper = np.zeros(0)
        if len(self._groups):
            counts = np.maximum(self._group.T @ determined[:W], 0)
            squares = self._group.T @ np.square(self._deviation / self._std)[:W]
            weight = cast(LearnedPrior, self._problem.prior).settings.spread ** -2
            hyper = np.array(
                [_root(lambda a: s * math.exp(-2 * a) - n - weight * a, LOG_RANGE) for s, n in zip(squares, counts)]  # noqa: B023, B905
            )
        if not self._tunes_noise:
            return hyper
        free, of_prior = self._targets - determined[:W].sum(), 1 / np.square(self._std[W:])
        slope = lambda t: self._square * math.exp(-2 * t) - free - ((self._deviation[W:] + t) * of_prior).sum()
        return np.append(hyper, _root(slope, NOISE_RANGE))


def _root(function, bounds: tuple[float, float]) -> float:
    """Return the root of a falling function, or the bound that is nearer to it."""
    low, high = bounds
    if function(low) <= 0:
        return low
    return high if function(high) >= 0 else float(cast(float, brentq(function, low, high)))


def check_memory(problem: Problem, samples: int) -> None:
    """Raise ValueError unless the network is a chain of Dense layers, and its factors fit into memory."""
    network, N, T = problem.network, int(problem.num_data), problem.num_outputs
    if not network.is_dense_chain:
        raise ValueError(
            "Invalid `structure`: expected 'last_layer', 'diagonal', 'function' or 'full' for a network that is not a "
            "plain chain of Dense layers. Received: 'samples'."
        )
    kernels = [shape for shape in network.shapes if len(shape) == 2]
    of_rows = 3 * 4 * N * sum(inputs + 1 + T * outputs for inputs, outputs in kernels)  # float32, and float64 of some
    of_nystrom = 4 * min(_ELEMENTS, problem.num_params**2)
    needed = of_rows + 8 * (problem.num_params * (6 * _PROBES + 2 * samples) + of_nystrom)
    available = available_bytes()
    if available is not None and needed > available:
        raise ValueError(
            f"Invalid `structure`: expected one that fits into the available {available / 2**30:.1f} GiB. Received: "
            f"'samples' for {N} rows of {T} outputs, {network.num_params} weights and {samples} samples, which take "
            f"{needed / 2**30:.1f} GiB. Use 'kronecker', 'last_layer' or 'diagonal'."
        )
