"""New rows for a normal posterior, without a refit: the posterior of the old rows is the prior of the new ones.

In the network that is linearised at θ*, the posterior after the new rows is the one of a generalised linear model whose
prior is q = N(m, Σ). With θ = m + Fᵀ z and F Fᵀ the identity in the metric of Σ⁻¹ (Fᵀ F = Σ), the new mean minimises

    φ(z) = ½ |z|² − log p(new rows | m + Fᵀ z)

by Gauss-Newton steps z ← z + (I + F H Fᵀ)⁻¹ (F g − z), where g is the gradient of the log likelihood and H the
generalised Gauss-Newton matrix of the new rows. The new covariance is Fᵀ (I + F H Fᵀ)⁻¹ F. For normal noise of a known
scale φ is quadratic, and the single step is that of recursive least squares.

Source: Opper, "A Bayesian approach to on-line learning", 1998; Ritter, Botev & Barber, "Online Structured Laplace
Approximations for Overcoming Catastrophic Forgetting", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import tensorflow as tf
from scipy.linalg import cho_solve, solve_triangular

from bnnrl.around_point import num_fixed
from bnnrl.compiled import CompiledFunction, share
from bnnrl.inference import curvature as curvatures
from bnnrl.inference.base import Diverged
from bnnrl.linearised import LinearisedProblem
from bnnrl.posterior import Kronecker, Linearised, LowRank, MeanField, Mixture, Point, Posterior, Product
from bnnrl.problem import Batch, Problem, num_rows
from bnnrl.structure import key_or_none

_STEPS, _HALVINGS = 10, 10
# Steps end when the next one is shorter than 0.01 posterior standard deviations, or promises to lower φ by less than
# the rounding of its terms, which are float32.
_SHORT, _ROUNDING = 1e-4, 1e-6

Normal = LowRank | MeanField | Kronecker


def can_update(posterior: Posterior) -> bool:
    """Return whether `updated` takes a posterior: a normal distribution of Laplace's form, or a mixture of such."""
    if isinstance(posterior, Mixture):
        return all(map(can_update, posterior.components))
    source = posterior.source if isinstance(posterior, Linearised) else posterior
    if isinstance(source, Product):
        source = source.components[-1]
    if isinstance(source, LowRank):
        # The covariance of fewer samples than entries knows nothing of what new rows tell in other directions.
        moving = np.any(np.asarray(source.factor) != 0, axis=0).sum()
        return not np.any(source.scale) and moving <= source.factor.shape[0]
    return isinstance(source, MeanField | Kronecker)


def updated(
    problem: Problem, posterior: Posterior, batches: Callable[[], Iterable[Batch]], reference: Any = None
) -> Posterior:
    """Return the posterior after new rows, see the module's docstring.

    A linearised posterior keeps its point of expansion θ*. Another one is expanded at its mean, which moves. The
    structure stays: of `MeanField`, H is diagonal; of `Kronecker`, the sum of the old and the new curvature of a layer
    becomes the nearest Kronecker product. `log_evidence` grows by log p(new rows | old rows).

    Args:
        problem: the problem.
        posterior: one that `can_update` accepts.
        batches: returns the new rows once as (x, y, weight), in batches of the same shape.
        reference: the inputs by which batch normalisation takes its statistics; None for the network's own.

    Raises:
        bnnrl.inference.Diverged: if the log likelihood of the new rows, its gradient or its curvature is not finite.
    """
    if isinstance(posterior, Mixture):
        return Mixture(tuple(updated(problem, part, batches, reference) for part in posterior.components))
    point = posterior.point if isinstance(posterior, Linearised) else posterior.mean()
    own = problem.with_own_statistics()
    problem = own if reference is None else problem.with_batch_statistics(point, reference)
    if not isinstance(posterior, Linearised):
        return _with_rows(problem, point, cast(Normal, posterior), 0, batches)[0]
    fixed = num_fixed(posterior)
    source = cast(Product, posterior.source).components[-1] if fixed else posterior.source
    source, gain = _with_rows(problem, point, cast(Normal, source), fixed, batches)
    whole = Product((Point(point[:fixed]), source)) if fixed else source
    evidence = None if posterior.log_evidence is None else posterior.log_evidence + gain
    return replace(posterior, source=cast(Any, whole), log_evidence=evidence)


