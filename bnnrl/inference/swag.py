"""SWAG, stochastic weight averaging-Gaussian (Maddox et al. 2019): a normal distribution fitted to SGD iterates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import tensorflow as tf

from bnnrl.checks import check_count, check_fields, check_positive, optional
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method, starting_point, value_and_grad
from bnnrl.inference.draw_buffer import write_slot
from bnnrl.inference.schedules import Schedule
from bnnrl.inference.sgd import SGD
from bnnrl.posterior import LowRank, Point
from bnnrl.problem import Batch, Problem


class SWAGState(NamedTuple):
    """State of SWAG, with n collected iterates."""

    inner: Any  # the optimiser's state, with its step and θ [..., D]
    collected: tf.Tensor  # [] int32, n
    mean: tf.Tensor  # [..., D] μ
    square: tf.Tensor  # [..., D] n (q − μ²)
    deviations: tf.Tensor  # [..., K, D] Dev, the n-th deviation in row n mod K

    @property
    def theta(self) -> tf.Tensor:
        """θ of the optimiser, [..., D]."""
        return self.inner.theta


@dataclass(frozen=True)
class SWAG(Method):
    """SWAG: optimise, then go on at a constant learning rate, and fit a Gaussian to the iterates.

        learning rate: α until start / 2, then linear to `swa_rate` at 0.9 start, then `swa_rate`
        each collection, n so far:  μ = (n μ + θ) / (n + 1)      q = (n q + θ²) / (n + 1)
                                    append θ − μ (μ after the update) to Dev, keep the last K
        θ̃ = μ + √scale [ √max(q − μ², 1e-30) ε₁ + Dev ε₂ / √(K_stored − 1) ]

    The state keeps n (q − μ²), which grows by (θ − μ_before)(θ − μ_after), instead of q: the difference of q and μ²
    would have few digits left in float32. Before the first collection the posterior is the point θ.

    The width of this Gaussian is that of the stationary distribution of the iterates at `swa_rate`. The paper takes it
    for the width of the posterior, but this width depends on `swa_rate`.

    Source: Maddox et al., "A Simple Baseline for Bayesian Uncertainty in Deep Learning", NeurIPS 2019, algorithm 1.

    Args:
        optimizer: Adam or SGD, with α a number.
        swa_rate: learning rate of the optimiser while iterates are collected; α if None.
        start: number of steps before collection begins; the first collection is at step `start` + `every`.
        every: number of steps from one collection to the next.
        rank: K, number of deviations kept, at least 2.
        scale: 0.5 for the paper's SWAG; with 1, the diagonal and the low-rank part each have the full variance.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    optimizer: Adam | SGD = field(default_factory=Adam)
    swa_rate: float | None = None
    start: int = 1000
    every: int = 10
    rank: int = 20
    scale: float = 0.5

    tensor_fields: ClassVar = ("swa_rate", "start", "every", "scale")
    members_are_independent: ClassVar[bool] = True

    def __post_init__(self):
        if not isinstance(self.optimizer, Adam | SGD) or isinstance(self.optimizer.learning_rate, Schedule):
            raise ValueError(
                f"Invalid `optimizer`: expected Adam or SGD, its learning rate a number. Received: {self.optimizer!r}."
            )
        check_fields(self, swa_rate=optional(check_positive), start=check_count, every=check_count)
        check_fields(self, rank=partial(check_count, least=2), scale=check_positive)

    @property
    def min_steps(self) -> int:
        """The step of the second collection, from which on there is a Gaussian."""
        return self.start + 2 * self.every

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return "learning_rate" and its value at a step, between the optimiser's and `swa_rate`."""
        return "learning_rate", float(self._rate(tf.constant(step)))

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> SWAGState:
        """Return the state before the first step, without collected iterates."""
        start = starting_point(problem, seed, theta)
        zeros = tf.zeros_like(start)
        deviations = tf.zeros([*start.shape[:-1], self.rank, start.shape[-1]])
        return SWAGState(self.optimizer.start(start), tf.constant(0), zeros, zeros, deviations)

    def step(self, problem: Problem, state: SWAGState, batch: Batch, seed) -> tuple[SWAGState, Info]:
        """Return the state after one step of the optimiser, and a collection if one is due."""
        log_joint, grad = value_and_grad(problem, state.theta, batch)
        g = -grad / tf.cast(problem.num_data, tf.float32)
        state = state._replace(inner=self.optimizer.update(state.inner, g, self._rate(state.inner.step)))
        since = state.inner.step - self.start
        due = (since > 0) & (since % self.every == 0)
        return self._collect(state, due), Info.unadjusted(log_joint, tf.norm(g, axis=-1))

    def posterior(self, problem: Problem, state: SWAGState) -> LowRank | Point:
        """Return the Gaussian of the collected iterates; a point while there are fewer than two."""
        n = int(state.collected)
        if n < 2:
            return Point(state.mean if n else state.theta)
        stored = min(n, self.rank)
        std = tf.sqrt(self.scale * tf.maximum(state.square / n, 1e-30))
        return LowRank(state.mean, std, (self.scale / (stored - 1)) ** 0.5 * state.deviations[:stored])

    def _rate(self, step: tf.Tensor) -> tf.Tensor:
        """Return the learning rate at a step, []."""
        alpha = cast(float, self.optimizer.learning_rate)
        final = alpha if self.swa_rate is None else self.swa_rate
        progress = tf.cast(step, tf.float32) / tf.cast(self.start, tf.float32)
        return alpha + (final - alpha) * tf.clip_by_value((progress - 0.5) / 0.4, 0.0, 1.0)

    def _collect(self, state: SWAGState, due: tf.Tensor) -> SWAGState:
        """Return the state with θ collected if `due` [] is true, else unchanged."""
        theta, n = state.theta, state.collected
        deviation = theta - state.mean
        mean = state.mean + deviation / tf.cast(n + 1, tf.float32)
        square = state.square + deviation * (theta - mean)
        return SWAGState(
            state.inner,
            n + tf.cast(due, tf.int32),
            tf.where(due, mean, state.mean),
            tf.where(due, square, state.square),
            write_slot(state.deviations, n, theta - mean, due),
        )
