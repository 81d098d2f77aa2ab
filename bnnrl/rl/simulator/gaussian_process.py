"""Exact Gaussian processes with several outputs: hyper-parameters by evidence, and posterior draws that are functions.

The kernel is squared exponential, with a length-scale l_i for each input, plus linear:

    k(x, x') = σ_f² exp(−½ Σ_i (x_i − x'_i)² / l_i²) + Σ_i σ_i² x_i x'_i + σ_b²

Every output has a process and hyper-parameters of its own. The hyper-parameters maximise the log marginal likelihood
(Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, equations 2.30 and 5.9).

A draw is a fixed function by pathwise conditioning (Wilson et al., "Efficiently Sampling Functions from Gaussian
Process Posteriors", ICML 2020, equation 13): a draw f₀ of the prior plus an update by the data,

    f(x) = f₀(x) + k(x, X) v,    v = (K + σ² I)⁻¹ (y − f₀(X) − ε),    ε ~ N(0, σ² I)

The squared exponential part of f₀ is a sum of random Fourier features (Rahimi & Recht, NeurIPS 2007).
"""

# Shapes: N rows, I inputs, T outputs, S draws, M features of a draw.

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from bnnrl.seeds import fold_in, normal, uniform
from bnnrl.storage.arrays import Arrays

NUM_FEATURES = 256  # M; the covariance of draws is exact for every M, and their higher moments only for many features
# Noise variance per variance of the squared exponential part, which is added to σ_n². Rollouts compute in float32,
# where K of a smaller noise could not be told from a singular matrix.
_JITTER = 1e-6
# Ranges of standard deviations and length-scales of standardised data. The smallest noise is a thousandth of the
# targets' spread, about what float32 resolves in sums of as many terms as there are rows.
_LENGTHS, _AMPLITUDES, _SLOPES, _NOISES = (0.05, 100.0), (1e-2, 30.0), (1e-4, 10.0), (1e-3, 1.0)
# Initial length-scales, in square roots of the number of inputs, and initial noise of the maximisations.
_STARTS = ((0.5, 0.03), (1.0, 0.1), (2.0, 0.01))
_MAX_ITERATIONS = 300


