"""The normal distribution N(θ̂, (N H + Λ)⁻¹) of Laplace's approximation for each structure of H, in float64 on the host.

Each class takes N H for the P entries (weights, likelihood's parameters) and a diagonal Λ, the prior's precisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from scipy.linalg import solve_triangular

from bnnrl.posterior import FunctionSpace, Kronecker, LowRank, MeanField


class Curvature(Protocol):
    """N H of one structure."""

    def log_det(self, precision: np.ndarray, factor: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log det(f N H f + Λ), and Λᵢ times the variance of each entry, [P].

        Args:
            precision: Λ, [P].
            factor: f, [P], the same for all weights.
        """
        ...

    def normal(
        self, loc: np.ndarray, precision: np.ndarray, factor: np.ndarray, unit: np.ndarray, offset: int
    ) -> MeanField | LowRank | Kronecker | FunctionSpace:
        """Return the normal distribution of θ [D], whose entries before `offset` and from offset + P on are fixed.

        Args:
            loc: the mean, [D].
            precision: Λ, [P].
            factor: f, [P].
            unit: what an entry of θ is multiplied by to give the weight, [P].
            offset: the number of fixed entries before the P.
        """
        ...


class _Newest:
    """Keeps the newest value of a function of arrays: the evidence and the normal distribution need the same one."""

    def __init__(self):
        self._arguments, self._value = None, None

    def __call__(self, function: Callable[..., Any], *arguments: np.ndarray) -> Any:
        """Return function(*arguments), computed unless the arguments are equal to those of the call before."""
        if self._arguments is None or not all(map(np.array_equal, self._arguments, arguments)):
            self._arguments, self._value = arguments, function(*arguments)
        return self._value


