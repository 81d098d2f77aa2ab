"""The remedies of `bnnrl check`: an environment with one fault has its finding, and following the remedy removes it."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeAwareObservation, TimeLimit

import bnnrl
from bnnrl.rl.checks import iter_findings
from tests.rl.point_mass import Late, PointMass

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


def notes(env, subject):
    """Return the notes and problems of a subject."""
    report = bnnrl.check(env)
    return [f.text for f in report.findings if f.level != "ok" and f.subject == subject]


@pytest.mark.parametrize(
    ("fault", "words", "follow"),
    [
        (
            "delay",
            r"actions take effect 2 steps late: in changes of entries \[1\].*Task\(delay=2\)",
            lambda e: bnnrl.Task(e, delay=2),
        ),
        ("smooth", r"the action before reduces .*Task\(delay=1\)", lambda e: bnnrl.Task(e, delay=1)),
        ("timed", "the step's number reduces .*TimeAwareObservation", TimeAwareObservation),
        ("velocity", r"action before reduces .*Task\(history=1\)", lambda e: bnnrl.Task(e, history=1)),
    ],
)
def test_what_is_hidden_is_named_and_the_remedy_removes_the_finding(fault, words, follow):
    make = lambda: TimeLimit(Faulty(fault), 20)
    (found,) = notes(make(), "hidden state")
    assert re.search(words, found)
    assert notes(follow(make()), "hidden state") == []


@pytest.mark.parametrize("delay", [2, *(pytest.param(d, marks=pytest.mark.slow) for d in (0, 1, 3))])
def test_the_delay_of_a_cart_pole_is_found(delay):
    task = replace(
        bnnrl.tasks.get("bnnrl/CartPoleSwingUp-v0", preset="deep-pilco"), wrappers=[partial(Late, delay=delay)]
    )
    found = notes(task, "hidden state")
    assert len(found) == (delay > 0)
    assert not found or f"Task(delay={delay})" in found[0]


def test_a_memory_that_does_not_fit_is_a_problem():
    (found,) = notes(bnnrl.Task(TimeLimit(PointMass(), 3), history=3), "memory")
    assert "expected fewer observations than the 3 steps of an episode" in found
    (found,) = notes(bnnrl.Task(TimeLimit(PointMass(), 20), delay=5, horizon=5), "memory")
    assert "expected fewer steps than the horizon of 5" in found


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
