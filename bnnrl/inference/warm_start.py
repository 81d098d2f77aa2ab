"""A method started from where another one ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method, State
from bnnrl.inference.hmc import HMC
from bnnrl.posterior import Posterior
from bnnrl.problem import Batch, Problem


class WarmStartState(NamedTuple):
    step: tf.Tensor  # [] int32, steps of both methods
    theta: tf.Tensor  # [..., D], of the method at work
    start: State
    method: State


@dataclass(frozen=True)
class WarmStart:
    """`steps` steps of `start`, then `method` from its θ: chains that begin near a mode need a shorter burn-in.

    `WarmStart(HMC())` starts each chain at a maximum a posteriori estimate, found from initial weights of its own.

    Args:
        method: the method that gives the posterior.
        start: the method whose θ it starts from.
        steps: how many of the run's steps are those of `start`.

    Raises:
        ValueError: if one of them is not a method, or `steps` is below 1.
    """

    method: Method = field(default_factory=HMC)
    start: Method = field(default_factory=lambda: Adam(1e-2))
    steps: int = 500

    def __post_init__(self):
        for name in ("method", "start"):
            value = getattr(self, name)
            if isinstance(value, type) or not isinstance(value, Method):
                raise ValueError(
                    f"Invalid `{name}`: expected an instance of a method, such as HMC(). Received: {value!r}"
                )
        check_count("steps", self.steps)

    @property
    def has_members(self) -> bool:
        return getattr(self.method, "has_members", False)

    @property
    def full_batch_only(self) -> bool:
        return getattr(self.method, "full_batch_only", False)

    @property
    def min_steps(self) -> int:
        return self.steps + getattr(self.method, "min_steps", 0)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> WarmStartState:
        state = self.method.init(problem, seed, theta)
        return WarmStartState(tf.constant(0), state.theta, self.start.init(problem, seed, state.theta), state)

    def step(self, problem: Problem, state: WarmStartState, batch: Batch, seed) -> tuple[WarmStartState, Info]:
        def warm_up():
            start, info = self.start.step(problem, state.start, batch, seed)
            last = tf.equal(state.step + 1, self.steps)
            method = tf.cond(last, lambda: self.method.init(problem, seed, start.theta), lambda: state.method)
            return WarmStartState(state.step + 1, start.theta, start, method), info

        def go_on():
            method, info = self.method.step(problem, state.method, batch, seed)
            return WarmStartState(state.step + 1, method.theta, state.start, method), info

        return tf.cond(state.step < self.steps, warm_up, go_on)

    def posterior(self, problem: Problem, state: WarmStartState) -> Posterior:
        return self.method.posterior(problem, state.method)