def _with_rows(
    problem: Problem, point: tf.Tensor, source: Normal, fixed: int, batches: Callable[[], Iterable[Batch]]
) -> tuple[Normal, float]:
    """Return the normal distribution of all but the first `fixed` entries, and log p(new rows | old rows)."""
    factor = _factor(source)
    rows = _NewRows(problem, point, factor.curvature(fixed), batches)
    head, loc = np.asarray(point[:fixed], np.float64), np.asarray(source.loc, np.float64)
    at = lambda z: rows.at(np.concatenate([head, loc + factor.coloured(z)]))
    z = np.zeros(factor.size)
    found = at(z)
    _check_finite(found)
    for _ in range(_STEPS):
        new, loss = factor.updated(found.curvature, found.unit), 0.5 * z @ z - found.log_likelihood
        residual = factor.whitened(found.grad[fixed:]) - z
        step = new.solve(residual)
        if residual @ step < _SHORT + _ROUNDING * abs(loss):
            break
        trials = ((z + 0.5**halving * step) for halving in range(_HALVINGS))
        tried = ((trial, at(trial)) for trial in trials)
        better = (pair for pair in tried if 0.5 * pair[0] @ pair[0] - pair[1].log_likelihood <= loss)
        z, found = next(better, (z, found))
    new, loss = factor.updated(found.curvature, found.unit), 0.5 * z @ z - found.log_likelihood
    return new.normal(tf.constant(loc + factor.coloured(z), tf.float32)), float(-loss - 0.5 * new.log_det)


class _Found(NamedTuple):
    """The new rows at one θ."""

    log_likelihood: float
    grad: np.ndarray  # [D]
    curvature: Any
    unit: np.ndarray  # [P] the derivative of each weight and parameter of the likelihood in its entry of θ


def _check_finite(found: _Found) -> None:
    if not all(np.all(np.isfinite(part)) for part in tf.nest.flatten(found)):
        raise Diverged(
            "Diverged in an update: expected a finite log likelihood of the new rows and finite derivatives. Received: "
            "others. Check the new rows for values far outside the range of the earlier ones.",
            None,
            0,
        )


# A function (problem, θ, batch, ...) of `curvature`, and its further arguments.
_Kind = tuple[Callable[..., Any], tuple[int, ...]]


class _NewRows:
    """The log likelihood of the new rows in the network linearised at `point`, its gradient and its curvature."""

    def __init__(self, problem: Problem, point: tf.Tensor, kind: _Kind, batches: Callable[[], Iterable[Batch]]):
        self._problem, self._point, self._batches = problem, point, batches
        # The statistics of batch normalisation are constants of the program.
        shares = not problem.network.has_statistics
        key = key_or_none(lambda: (_NewRows, problem.structure, kind)) if shares else None
        self._of_batch = share(key, lambda: CompiledFunction(partial(_of_batch, problem, kind), jit_compile=False))

    def at(self, theta: np.ndarray) -> _Found:
        """Return log p(new rows | θ), its gradient and the curvature."""
        given = tf.constant(theta, tf.float32)
        of_batch = lambda batch: _float64(self._of_batch(self._problem.numbers(), self._point, given, batch))
        mean, N = curvatures.mean_over_rows(of_batch, self._batches())
        log_likelihood, grad, curvature = mean
        if isinstance(curvature, curvatures.Factors):  # the layers' are products, of which one factor is summed
            total = curvature._replace(outputs=tuple(N * G for G in curvature.outputs), own=N * curvature.own)
        else:
            total = N * curvature
        unit = np.asarray(curvatures.units(self._problem, given), np.float64)
        return _Found(float(N * log_likelihood), N * grad, total, unit)


def _of_batch(
    problem: Problem, kind: _Kind, numbers: list[tf.Tensor], point: tf.Tensor, theta: tf.Tensor, batch: Batch
) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """Return the log likelihood of the mean row, its gradient and its curvature at θ [D]."""
    problem, (curvature, arguments), W = problem.with_numbers(numbers), kind, problem.network.num_params
    deviation, rows = theta - point, num_rows(batch[2])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(deviation)
        whole = tf.concat([point, deviation], axis=0)
        log_likelihood = LinearisedProblem(problem).log_likelihood(whole, batch, tf.float64) / tf.cast(rows, tf.float64)
    # The weights stay at the point of the expansion; the likelihood's parameters are those of now.
    here = tf.concat([point[:W], theta[W:]], axis=0)
    return log_likelihood, tape.gradient(log_likelihood, deviation), curvature(problem, here, batch, *arguments)


