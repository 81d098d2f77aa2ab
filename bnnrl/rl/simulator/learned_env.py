"""All that an agent infers about its environment: dynamics and, where the task is silent, reward and termination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.likelihoods import Bernoulli
from bnnrl.rl.episodes import Episode
from bnnrl.rl.simulator.dynamics import Draws, Dynamics, DynamicsModel, Regressor
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.rollout import SimulatedEnv
from bnnrl.rl.tasks import SaturatingCost, Task
from bnnrl.seeds import fold_in, host_seed
from bnnrl.storage.arrays import flatten, select


class ModelDraws(NamedTuple):
    """Draws of all that is inferred; None where the task says it."""

    dynamics: Draws
    reward: Draws | None = None
    termination: Draws | None = None
    cost_range: tf.Tensor | None = None  # [2] lowest and highest observed; None for one within 0 and 1


class LearnedEnv:
    """The models of one environment, and the task's own functions.

    Args:
        task: what is known.
        dynamics: the dynamics model.
        heads: the models of reward and termination.
        features: from observations to what heads see.
        seen_by_dynamics: from observations to what the dynamics model sees.
        num_actions: A.
        capacity: rows that there is room for at first.
    """

    def __init__(
        self,
        task: Task,
        dynamics: Dynamics,
        heads: Dynamics,
        features: Features,
        seen_by_dynamics: Features,
        num_actions: int,
        capacity: int,
    ):
        self._task, self._features = task, features
        self.dynamics = DynamicsModel(
            dynamics, seen_by_dynamics, num_actions, capacity, task.velocities, task.step_seconds
        )
        size = 2 * features.size + num_actions
        self.reward = Regressor(heads, size, 1, heads.likelihood, capacity) if task.cost is None else None
        learns_end = task.termination is None
        self.termination = Regressor(heads, size, 1, Bernoulli(), capacity) if learns_end else None
        self._cost_range: np.ndarray | None = None  # [2]

    def fit(self, episodes: Sequence[Episode], seed: int) -> None:
        """Infer all models anew from real episodes."""
        obs = np.concatenate([e.obs[:-1] for e in episodes])
        next_obs = np.concatenate([e.obs[1:] for e in episodes])
        actions = np.concatenate([e.actions for e in episodes])
        self.dynamics.fit(obs, actions, next_obs, seed)
        ended = np.concatenate([e.ends for e in episodes])
        learned: list[tuple[Regressor, np.ndarray, int]] = []
        if self.reward is not None:
            learned.append((self.reward, np.concatenate([e.rewards for e in episodes]), 3))
        if self.termination is not None and ended.any():
            learned.append((self.termination, ended, 4))
        if learned:
            inputs = self._inputs(*map(_tensor, (obs, actions, next_obs))).numpy()
            for head, targets, purpose in learned:
                head.infer(inputs, targets[:, np.newaxis], host_seed(seed, purpose))
        if not isinstance(self._task.cost, SaturatingCost):
            costs = np.concatenate([self.costs(e) for e in episodes])
            self._cost_range = _range(costs, self._task.cost_after_end if ended.any() else None)

    def draw(self, num_draws: int, seed) -> ModelDraws:
        """Return `num_draws` draws of each fitted model."""

        def drawn(head: Regressor | None, i: int) -> Draws | None:
            return None if head is None or head.posterior is None else head.sample(num_draws, fold_in(seed, i))

        bounds = None if self._cost_range is None else tf.constant(self._cost_range, tf.float32)
        return ModelDraws(
            self.dynamics.sample(num_draws, seed), drawn(self.reward, 1), drawn(self.termination, 2), bounds
        )

    def world(self, draws: ModelDraws) -> SimulatedEnv:
        """Return the simulated environment that draws make up."""
        return SimulatedEnv(
            self.dynamics.make_step(draws.dynamics),
            self._cost_function(draws.reward),
            self._end_function(draws.termination),
            self._task.cost_after_end,
            draws.dynamics.target_std,
            draws.cost_range,
        )

    def costs(self, episode: Episode) -> np.ndarray:
        """Return the cost of each step of a real episode, [T]: the task's at true states, or minus the reward."""
        if self._task.cost is None:
            return -episode.rewards
        return np.asarray(self._task.cost(*true_steps(episode)))

    def _inputs(self, obs: tf.Tensor, action: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
        """Return what heads see: where a step began, what was done, and what changed."""
        before = self._features(obs)
        return tf.concat([before, action, self._features(next_obs) - before], axis=-1)

    def _cost_function(self, draws: Draws | None) -> Callable:
        if self._task.cost is not None:
            return self._task.cost
        if self.reward is None or draws is None:
            raise ValueError("Invalid model: expected a fitted one of the reward. Call fit first.")
        given = self.reward.predictive(draws)

        def cost(obs: tf.Tensor, action: tf.Tensor, next_obs: tf.Tensor) -> tf.Tensor:
            z = given(self._inputs(obs, action, next_obs)).mean()
            return -(draws.target_mean + draws.target_std * z)[..., 0]

        return cost

    def _end_function(self, draws: Draws | None):
        if self._task.termination is not None:
            rule = self._task.termination
            return lambda obs, action, next_obs: tf.cast(rule(obs, action, next_obs), obs.dtype)
        if self.termination is None or draws is None:
            return None
        given = self.termination.predictive(draws)
        return lambda obs, action, next_obs: given(self._inputs(obs, action, next_obs)).mean()[..., 0]

    # Saving

    @property
    def _models(self) -> dict[str, Regressor]:
        named = {"": self.dynamics, "reward/": self.reward, "termination/": self.termination}
        return {name: model for name, model in named.items() if model is not None}

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return a description of the posteriors by model, and arrays."""
        described: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        for prefix, model in self._models.items():
            description, values = model.to_arrays()
            if description is not None:
                described[prefix] = description
                arrays |= flatten({prefix.removesuffix("/"): values})
        if self._cost_range is not None:
            arrays["cost_range"] = self._cost_range
        return described, arrays

    def from_arrays(self, described: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take over what `to_arrays` returned."""
        for prefix, description in described.items():
            self._models[prefix].from_arrays(description, select(arrays, prefix.removesuffix("/")))
        self._cost_range = arrays.get("cost_range")


def true_steps(episode: Episode) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return what a task's functions take of a real episode, at its true states: [T, O], [T, A] and [T, O]."""
    states = _tensor(episode.states)
    return states[:-1], _tensor(episode.actions), states[1:]


def _tensor(a: np.ndarray) -> tf.Tensor:
    return tf.constant(a, tf.float32)


def _range(costs: np.ndarray, after_end: float | None) -> np.ndarray:
    """Return the lowest and the highest cost, [2]; one more than the lowest where all are the same."""
    costs = costs if after_end is None else np.append(costs, after_end)
    low, high = float(np.min(costs)), float(np.max(costs))
    return np.array([low, high if high - low > 1e-6 * max(1.0, abs(low)) else low + 1.0], np.float32)