@dataclass(frozen=True)
class Full:
    """N H as a matrix [P, P], positive semi-definite."""

    matrix: np.ndarray
    _newest: _Newest = field(default_factory=_Newest, init=False, repr=False, compare=False)

    def log_det(self, precision: np.ndarray, factor: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log det(f N H f + Λ), and Λᵢ times the variance of each entry, [P]."""
        root, log_det = self._root(precision, factor)
        return log_det, precision * np.square(root).sum(axis=0)

    def normal(
        self, loc: np.ndarray, precision: np.ndarray, factor: np.ndarray, unit: np.ndarray, offset: int
    ) -> LowRank:
        """Return the normal distribution of θ."""
        root = self._root(precision, factor)[0] / unit
        root = np.pad(root, [(0, 0), (offset, len(loc) - offset - len(unit))])
        return LowRank(_float32(loc), tf.zeros([len(loc)]), _float32(root))

    def _root(self, precision: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, float]:
        scaled = lambda factor: factor[:, np.newaxis] * self.matrix * factor
        return self._newest(lambda precision, factor: covariance_root(scaled(factor), precision), precision, factor)


@dataclass(frozen=True)
class Diagonal:
    """The diagonal of N H, [P]."""

    values: np.ndarray

    def log_det(self, precision: np.ndarray, factor: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log det(f N H f + Λ), and Λᵢ times the variance of each entry, [P]."""
        total = np.square(factor) * self.values + precision
        return float(np.log(total).sum()), precision / total

    def normal(
        self, loc: np.ndarray, precision: np.ndarray, factor: np.ndarray, unit: np.ndarray, offset: int
    ) -> MeanField:
        """Return the normal distribution of θ."""
        scale = 1 / np.sqrt(np.square(factor) * self.values + precision) / unit
        return MeanField(_float32(loc), _float32(np.pad(scale, (offset, len(loc) - offset - len(scale)))))


@dataclass(frozen=True)
class KroneckerFactored:
    """N H as N (A ⊗ G) for each layer, and a matrix for the likelihood's parameters.

    With Λ = λ ⊗ 1, where λ [I] has a precision for each input, and the eigenvalues a and g of λ^(−½) A λ^(−½) and of G,
    the eigenvalues of the whitened precision are 1 + N a g (Daxberger et al. 2021, for λ the same for all inputs).
    """

    inputs: tuple[np.ndarray, ...]  # A, [I, I] each
    outputs: tuple[np.ndarray, ...]  # G, [O, O] each
    own: np.ndarray  # [L, L]
    num_data: float
    _newest: _Newest = field(default_factory=_Newest, init=False, repr=False, compare=False)

    def log_det(self, precision: np.ndarray, factor: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log det(f N H f + Λ), and Λᵢ times the variance of each entry, [P]."""
        total, shares = 0.0, []
        for scale, left, values, right in self._eigen(precision, factor):
            total += float(np.log(values).sum() - 2 * np.log(scale).sum() * len(right))
            shares.append((np.square(left) @ (1 / values) @ np.square(right).T).ravel())
        return total, np.concatenate(shares)

    def normal(
        self, loc: np.ndarray, precision: np.ndarray, factor: np.ndarray, unit: np.ndarray, offset: int
    ) -> Kronecker:
        """Return the normal distribution of θ."""
        units = [part[:, 0] for part in self._by_layer(unit)]
        parts = zip(self._eigen(precision, factor), units, strict=True)
        blocks = [((s / u)[:, np.newaxis] * left, 1 / np.sqrt(values), right) for (s, left, values, right), u in parts]
        lefts, scales, rights = (tuple(map(_float32, part)) for part in zip(*blocks, strict=True))
        return Kronecker(_float32(loc), lefts, scales, rights)

    def _eigen(self, precision: np.ndarray, factor: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """Return λ^(−½) [I], the eigenvectors [I, I], the eigenvalues 1 + N a g [I, O] and the eigenvectors [O, O]."""
        return self._newest(lambda *arguments: list(self._eigen_of_layers(*arguments)), precision, factor)

    def _eigen_of_layers(self, precision: np.ndarray, factor: np.ndarray):
        inputs = [*self.inputs, *([self.own / self.num_data] if len(self.own) else [])]
        layers = zip(inputs, self._outputs_eigen, self._by_layer(precision), self._by_layer(factor), strict=True)
        for A, (g, right), own_precision, own_factor in layers:
            scale = 1 / np.sqrt(own_precision[:, 0])
            a, left = np.linalg.eigh(scale[:, np.newaxis] * A * scale)
            products = np.maximum(a, 0)[:, np.newaxis] * np.maximum(g, 0)
            yield scale, left, 1 + self.num_data * own_factor[0, 0] ** 2 * products, right

    @cached_property
    def _outputs_eigen(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The eigenvalues [O] and the eigenvectors [O, O] of each G, which do not depend on the prior."""
        found = map(np.linalg.eigh, (*self.outputs, *([np.eye(1)] if len(self.own) else [])))
        return [(values, vectors) for values, vectors in found]

    def _by_layer(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the entries of each layer, [I, O], and those of the likelihood's parameters, [L, 1], if any."""
        shapes = [(len(A), len(G)) for A, G in zip(self.inputs, self.outputs, strict=True)]
        shapes += [(len(self.own), 1)] if len(self.own) else []
        parts = np.split(values, np.cumsum([i * o for i, o in shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


@dataclass(frozen=True)
class OuterProducts:
    """N H as Cᵀ C + diag(own) with n rows of C, fewer than entries: what is factorised is a matrix [n, n].

    With the diagonal Λ' = Λ + own and B = C f Λ'^(−½), the covariance is Λ'^(−½) (I − Bᵀ (I + B Bᵀ)⁻¹ B) Λ'^(−½) by
    Woodbury's identity.
    """

    rows: np.ndarray  # C [n, P]
    own: np.ndarray  # [P], 0 for the weights
    _newest: _Newest = field(default_factory=_Newest, init=False, repr=False, compare=False)

    def log_det(self, precision: np.ndarray, factor: np.ndarray) -> tuple[float, np.ndarray]:
        """Return log det(f N H f + Λ), and Λᵢ times the variance of each entry, [P]."""
        total = precision + self.own
        rows, root = self._newest(self._root, precision, factor)
        lost = np.square(solve_triangular(root, rows, lower=True)).sum(axis=0)
        return float(np.log(total).sum() + 2 * np.log(np.diag(root)).sum()), precision * (1 - lost) / total

    def normal(
        self, loc: np.ndarray, precision: np.ndarray, factor: np.ndarray, unit: np.ndarray, offset: int
    ) -> FunctionSpace:
        """Return the normal distribution of θ."""
        rows, root = self._newest(self._root, precision, factor)
        outside = offset, len(loc) - offset - len(unit)
        scale = np.pad(1 / np.sqrt(precision + self.own) / unit, outside)
        return FunctionSpace(*map(_float32, (loc, scale, np.pad(rows, [(0, 0), outside]), root)))

    def _root(self, precision: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return B [n, P] and the Cholesky factor of I + B Bᵀ."""
        rows = self.rows * (factor / np.sqrt(precision + self.own))
        return rows, np.linalg.cholesky(np.eye(len(rows)) + rows @ rows.T)


def positive_part(matrix: np.ndarray) -> np.ndarray:
    """Return a symmetric matrix with its negative eigenvalues set to 0."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def covariance_root(H: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, float]:
    """Return F [P, P] with Fᵀ F = (H + diag(precision))⁻¹, and log det(H + diag(precision))."""
    try:
        root = np.linalg.cholesky(H + np.diag(precision))
    except np.linalg.LinAlgError:
        # A weak prior is lost in the rounding of the largest eigenvalue of H. With λ = precision and the eigenvalues
        # μ ≥ 0 of λ^(−½) H λ^(−½) = U diag(μ) Uᵀ, the inverse is λ^(−½) U diag(1 / (1 + μ)) Uᵀ λ^(−½). Eigenvalues that
        # rounding cannot tell from 0 are 0, by the rule of numpy.linalg.matrix_rank: the prior decides there.
        scale = 1 / np.sqrt(precision)
        mu, vectors = np.linalg.eigh(scale[:, np.newaxis] * H * scale)
        mu = np.where(mu > mu.max() * len(mu) * np.finfo(mu.dtype).eps, mu, 0.0)
        return (vectors / np.sqrt(1 + mu)).T * scale, float(np.log(precision).sum() + np.log1p(mu).sum())
    # L⁻¹, because L⁻ᵀ ε has the covariance (L Lᵀ)⁻¹.
    inverse = solve_triangular(root, np.eye(len(H)), lower=True)
    return inverse, 2 * float(np.log(np.diag(root)).sum())


def _float32(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array, tf.float32)
