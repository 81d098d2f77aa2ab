"""Real episodes: making a task's environment, acting in it, and recording what happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeLimit

from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.memory import Memory, as_floats, memory_of, with_memory
from bnnrl.rl.space_adapters import to_vectors
from bnnrl.rl.tasks import Task, check_exists
from bnnrl.rl.tasks.env_source import load_wrapper, wrappers_of


class EnvironmentFault(ValueError):
    """An environment raised an error, or returned an observation or a reward that is not finite.

    Args:
        message: the error message.
        episode: the steps before the fault.
    """

    def __init__(self, message: str, episode: Episode):
        super().__init__(message)
        self.episode = episode


@dataclass(frozen=True)
class Episode:
    """The record of one episode of T steps.

    Args:
        obs: observations, [T + 1, O], with what `Task.delay` and `Task.history` add to them; float64 if the environment
            returns this type, else float32.
        actions: action vectors as executed, float32 [T, A].
        rewards: rewards, float64 [T].
        states: true states where the environment gives them as info["state"], else the environment's own observations,
            float64 [T + 1, O].
        terminated: whether the environment terminated the episode, in contrast to a truncation, bool [1].
    """

    obs: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    states: np.ndarray
    terminated: np.ndarray = field(default_factory=lambda: np.array([False]))

    def __len__(self) -> int:
        """Return T, the number of steps."""
        return len(self.actions)

    @property
    def terminations(self) -> np.ndarray:
        """Whether the episode terminated at each step, 0 or 1, float32 [T]."""
        terminations = np.zeros(len(self), np.float32)
        terminations[-1:] = self.terminated[0]
        return terminations


class ActionRepeat(gymnasium.Wrapper):
    """Holds each action for several steps of the wrapped environment, and returns the sum of their rewards.

    Args:
        env: the environment.
        repeat: number of steps for which an action is held.
    """

    def __init__(self, env: gymnasium.Env, repeat: int):
        super().__init__(env)
        self.repeat = repeat

    def step(self, action):
        """Take `repeat` steps with the same action, or fewer if the episode ends."""
        total = 0.0
        for _ in range(self.repeat):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += _as_number(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


class ResetOptions(gymnasium.Wrapper):
    """Resets the environment with the same options each time.

    Args:
        env: the environment.
        options: the argument `options` of its reset.
    """

    def __init__(self, env: gymnasium.Env, options: Mapping[str, Any]):
        super().__init__(env)
        self._options = dict(options)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Reset the environment with these options and the wrapper's."""
        return self.env.reset(seed=seed, options=self._options | (options or {}))


def make_env(task: Task, **kwargs) -> gymnasium.Env:
    """Return the task's environment, with vectors as observations and actions, see `space_adapters` and `memory`.

    A source that is an environment is not made anew, but wrapped and returned.

    Args:
        task: the task.
        **kwargs: further keyword arguments of gymnasium.make, which override the task's.

    Raises:
        ValueError: if the environment does not exist, refuses its arguments, lacks a package, or has an observation or
            action space that an agent cannot use.
    """
    env = _make(task, {**task.env_kwargs, **kwargs})
    for wrapper in task.wrappers:
        env = _checked(load_wrapper(wrapper)(env), "wrappers")
    env = to_vectors(env)
    _check_spaces(env, task)
    env = env if task.reset_options is None else ResetOptions(env, task.reset_options)
    env = ActionRepeat(env, task.action_repeat) if task.action_repeat > 1 else env
    return with_memory(env, task.delay, task.history)


def _make(task: Task, kwargs: dict[str, Any]) -> gymnasium.Env:
    """Return the environment of a task's id or source, without the task's wrappers."""
    source = task.source
    if isinstance(source, gymnasium.Env):
        return _made(source, task, kwargs)
    if source is None:
        check_exists(task.env_id)
    try:
        if source is None or isinstance(source, EnvSpec):
            return gymnasium.make(source or task.env_id, **kwargs)
        return _checked(source(**kwargs), "env")
    except TypeError as error:
        raise ValueError(f"Invalid `env_kwargs` for {task.env_id!r}: {error}. Received: {kwargs}.") from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"Invalid environment: {task.env_id!r} needs a package that is missing. {error}") from error


def _made(env: gymnasium.Env, task: Task, kwargs: dict[str, Any]) -> gymnasium.Env:
    """Return an environment that is made, or one made by its specification if it has to render otherwise."""
    if kwargs.get("render_mode") in (None, env.render_mode):
        return env
    try:
        if env.spec is None:
            raise ValueError("it was not made by gymnasium.make")
        return gymnasium.make(env.spec, **kwargs)
    except Exception as error:  # a constructor may raise anything
        raise ValueError(
            f"Invalid environment: expected one with {kwargs}, or one that can be made again. Received: "
            f"{task.env_id!r}, with render_mode={env.render_mode!r} ({error})."
        ) from error


