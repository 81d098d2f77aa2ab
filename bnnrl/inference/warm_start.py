"""Warm start: a method that starts from the θ at which another method ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count, check_fields
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method, State, as_method, may_be_computed_apart
from bnnrl.inference.hmc import HMC
from bnnrl.posterior import Posterior
from bnnrl.problem import Batch, Problem


class WarmStartState(NamedTuple):
    """State of both methods of a warm start."""

    step: tf.Tensor  # [] int32, steps of both methods together
    theta: tf.Tensor  # [..., D] θ of the method at work
    start: State  # of `start`, unchanged after the warm-up
    method: State  # of `method`, unchanged during the warm-up


@dataclass(frozen=True)
class WarmStart(Method):
    """`steps` steps of `start`, then `method` from the θ reached: chains that begin near a mode burn in faster.

    `WarmStart(HMC())` starts each chain at a MAP estimate, which Adam finds from the chain's own initial weights.

    Args:
        method: the method that gives the posterior.
        start: the method that finds the θ from which `method` starts.
        steps: number of steps of `start`; the run's other steps are those of `method`.

    Raises:
        ValueError: if `method` or `start` is not a method, or `steps` is below 1.
    """

    method: Method = field(default_factory=HMC)
    start: Method = field(default_factory=lambda: Adam(1e-2))
    steps: int = 500

    tensor_fields: ClassVar = ("steps",)

    def __post_init__(self):
        for name, value in (("method", self.method), ("start", self.start)):
            object.__setattr__(self, name, as_method(value, name, "an instance of a method, such as HMC()"))
        check_fields(self, steps=check_count)

    @property
    def has_members(self) -> bool:
        """Whether `method` has several members."""
        return self.method.has_members

    @property
    def full_batch_only(self) -> bool:
        """Whether `method` needs all rows at every step; `start` is then given all rows too."""
        return self.method.full_batch_only

    @property
    def member(self) -> Method | None:
        """The warm start of one member, if the members of both methods may be computed apart."""
        member = self.method.member if may_be_computed_apart(self.start) else None
        return None if member is None else replace(self, method=member)

    @property
    def min_steps(self) -> int:
        """The steps of `start`, and those `method` needs."""
        return self.steps + self.method.min_steps

    @property
    def inner(self) -> Method:
        """The method that gives the posterior."""
        return self.method

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return the learning rate of the method at work at a step."""
        warming_up = step < self.steps
        return self.start.current_rate(step) if warming_up else self.method.current_rate(step - self.steps)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> WarmStartState:
        """Return the state before the first step of `start`."""
        state = self.method.init(problem, seed, theta)
        return WarmStartState(tf.constant(0), state.theta, self.start.init(problem, seed, state.theta), state)

    def step(self, problem: Problem, state: WarmStartState, batch: Batch, seed) -> tuple[WarmStartState, Info]:
        """Return the state after one step of the method at work."""

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
        """Return the posterior of `method`."""
        return self.method.posterior(problem, state.method)