class Kernel(NamedTuple):
    """The hyper-parameters of one output, all positive."""

    lengths: np.ndarray  # [I] length-scales l_i
    amplitude: np.ndarray  # [] σ_f
    slopes: np.ndarray  # [I] standard deviations σ_i of the linear part
    offset: np.ndarray  # [] σ_b
    noise: np.ndarray  # [] σ_n; the variance of the noise is σ² = σ_n² + 1e-6 σ_f²

    @classmethod
    def of(cls, vector: np.ndarray) -> Kernel:
        """Return the hyper-parameters in a vector [2 I + 3], which holds them in the order of the fields."""
        size = (len(vector) - 3) // 2
        return cls(vector[:size], vector[size], vector[size + 1 : -2], vector[-2], vector[-1])

    @property
    def noise_variance(self) -> float:
        """The variance σ² of the noise."""
        return float(self.noise**2 + _JITTER * self.amplitude**2)

    def smooth(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the squared exponential part of k between the rows of a [N, I] and b [N', I], [N, N']."""
        return self.amplitude**2 * np.exp(-0.5 * cdist(a / self.lengths, b / self.lengths, "sqeuclidean"))

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return k between the rows of a [N, I] and b [N', I], [N, N']."""
        return self.smooth(a, b) + (a * self.slopes**2) @ b.T + self.offset**2

    def variance(self, x: np.ndarray) -> np.ndarray:
        """Return k(x, x) of each row of x [N, I], [N]."""
        return self.amplitude**2 + np.square(x * self.slopes).sum(axis=-1) + self.offset**2

    def root(self, x: np.ndarray) -> np.ndarray:
        """Return the lower Cholesky factor of K + σ² I of rows x [N, I], [N, N]."""
        return linalg.cholesky(self(x, x) + self.noise_variance * np.eye(len(x)), lower=True)


def log_evidence(log_vector: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the log marginal likelihood of an output in nats, and its gradient.

    Args:
        log_vector: logarithms of the hyper-parameters, [2 I + 3], in the order of `Kernel`.
        x: inputs, [N, I].
        y: targets, [N].

    Returns:
        log N(y; 0, K + σ² I), and its derivatives by `log_vector`, [2 I + 3].
    """
    kernel = Kernel.of(np.exp(log_vector))
    root = kernel.root(x)
    alpha = linalg.cho_solve((root, True), y)
    value = -0.5 * y @ alpha - np.log(np.diag(root)).sum() - 0.5 * len(y) * np.log(2 * np.pi)
    # With G = α αᵀ − (K + σ² I)⁻¹, the derivative by a hyper-parameter h is ½ Σ G ∘ ∂(K + σ² I)/∂h.
    G = np.outer(alpha, alpha) - linalg.cho_solve((root, True), np.eye(len(y)))
    E = G * kernel.smooth(x, x)
    quadratic = lambda matrix: np.einsum("ni,ni->i", x, matrix @ x)  # xᵢᵀ matrix xᵢ of each column
    trace = np.trace(G)
    by_length = (E.sum(axis=1) @ x**2 - quadratic(E)) / kernel.lengths**2
    by_amplitude = E.sum() + _JITTER * kernel.amplitude**2 * trace
    by_slope = kernel.slopes**2 * quadratic(G)
    by_offset, by_noise = kernel.offset**2 * G.sum(), kernel.noise**2 * trace
    return float(value), np.concatenate([by_length, [by_amplitude], by_slope, [by_offset, by_noise]])


def maximise_evidence(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the hyper-parameters [2 I + 3] of the largest log marginal likelihood that L-BFGS finds from its starts.

    Args:
        x: standardised inputs, float64 [N, I].
        y: standardised targets, float64 [N].
    """
    size = x.shape[1]
    bounds = np.log([_LENGTHS] * size + [_AMPLITUDES] + [_SLOPES] * size + [_SLOPES, _NOISES])

    def loss(log_vector: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = log_evidence(log_vector, x, y)
        return -value, -grad

    def maximise(length: float, noise: float) -> optimize.OptimizeResult:
        start = np.log([length * size**0.5] * size + [1.0] + [0.3] * (size + 1) + [noise])
        options = {"maxiter": _MAX_ITERATIONS}
        return optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)

    return np.exp(min((maximise(*start) for start in _STARTS), key=lambda found: found.fun).x)


class FunctionDraws(NamedTuple):
    """Draws of functions: Σ_m a_m cos(ω_mᵀ x + φ_m) + wᵀ x + b + Σ_n v_n exp(−½ |(x − X_n) / l|²), for each output.

    w and b hold the linear parts of both the prior draw and the update by the data.
    """

    frequencies: np.ndarray  # ω [S, T, I, M]
    phases: np.ndarray  # φ [S, T, M]
    amplitudes: np.ndarray  # a [S, T, M]
    slopes: np.ndarray  # w [S, T, I]
    offsets: np.ndarray  # b [S, T]
    weights: np.ndarray  # v [S, T, N]


@dataclass(frozen=True)
class ProcessPosterior:
    """The posterior of Gaussian processes, one for each output, given the same inputs.

    Args:
        x: standardised inputs, float64 [N, I].
        y: standardised targets, float64 [N, T].
        vectors: the hyper-parameters of each output, float64 [T, 2 I + 3], in the order of `Kernel`.
    """

    x: np.ndarray
    y: np.ndarray
    vectors: np.ndarray

    num_distinct = None

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray) -> ProcessPosterior:
        """Return the posterior given inputs [N, I] and targets [N, T], with hyper-parameters by evidence."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        # Threads take longer to meet than matrices of some hundred rows take to be factorised, and round otherwise.
        with threadpool_limits(1, "blas"):
            return cls(x, y, np.stack([maximise_evidence(x, column) for column in y.T]))

    @cached_property
    def kernels(self) -> list[Kernel]:
        """The kernel of each output."""
        return list(map(Kernel.of, self.vectors))

    @cached_property
    def _roots(self) -> list[np.ndarray]:
        return [kernel.root(self.x) for kernel in self.kernels]

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the means and standard deviations of the functions at x [B, I], without noise, [B, T] each."""
        found = []
        for kernel, root, y in zip(self.kernels, self._roots, self.y.T, strict=True):
            solved = linalg.solve_triangular(root, kernel(self.x, x), lower=True)
            mean = solved.T @ linalg.solve_triangular(root, y, lower=True)
            found.append((mean, np.sqrt(np.maximum(kernel.variance(x) - np.square(solved).sum(axis=0), 0.0))))
        means, stds = zip(*found, strict=True)
        return np.stack(means, axis=-1), np.stack(stds, axis=-1)

    def mean(self) -> FunctionDraws:
        """Return the mean as one draw, whose prior part has no features: S = 1, M = 0."""
        return _joined([self._updated(t, _no_prior(1, self.x.shape[1]), 0.0) for t in range(len(self.vectors))])

    def sample(self, n: int, seed) -> FunctionDraws:
        """Return `n` independent draws of functions.

        Args:
            n: the number of draws, at least 1.
            seed: an integer or a stateless seed pair.
        """
        with threadpool_limits(1, "blas"):
            return _joined([self._sample_output(t, n, fold_in(seed, t)) for t in range(len(self.vectors))])

    def _sample_output(self, t: int, n: int, seed) -> FunctionDraws:
        kernel, (rows, size) = self.kernels[t], self.x.shape
        double = lambda tensor: tensor.numpy().astype(np.float64)
        draw = lambda i, *shape: double(normal([n, *shape], fold_in(seed, i)))
        # Of two coefficients of cosine and sine, each N(0, σ_f² / M), the size is Rayleigh's and the angle uniform.
        # One cosine with that phase takes half the time of a cosine and a sine.
        size_squared = np.square(draw(0, NUM_FEATURES)) + np.square(draw(1, NUM_FEATURES))
        prior = FunctionDraws(
            draw(2, size, NUM_FEATURES) / kernel.lengths[:, np.newaxis],
            2 * np.pi * double(uniform([n, NUM_FEATURES], fold_in(seed, 3))),
            kernel.amplitude * np.sqrt(size_squared / NUM_FEATURES),
            draw(4, size) * kernel.slopes,
            draw(5) * kernel.offset,
            np.zeros([n, rows]),
        )
        return self._updated(t, prior, np.sqrt(kernel.noise_variance) * draw(6, rows))

    def _updated(self, t: int, prior: FunctionDraws, noise: np.ndarray | float) -> FunctionDraws:
        """Return draws of output t of the posterior, from draws [S, ...] of the prior and noise of the targets."""
        kernel, x = self.kernels[t], self.x
        v = linalg.cho_solve((self._roots[t], True), (self.y[:, t] - _prior_values(prior, x) - noise).T).T  # [S, N]
        return prior._replace(
            slopes=prior.slopes + v @ x * kernel.slopes**2,
            offsets=prior.offsets + kernel.offset**2 * v.sum(axis=-1),
            weights=kernel.amplitude**2 * v,
        )

    def to_arrays(self) -> tuple[dict[str, str], Arrays]:
        """Return the description and arrays for `from_arrays`."""
        return {"kind": "gp"}, {"x": self.x, "y": self.y, "vectors": self.vectors}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ProcessPosterior:
        """Return the posterior of the arrays from `to_arrays`."""
        return cls(**arrays)


def _no_prior(n: int, size: int) -> FunctionDraws:
    """Return `n` functions of one output that are 0 everywhere."""
    none = np.zeros([n, 0])
    return FunctionDraws(np.zeros([n, size, 0]), none, none, np.zeros([n, size]), np.zeros(n), none)


def _prior_values(prior: FunctionDraws, x: np.ndarray) -> np.ndarray:
    """Return the values of draws of one output's prior at x [N, I], [S, N]."""
    values = prior.slopes @ x.T + prior.offsets[:, np.newaxis]
    for s, (frequencies, phases, amplitudes) in enumerate(zip(*prior[:3], strict=True)):  # [N, M] fits into the cache
        values[s] += np.cos(x @ frequencies + phases) @ amplitudes
    return values


def _joined(outputs: list[FunctionDraws]) -> FunctionDraws:
    """Return draws of T outputs from those of each."""
    return FunctionDraws(*(np.stack(parts, axis=1) for parts in zip(*outputs, strict=True)))
