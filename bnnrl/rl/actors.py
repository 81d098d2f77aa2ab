"""Actors: what chooses the actions of a real episode, at random, by a policy, or by a planner."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.planners import Planning


class Actor(Protocol):
    """Chooses the actions of one episode, one observation after the other."""

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return the action [A] for an observation [O]."""
        ...


class RandomActor:
    """Explores: actions are independent and uniform over the action space.

    Args:
        action_space: the action space.
        seed: seed of the actions.
    """

    def __init__(self, action_space: ActionSpace, seed: int):
        self._action_space, self._rng = action_space, np.random.default_rng(seed)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return a random action [A]."""
        return self._action_space.sample(self._rng)


class PolicyActor:
    """Acts by a policy, which has no state: the same observation always has the same action.

    Args:
        policy: the function from observations [N, O] to actions [N, A].
    """

    def __init__(self, policy: Callable[[np.ndarray], tf.Tensor]):
        self._policy = policy

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return the policy's action [A] for an observation [O]."""
        return self._policy(np.asarray(obs, np.float32)[np.newaxis])[0].numpy()


class PlannerActor:
    """Plans anew at each step of an episode, starting from the plan of the step before.

    Args:
        planning: the compiled planning step.
        draws: draws of the models, the same ones at each step.
        seed_of_step: the function from the number of a step, counted from 0, to the seed pair of its plan.
    """

    def __init__(self, planning: Planning, draws: Any, seed_of_step: Callable[[int], tf.Tensor]):
        self._planning, self._draws, self._seed_of_step = planning, draws, seed_of_step
        self._plan, self._steps = planning.begin(), itertools.count()

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return the first action [A] of the plan for an observation [O], and keep the rest of the plan."""
        seed = self._seed_of_step(next(self._steps))
        action, self._plan = self._planning.advance(tf.constant(obs, tf.float32), self._plan, self._draws, seed)
        return action.numpy()
