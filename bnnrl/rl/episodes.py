"""Real episodes: what an agent records when it acts in a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from bnnrl.rl.tasks import Task, check_exists


class EnvironmentFault(ValueError):
    """An environment that returned something that is not finite; `episode` holds what came before."""

    def __init__(self, message: str, episode: Episode):
        super().__init__(message)
        self.episode = episode


@dataclass(frozen=True)
class Episode:
    """One episode of T steps."""

    obs: np.ndarray  # [T + 1, O], float32
    actions: np.ndarray  # [T, A], float32, as executed
    rewards: np.ndarray  # [T]
    states: np.ndarray  # [T + 1, O], float64, true states where the environment tells them, else observations

    def __len__(self) -> int:
        return len(self.actions)


def make_env(task: Task, **kwargs) -> gymnasium.Env:
    """Return the task's environment.

    Raises:
        ValueError: if it does not exist, refuses its arguments, or has spaces the agent cannot use.
    """
    check_exists(task.env_id)
    try:
        env = gymnasium.make(task.env_id, **task.env_kwargs, **kwargs)
    except TypeError as error:
        raise ValueError(f"Invalid `env_kwargs` for {task.env_id!r}: {error}.") from error
    _check_spaces(env, task)
    return env


def _check_spaces(env: gymnasium.Env, task: Task) -> None:
    obs, action = env.observation_space, env.action_space
    if not isinstance(obs, gymnasium.spaces.Box) or len(obs.shape) != 1:
        raise ValueError(
            f"Invalid observation space of {task.env_id!r}: expected a Box with one axis. Received: {obs}. "
            "Wrap the environment in gymnasium.wrappers.FlattenObservation, or give what matters as a vector."
        )
    if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
        raise ValueError(
            f"Invalid action space of {task.env_id!r}: expected a Box with one axis. Received: {action}. "
            "Wrap the environment so that it takes a vector of real numbers."
        )
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        raise ValueError(
            f"Invalid action space of {task.env_id!r}: expected finite bounds. Received: low={action.low}, "
            f"high={action.high}. Bound it with gymnasium.wrappers.RescaleAction or a narrower Box."
        )
    size = obs.shape[0]
    for name, indices in (("angles", task.angles), ("invariant", task.invariant)):
        if any(not 0 <= i < size for i in indices):
            raise ValueError(
                f"Invalid `{name}` of the task: expected indices from 0 to {size - 1}, the observation's entries. "
                f"Received: {indices}."
            )


def episode_length(env: gymnasium.Env) -> int | None:
    """Return the number of steps after which an environment truncates itself, or None where it does not say."""
    spec_steps = env.spec.max_episode_steps if env.spec else None
    return spec_steps or getattr(env.unwrapped, "horizon", None)


def run_episode(
    env: gymnasium.Env, policy: Callable[[np.ndarray], np.ndarray], seed: int, max_steps: int | None = None
) -> Episode:
    """Reset the environment with `seed` and act until it ends, or for `max_steps`.

    Args:
        env: the environment.
        policy: from an observation [O] to an action [A].
        seed: of the reset.
        max_steps: stop there at the latest.

    Raises:
        EnvironmentFault: if an observation or a reward is not finite; what came before is in its `episode`.
    """
    obs, info = env.reset(seed=seed)
    seen, actions, rewards, states = [obs], [], [], [_state(obs, info)]
    _check_finite(obs, 0.0, 0, (seen, actions, rewards, states))
    ended = False
    while not ended and (max_steps is None or len(actions) < max_steps):
        action = policy(obs)
        obs, reward, terminated, truncated, info = env.step(action)
        _check_finite(obs, reward, len(actions) + 1, (seen, actions, rewards, states))
        seen.append(obs)
        actions.append(action)
        rewards.append(reward)
        states.append(_state(obs, info))
        ended = terminated or truncated
    return _pack(seen, actions, rewards, states)


def _state(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    state: Any = info.get("state")
    # Only an array of the observation's shape is one: an environment may mean something else by the word.
    return np.asarray(state if np.shape(state) == np.shape(obs) else obs, np.float64)


def _pack(seen, actions, rewards, states) -> Episode:
    width = len(actions[0]) if actions else 0
    return Episode(
        np.asarray(seen, np.float32),
        np.asarray(actions, np.float32).reshape(len(actions), width),
        np.asarray(rewards, np.float64),
        np.asarray(states, np.float64),
    )


def _check_finite(obs, reward, step: int, record: tuple[list, ...]) -> None:
    wrong = np.flatnonzero(~np.isfinite(obs))
    if len(wrong) == 0 and np.isfinite(reward):
        return
    seen, *others = record
    if step == 0:  # the first observation itself is bad: nothing came before
        seen, others = [], [[], [], []]
    what = f"entry {wrong[0]} of the observation is {obs[wrong[0]]}" if len(wrong) else f"the reward is {reward}"
    raise EnvironmentFault(
        f"Invalid environment: expected finite observations and rewards. Received: at step {step}, {what}. "
        f"The {len(others[0])} steps before it are kept. Mend the environment, and resume the run.",
        _pack(seen, *others),
    )
