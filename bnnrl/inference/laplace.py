"""Laplace's approximation (MacKay 1992): a normal distribution around the MAP estimate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_choice, check_count, check_fields, check_instance
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Diverged, Info, Method, starting_point, value_and_grad
from bnnrl.inference.divergence import entry_name
from bnnrl.inference.gradients import require_normal_prior
from bnnrl.inference.sgd import SGD
from bnnrl.posterior import LowRank, MeanField, Point
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fold_in

_MAX_ENTRIES = 4000  # rows of H; a float32 matrix of 4000 × 4000 takes 64 MB


class LaplaceState(NamedTuple):
    """State of Laplace's approximation, with P = D for "full", and fewer for "last_layer"."""

    inner: Any  # the optimiser's state, with its step and θ [..., D]
    seen: tf.Tensor  # [] int32, number of batches that `curvature` averages
    curvature: tf.Tensor  # [..., D] or [..., P, P] H, the curvature of −log p(data | θ) / N

    @property
    def theta(self) -> tf.Tensor:
        """θ of the optimiser, [..., D]."""
        return self.inner.theta


@dataclass(frozen=True)
class Laplace(Method):
    """Laplace's approximation: `start` steps to the MAP estimate θ̂, then the likelihood's curvature H at θ̂.

        q(θ) = N(θ̂, (N H + λ)⁻¹)         under the prior N(m₀, 1/λ)
        "full"        H = −∇² log p(data | θ̂) / N, its negative eigenvalues set to 0
        "last_layer"  the same for the last kernel and the parameters after it; the rest of θ is fixed at θ̂
        "diagonal"    H = E[g²] over rows and y ~ p(y | x, θ̂), g = ∇ log p(y | x, θ̂): the diagonal of the Fisher matrix

    Use a learning-rate schedule that ends at `start`, and at least one epoch more: H is the mean over the batches after
    `start`, in which each row counts once if the batches of the epoch are of equal size. The first two structures are
    then exact, and for a linear model with normal noise q is the posterior. A step of "full" takes as many gradients as
    there are parameters. A negative eigenvalue means that θ̂ is no maximum of the likelihood in a direction, or that
    residuals outweigh the curvature of the model; the variance in such a direction is the prior's.

    Source: MacKay, "A Practical Bayesian Framework for Backpropagation Networks", Neural Computation 1992; Daxberger et
    al., "Laplace Redux", NeurIPS 2021, for the structures.

    Args:
        optimizer: Adam or SGD.
        start: number of steps of the optimiser.
        structure: "last_layer", "diagonal" or "full".

    Raises:
        ValueError: for a hyper-parameter out of its range; in `init` if the prior is not normal, or H would have more
            than 4000 rows.
    """

    optimizer: Adam | SGD = field(default_factory=Adam)
    start: int = 1000
    structure: str = "last_layer"

    tensor_fields: ClassVar = ("start",)

    def __post_init__(self):
        check_instance("optimizer", self.optimizer, Adam | SGD, "Adam or SGD")
        check_fields(self, start=check_count)
        check_choice("structure", self.structure, ("last_layer", "diagonal", "full"))

    @property
    def members_are_independent(self) -> bool:
        """Whether the members of an ensemble may be computed apart: "diagonal" draws targets from the likelihood."""
        return self.structure != "diagonal"

    @property
    def min_steps(self) -> int:
        """The steps of the optimiser, and one for the curvature."""
        return self.start + 1

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return the optimiser's learning rate at a step."""
        return self.optimizer.current_rate(step)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> LaplaceState:
        """Return the state before the first step of the optimiser."""
        start = starting_point(problem, seed, theta)
        require_normal_prior(problem, self)
        *lead, D = start.shape
        P = D - self._offset(problem)
        if self.structure != "diagonal" and P > _MAX_ENTRIES:
            raise ValueError(
                f"Invalid `structure`: expected one of at most {_MAX_ENTRIES} parameters. Received: "
                f"{self.structure!r}, which has {P} with this network. Use "
                f"{'last_layer or ' if self.structure == 'full' else ''}diagonal."
            )
        shape = [*lead, D] if self.structure == "diagonal" else [*lead, P, P]
        return LaplaceState(self.optimizer.start(start), tf.constant(0), tf.zeros(shape))

    def step(self, problem: Problem, state: LaplaceState, batch: Batch, seed) -> tuple[LaplaceState, Info]:
        """Return the state after a step of the optimiser, or with the curvature of one more batch."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        g = -grad / tf.cast(problem.num_data, tf.float32)
        state = tf.cond(
            state.inner.step < self.start,
            lambda: state._replace(inner=self.optimizer.update(state.inner, g)),
            lambda: self._average(problem, state, batch, seed),
        )
        return state, Info.unadjusted(log_joint, tf.norm(g, axis=-1))

    def posterior(self, problem: Problem, state: LaplaceState) -> LowRank | MeanField | Point:
        """Return N(θ̂, (N H + λ)⁻¹); the point θ while no curvature is known.

        Raises:
            Diverged: if an entry of the curvature is not finite.
        """
        if not int(state.seen):
            return Point(state.theta)
        self._check_curvature(problem, state)
        N = float(problem.num_data)
        precision = tf.broadcast_to(require_normal_prior(problem, self).precision, state.theta.shape)
        if self.structure == "diagonal":
            return MeanField(state.theta, tf.math.rsqrt(N * state.curvature + precision))
        offset = self._offset(problem)
        # In float64: eigenvalues range from λ to N times the largest curvature, and float32 loses the small ones.
        H = np.asarray(state.curvature, np.float64)
        values, vectors = np.linalg.eigh((H + H.T) / 2)
        H = (vectors * np.maximum(values, 0)) @ vectors.T
        factor = _covariance_factor(N * H, np.asarray(precision, np.float64)[offset:])
        factor = np.pad(factor, [(0, 0), (offset, 0)]).astype(np.float32)
        return LowRank(state.theta, tf.zeros_like(state.theta), tf.constant(factor))

    def _check_curvature(self, problem: Problem, state: LaplaceState) -> None:
        bad = np.argwhere(~np.isfinite(state.curvature))
        if len(bad):
            offset, value = self._offset(problem), np.asarray(state.curvature)[tuple(bad[0])]
            names = " and ".join(dict.fromkeys(entry_name(problem, offset + int(i)) for i in bad[0]))
            raise Diverged(
                f"Diverged in the curvature: expected finite entries. Received: {value} for {names}, the first of "
                f"{len(bad)} entries that are not. Standardise inputs and targets, and let the optimiser converge "
                "before `start`.",
                state,
                int(state.inner.step),
            )

    def _offset(self, problem: Problem) -> int:
        """Return D − P, the number of first entries of θ that are fixed at θ̂."""
        if self.structure != "last_layer":
            return 0
        shapes = problem.network.shapes
        last = max((i for i, shape in enumerate(shapes) if len(shape) >= 2), default=0)
        return sum(problem.network.sizes[:last])

    def _average(self, problem: Problem, state: LaplaceState, batch: Batch, seed) -> LaplaceState:
        """Return the state with the batch's curvature in the mean; of the optimiser's state only `step` changes."""
        found = (self._fisher if self.structure == "diagonal" else self._hessian)(problem, state.theta, batch, seed)
        curvature = state.curvature + (found - state.curvature) / tf.cast(state.seen + 1, tf.float32)
        return LaplaceState(state.inner._replace(step=state.inner.step + 1), state.seen + 1, curvature)

    def _hessian(self, problem: Problem, theta: tf.Tensor, batch: Batch, seed) -> tf.Tensor:
        """Return −∇² log p(batch | θ) / N for the last P entries of θ, [..., P, P]."""
        head, tail = tf.split(theta, [self._offset(problem), -1], axis=-1)
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(tail)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(tail)
                log_likelihood = problem.scaled_log_likelihood(tf.concat([head, tail], axis=-1), batch)
            g = -inner.gradient(log_likelihood, tail)  # [..., P]
            # A member's gradient depends on its own θ alone, so the Jacobian of the sum holds each member's Hessian.
            total = tf.reduce_sum(g, axis=0) if g.shape.rank == 2 else g
        # Rows are computed at once for Dense layers; convolutions and loops cannot be vectorised like this.
        rows = outer.jacobian(total, tail, experimental_use_pfor=problem.network.is_dense_chain)  # [P, ..., P]
        return (tf.transpose(rows, [1, 0, 2]) if g.shape.rank == 2 else rows) / tf.cast(problem.num_data, tf.float32)

    def _fisher(self, problem: Problem, theta: tf.Tensor, batch: Batch, seed) -> tf.Tensor:
        """Return the diagonal of the Fisher matrix, averaged over the rows of the batch, [..., D]."""
        x, y = batch[:2]
        *lead, D = theta.shape
        B = y.shape[len(lead)]
        weight = batch[2] if len(batch) == 3 else tf.ones([*lead, B])
        problem = problem.with_batch_statistics(
            theta, x
        )  # batch normalisation by fixed statistics: rows are independent
        drawn = problem.distribution(theta, x).sample(seed=fold_in(seed, 0))
        # A copy of θ for each row, so that one backward pass gives each row's gradient.
        each = lambda a: tf.reshape(a, [-1, 1, *a.shape[len(lead) + 1 :]])
        rows = tf.reshape(tf.repeat(theta[..., tf.newaxis, :], B, axis=-2), [-1, D])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(rows)
            log_likelihood = problem.log_likelihood(rows, (_map(each, x), each(tf.stop_gradient(drawn))))
        square = tf.square(tf.reshape(tape.gradient(log_likelihood, rows), [*lead, B, D]))
        square = tf.where(weight[..., tf.newaxis] > 0, weight[..., tf.newaxis] * square, 0.0)
        return tf.reduce_sum(square, axis=-2) / tf.reduce_sum(weight, axis=-1)[..., tf.newaxis]


def _covariance_factor(H: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return F [P, P] with Fᵀ F = (H + diag(precision))⁻¹, for a positive semi-definite H."""
    try:
        root = np.linalg.cholesky(H + np.diag(precision))
    except np.linalg.LinAlgError:
        # A weak prior is lost in the rounding of the largest eigenvalue of H. With λ = precision and the eigenvalues
        # μ ≥ 0 of λ^(−½) H λ^(−½) = U diag(μ) Uᵀ, the inverse is λ^(−½) U diag(1 / (1 + μ)) Uᵀ λ^(−½). Eigenvalues that
        # rounding cannot tell from 0 are 0, by the rule of numpy.linalg.matrix_rank: the prior decides there.
        scale = 1 / np.sqrt(precision)
        mu, vectors = np.linalg.eigh(scale[:, np.newaxis] * H * scale)
        mu = np.where(mu > mu.max() * len(mu) * np.finfo(mu.dtype).eps, mu, 0.0)
        return (vectors / np.sqrt(1 + mu)).T * scale
    return np.linalg.solve(root, np.eye(len(H)))  # L⁻¹: L⁻ᵀ ε has the covariance (L Lᵀ)⁻¹


_map: Any = tf.nest.map_structure
