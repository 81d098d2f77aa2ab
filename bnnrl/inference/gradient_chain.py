"""What chains of stochastic gradients share: a step size that is given, or that follows from the curvature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_fields, check_nonnegative
from bnnrl.inference.base import value_and_grad
from bnnrl.inference.sampler import Sampler
from bnnrl.inference.schedules import Rate, check_rate, rate
from bnnrl.problem import Batch, Problem, num_rows
from bnnrl.seeds import fold_in, normal
from bnnrl.structure import HasNumbers

_SAFE = 0.4  # η λ: the discretisation alone widens the stiffest direction's variance by 1 / (1 − 0.4 / 4), or 11 %
_BATCHES = 3.0  # batches of an epoch from which on the noise of minibatches, not the discretisation, limits η
_STABLE = 3.0  # η λ: all four chains are unstable from 4 on
_FALLBACK = 2e-3  # η N where no curvature is found, which is small for networks of standardised data
_ITERATIONS = 10  # of the power method, each of two gradients
_LENGTH = 1e-2  # of the finite difference: far above rounding, and below the scale on which a network's Hessian changes
_SEPARATE = 32  # rows whose gradients are computed apart
_SEED = 0x73746570  # of the power method: a child of the step's seed that no chain takes

_map: Any = tf.nest.map_structure


@dataclass(frozen=True)
class CurvatureStep(HasNumbers):
    """A step size for `SGLD`, `PSGLD`, `CyclicalSGLD` and `SGHMC` that follows from the curvature.

    λ is the largest curvature of −log p(θ, data), in the metric of the chain's preconditioner. For minibatches of B of
    N rows, the step size is

        η = max(κ (0.4 / λ) min(1, 3 B / N)^1.5, min(least, 3 / λ))

    with κ = 1 for SGLD and pSGLD, 2 for cyclical SGLD, whose mean step is half of its largest, and α for SGHMC, whose
    path is that of SGLD with 2η/α.

    Two errors of a chain without Metropolis steps grow with η. The discretisation samples the stiffest direction with
    variance σ² / (1 − ηλ/4) for σ² = 1/λ. The noise of minibatches adds about as much again for each further batch of
    an epoch, less what cancels within an epoch, whose batches have no row in common. The first term of the rule keeps
    the sum below a fifth of σ² for a normal posterior; its power is above 1, as batches of a classifier differ more.
    `least` trades this for speed: few directions of a network are stiff, and a chain whose step is safe for them moves
    little in the others within a short run.

    The curvature is estimated from the batches of steps 0, 1, 2, 4, 8 and so on of the burn-in, and at its end, as
    batches differ and the curvature grows where a chain leaves the mode of a classifier. The smallest η so far is
    taken. Cyclical SGLD does so at the start of each cycle. A curvature that is not a positive number gives
    η = 2e-3 / N.

    Args:
        least: lower bound of η where the chain is stable.

    Raises:
        ValueError: if `least` is negative.
    """

    least: float = 0.0

    tensor_fields: ClassVar = ("least",)

    def __post_init__(self):
        check_fields(self, least=check_nonnegative)


StepSize = Rate | CurvatureStep


def curvature_step_or(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return a check that accepts a CurvatureStep, and applies `check` to any other value."""
    return lambda name, value: value if isinstance(value, CurvatureStep) else check(name, value)


check_step_size = curvature_step_or(check_rate)


class StepState(NamedTuple):
    """The step size that a chain has found."""

    eta: tf.Tensor  # [..., 1] η, 0 before the first step