def _checked(env: Any, name: str) -> gymnasium.Env:
    if not isinstance(env, gymnasium.Env):
        raise ValueError(
            f"Invalid `{name}`: expected functions that return a gymnasium.Env. Received: one that returned "
            f"{type(env).__name__}."
        )
    return env


def _check_spaces(env: gymnasium.Env, task: Task) -> None:
    obs = env.observation_space
    if not isinstance(obs, gymnasium.spaces.Box) or len(obs.shape) != 1:
        raise ValueError(
            f"Invalid observation space of {task.env_id!r}: expected a Box with one axis. Received: {obs}. "
            "Return a vector of what matters; bnnrl flattens Dict, Tuple, discrete and small Box observations itself."
        )
    ActionSpace.of(env.action_space, task.env_id)
    size = obs.shape[0]
    if size == 0:
        raise ValueError(f"Invalid observation space of {task.env_id!r}: expected at least one entry. Received: {obs}.")
    for name, what in (("labels", "names"), ("initial_std", "numbers")):
        given = getattr(task, name)
        if given is not None and len(given) != size:
            raise ValueError(
                f"Invalid `{name}` of the task: expected {size} {what}, one for each entry of the observation. "
                f"Received: {given}."
            )
    rates = (*task.velocities, *task.velocities.values())
    for name, indices in (("angles", task.angles), ("invariant", task.invariant), ("velocities", rates)):
        if any(not 0 <= i < size for i in indices):
            raise ValueError(
                f"Invalid `{name}` of the task: expected indices from 0 to {size - 1}, the observation's entries. "
                f"Received: {indices}."
            )


