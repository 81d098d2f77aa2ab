"""Findings of `bnnrl check` in environments with one fault each."""

import re
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl import cli
from tests.rl.point_mass import DT, ENV_ID, STEPS, TASK, PointMass, endless, faulty_task, in_units


class Odd(PointMass):
    """A point mass whose third observation entry, reward, noise or errors depend on the name of a fault."""

    observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)

    def __init__(self, fault: str):
        super().__init__()
        self.kind, self._goal = fault, 0.0

    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed)
        if self.kind == "wide":
            self._state = self.np_random.normal(size=2)
        self._goal = self.np_random.normal()
        if self.kind == "unseeded":
            self._state = np.random.default_rng().normal(size=2)
        return self._extended(self._observe()), info

    def step(self, action):
        obs, reward, _, truncated, info = super().step(action)
        obs = self._extended(obs)
        if self.kind == "timed":
            reward += self._steps
        if self.kind == "raises" and self._steps == 3:
            raise RuntimeError("a bolt broke")
        if self.kind == "nan" and self._steps == 3:
            obs[1] = np.nan
        return obs, 0.0 if self.kind == "constant" else reward, bool(self._state[0] > 1), truncated, info

    def _extended(self, obs):
        third = {"turning": (2 + 0.3 * self._steps + np.pi) % (2 * np.pi) - np.pi, "huge": 1e6 * obs[1], "hidden": 0.0}
        third["goal"] = self._goal
        noise = self.np_random.normal() if self.kind == "noisy" else float(np.sin(obs[1]))
        velocity = 0.0 if self.kind == "hidden" else obs[1]
        return np.array([obs[0], velocity, third.get(self.kind, noise)], np.float32)


gymnasium.register("test/Odd-v0", lambda **kwargs: Odd(**kwargs), max_episode_steps=12, disable_env_checker=True)


def found(env: Any, **kwargs) -> dict[str, list[str]]:
    """Return the notes and problems by subject, without those of Gymnasium's conventions."""
    report = bnnrl.check(env, **kwargs)
    assert report.ok == ("problem" not in {f.level for f in report.findings})
    not_ok: dict[str, list[str]] = {}
    for f in report.findings:
        if f.level != "ok" and f.subject != "conventions":
            not_ok.setdefault(f.subject, []).append(f"{f.level}: {f.text}")
    return not_ok


def test_a_good_task_has_no_notes():
    report = bnnrl.check(TASK)
    assert report.ok and {f.level for f in report.findings if f.subject != "conventions"} == {"ok"}
    text = str(report)
    for words in (
        f"truncated after {STEPS} actions",
        "the function compiles",
        "0 of 12 random episodes",
        "same episode",
        "are deterministic",
    ):
        assert words in text
    assert str(bnnrl.check(TASK)) == text


@pytest.mark.parametrize(
    ("fault", "subject", "words"),
    [
        ("timed", "hidden state", "reward depends on more .* the step's number reduces the prediction error"),
        (
            "hidden",
            "hidden state",
            r"changes of entries \[0.* observation and action before reduces the prediction",
        ),
        ("wide", "reset", "wide.*--episodes-per-trial"),
        ("unseeded", "repeats", "different episodes.*np_random"),
        ("turning", "angles", r"entries \[2\] jump.*angles=\(2,\)"),
        ("huge", "scales", r"entries \[2\] reach .*more than 100000"),
        ("goal", "invariant", r"entries \[2\] are constant within each episode.*invariant=\(2,\)"),
    ],
)
def test_a_note(fault, subject, words):
    findings = found("test/Odd-v0", env_kwargs={"fault": fault})
    levels = {text.partition(":")[0] for texts in findings.values() for text in texts}
    assert subject in findings and levels == {"note"}, findings
    match = [text for text in findings[subject] if re.search(words, text)]
    assert match, findings


@pytest.mark.parametrize("scale", [1e-6, 1e-12])
def test_observations_of_a_tiny_spread_vary(scale):
    report = bnnrl.check(in_units(scale, 0.0))
    plain = bnnrl.check(in_units(1.0, 0.0))
    assert "every entry varies" in str(report)
    assert [(f.level, f.subject) for f in report.findings] == [(f.level, f.subject) for f in plain.findings]


