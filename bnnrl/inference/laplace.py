"""Laplace's approximation (MacKay 1992): a normal distribution at the MAP with the curvature found there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method, starting_point, value_and_grad
from bnnrl.inference.gradients import require_normal_prior
from bnnrl.inference.sgd import SGD
from bnnrl.posterior import LowRank, MeanField, Point
from bnnrl.problem import Batch, Problem
from bnnrl.seeds import fold_in

_MAX_ENTRIES = 4000  # whose square matrix of float32 takes 64 MB


class LaplaceState(NamedTuple):
    inner: Any  # the optimiser's state, with its step and θ [..., D]
    seen: tf.Tensor  # [] int32, batches the curvature is the mean of
    curvature: tf.Tensor  # [..., D] or [..., P, P], of −log p(data | θ) / N

    @property
    def theta(self) -> tf.Tensor:
        return self.inner.theta


@dataclass(frozen=True)
class Laplace(Method):
    """Optimise for `start` steps; then keep θ, and average the likelihood's curvature there over the batches.

        q(θ) = N(θ̂, (N H + λ)⁻¹)         the prior being N(m₀, 1/λ)
        "full"        H = −∇² log p(data | θ̂) / N, its negative eigenvalues set to 0
        "last_layer"  the same for the last kernel and what follows it; the rest of θ stays at θ̂
        "diagonal"    H = E[g²] over rows and y ~ p(y | x, θ̂), g = ∇ log p(y | x, θ̂): the diagonal of Fisher's matrix

    Optimise by a schedule that ends at `start`, and let an epoch or more follow: in one of equal batches every row
    counts once, and the first two forms are exact. Where the model is linear and the noise normal they are the
    posterior. A step of "full" costs as many gradients as there are parameters. Along its negative eigenvalues the
    likelihood is no maximum at θ̂, or residuals outweigh the model's own curvature; there the prior alone holds.

    Source: MacKay, "A Practical Bayesian Framework for Backpropagation Networks", Neural Computation 1992; Daxberger et
    al., "Laplace Redux", NeurIPS 2021, for the forms.

    Args:
        optimizer: Adam or SGD.
        start: its steps.
        structure: "last_layer", "diagonal" or "full".

    Raises:
        ValueError: for a hyper-parameter out of its range; by `init` if the prior is not normal, or the square matrix
            would be of more than 4000 rows.
    """

    optimizer: Adam | SGD = field(default_factory=Adam)
    start: int = 1000
    structure: str = "last_layer"

    def __post_init__(self):
        if not isinstance(self.optimizer, Adam | SGD):
            raise ValueError(f"Invalid `optimizer`: expected Adam or SGD. Received: {self.optimizer!r}.")
        check_count("start", self.start)
        if self.structure not in ("last_layer", "diagonal", "full"):
            raise ValueError(
                f"Invalid `structure`: expected 'last_layer', 'diagonal' or 'full'. Received: {self.structure!r}."
            )

    @property
    def min_steps(self) -> int:
        return self.start + 1

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return the optimiser's learning rate at a step."""
        return self.optimizer.current_rate(step)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> LaplaceState:
        start = starting_point(problem, seed, theta)
        require_normal_prior(problem, self)
        *lead, D = start.shape
        P = D - self._offset(problem)
        if self.structure != "diagonal" and P > _MAX_ENTRIES:
            raise ValueError(
                f"Invalid `structure`: expected one of at most {_MAX_ENTRIES} parameters. Received: "
                f"{self.structure!r}, which is {P} for this network. Use "
                f"{'last_layer or ' if self.structure == 'full' else ''}diagonal."
            )
        shape = [*lead, D] if self.structure == "diagonal" else [*lead, P, P]
        return LaplaceState(self.optimizer.start(start), tf.constant(0), tf.zeros(shape))

    def step(self, problem: Problem, state: LaplaceState, batch: Batch, seed) -> tuple[LaplaceState, Info]:
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        g = -grad / tf.cast(problem.num_data, tf.float32)
        state = tf.cond(
            state.inner.step < self.start,
            lambda: state._replace(inner=self.optimizer.update(state.inner, g)),
            lambda: self._average(problem, state, batch, seed),
        )
        return state, Info.unadjusted(log_joint, tf.norm(g, axis=-1))

    def posterior(self, problem: Problem, state: LaplaceState) -> LowRank | MeanField | Point:
        if not int(state.seen):
            return Point(state.theta)
        N = float(problem.num_data)
        precision = tf.broadcast_to(require_normal_prior(problem, self).precision, state.theta.shape)
        if self.structure == "diagonal":
            return MeanField(state.theta, tf.math.rsqrt(N * state.curvature + precision))
        offset = self._offset(problem)
        # In float64: of a matrix with eigenvalues from λ to N times the largest curvature float32 loses the small.
        H = np.asarray(state.curvature, np.float64)
        values, vectors = np.linalg.eigh((H + H.T) / 2)
        H = (vectors * np.maximum(values, 0)) @ vectors.T
        root = np.linalg.cholesky(N * H + np.diag(np.asarray(precision, np.float64)[offset:]))
        factor = np.linalg.solve(root, np.eye(len(H)))  # L⁻¹: its transpose times ε has the covariance (L Lᵀ)⁻¹
        factor = np.pad(factor, [(0, 0), (offset, 0)]).astype(np.float32)
        return LowRank(state.theta, tf.zeros_like(state.theta), tf.constant(factor))

    def _offset(self, problem: Problem) -> int:
        """Return where the entries begin that are not kept at θ̂."""
        if self.structure != "last_layer":
            return 0
        shapes = problem.network.shapes
        last = max((i for i, shape in enumerate(shapes) if len(shape) >= 2), default=0)
        return sum(problem.network.sizes[:last])

    def _average(self, problem: Problem, state: LaplaceState, batch: Batch, seed) -> LaplaceState:
        """Return the state with the batch's curvature in the mean; the optimiser's counts the step and rests."""
        found = (self._fisher if self.structure == "diagonal" else self._hessian)(problem, state.theta, batch, seed)
        curvature = state.curvature + (found - state.curvature) / tf.cast(state.seen + 1, tf.float32)
        return LaplaceState(state.inner._replace(step=state.inner.step + 1), state.seen + 1, curvature)

    def _hessian(self, problem: Problem, theta: tf.Tensor, batch: Batch, seed) -> tf.Tensor:
        head, tail = tf.split(theta, [self._offset(problem), -1], axis=-1)
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(tail)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(tail)
                log_likelihood = problem.scaled_log_likelihood(tf.concat([head, tail], axis=-1), batch)
            g = -inner.gradient(log_likelihood, tail)  # [..., P]
            # Members do not meet, so that the gradient of their sum is each one's own.
            total = tf.reduce_sum(g, axis=0) if g.shape.rank == 2 else g
        # Vectorised over its rows where every operation can be, which convolutions and loops cannot.
        rows = outer.jacobian(total, tail, experimental_use_pfor=problem.network.is_dense_chain)  # [P, ..., P]
        return (tf.transpose(rows, [1, 0, 2]) if g.shape.rank == 2 else rows) / tf.cast(problem.num_data, tf.float32)

    def _fisher(self, problem: Problem, theta: tf.Tensor, batch: Batch, seed) -> tf.Tensor:
        x, y = batch[:2]
        *lead, D = theta.shape
        B = y.shape[len(lead)]
        weight = batch[2] if len(batch) == 3 else tf.ones([*lead, B])
        problem = problem.with_batch_statistics(theta, x)  # a row's gradient is its own
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


_map: Any = tf.nest.map_structure
