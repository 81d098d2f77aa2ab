"""Adam (Kingma & Ba 2015): a maximum a posteriori (MAP) estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_fields, check_fraction, check_positive
from bnnrl.inference.base import Info, OptimizationMethod, starting_point, value_and_grad
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import Point
from bnnrl.problem import Batch, Problem


class AdamState(NamedTuple):
    """State of Adam, for a θ or any other array of its shape."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D]
    m: tf.Tensor  # [..., D] first moment of the gradient
    v: tf.Tensor  # [..., D] second moment of the gradient


@dataclass(frozen=True)
class Adam(OptimizationMethod):
    """MAP estimate: minimise −log p(θ, data) / N by Adam with bias correction.

        m = β₁ m + (1 − β₁) g        v = β₂ v + (1 − β₂) g²        g = −∇ log p(θ, data) / N
        θ −= α m̂ / (√v̂ + ε)          m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)

    Source: Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.

    Args:
        learning_rate: α, a number or a Schedule.
        beta_1: β₁ in [0, 1).
        beta_2: β₂ in [0, 1).
        epsilon: ε > 0.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    tensor_fields: ClassVar = ("learning_rate", "epsilon")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        betas = {"beta_1": check_fraction, "beta_2": check_fraction}
        check_fields(self, learning_rate=check_rate, **betas, epsilon=check_positive)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> AdamState:
        """Return the state before the first step, with both moments 0."""
        theta = starting_point(problem, seed, theta)
        return self.start(theta)

    def step(self, problem: Problem, state: AdamState, batch: Batch, seed) -> tuple[AdamState, Info]:
        """Return the state after one step along the gradient of the log joint."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        g = -grad / tf.cast(problem.num_data, tf.float32)
        return self.update(state, g), Info.unadjusted(log_joint, tf.norm(g, axis=-1))

    def posterior(self, problem: Problem, state: AdamState) -> Point:
        """Return the point θ."""
        return Point(state.theta)

    def start(self, theta: tf.Tensor) -> AdamState:
        """Return the state before the first step from θ [..., D], for methods that use Adam inside."""
        return AdamState(tf.constant(0), theta, tf.zeros_like(theta), tf.zeros_like(theta))

    def update(self, state: AdamState, g: tf.Tensor, learning_rate: tf.Tensor | None = None) -> AdamState:
        """Return the state after one step along the gradient g of a loss.

        Args:
            state: the state before the step.
            g: [..., D], the gradient of any loss of θ.
            learning_rate: α of this step, []; None for the method's own.
        """
        m = self.beta_1 * state.m + (1 - self.beta_1) * g
        v = self.beta_2 * state.v + (1 - self.beta_2) * tf.square(g)
        m_hat = m / one_minus_power(self.beta_1, state.step + 1)
        v_hat = v / one_minus_power(self.beta_2, state.step + 1)
        alpha = rate(self.learning_rate, state.step) if learning_rate is None else learning_rate
        theta = state.theta - alpha * m_hat / (tf.sqrt(v_hat) + self.epsilon)
        return AdamState(state.step + 1, theta, m, v)


class AdamInside(OptimizationMethod):
    """A method whose updates are Adam's, along gradients of its own; it has a field `beta_2`."""

    beta_2: float

    @property
    def _adam(self) -> Adam:
        """Adam with the decay `beta_2`; each update is given the learning rate of the method."""
        return Adam(beta_2=self.beta_2)


def one_minus_power(beta: float, t: tf.Tensor) -> tf.Tensor:
    """Return 1 − βᵗ, the bias correction of a moment that started at zero, as a float32 scalar."""
    # In float64: at t = 1, float32 would keep four digits of 1 − 0.999, and the whole step no more than that.
    return tf.cast(1 - tf.constant(beta, tf.float64) ** tf.cast(t, tf.float64), tf.float32)