def test_a_large_offset_that_float32_loses_is_found_and_its_remedies_work():
    env = in_units(1.0, 1e8)
    findings = found(in_units(1.0, 3e6, np.float32))
    (text,) = findings["offset"]
    assert re.search(r"entries \[0, 1\] vary by 0\.\d+ about values of up to 3e\+06.*100 steps of a float32", text)
    assert not any("same value" in text for text in findings["scales"])
    assert not {"offset", "scales"} & set(found(env))
    assert "every entry varies" in str(bnnrl.check(env))
    assert "offset" in found(bnnrl.Task(env, TASK.cost))  # whose function is given float32
    remedied = gymnasium.wrappers.TransformObservation(env, lambda obs: obs - 1e8, env.observation_space)
    assert not {"offset", "scales"} & set(found(remedied))
    assert "offset" not in found(in_units(1.0, 1e4))


def test_noise_and_termination_are_not_faults():
    text = str(bnnrl.check("test/Odd-v0", env_kwargs={"fault": "noisy"}))
    assert "steps or observations are random" in text and "the termination probability is learned" in text
    assert "reward and termination are learned" in text


def test_a_reward_that_never_varies():
    task = replace(TASK, env_id="test/Odd-v0", cost=None, env_kwargs={"fault": "constant"})
    assert "returns differ only by the length of an episode" in str(bnnrl.check(task))


@pytest.mark.parametrize(
    ("env", "subject", "words"),
    [
        ("test/PointMas-v0", "environment", f"Did you mean '{ENV_ID}'"),
        ("no_such_module:Env-v0", "environment", "there is no module 'no_such_module'"),
        (replace(TASK, env_kwargs={"mass": 1}), "environment", "'mass'"),
        (replace(TASK, angles=(2,)), "environment", "Invalid `angles`"),
        (endless(action=gymnasium.spaces.Box(-np.inf, 1, (1,))), "environment", "expected finite bounds"),
        (endless(observation=gymnasium.spaces.Box(0, 1, (64, 64))), "environment", "Invalid observation space"),
        (endless(), "length", "max_episode_steps"),
        (
            endless(observation=gymnasium.spaces.Box(-1, 1, (3,))),
            "observations",
            r"shape \(2,\), but observation_space has shape \(3,\)",
        ),
        (faulty_task(step=3, reward=np.nan), "episodes", "at step 3, the reward is nan"),
        (replace(TASK, env_id="test/Odd-v0", env_kwargs={"fault": "raises"}), "episodes", "a bolt broke"),
        (replace(TASK, env_id="test/Odd-v0", env_kwargs={"fault": "nan"}), "episodes", "entry 1 .* is nan"),
        (replace(TASK, cost=lambda _, __, n: n), "cost", "Invalid `cost` .*<lambda>"),
        (replace(TASK, cost=lambda _, __, n: tf.math.log(n[..., 0] + 0.05)), "cost", "<lambda>.* not finite at"),
        (replace(TASK, termination=lambda *_: True), "termination", "Invalid `termination`"),
    ],
)
def test_a_problem(env, subject, words):
    findings = found(env)
    assert re.search(words, "\n".join(findings[subject])), findings
    assert any(text.startswith("problem") for text in findings[subject])


def test_a_cost_that_rises_with_the_reward_or_never_varies():
    signed = found(replace(TASK, cost=lambda _, __, n: -tf.square(n[..., 0] - 1)))
    assert "rises with the reward" in signed["cost"][0]
    far = found(replace(TASK, cost=bnnrl.tasks.SaturatingCost(lambda n: tf.square(n[..., 0] - 1e4))))
    assert "no policy looks better" in far["cost"][0]


def test_a_rule_that_disagrees_with_the_environment():
    findings = found(replace(TASK, termination=lambda _, __, n: tf.abs(n[..., 0]) > 0.5))
    assert "the task's rule disagrees" in findings["termination"][0]


def test_positions_that_do_not_follow_their_velocities():
    findings = bnnrl.check(replace(TASK, velocities={0: 1}))
    assert "positions follow x' = x + dt" in str(findings)
    slow = found(replace(TASK, velocities={0: 1}, dt=3 * DT))
    assert "positions [0] miss x' = x + dt" in slow["velocities"][0]


@pytest.mark.parametrize(("args", "code"), [([ENV_ID], 0), (["test/Spaces-v0"], 2), (["test/PointMas-v0"], 2)])
def test_the_command(capsys, monkeypatch, args, code):
    monkeypatch.setattr("bnnrl.rl.checks.environment._MAX_EPISODES", 2)
    assert cli.main(["check", *args]) == code
    out, err = capsys.readouterr()
    assert "An agent can be trained" in out if code == 0 else "No agent can be trained" in out or "Did you mean" in err
