"""Stochastic gradient descent with momentum: a maximum a posteriori (MAP) estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_fields, check_flag, check_fraction, check_positive, optional
from bnnrl.inference.base import Info, OptimizationMethod, starting_point, value_and_grad
from bnnrl.inference.schedules import Schedule, check_rate, rate
from bnnrl.posterior import Point
from bnnrl.problem import Batch, Problem


class SGDState(NamedTuple):
    """State of SGD."""

    step: tf.Tensor  # [] int32, steps taken
    theta: tf.Tensor  # [..., D]
    v: tf.Tensor  # [..., D] velocity


@dataclass(frozen=True)
class SGD(OptimizationMethod):
    """MAP estimate: minimise −log p(θ, data) / N by gradient descent with momentum.

        v = β v + g        g = −∇ log p(θ, data) / N
        θ −= α v           or with Nesterov's momentum  θ −= α (g + β v)

    v is a sum of gradients without the learning rate, so that a schedule acts on the whole step at once. With
    `clip_norm`, a longer g is shortened to this norm: while a learned noise scale falls, the curvature of the weights'
    loss grows as its inverse square, and steps that were stable at first would throw the weights away.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013; Pascanu,
    Mikolov & Bengio, "On the difficulty of training recurrent neural networks", ICML 2013, for the clipping.

    Args:
        learning_rate: α, a number or a Schedule.
        momentum: β in [0, 1).
        nesterov: whether to use Nesterov's momentum.
        clip_norm: the largest norm of g, for each member of an ensemble; None for no bound.

    Raises:
        ValueError: for a hyper-parameter out of its range, or `nesterov` without momentum.
    """

    learning_rate: float | Schedule = 1e-3
    momentum: float = 0.9
    nesterov: bool = False
    clip_norm: float | None = None

    tensor_fields: ClassVar = ("learning_rate",)
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, learning_rate=check_rate, momentum=check_fraction, nesterov=check_flag)
        check_fields(self, clip_norm=optional(check_positive))
        if self.nesterov and not self.momentum:
            raise ValueError(
                f"Invalid `nesterov`: expected False without momentum. Received: nesterov={self.nesterov!r}, "
                f"momentum={self.momentum!r}."
            )

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> SGDState:
        """Return the state before the first step, with velocity 0."""
        theta = starting_point(problem, seed, theta)
        return self.start(theta)

    def step(self, problem: Problem, state: SGDState, batch: Batch, seed) -> tuple[SGDState, Info]:
        """Return the state after one step along the gradient of the log joint."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        g = -grad / tf.cast(problem.num_data, tf.float32)
        return self.update(state, g), Info.unadjusted(log_joint, tf.norm(g, axis=-1))

    def posterior(self, problem: Problem, state: SGDState) -> Point:
        """Return the point θ."""
        return Point(state.theta)

    def start(self, theta: tf.Tensor) -> SGDState:
        """Return the state before the first step from θ [..., D], for methods that use SGD inside."""
        return SGDState(tf.constant(0), theta, tf.zeros_like(theta))

    def update(self, state: SGDState, g: tf.Tensor, learning_rate: tf.Tensor | None = None) -> SGDState:
        """Return the state after one step along the gradient g of a loss.

        Args:
            state: the state before the step.
            g: [..., D], the gradient of any loss of θ.
            learning_rate: α of this step, []; None for the method's own.
        """
        alpha = rate(self.learning_rate, state.step) if learning_rate is None else learning_rate
        if self.clip_norm is not None:
            g = tf.clip_by_norm(g, self.clip_norm, axes=-1)
        v = self.momentum * state.v + g
        theta = state.theta - alpha * (g + self.momentum * v if self.nesterov else v)
        return SGDState(state.step + 1, theta, v)
