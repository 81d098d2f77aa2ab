"""Ensembles: any method run from several independent starts, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field

import tensorflow as tf

from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method, State
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
        ValueError: if `size` is below 1, or `method` is an ensemble itself.
    """

    method: Method = field(default_factory=Adam)
    size: int = 5

    def __post_init__(self):
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"Invalid `size`: expected an integer of at least 1. Received: {self.size!r}")
        if isinstance(self.method, Ensemble):
            raise ValueError("Invalid `method`: expected a method for one member. Received: an Ensemble.")

    def init(self, problem: Problem, seed, theta: tf.Tensor | None = None) -> State:
        theta = problem.init(seed, self.size) if theta is None else tf.convert_to_tensor(theta)
        if theta.shape != (self.size, problem.num_params):
            raise ValueError(
                f"Invalid `theta`: expected shape {(self.size, problem.num_params)}. Received: {theta.shape}"
            )
        return self.method.init(problem, seed, theta)

    def step(self, problem: Problem, state: State, batch: Batch, seed) -> tuple[State, Info]:
        return self.method.step(problem, state, batch, seed)

    def posterior(self, problem: Problem, state: State) -> Posterior:
        return mixture(
            [
                self.method.posterior(problem, tf.nest.map_structure(lambda a, i=i: a[i] if a.shape.rank else a, state))
                for i in range(self.size)
            ]
        )
