"""`Task(constraints=...)`: the door, what an agent learns under a constraint, and what it reports and saves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.rl import ConstraintWarning
from bnnrl.rl.planners import CEM
from bnnrl.rl.reporting.live_table import _line
from bnnrl.rl.tasks import Constraint
from tests.rl.point_mass import TASK, act_by_zeros, control_of, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")

SLOW = {"speed": lambda obs, action, next_obs: tf.abs(next_obs[..., 1]) - 0.6}


def constrained(constraints=SLOW, **changes):
    return replace(TASK, constraints=constraints, **changes)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([SLOW["speed"]], "Invalid `constraints`: expected a mapping from names"),
        ({0: SLOW["speed"]}, "Invalid `constraints`: expected a mapping from names"),
        ({"speed": 0.6}, "Invalid `function`"),
        (
            {"speed": lambda _, __, next_obs: tf.abs(next_obs) - 0.6},
            r"Invalid `constraints\['speed'\]` .*expected shape",
        ),
        ({"speed": lambda _, __, next_obs: next_obs[..., 1] > 0.6}, "Received: shape .* and bool"),
        ({"speed": lambda _, __, n: tf.cast(n[..., 1] > 0.6, tf.float32)}, "by how much a limit is exceeded"),
    ],
)
def test_a_constraint_that_cannot_be_used_is_refused(constraints, message):
    with pytest.raises(ValueError, match=message):
        make_agent(task=constrained(constraints))


@pytest.mark.parametrize("probability", [0.0, 1.0, "most", float("nan")])
def test_a_probability_is_between_zero_and_one(probability):
    with pytest.raises(ValueError, match="Invalid `probability`"):
        Constraint(SLOW["speed"], probability)


def test_a_function_is_a_constraint_of_the_default_probability():
    assert constrained().constraints == {"speed": Constraint(SLOW["speed"], 0.95)}
    assert Constraint(SLOW["speed"], 0.9).allowed == pytest.approx(0.1)


@pytest.mark.slow
def test_an_agent_keeps_a_constraint_that_it_would_violate():
    search = bnnrl.PolicySearch(restarts=2, updates=80, rounds=2, scout_updates=5, candidates=16, warmup=5)
    free = make_agent(search=search).learn(3, evaluation_episodes=5)
    fast = [np.abs(e.obs[1:, 1]).max() > 0.6 for e in free.episodes[1:]]
    assert all(fast) and free.history[-1].violations is free.history[-1].keeping_probability is None
    assert free.evaluate(1)["violations"] is None

    agent = make_agent(task=constrained(), search=search).learn(3, evaluation_episodes=5)
    last, episode = agent.history[-1], agent.episodes[-1]
    assert last.keeping_probability is not None and last.keeping_probability > 0.9
    assert last.violations == (np.abs(episode.obs[1:, 1]) >= 0.6).sum() == last.evaluation_violations == 0
    assert agent.prediction is not None and agent.prediction.violated.shape == (agent.prediction.obs.shape[1], 1)
    assert "0 steps in violation of a constraint" in _line(last)


def test_steps_that_violate_a_constraint_are_counted():
    agent = make_agent(task=constrained({"speed": SLOW["speed"], "right": lambda _, __, n: -n[..., 0]}))
    act_by_zeros(agent)
    agent.learn(1, evaluation_episodes=2)
    obs = agent.episodes[0].obs[1:]
    broken = (np.abs(obs[:, 1]) >= 0.6) | (obs[:, 0] <= 0)
    assert agent.history[0].violations == broken.sum() > 0
    assert agent.evaluate(3)["violations"] > agent.history[0].violations


def test_a_constraint_that_no_rollout_keeps_is_told_and_saved(tmp_path):
    never = {"never": lambda _, __, next_obs: next_obs[..., 0] ** 2 + 1.0}
    agent = make_agent(task=constrained(never))
    with pytest.warns(ConstraintWarning, match="Trial 2: .*'never' with probability 0.95. Received: 0, by the policy"):
        agent.learn(2, evaluation_episodes=1)
    assert agent.history[-1].keeping_probability == 0 and agent.history[-1].violations == 8
    assert agent.prediction is not None and agent.prediction.violated.all()
    interval: Any = agent.history[-1].predicted_cost_low, agent.history[-1].predicted_cost_high
    np.testing.assert_allclose(interval, np.quantile(agent.prediction.costs[:8].mean(axis=0), (0.05, 0.95)))

    agent.save(tmp_path / "agent")
    loaded = bnnrl.load(tmp_path / "agent", task=constrained(never))
    assert loaded.history == agent.history
    np.testing.assert_array_equal(loaded.prediction.violated, agent.prediction.violated)
    for other in (TASK, constrained({"never": Constraint(never["never"], 0.9)})):
        with pytest.raises(ValueError, match="with the constraints it learned with, by name and probability"):
            bnnrl.load(tmp_path / "agent", task=other)


@pytest.mark.slow
def test_the_change_of_an_action_is_limited_by_the_previous_one_in_the_observation():
    """The rate of the simulated and of the real policy's actions, of which the first counts as a change from zero."""
    rate = {"rate": lambda obs, action, next_obs: tf.abs(action[..., 0] - obs[..., 2]) - 0.5}
    search = bnnrl.PolicySearch(restarts=2, updates=150, rounds=2, scout_updates=20, candidates=32, warmup=5)
    agent = make_agent(task=constrained(rate, delay=1), search=search).learn(1, evaluation_episodes=1)
    (episode,) = agent.episodes
    changes = np.abs(np.diff(episode.actions[:, 0], prepend=0.0))
    np.testing.assert_array_equal(agent.learned_env.violated(episode)[:, 0], changes >= 0.5)
    assert agent.history[0].violations == (changes >= 0.5).sum() > 0  # of random actions
    agent.learn(2, evaluation_episodes=2)
    last = agent.history[-1]
    assert last.violations == 0 and last.keeping_probability is not None and last.keeping_probability > 0.9


@pytest.mark.slow
def test_a_planner_prefers_plans_that_keep_the_constraint():
    planner = CEM(horizon=5, population=60, elites=8, iterations=4)
    last = [
        make_agent(task=task, policy=planner).learn(3, evaluation_episodes=1).episodes[-1].obs[1:, 1]
        for task in (TASK, constrained())
    ]
    assert np.abs(last[0]).max() > 0.7 > 0.65 > np.abs(last[1]).max()


def test_rollouts_begin_in_visited_states_that_keep_the_constraint():
    agent = make_agent(task=constrained(starts="visited"))
    act_by_zeros(agent)
    agent.learn(1, evaluation_episodes=1)
    starts = control_of(agent)._visited(agent.episodes, 0).obs.numpy()
    assert np.abs(agent.episodes[0].obs[:-1, 1]).max() > 0.6 > np.abs(starts[:, 1]).max()
