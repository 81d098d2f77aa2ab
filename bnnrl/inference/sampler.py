"""What Markov chains share: `Sampler`, with the hyper-parameters that say which draws of a chain are kept."""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from bnnrl.checks import check_count, check_fields
from bnnrl.inference.base import Method, State
from bnnrl.inference.schedules import Rate, rate
from bnnrl.posterior import Posterior, Samples
from bnnrl.problem import Problem


class Sampler(Method):
    """A Markov chain: the posterior is its newest draws after the burn-in.

    A sampler is a dataclass that has the fields below among its own, in its own order and with its own defaults. Its
    State keeps the draws in a field `draws`, a `DrawBuffer`.

    Args:
        step_size: the scale of a step; the sampler's docstring gives the equation.
        burn_in: number of first steps that give no draw.
        thin: number of steps for each draw that is kept.
        max_draws: K, the number of draws kept of each chain, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    step_size: Rate
    burn_in: int
    thin: int
    max_draws: int

    def __post_init__(self):
        check_fields(self, burn_in=partial(check_count, least=0), thin=check_count, max_draws=check_count)

    @property
    def has_metropolis_step(self) -> bool:
        """Whether steps are accepted or rejected, so that `Info.accept` tells whether they have the right size."""
        return False

    @property
    def min_steps(self) -> int:
        """The burn-in and the step of the first draw."""
        return self.burn_in + 1

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return "step_size" and its value at a step, without adaptation."""
        return "step_size", float(rate(self.step_size, tf.constant(step)))

    def posterior(self, problem: Problem, state: State) -> Posterior:
        """Return the draws kept so far."""
        return Samples(state.draws.in_order(self.thin))