class _Updated(NamedTuple):
    """The normal distribution after the new rows."""

    solve: Callable[[np.ndarray], np.ndarray]  # z -> (I + F H Fᵀ)⁻¹ z
    log_det: float  # of I + F H Fᵀ
    normal: Callable[[tf.Tensor], Normal]  # of its mean


class _Factor(Protocol):
    """F of a normal distribution with covariance Fᵀ F, in float64 on the host."""

    size: int  # of z

    def whitened(self, grad: np.ndarray) -> np.ndarray:
        """Return F g."""
        ...

    def coloured(self, z: np.ndarray) -> np.ndarray:
        """Return Fᵀ z."""
        ...

    def curvature(self, fixed: int) -> _Kind:
        """Return the function of the mean row's curvature, given how many entries of θ precede those of F."""
        ...

    def updated(self, curvature: Any, unit: np.ndarray) -> _Updated:
        """Return the distribution after rows of a curvature, where `unit` is the derivative of each weight in θ."""
        ...


def _factor(source: Normal) -> _Factor:
    if isinstance(source, MeanField):
        return _Diagonal(source)
    return _Layers(source) if isinstance(source, Kronecker) else _Full(source)


class _Full:
    """F of a `LowRank` without a diagonal part, whose first entries may be fixed."""

    def __init__(self, source: LowRank):
        self._factor = np.asarray(source.factor, np.float64)
        self.size = len(self._factor)
        # With `linearised=False`, Laplace's last layer leaves zero columns for the weights before it.
        self._first = int(np.argmax(np.any(self._factor != 0, axis=0)))

    def whitened(self, grad: np.ndarray) -> np.ndarray:
        return self._factor @ grad

    def coloured(self, z: np.ndarray) -> np.ndarray:
        return z @ self._factor

    def curvature(self, fixed: int) -> _Kind:
        return curvatures.gauss_newton, (fixed + self._first,)

    def updated(self, curvature: Any, unit: np.ndarray) -> _Updated:
        P = len(curvature)
        own = self._factor[:, self._first : self._first + P] * unit[-P:]
        root = np.linalg.cholesky(np.eye(self.size) + own @ (curvature + curvature.T) @ own.T / 2)
        new = solve_triangular(root, self._factor, lower=True)
        log_det = 2 * float(np.log(np.diag(root)).sum())
        normal = lambda loc: LowRank(loc, tf.zeros_like(loc), tf.constant(new, tf.float32))
        return _Updated(lambda z: cho_solve((root, True), z), log_det, normal)


def _diagonal_from(problem: Problem, theta: tf.Tensor, batch: Batch, fixed: int) -> tf.Tensor:
    return curvatures.gauss_newton_diagonal(problem, theta, batch)[fixed:]


class _Diagonal:
    """F of a `MeanField`."""

    def __init__(self, source: MeanField):
        self._scale = np.asarray(source.scale, np.float64)
        self.size = len(self._scale)

    def whitened(self, grad: np.ndarray) -> np.ndarray:
        return self._scale * grad

    def coloured(self, z: np.ndarray) -> np.ndarray:
        return self._scale * z

    def curvature(self, fixed: int) -> _Kind:
        return _diagonal_from, (fixed,)

    def updated(self, curvature: Any, unit: np.ndarray) -> _Updated:
        # Log-scales of a learned prior, after the entries that the curvature has, are fixed: their scale is 0.
        values = np.pad(curvature * unit[-len(curvature) :] ** 2, (0, self.size - len(curvature)))
        total = 1 + self._scale**2 * values
        scale = tf.constant(self._scale / np.sqrt(total), tf.float32)
        return _Updated(lambda z: z / total, float(np.log(total).sum()), lambda loc: MeanField(loc, scale))


class _Block(NamedTuple):
    """The matrices of a layer: its weights deviate by left Y rightᵀ, with independent entries of variance scale²."""

    left: np.ndarray  # [I, I]
    scale: np.ndarray  # [I, O], 1 / √(1 + a bᵀ) for the eigenvalues a and b of the curvature's factors
    right: np.ndarray  # [O, O], orthogonal


