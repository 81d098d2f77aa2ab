"""Evaluation: episodes that run together have the figures of episodes that run one after the other."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, TransformReward

import bnnrl
from bnnrl.rl.actors import MAX_TOGETHER, PolicyActor
from bnnrl.rl.episodes import EnvironmentFault
from tests.rl.point_mass import TASK, Counting, PointMass, control_of, make_agent

ENV_ID = "test/Uneven-v0"


class Uneven(gymnasium.Env):
    """A point mass with noise that terminates at a random step; `kick` is an option of its reset."""

    observation_space, action_space = PointMass.observation_space, PointMass.action_space

    def __init__(self, mass: float = 1.0):
        self.mass = mass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._state = 0.1 * self.np_random.normal(size=2) + (options or {}).get("kick", 0.0)
        self._left = int(self.np_random.integers(2, 9))
        return self._state.astype(np.float32), {}

    def step(self, action):
        push = action[0] / self.mass + 0.1 * self.np_random.normal()
        self._state = self._state + 0.25 * np.array([self._state[1], push])
        self._left -= 1
        return self._state.astype(np.float32), float(self._state[0]), self._left == 0, False, {}


gymnasium.register(ENV_ID, lambda **kwargs: Uneven(**kwargs), max_episode_steps=7)


def make_uneven(**kwargs) -> gymnasium.Env:
    return gymnasium.make(ENV_ID, **kwargs)


def acting(task: Any, seed: int = 4, **changes) -> bnnrl.PILCO:
    """Return an agent with a random policy."""
    agent = make_agent(seed, task, horizon=7, **changes)
    shape = [1, control_of(agent).controller.num_params]
    control_of(agent).population = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return agent


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """The number of observations in each call of a policy."""
    found, actions = [], PolicyActor.actions
    monkeypatch.setattr(PolicyActor, "actions", lambda self, obs: (found.append(len(obs)), actions(self, obs))[1])
    return found


def one_by_one(agent: bnnrl.PILCO, episodes: int) -> dict[str, Any]:
    """Return the figures of an evaluation whose episodes run one after the other."""
    actors = [agent.evaluation_actor(0, i) for i in range(episodes)]
    runs = [agent.evaluator.run(actor, agent.evaluation_seed(0, i)) for i, actor in enumerate(actors)]
    success = agent.task.success
    return {
        "episodes": episodes,
        "mean_cost": float(np.mean([agent.mean_cost(run) for run in runs])),
        "mean_return": float(np.mean([run.rewards.sum() for run in runs])),
        "success_rate": None if success is None else float(np.mean([success(run.states) for run in runs])),
        "violations": agent.evaluator.violations(runs),
    }


SETTINGS = {
    "cost": TASK.cost,
    "success": TASK.success,
    "constraints": {"left": lambda obs, action, next_obs: -0.1 - next_obs[..., 0]},
    "termination": lambda obs, action, next_obs: tf.zeros_like(next_obs[..., 0]),
}


@pytest.mark.parametrize(
    "task",
    [
        ENV_ID,
        gymnasium.spec(ENV_ID),
        Uneven,
        bnnrl.Task(ENV_ID, env_kwargs={"mass": 2.0}, reset_options={"kick": 1.0}, **SETTINGS),
        bnnrl.Task(make_uneven, delay=2, history=1, action_repeat=2, **SETTINGS),
        bnnrl.Task(ENV_ID, wrappers=(partial(TransformReward, func=lambda reward: 2.0 * float(reward)),)),
    ],
    ids=["id", "spec", "class", "reset options", "memory", "wrapped"],
)
def test_episodes_that_run_together_have_the_figures_of_single_ones(task, calls):
    agent, again = acting(task), acting(task)
    expected = one_by_one(again, 6)
    steps = len(calls)
    calls.clear()
    assert agent.evaluate(6) == expected
    assert calls[0] == 6 and len(calls) < 9 and sum(calls) == steps  # those that have ended are not asked for
    assert agent.evaluate(6) == expected  # in the same environments


def test_more_episodes_than_run_together(calls):
    agent = acting(ENV_ID)
    found = agent.evaluate(2 * MAX_TOGETHER + 3)
    assert max(calls) == MAX_TOGETHER and found == one_by_one(agent, 2 * MAX_TOGETHER + 3)


MADE = make_uneven()
ONLY = []


def make_once() -> gymnasium.Env:
    if ONLY:
        raise RuntimeError("the port is busy")
    ONLY.append(make_uneven())
    return ONLY[0]


@pytest.mark.parametrize(
    "task",
    [
        MADE,
        lambda: MADE,
        make_once,
        bnnrl.Task(ENV_ID, wrappers=(NormalizeObservation,)),
        bnnrl.Task(ENV_ID, wrappers=(NormalizeReward,)),
    ],
    ids=["made", "always the same", "only one", "normalised observations", "normalised rewards"],
)
def test_an_environment_that_has_no_copy_runs_one_episode_after_the_other(task, calls):
    agent = acting(task)
    assert agent.evaluate(3)["episodes"] == 3 and set(calls) == {1}


def test_a_changed_environment_is_the_one_that_is_evaluated(calls):
    agent, heavy = acting(ENV_ID), acting(bnnrl.Task(ENV_ID, env_kwargs={"mass": 3.0}))
    light, expected = agent.evaluate(3), heavy.evaluate(3)
    calls.clear()
    unwrapped: Any = agent.env.unwrapped
    unwrapped.mass = 3.0
    assert agent.evaluate(3) == expected != light and set(calls) == {1}
    unwrapped.mass = 1.0
    calls.clear()
    assert agent.evaluate(3) == light and calls[0] == 3


def test_an_environment_whose_seed_says_nothing_runs_one_episode_after_the_other(calls):
    class Unseeded(Uneven):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=None, options=options)

    acting(Unseeded).evaluate(3)
    assert set(calls) == {1}


def test_a_fault_holds_the_steps_of_its_episode():
    agent = acting(bnnrl.Task(lambda: Counting(error=3), TASK.cost))
    with pytest.raises(EnvironmentFault, match="its step 3 raised RuntimeError: the cable broke") as caught:
        agent.evaluate(2)
    assert len(caught.value.episode) == 2


def test_actions_do_not_depend_on_how_many_observations_there_are():
    agent, obs = acting(ENV_ID), np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    together, act = agent.predict(obs)[0], agent.evaluation_actor()
    np.testing.assert_array_equal([agent.predict(row)[0] for row in obs], together)
    np.testing.assert_array_equal([act(row) for row in obs], together)