def episode_length(env: gymnasium.Env) -> int | None:
    """Return the number of actions after which an environment truncates an episode, or None if that is unknown."""
    spec_steps = env.spec.max_episode_steps if env.spec else None
    limits = (wrapper._max_episode_steps for wrapper in wrappers_of(env) if isinstance(wrapper, TimeLimit))
    steps = spec_steps or next(limits, None) or getattr(env.unwrapped, "horizon", None)
    repeat = next((wrapper.repeat for wrapper in wrappers_of(env) if isinstance(wrapper, ActionRepeat)), 1)
    return None if steps is None else -(-steps // repeat)


def check_memory(task: Task, length: int | None, horizon: int | None = None) -> None:
    """Raise ValueError unless actions have an effect within the horizon, and the history fits into an episode.

    Args:
        task: the task.
        length: steps of an episode; None if unknown.
        horizon: steps of a rollout; None if unknown.
    """
    if horizon is not None and task.delay >= horizon:
        raise ValueError(
            f"Invalid `delay`: expected fewer steps than the horizon of {horizon}, within which actions must take "
            f"effect. Received: delay={task.delay}. Pass a longer `horizon`."
        )
    if length is not None and task.history >= length:
        raise ValueError(
            f"Invalid `history`: expected fewer observations than the {length} steps of an episode of "
            f"{task.env_id!r}. Received: history={task.history}."
        )


def run_episode(
    env: gymnasium.Env, policy: Callable[[np.ndarray], np.ndarray], seed: int, max_steps: int | None = None
) -> Episode:
    """Reset the environment with `seed` and act until the episode ends, or for `max_steps`.

    Args:
        env: the environment.
        policy: function from an observation [O] to an action vector [A]; see ActionSpace.
        seed: seed of the reset.
        max_steps: largest number of steps; None for no limit.

    Raises:
        EnvironmentFault: if the environment raises an error, or an observation or a reward is not finite. The fault's
            `episode` holds the steps before.
    """
    run = _Run(env, seed, max_steps)
    while not run.ended:
        run.step(policy(run.obs))
    return run.episode()


def run_together(
    envs: Sequence[gymnasium.Env],
    policy: Callable[[np.ndarray], np.ndarray],
    seeds: Sequence[int],
    max_steps: int | None = None,
) -> list[Episode]:
    """Run an episode in each environment, with one call of the policy for a step of all that have not ended.

    Args:
        envs: the environments.
        policy: function from observations [N, O] to action vectors [N, A].
        seeds: seed of each environment's reset.
        max_steps: largest number of steps of an episode; None for no limit.

    Raises:
        EnvironmentFault: see `run_episode`.
    """
    runs = [_Run(env, seed, max_steps) for env, seed in zip(envs, seeds, strict=True)]
    while running := [run for run in runs if not run.ended]:
        for run, action in zip(running, policy(np.stack([run.obs for run in running])), strict=True):
            run.step(action)
    return [run.episode() for run in runs]


class _Run:
    """An episode that runs: begins with a reset of the environment, and is recorded.

    Attributes:
        obs: the newest observation, [O].
        ended: whether the environment or `max_steps` has ended the episode.
    """

    def __init__(self, env: gymnasium.Env, seed: int, max_steps: int | None):
        self._env, self._max_steps = env, max_steps
        self._action_space = ActionSpace.of(env.action_space, env.spec.id if env.spec else "the environment")
        self._recorder, self._terminated = _Recorder(memory_of(env)), False
        try:
            self.obs, info = env.reset(seed=seed)
        except Exception as error:
            raise self._recorder.error_fault("its reset", error) from error
        self._recorder.add_reset(self.obs, info)
        self.ended = max_steps == 0

    def step(self, action: np.ndarray) -> None:
        """Take a step with an action vector [A]."""
        number, action = self._recorder.num_steps + 1, self._action_space.executed(action)
        try:
            self.obs, reward, self._terminated, truncated, info = self._env.step(self._action_space.for_env(action))
        except Exception as error:
            raise self._recorder.error_fault(f"its step {number}", error) from error
        self._recorder.add_step(action, self.obs, reward, info)
        self.ended = bool(self._terminated or truncated or number == self._max_steps)

    def episode(self) -> Episode:
        """Return the record of the steps so far."""
        return self._recorder.episode(self._terminated)


def _as_number(reward: Any) -> float:
    """Return a reward as a float, also one in an array of a single entry."""
    return float(np.asarray(reward, np.float64).item())


class _Recorder:
    """Records an episode while it runs, and raises EnvironmentFault for what is no observation or not finite."""

    def __init__(self, memory: Memory):
        self._memory = memory
        self._obs, self._actions, self._rewards, self._states = [], [], [], []

    @property
    def num_steps(self) -> int:
        return len(self._actions)

    def add_reset(self, obs: Any, info: dict[str, Any]) -> None:
        self._check(obs, 0.0, 0)
        self._add_observation(obs, info)

    def add_step(self, action: np.ndarray, obs: Any, reward: Any, info: dict[str, Any]) -> None:
        self._check(obs, reward, self.num_steps + 1)
        self._add_observation(obs, info)
        self._actions.append(action)
        self._rewards.append(_as_number(reward))

    def _add_observation(self, obs: np.ndarray, info: dict[str, Any]) -> None:
        state: Any = info.get("state")
        self._obs.append(obs)
        # An environment may use the key "state" otherwise: only an array of the observation's shape is a state.
        newest = self._memory.newest(np.asarray(obs))
        self._states.append(np.asarray(state if np.shape(state) == newest.shape else newest, np.float64))

    def episode(self, terminated: bool = False) -> Episode:
        width = len(self._actions[0]) if self._actions else 0
        return Episode(
            as_floats(self._obs),
            np.asarray(self._actions, np.float32).reshape(self.num_steps, width),
            np.asarray(self._rewards, np.float64),
            np.asarray(self._states, np.float64),
            np.array([bool(terminated)]),
        )

    def error_fault(self, what: str, error: Exception) -> EnvironmentFault:
        return self._fault(f"{what} raised {type(error).__name__}: {error}.")

    def _check(self, obs: Any, reward: Any, step: int) -> None:
        if problem := self._problem(obs, reward):
            expected = "expected finite observations and rewards"
            raise self._fault(f"{expected}. Received: at step {step}, {problem}.")

    def _problem(self, obs: Any, reward: Any) -> str | None:
        """Return what is wrong with an observation or a reward, or None."""
        try:
            entries = np.asarray(obs, np.float64)
        except (TypeError, ValueError):
            return f"the observation is {obs!r}"
        # Whether the first one has the shape that the observation space says is for `bnnrl.check` to tell.
        if self._obs and entries.shape != np.shape(self._obs[0]):
            return f"the observation has the shape {entries.shape} instead of {np.shape(self._obs[0])}"
        wrong = np.flatnonzero(~np.isfinite(entries))
        if len(wrong):
            return f"entry {wrong[0]} of the observation is {entries[wrong[0]]}"
        try:
            is_finite = np.isfinite(_as_number(reward))
        except (TypeError, ValueError):
            is_finite = False
        return None if is_finite else f"the reward is {reward}"

    def _fault(self, problem: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"Invalid environment: {problem} The {self.num_steps} steps before it are kept. Fix the environment, then "
            "resume the run.",
            self.episode(),
        )
