"""Real episodes: what an agent records when it acts in a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from bnnrl.rl.action_space import Actions
from bnnrl.rl.tasks import Task, check_exists

_Record = tuple[list, list, list, list]  # observations, actions, rewards and states so far


class EnvironmentFault(ValueError):
    """An environment that broke, or returned something that is not finite; `episode` holds what came before."""

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
    terminated: np.ndarray = field(default_factory=lambda: np.array([False]))  # [1], by the environment, not its clock

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def ends(self) -> np.ndarray:
        """1 for a step at which the episode terminated, else 0, float32 [T]."""
        ends = np.zeros(len(self), np.float32)
        ends[-1:] = self.terminated[0]
        return ends


class ActionRepeat(gymnasium.Wrapper):
    """Holds each action for several steps of an environment; their rewards are added up.

    Args:
        env: the environment.
        repeat: steps an action is held.
    """

    def __init__(self, env: gymnasium.Env, repeat: int):
        super().__init__(env)
        self.repeat = repeat

    def step(self, action):
        total = 0.0
        for _ in range(self.repeat):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


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
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"Invalid environment: {task.env_id!r} needs a package that is missing. {error}") from error
    _check_spaces(env, task)
    return ActionRepeat(env, task.action_repeat) if task.action_repeat > 1 else env


def _check_spaces(env: gymnasium.Env, task: Task) -> None:
    obs = env.observation_space
    if not isinstance(obs, gymnasium.spaces.Box) or len(obs.shape) != 1:
        raise ValueError(
            f"Invalid observation space of {task.env_id!r}: expected a Box with one axis. Received: {obs}. "
            "Wrap the environment in gymnasium.wrappers.FlattenObservation, or give what matters as a vector."
        )
    Actions.of(env.action_space, task.env_id)
    size = obs.shape[0]
    rates = (*task.velocities, *task.velocities.values())
    for name, indices in (("angles", task.angles), ("invariant", task.invariant), ("velocities", rates)):
        if any(not 0 <= i < size for i in indices):
            raise ValueError(
                f"Invalid `{name}` of the task: expected indices from 0 to {size - 1}, the observation's entries. "
                f"Received: {indices}."
            )


def episode_length(env: gymnasium.Env) -> int | None:
    """Return the number of actions after which an environment truncates itself, or None where it does not say."""
    spec_steps = env.spec.max_episode_steps if env.spec else None
    steps = spec_steps or getattr(env.unwrapped, "horizon", None)
    repeat = env.repeat if isinstance(env, ActionRepeat) else 1
    return None if steps is None else -(-steps // repeat)


def run_episode(
    env: gymnasium.Env, policy: Callable[[np.ndarray], np.ndarray], seed: int, max_steps: int | None = None
) -> Episode:
    """Reset the environment with `seed` and act until it ends, or for `max_steps`.

    Args:
        env: the environment.
        policy: from an observation [O] to an action [A], of which a discrete space takes the largest entry's.
        seed: of the reset.
        max_steps: stop there at the latest.

    Raises:
        EnvironmentFault: if an observation or a reward is not finite, or the environment raises an error of its own;
            what came before is in its `episode`.
    """
    actions = Actions.of(env.action_space, env.spec.id if env.spec else "the environment")
    try:
        obs, info = env.reset(seed=seed)
    except Exception as error:
        raise _fault("its reset", error, ([], [], [], [])) from error
    seen, done, rewards, states = [obs], [], [], [_state(obs, info)]
    _check_finite(obs, 0.0, 0, (seen, done, rewards, states))
    terminated = truncated = False
    while not (terminated or truncated) and (max_steps is None or len(done) < max_steps):
        action = actions.executed(policy(obs))
        try:
            obs, reward, terminated, truncated, info = env.step(actions.for_env(action))
        except Exception as error:
            raise _fault(f"its step {len(done) + 1}", error, (seen, done, rewards, states)) from error
        _check_finite(obs, reward, len(done) + 1, (seen, done, rewards, states))
        seen.append(obs)
        done.append(action)
        rewards.append(reward)
        states.append(_state(obs, info))
    return _pack(seen, done, rewards, states, terminated)


def _fault(what: str, error: Exception, record: _Record) -> EnvironmentFault:
    return EnvironmentFault(
        f"Invalid environment: {what} raised {type(error).__name__}: {error}. "
        f"The {len(record[1])} steps before it are kept. Mend the environment, and resume the run.",
        _pack(*record),
    )


def _state(obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    state: Any = info.get("state")
    # Only an array of the observation's shape is one: an environment may mean something else by the word.
    return np.asarray(state if np.shape(state) == np.shape(obs) else obs, np.float64)


def _pack(seen, actions, rewards, states, terminated: bool = False) -> Episode:
    width = len(actions[0]) if actions else 0
    return Episode(
        np.asarray(seen, np.float32),
        np.asarray(actions, np.float32).reshape(len(actions), width),
        np.asarray(rewards, np.float64),
        np.asarray(states, np.float64),
        np.array([bool(terminated)]),
    )


def _check_finite(obs, reward, step: int, record: _Record) -> None:
    wrong = np.flatnonzero(~np.isfinite(obs))
    if len(wrong) == 0 and np.isfinite(reward):
        return
    if step == 0:  # the first observation itself is bad: nothing came before
        record = [], [], [], []
    what = f"entry {wrong[0]} of the observation is {obs[wrong[0]]}" if len(wrong) else f"the reward is {reward}"
    raise EnvironmentFault(
        f"Invalid environment: expected finite observations and rewards. Received: at step {step}, {what}. "
        f"The {len(record[1])} steps before it are kept. Mend the environment, and resume the run.",
        _pack(*record),
    )
