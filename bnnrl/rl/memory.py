"""Observations that remember: past observations and actions of an episode beside the newest observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from bnnrl.rl.action_space import ActionSpace


@dataclass(frozen=True)
class Memory:
    """The layout of an observation with memory: (obs_t, obs_t−1, ..., obs_t−h, action_t−1, ..., action_t−k).

    A step shifts the past by one place, which is exact: a model predicts the newest observation alone. Before an
    episode's first action, the past observations are copies of its first one, and the past actions are zero.

    Args:
        num_obs: O, entries of the environment's own observation.
        num_actions: A, entries of an action vector.
        observations: h, number of past observations.
        actions: k, number of past actions.
    """

    num_obs: int
    num_actions: int = 0
    observations: int = 0
    actions: int = 0

    @property
    def size(self) -> int:
        """M, the number of entries of an observation with memory."""
        return self.num_obs * (1 + self.observations) + self.num_actions * self.actions

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered, so that an observation is the environment's own."""
        return self.size == self.num_obs

    def newest(self, obs: Any) -> Any:
        """Return the newest observations [..., O] of an array or tensor of observations with memory [..., M]."""
        return obs if self.is_empty else obs[..., : self.num_obs]

    def past(self, obs: Any) -> Any:
        """Return what is beside the newest observation, [..., M − O]."""
        return obs[..., self.num_obs :]

    def past_actions(self, obs: Any) -> Any:
        """Return the past actions [..., k A], the latest first."""
        return obs[..., self.num_obs * (1 + self.observations) :]

    def changes(self, obs: Any) -> Any:
        """Return the changes between successive observations [..., h O], the latest first."""
        end = self.num_obs * (1 + self.observations)
        return obs[..., : end - self.num_obs] - obs[..., self.num_obs : end]

    def after(self, obs: Any, action: Any, newest: Any) -> list[Any]:
        """Return the parts, to be joined on the last axis, of the observations with memory after a step.

        Args:
            obs: observations with memory before the step, [..., M].
            action: [..., A].
            newest: the observations after the step, [..., O].
        """
        seen = obs[..., : self.num_obs * self.observations]
        done = self.past_actions(obs)[..., : self.num_actions * max(0, self.actions - 1)]
        return [newest, seen, action, done] if self.actions else [newest, seen]

    def begin(self, obs: np.ndarray) -> np.ndarray:
        """Return the observations with memory [..., M] of an episode's first observations [..., O]."""
        nothing = np.zeros((*obs.shape[:-1], self.num_actions * self.actions), obs.dtype)
        return np.concatenate([obs] * (1 + self.observations) + [nothing], axis=-1)

    def of_episode(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the observations with memory [T + 1, M] of an episode's own observations [T + 1, O] and actions."""
        rows = [self.begin(obs[0])]
        for action, newest in zip(actions, obs[1:], strict=True):
            rows.append(np.concatenate(self.after(rows[-1], action, newest)))
        return np.stack(rows).astype(obs.dtype)

    def moved(self, obs: np.ndarray, newest: np.ndarray) -> np.ndarray:
        """Return observations with memory [..., M] moved to other newest ones [..., O]; changes and actions stay."""
        shift = np.concatenate([newest - self.newest(obs)] * (1 + self.observations), axis=-1)
        return obs + np.concatenate([shift, np.zeros_like(self.past_actions(obs))], axis=-1)


class WithMemory(gymnasium.Wrapper):
    """Returns observations with memory, see `Memory`.

    Args:
        env: an environment whose observations are vectors.
        observations: number of past observations.
        actions: number of past actions.
    """

    def __init__(self, env: gymnasium.Env, observations: int, actions: int):
        super().__init__(env)
        space: Any = env.observation_space
        self._actions = ActionSpace.of(env.action_space, "the environment")
        self.memory = memory = Memory(space.shape[0], self._actions.size, observations, actions)
        bounds = zip(
            (space.low, space.high), (self._actions.low, self._actions.high), (np.minimum, np.maximum), strict=True
        )
        low, high = (
            np.concatenate([np.tile(own, 1 + observations), np.tile(best(action, 0), actions)])
            for own, action, best in bounds
        )
        dtype: Any = np.float64 if space.dtype == np.float64 else np.float32
        self.observation_space = gymnasium.spaces.Box(low.astype(dtype), high.astype(dtype), (memory.size,), dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Reset the environment, and forget."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs = self.memory.begin(as_floats(obs))
        return self._obs.copy(), info

    def step(self, action):
        """Take a step, and remember the observation before it and the action."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        vector = self._actions.from_env(action)
        self._obs = np.concatenate(self.memory.after(self._obs, vector, as_floats(obs)))
        return self._obs.copy(), reward, terminated, truncated, info


def as_floats(obs: Any) -> np.ndarray:
    """Return observations as float64 if the environment returns this type, else as float32."""
    obs = np.asarray(obs)
    return obs if obs.dtype == np.float64 else obs.astype(np.float32)


def memory_of(env: gymnasium.Env) -> Memory:
    """Return the layout of an environment's observations."""
    size = env.observation_space.shape[0]  # pyright: ignore[reportOptionalSubscript]
    return env.memory if isinstance(env, WithMemory) else Memory(size)


def with_memory(env: gymnasium.Env, delay: int, history: int) -> gymnasium.Env:
    """Return the environment with the memory that `Task.delay` and `Task.history` call for."""
    return WithMemory(env, history, max(delay, history)) if delay or history else env
