"""What Markov chains share: `Sampler`, with the hyper-parameters that say which draws of a chain are kept."""

from __future__ import annotations

import tensorflow as tf

from bnnrl.inference.base import Method, State
from bnnrl.inference.draw_buffer import check_chain, ordered
from bnnrl.inference.schedules import Rate, rate
from bnnrl.posterior import Posterior, Samples
from bnnrl.problem import Problem


class Sampler(Method):
    """A Markov chain: the posterior is its newest draws after the burn-in. The State keeps them in its field `draws`.

    Each sampler is a dataclass with these fields among its own:

    Args:
        step_size: scale of a step; the sampler's docstring says in which unit.
        burn_in: number of first steps that give no draw.
        thin: number of steps for each draw that is kept.
        max_draws: K, the number of draws kept of a chain, the newest.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    # Declared, not set: each dataclass has its own order of fields and its own defaults.
    step_size: Rate
    burn_in: int
    thin: int
    max_draws: int

    def __post_init__(self):
        check_chain(self.burn_in, self.thin, self.max_draws)

    @property
    def min_steps(self) -> int:
        """The burn-in and the step of the first draw."""
        return self.burn_in + 1

    def current_rate(self, step: int) -> tuple[str, float] | None:
        """Return "step_size" and its value at a step, as it was set, without adaptation."""
        return "step_size", float(rate(self.step_size, tf.constant(step)))

    def posterior(self, problem: Problem, state: State) -> Posterior:
        """Return the draws kept so far."""
        return Samples(ordered(state.draws, self.thin))
