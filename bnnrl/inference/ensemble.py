"""Ensembles: several independent runs of a method, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from bnnrl.checks import check_count, check_fields
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method, State, as_method, may_be_computed_apart, starting_point
from bnnrl.posterior import Posterior, mixture
from bnnrl.problem import Batch, Problem


@dataclass(frozen=True)
class Ensemble(Method):
    """`size` members of `method` with independent initial weights, minibatches and noise, vectorised.

    The posterior is the equal mixture of the members' posteriors: `Ensemble(Adam())` is the deep ensemble,
    `Ensemble(SWAG())` MultiSWAG, and `Ensemble(SGLD())` parallel chains.

    Source: Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles", NeurIPS 2017.

    Args:
        method: the members' inference method.
        size: M, the number of members.

    Raises:
        ValueError: if `size` is below 1, or `method` is not a method for one member.
    """

    method: Method = field(default_factory=Adam)
    size: int = 5

    has_members: ClassVar[bool] = True

    def __post_init__(self):
        check_fields(self, size=check_count)
        expected = "an instance of a method for one member, such as Adam()"
        object.__setattr__(self, "method", as_method(self.method, expected=expected))
        if self.method.has_members:
            raise ValueError(f"Invalid `method`: expected {expected}. Received: {self.method!r}")

    @property
    def full_batch_only(self) -> bool:
        """Whether the members' method needs all rows at every step."""
        return self.method.full_batch_only

    @property
    def min_steps(self) -> int:
        """The number of steps after which each member has a posterior."""
        return self.method.min_steps

    @property
    def member(self) -> Method | None:
        """The members' method, if its members may be computed apart."""
        return self.method if may_be_computed_apart(self.method) else None

    @property
    def inner(self) -> Method:
        """The members' method."""
        return self.method

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return the learning rate of the members at a step."""
        return self.method.current_rate(step)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> State:
        """Return the state of all members before the first step, θ being [M, D]."""
        start = starting_point(problem, seed, theta, self.size)
        if start.shape[:-1] != (self.size,):
            raise ValueError(
                f"Invalid `theta`: expected shape {(self.size, problem.num_params)}, one row for each member. "
                f"Received: {start.shape}"
            )
        return self.method.init(problem, seed, start)

    def step(self, problem: Problem, state: State, batch: Batch, seed) -> tuple[State, Info]:
        """Return the state after one step of every member."""
        return self.method.step(problem, state, batch, seed)

    def posterior(self, problem: Problem, state: State) -> Posterior:
        """Return the equal mixture of the members' posteriors."""
        member = lambda i: tf.nest.map_structure(lambda a: a[i] if a.shape.rank else a, state)
        return mixture([self.method.posterior(problem, member(i)) for i in range(self.size)])