class _Layers:
    """F of a `Kronecker`: Fᵀ z is left (scale Z) rightᵀ for the entries Z [I, O] of z of each layer."""

    def __init__(self, source: Kronecker):
        float64 = lambda matrices: [np.asarray(matrix, np.float64) for matrix in matrices]
        groups = map(float64, (source.lefts, source.scales, source.rights))
        self._blocks = [_Block(*matrices) for matrices in zip(*groups, strict=True)]
        self._ends = np.cumsum([block.scale.size for block in self._blocks])
        self._tail = len(source.loc) - int(self._ends[-1])  # log-scales of a learned prior, which are fixed
        self.size = int(self._ends[-1])

    def whitened(self, grad: np.ndarray) -> np.ndarray:
        parts = self._by_layer(grad[: self.size])
        return _joined(b.scale * (b.left.T @ part @ b.right) for b, part in parts)

    def coloured(self, z: np.ndarray) -> np.ndarray:
        return np.pad(_joined(b.left @ (b.scale * Z) @ b.right.T for b, Z in self._by_layer(z)), (0, self._tail))

    def curvature(self, fixed: int) -> _Kind:
        return curvatures.kronecker_factors, ()

    def updated(self, curvature: Any, unit: np.ndarray) -> _Updated:
        own = [(curvature.own, np.eye(1))] if len(curvature.own) else []
        layers = [*zip(curvature.inputs, curvature.outputs, strict=True), *own]
        units = [part[:, :1] for _, part in self._by_layer(unit)]
        # In the coordinates Y the precision is the identity plus a curvature, the sum of the old and the new one.
        roots = []
        for block, unit_of_row, (A, G) in zip(self._blocks, units, layers, strict=True):
            left = unit_of_row * block.left
            roots.append(_sum_of_products(block.scale, left.T @ A @ left, block.right.T @ G @ block.right))

        def solve(z: np.ndarray) -> np.ndarray:
            parts = zip(self._by_layer(z), roots, strict=True)
            covariance = lambda root, Y: root.left @ (root.scale**2 * (root.left.T @ Y @ root.right)) @ root.right.T
            return _joined(covariance(root, Z / block.scale) / block.scale for (block, Z), root in parts)

        def normal(loc: tf.Tensor) -> Kronecker:
            pairs = zip(self._blocks, roots, strict=True)
            new = [(b.left @ root.left, root.scale, b.right @ root.right) for b, root in pairs]
            constants = lambda matrices: tuple(tf.constant(matrix, tf.float32) for matrix in matrices)
            return Kronecker(loc, *map(constants, zip(*new, strict=True)))

        logs = [np.log(b.scale / root.scale).sum() for b, root in zip(self._blocks, roots, strict=True)]
        return _Updated(solve, 2 * float(sum(logs)), normal)

    def _by_layer(self, values: np.ndarray) -> list[tuple[_Block, np.ndarray]]:
        parts = zip(self._blocks, np.split(values, self._ends[:-1]), strict=True)
        return [(block, part.reshape(block.scale.shape)) for block, part in parts]


def _sum_of_products(scale: np.ndarray, A: np.ndarray, G: np.ndarray) -> _Block:
    """Return the eigenvectors of the factors of a curvature, and 1 / √(1 + curvature) in their axes.

    The curvature is the Kronecker product that is nearest to the sum of two: the old one, diagonal and known by
    `scale`, and A ⊗ G. It is the sum itself for a layer of one output.

    Source: Van Loan & Pitsianis, "Approximation with Kronecker Products", 1993.
    """
    old = np.maximum(1 / scale**2 - 1, 0)  # a bᵀ
    a, b = old.sum(axis=1), old.sum(axis=0) / max(old.sum(), np.finfo(np.float64).tiny)
    (of_inputs, P), (of_outputs, Q) = (
        np.linalg.qr(np.stack([np.diag(first).ravel(), second.ravel()], axis=1)) for first, second in ((a, A), (b, G))
    )
    U, values, Vt = np.linalg.svd(P @ Q.T)
    inputs, outputs = of_inputs @ U[:, 0], of_outputs @ Vt[0]
    sign = np.sign(np.trace(inputs.reshape(A.shape)))
    p, left = np.linalg.eigh(sign * values[0] * inputs.reshape(A.shape))
    q, right = np.linalg.eigh(sign * outputs.reshape(G.shape))
    return _Block(left, 1 / np.sqrt(1 + np.outer(np.maximum(p, 0), np.maximum(q, 0))), right)


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.ravel() for part in parts])


def _float64(structure: Any) -> Any:
    return tf.nest.map_structure(lambda a: np.asarray(a, np.float64), structure)
