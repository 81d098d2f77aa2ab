"""Stein variational gradient descent, SVGD (Liu & Wang 2016): particles that repel each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_fraction
from bnnrl.inference.adam import AdamInside, AdamState
from bnnrl.inference.base import Info, starting_point, value_and_grad
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import Point, Posterior, mixture
from bnnrl.problem import Batch, Problem


@dataclass(frozen=True)
class SVGD(AdamInside):
    """Stein variational gradient descent: P particles follow the gradient of the log joint and repel each other.

        φᵢ = (1/P) Σⱼ [ k(θⱼ, θᵢ) ∇ log p(θⱼ, data) + ∇_θⱼ k(θⱼ, θᵢ) ]
        k(a, b) = exp(−‖a − b‖² / h)        h = median of ‖θᵢ − θⱼ‖² over i ≠ j, divided by log(P + 1)
        θᵢ by Adam along −φᵢ / N

    φ is the direction of steepest descent of the KL divergence to the posterior, within the unit ball of an RKHS with
    kernel k. One particle converges to the MAP estimate. Few particles in many dimensions spread less than the
    posterior.

    Source: Liu & Wang, "Stein Variational Gradient Descent", NeurIPS 2016, algorithm 1. The paper has log P in h, which
    fails for P = 1, includes the pairs i = j in the median, and uses AdaGrad.

    Args:
        learning_rate: α of Adam, a number or a Schedule.
        size: P, the number of particles.
        beta_2: β₂ of Adam, in [0, 1).

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    learning_rate: float | Schedule = 1e-3
    size: int = 10
    beta_2: float = 0.999

    tensor_fields: ClassVar = ("learning_rate",)

    has_members: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, learning_rate=check_rate, beta_2=check_fraction, size=check_count)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> AdamState:
        """Return the state before the first step, θ being [P, D]."""
        start = starting_point(problem, seed, theta, self.size)
        if start.shape[:-1] != (self.size,):
            raise ValueError(
                f"Invalid `theta`: expected shape {(self.size, problem.num_params)}, one row for each particle. "
                f"Received: {start.shape}"
            )
        return self._adam.start(start)

    def step(self, problem: Problem, state: AdamState, batch: Batch, seed) -> tuple[AdamState, Info]:
        """Return the state after one Adam step of all particles."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        phi = self._direction(state.theta, grad)
        g = -phi / tf.cast(problem.num_data, tf.float32)
        state = self._adam.update(state, g, rate(self.learning_rate, state.step))
        return state, Info.unadjusted(log_joint, tf.norm(g, axis=-1))

    def posterior(self, problem: Problem, state: AdamState) -> Posterior:
        """Return the equal mixture of the particles."""
        return mixture([Point(theta) for theta in tf.unstack(state.theta)])

    def _direction(self, theta: tf.Tensor, grad: tf.Tensor) -> tf.Tensor:
        """Return φ [P, D] for particles θ and ∇ log p(θ, data), [P, D] each."""
        P = self.size
        centred = theta - tf.reduce_mean(theta, axis=0)  # smaller products lose fewer digits in `distance`
        square = tf.reduce_sum(tf.square(centred), axis=-1)
        distance = square + square[:, tf.newaxis] - 2.0 * tf.matmul(centred, centred, transpose_b=True)
        distance = tf.linalg.set_diag(tf.maximum(distance, 0.0), tf.zeros([P]))
        pairs = tf.sort(tf.reshape(distance, [-1]))[P:]  # without the P zeros of the diagonal
        h = pairs[P * (P - 1) // 2] / math.log(P + 1.0) + 1e-30 if P > 1 else tf.constant(1.0)
        k = tf.exp(-distance / h)
        repulsion = (2.0 / h) * (centred * tf.reduce_sum(k, axis=-1, keepdims=True) - tf.matmul(k, centred))
        return (tf.matmul(k, grad) + repulsion) / P
