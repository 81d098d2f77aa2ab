"""Actors: what chooses the actions of a real episode, at random, by a policy, or by a planner."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.planners import Plan, Planning
from bnnrl.rl.simulator.non_finite import NonFiniteWarning

MAX_TOGETHER = 10  # episodes that one call of a policy acts in; the policy is compiled for as many observations


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

    The policy is compiled for each number of observations. A single one and several are therefore filled up to the same
    number, which costs no time: the overhead of a call is far longer than its computation.

    Args:
        policy: the function from observations, float64 [N, O], to actions [N, A].
    """

    def __init__(self, policy: Callable[[np.ndarray], tf.Tensor]):
        self._policy = policy

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return the policy's action [A] for an observation [O]."""
        return self.actions(np.asarray(obs)[np.newaxis])[0]

    def actions(self, obs: np.ndarray) -> np.ndarray:
        """Return the policy's actions [N, A] for observations [N, O], which may be those of several episodes."""
        filled = np.zeros([max(len(obs), MAX_TOGETHER), obs.shape[1]])
        filled[: len(obs)] = obs
        return self._policy(filled).numpy()[: len(obs)]


class PlannerActor:
    """Plans anew at each step of an episode, starting from the plan of the step before.

    Args:
        planning: the compiled planning step.
        centred: the function from observations to what models see, `LearnedEnv.centred`.
        draws: draws of the models, the same ones at each step.
        seed_of_step: the function from the number of a step, counted from 0, to the seed pair of its plan.
        describe_non_finite: the function from rollouts, [H + 1, P, O] and [H, P], to where they first are not finite.
    """

    def __init__(
        self,
        planning: Planning,
        centred: Callable[[np.ndarray], np.ndarray],
        draws: Any,
        seed_of_step: Callable[[int], tf.Tensor],
        describe_non_finite: Callable[[np.ndarray, np.ndarray], str | None],
    ):
        self._planning, self._centred, self._draws, self._seed_of_step = planning, centred, draws, seed_of_step
        self._plan, self._steps = planning.begin(), itertools.count()
        self._describe_non_finite, self._has_warned = describe_non_finite, False

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return the first action [A] of the plan for an observation [O], and keep the rest of the plan.

        Warns:
            NonFiniteWarning: at the first step at which no sequence of actions has a finite expected cost.
        """
        step = next(self._steps)
        arguments = tf.constant(self._centred(obs)), self._plan, self._draws, self._seed_of_step(step)
        action, self._plan = self._planning.advance(*arguments)
        if not (self._has_warned or math.isfinite(self._plan.cost)):
            self._has_warned = True
            self._warn(step, *arguments)
        return action.numpy()

    def _warn(self, step: int, obs: tf.Tensor, plan: Plan, draws: Any, seed: tf.Tensor) -> None:
        found = self._describe_non_finite(*self._planning.simulate(obs, plan, draws, seed))
        warnings.warn(
            f"Step {step + 1} of an episode: the planner found no action sequence of finite expected cost: the action "
            f"is arbitrary. Received: {found or 'rollouts that are finite for the plan before.'}",
            NonFiniteWarning,
            stacklevel=3,
        )
