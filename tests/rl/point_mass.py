"""Small environments of the tests of PILCO: a point mass that a force moves on a line, and variants."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf

import bnnrl
from bnnrl.rl.control import PolicyControl
from bnnrl.rl.tasks import SaturatingCost

ENV_ID, STEPS, DT = "test/PointMass-v0", 8, 0.25
A = np.array([[1, DT], [0, 1]])
B = np.array([[0], [DT]])
LOW, HIGH = -1.0, 2.0


class PointMass(gymnasium.Env):
    """(x, v) -> A (x, v) + B u. Episodes begin near rest at 0.

    Args:
        fault: the value that an observation's entry or the reward takes at one step, for tests of faults:
            {"step": 3, "entry": 1, "value": nan} or {"step": 3, "reward": nan}.
        episode: the number of the faulty episode among the environment's episodes, counted from 0.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(LOW, HIGH, (1,), np.float32)

    def __init__(self, fault: dict[str, Any] | None = None, episode: int = 0):
        self._fault, self._faulty_episode, self._episode = fault or {}, episode, -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self._state, self._steps = 0.1 * self.np_random.normal(size=2), 0
        self._episode += 1
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self._state = A @ self._state + B @ np.asarray(action, np.float64)
        self._steps += 1
        reward = -float((self._state[0] - 1) ** 2)
        return self._observe(), self._fault.get("reward", reward) if self._is_faulty() else reward, False, False, {}

    def _observe(self):
        obs = self._state.astype(np.float32)
        if self._is_faulty() and "entry" in self._fault:
            obs[self._fault["entry"]] = self._fault["value"]
        return obs

    def _is_faulty(self) -> bool:
        return self._episode == self._faulty_episode and self._steps == self._fault.get("step")


gymnasium.register(ENV_ID, lambda **kwargs: PointMass(**kwargs), max_episode_steps=STEPS, disable_env_checker=True)


def goal_distance(next_obs: tf.Tensor) -> tf.Tensor:
    """Return the squared distance from the goal, position 1."""
    return tf.square(next_obs[..., 0] - 1.0)


TASK = bnnrl.Task(
    ENV_ID,
    SaturatingCost(goal_distance),
    invariant=(0,),
    success=lambda states: bool(abs(states[-1, 0] - 1) < 0.5),
    dt=DT,
)


def make_agent(seed: int = 0, task: Any = TASK, **changes) -> bnnrl.PILCO:
    """Return an agent with settings so small that a trial takes almost no time once its functions are compiled."""
    settings: dict[str, Any] = {
        "dynamics": bnnrl.Dynamics(hidden=(8,), size=3, steps=150, batch_size=16),
        "policy": bnnrl.policies.RBF(6),
        "search": bnnrl.PolicySearch(restarts=2, updates=30, rounds=2, scout_updates=5, candidates=16, warmup=5),
        "particles": 12,
    }
    return bnnrl.PILCO(task, **(settings | changes), seed=seed)


def control_of(agent: bnnrl.PILCO) -> PolicyControl:
    """Return the control strategy of an agent that acts by a policy."""
    assert isinstance(agent.control, PolicyControl)
    return agent.control


def act_by_zeros(agent: bnnrl.PILCO) -> None:
    """Give an agent the policy whose parameters are zero, so that it can act without learning: a constant push."""
    control_of(agent).population = np.zeros([1, control_of(agent).controller.num_params], np.float32)


def faulty_task(episode: int = 0, **fault) -> bnnrl.Task:
    """Return the task with an environment that breaks at one step of one episode."""
    return replace(TASK, env_kwargs={"fault": fault, "episode": episode})


class Late(gymnasium.Wrapper):
    """Executes each action some steps late, and zeros before the first one."""

    def __init__(self, env, delay):
        super().__init__(env)
        self._delay = delay

    def reset(self, **kwargs):
        self._waiting = [np.zeros(self.env.action_space.shape or (), np.float32)] * self._delay
        return self.env.reset(**kwargs)

    def step(self, action):
        self._waiting.append(action)
        return self.env.step(self._waiting.pop(0))


class Positions(gymnasium.ObservationWrapper):
    """Leaves the velocities out of an observation that alternates positions and velocities."""

    def __init__(self, env):
        super().__init__(env)
        space: Any = env.observation_space
        self.observation_space = gymnasium.spaces.Box(space.low[::2], space.high[::2])

    def observation(self, observation):
        return observation[::2]


class Drawn(PointMass):
    """A point mass whose frames show its position as a bar; `shows` is "error" or "nothing" for a faulty renderer."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode=None, shows=None, **kwargs):
        super().__init__(**kwargs)
        self.render_mode, self._shows = render_mode, shows

    def render(self):
        if self._shows == "error":
            raise gymnasium.error.DependencyNotInstalled("no artist here")
        if self._shows == "nothing":
            return None
        frame = np.full((31, 61, 3), 255, np.uint8)  # of odd size
        frame[:, : 20 + round(20 * self._state[0])] = (200, 0, 0)
        return frame


gymnasium.register("test/Drawn-v0", lambda **kwargs: Drawn(**kwargs), max_episode_steps=STEPS, disable_env_checker=True)
DRAWN = replace(TASK, env_id="test/Drawn-v0")


class Spaces(gymnasium.Env):
    """An environment of any spaces, which never ends and whose info["state"] is not a state of the task."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {"state": {"phase": 1}}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {"state": [1.0, 2.0, 3.0]}


gymnasium.register("test/Spaces-v0", lambda **kwargs: Spaces(**kwargs), disable_env_checker=True)
VECTOR = gymnasium.spaces.Box(-1, 1, (2,))


def endless(observation: gymnasium.Space = VECTOR, action: gymnasium.Space = VECTOR) -> bnnrl.Task:
    """Return the task of an environment of these spaces that never ends."""
    return bnnrl.Task("test/Spaces-v0", TASK.cost, env_kwargs={"observation": observation, "action": action})


class Counting(gymnasium.Env):
    """An environment that rewards a step with its number, and terminates or fails at a given step.

    Args:
        end: the step at which it terminates, or None.
        error: the step that raises an error, or None.
        broken: the reset, counted from 1, that raises an error, or None.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, end=None, error=None, broken=None):
        self._end, self._error, self._broken, self._resets = end, error, broken, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._resets, self._steps = self._resets + 1, 0
        if self._resets == self._broken:
            raise RuntimeError("the motor is off")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self._steps += 1
        if self._steps == self._error:
            raise RuntimeError("the cable broke")
        return np.full(2, self._steps, np.float32), float(self._steps), self._steps == self._end, False, {}


gymnasium.register("test/Counting-v0", lambda **kw: Counting(**kw), max_episode_steps=10, disable_env_checker=True)
COUNTING = replace(TASK, env_id="test/Counting-v0")


def in_units(scale: float, offset: float, dtype: Any = np.float64) -> gymnasium.Env:
    """Return a point mass whose observations are times `scale`, plus `offset`, and of type `dtype` then."""
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), dtype)
    units = lambda obs: np.asarray(scale * np.float64(obs) + offset, dtype)
    return gymnasium.wrappers.TransformObservation(gymnasium.make(ENV_ID), units, space)