class GradientChain(Sampler):
    """A chain of stochastic gradients; its State has a field `found`, a StepState, or () for a given step size."""

    step_size: StepSize

    @property
    def _factor(self) -> float:
        """κ, by which η is larger than that of SGLD."""
        return 1.0

    def _is_due(self, step: tf.Tensor) -> tf.Tensor:
        """Return whether the curvature is estimated at a step."""
        is_power_of_two = tf.bitwise.bitwise_and(step, step - 1) == 0  # true of 0 as well
        return is_power_of_two & (step <= self.burn_in) | (step == self.burn_in)

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return "step_size" and its value at a step, or None if it follows from the curvature."""
        return None if isinstance(self.step_size, CurvatureStep) else super().current_rate(step)

    def _nothing_found(self, theta: tf.Tensor) -> StepState | tuple[()]:
        """Return the field `found` before the first step, for θ [..., D]."""
        return StepState(tf.zeros_like(theta[..., :1])) if isinstance(self.step_size, CurvatureStep) else ()

    def _step_size(
        self, problem: Problem, state: Any, batch: Batch, seed, root: tf.Tensor | float = 1.0
    ) -> tuple[tf.Tensor, StepState | tuple[()]]:
        """Return η at a step, [] or [..., 1], and the new field `found`.

        Args:
            problem: the log joint.
            state: the state before the step.
            batch: of the step.
            seed: of the step.
            root: root of the preconditioner's diagonal, [..., D].
        """
        if not isinstance(self.step_size, CurvatureStep):
            return rate(self.step_size, state.step), ()
        least = self.step_size.least

        def found():
            curvature = largest_curvature(problem, state.theta, batch, fold_in(seed, _SEED), root)
            eta, before = self._from_curvature(problem, curvature, _rows(state.theta, batch), least), state.found.eta
            return tf.where(before > 0, tf.minimum(before, eta), eta)

        eta = tf.cond(self._is_due(state.step), found, lambda: state.found.eta)
        return eta, StepState(eta)

    def _from_curvature(self, problem: Problem, curvature: tf.Tensor, rows: tf.Tensor, least) -> tf.Tensor:
        """Return η [..., 1] for a curvature [..., 1] and the number of rows of a batch."""
        num_data = tf.cast(problem.num_data, tf.float32)
        safe = self._factor * _SAFE * tf.minimum(1.0, _BATCHES * rows / num_data) ** 1.5 / curvature
        valid = tf.math.is_finite(curvature) & (curvature > 0)
        return tf.where(
            valid,
            tf.maximum(safe, tf.minimum(least, _STABLE / curvature)),
            _FALLBACK / num_data,
        )


def largest_curvature(
    problem: Problem, theta: tf.Tensor, batch: Batch, seed, root: tf.Tensor | float = 1.0
) -> tf.Tensor:
    """Return the largest absolute eigenvalue of diag(root) H diag(root), H the Hessian of −log p(θ, data), [..., 1].

    Power iterations take products of H and a vector from differences of gradients, which exist for every network and
    see the kinks of ReLU units that second derivatives miss. The result approaches the eigenvalue from below.

    Args:
        problem: the log joint.
        theta: [..., D].
        batch: rows that stand for all.
        seed: of the first vector.
        root: [..., D] or a number.
    """

    def body(i, v, _):
        direction = root * v
        size = tf.norm(direction, axis=-1, keepdims=True)
        shift = _LENGTH / size * direction
        ahead, behind = (value_and_grad(problem, theta + sign * shift, batch)[1] for sign in (1.0, -1.0))
        product = root * (behind - ahead) * size / (2 * _LENGTH)
        length = tf.norm(product, axis=-1, keepdims=True)
        return i + 1, product / tf.maximum(length, 1e-30), length

    v = normal(theta.shape, seed)
    start = tf.constant(0), v / tf.norm(v, axis=-1, keepdims=True), tf.zeros_like(theta[..., :1])
    return tf.while_loop(lambda i, *_: i < _ITERATIONS, body, start)[2]


def expected_squares(problem: Problem, theta: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Return the mean square of −∇ log p(batch | θ) / B over batches, for a chain that samples the posterior, [..., D].

    That is the mean square of the gradients of single rows, divided by B. If the posterior is nearly normal and the
    model fits, what sampling without replacement takes away is what the chain's movement adds, and the prior adds its
    precision divided by N B. Up to 32 rows of the batch are taken.

    Args:
        problem: the log joint.
        theta: [..., D].
        batch: of B rows.
    """
    axis = theta.shape.rank - 1  # of the rows
    every = -(-batch[1].shape[axis] // _SEPARATE)
    x, y, *weight = _map(lambda a: a[:, ::every] if axis else a[::every], batch)
    count, D = y.shape[axis], theta.shape[-1]
    copies = tf.reshape(tf.repeat(theta[..., tf.newaxis, :], count, axis=-2), [-1, D])
    each = _map(lambda a: tf.reshape(a, [-1, 1, *a.shape[axis + 1 :]]), (x, y))
    separate = problem.with_batch_statistics(theta, x) if problem.network.has_statistics else problem
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(copies)
        log_likelihood = separate.log_likelihood(copies, each)
    squares = tf.reshape(tf.square(tape.gradient(log_likelihood, copies)), [*theta.shape[:-1], count, D])
    share = weight[0][..., tf.newaxis] if weight else tf.ones_like(squares[..., :1])
    mean = tf.reduce_sum(tf.square(share) * squares, axis=-2) / num_rows(share[..., 0], keepdims=True)
    of_prior = 1.0 / (tf.square(problem.prior_stddev()) * tf.cast(problem.num_data, tf.float32))
    return (mean + of_prior) / _rows(theta, batch)


def _rows(theta: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Return the number of rows of a batch, [] or, with weights, [..., 1]."""
    if len(batch) == 3:
        return num_rows(batch[2], keepdims=True)
    return tf.cast(tf.shape(batch[1])[theta.shape.rank - 1], tf.float32)
