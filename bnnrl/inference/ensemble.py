"""Ensembles: any method run from several independent starts, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method, State, starting_point
from bnnrl.posterior import Posterior, mixture
from bnnrl.problem import Batch, Problem


@dataclass(frozen=True)
class Ensemble:
    """`size` members of `method` with independent initialisations and batch orders, vectorised.

    `Ensemble(Adam())` is the deep ensemble; the posterior is the equal mixture of the members' posteriors.

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
        check_count("size", self.size)
        many = isinstance(self.method, type) or getattr(self.method, "has_members", False)
        if many or not isinstance(self.method, Method):
            raise ValueError(
                f"Invalid `method`: expected an instance of a method for one member, such as Adam(). "
                f"Received: {self.method!r}"
            )

    @property
    def full_batch_only(self) -> bool:
        return getattr(self.method, "full_batch_only", False)

    @property
    def min_steps(self) -> int:
        return getattr(self.method, "min_steps", 0)

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> State:
        start = starting_point(problem, seed, theta, self.size)
        if start.shape[:-1] != (self.size,):
            raise ValueError(
                f"Invalid `theta`: expected shape {(self.size, problem.num_params)}, one row for each member. "
                f"Received: {start.shape}"
            )
        return self.method.init(problem, seed, start)

    def step(self, problem: Problem, state: State, batch: Batch, seed) -> tuple[State, Info]:
        return self.method.step(problem, state, batch, seed)

    def posterior(self, problem: Problem, state: State) -> Posterior:
        member = lambda i: tf.nest.map_structure(lambda a: a[i] if a.shape.rank else a, state)
        return mixture([self.method.posterior(problem, member(i)) for i in range(self.size)])
