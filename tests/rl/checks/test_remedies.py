"""The remedies of `bnnrl check`: an environment with one fault has its finding, and following the remedy removes it."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.wrappers import FlattenObservation, FrameStackObservation, TimeAwareObservation, TimeLimit

import bnnrl
from bnnrl.rl.checks import iter_findings
from tests.rl.point_mass import PointMass

pytestmark = pytest.mark.usefixtures("without_xla")


class Faulty(PointMass):
    """A point mass whose actions are delayed, or whose reward depends on something hidden."""

    def __init__(self, fault):
        super().__init__()
        self.kind = fault

    def reset(self, *, seed=None, options=None):
        self.actions = [np.zeros(1, np.float32), np.zeros(1, np.float32)]
        return super().reset(seed=seed)

    def step(self, action):
        self.actions.append(np.asarray(action, np.float32))
        executed = self.actions[-3] if self.kind == "delay" else action
        obs, reward, terminated, truncated, info = super().step(executed)
        if self.kind == "smooth":
            reward = -float((self.actions[-1] - self.actions[-2])[0] ** 2)
        if self.kind == "timed":
            reward += self._steps
        return obs, np.array([reward]) if self.kind == "array" else reward, terminated, truncated, info

    def _observe(self):
        obs = super()._observe()
        return np.array([obs[0], 0.0], np.float32) if self.kind == "velocity" else obs


class LastActions(gymnasium.Wrapper):
    """Adds the last actions to the observation: the remedy for an action that is hidden."""

    def __init__(self, env, count):
        super().__init__(env)
        self._count = count
        self.observation_space = Box(-np.inf, np.inf, (env.observation_space.shape[0] + count,), np.float32)

    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        self._last = [0.0] * self._count
        return np.array([*obs, *self._last], np.float32), info

    def step(self, action):
        obs, *rest = self.env.step(action)
        self._last = [*self._last[1:], float(action[0])]
        return np.array([*obs, *self._last], np.float32), *rest


def with_last_observation_and_action(env):
    return LastActions(FlattenObservation(FrameStackObservation(env, 2)), 1)


def notes(env, subject):
    """Return the notes and problems of a subject."""
    report = bnnrl.check(env)
    return [f.text for f in report.findings if f.level != "ok" and f.subject == subject]


@pytest.mark.parametrize(
    ("fault", "words", "follow"),
    [
        ("delay", "actions of the last two steps reduces .* add the last two", lambda e: LastActions(e, 2)),
        ("smooth", "the action before reduces .* Add the action before", lambda e: LastActions(e, 1)),
        ("timed", "the step's number reduces .*TimeAwareObservation", TimeAwareObservation),
        ("velocity", "action before reduces .*last observation and action", with_last_observation_and_action),
    ],
)
def test_what_is_hidden_is_named_and_the_remedy_removes_the_finding(fault, words, follow):
    make = lambda: TimeLimit(Faulty(fault), 20)
    (found,) = notes(make(), "hidden state")
    assert re.search(words, found)
    assert notes(follow(make()), "hidden state") == []


def test_an_environment_whose_reward_is_an_array_of_one_entry_can_be_checked():
    report = bnnrl.check(TimeLimit(Faulty("array"), 20))
    assert report.ok and any(f.subject == "episodes" for f in report.findings)


class Spinning(PointMass):
    """Its second entry is a velocity within ±2π that jumps, or an angle that turns."""

    def __init__(self, turns):
        super().__init__()
        self.turns = turns

    def _observe(self):
        if self.turns:
            return np.array([self._state[0], (0.7 * self._steps + np.pi) % (2 * np.pi) - np.pi], np.float32)
        return np.array([self._state[0], self.np_random.uniform(-3.1, 3.1)], np.float32)


def test_a_velocity_that_jumps_is_not_called_an_angle():
    assert notes(TimeLimit(Spinning(False), 20), "angles") == []
    (found,) = notes(TimeLimit(Spinning(True), 20), "angles")
    assert "Declare angles in radians: Task(angles=(1,))" in found
    assert notes(bnnrl.Task(TimeLimit(Spinning(True), 20), angles=(1,)), "angles") == []


def test_integer_actions_are_integers():
    class Counting(PointMass):
        action_space = Box(-1, 2, (1,), np.int32)

    assert bnnrl.check(TimeLimit(Counting(), 20)).ok


def test_findings_come_one_after_the_other():
    first = next(iter_findings(TimeLimit(PointMass(), 20)))
    assert first.subject == "environment"
