"""Agents of the same structure share their compiled functions, and learn what they would learn alone."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl import compiled
from bnnrl.likelihoods import Gaussian
from bnnrl.rl.control import PlannerControl
from bnnrl.rl.planners import CEM
from bnnrl.rl.policies import MLP, RBF
from bnnrl.rl.tasks import SaturatingCost
from tests.rl.point_mass import TASK, control_of, make_agent

pytestmark = pytest.mark.usefixtures("without_xla")
DYNAMICS = bnnrl.Dynamics(hidden=(8,), size=3, steps=150, batch_size=16)
SEARCH = bnnrl.PolicySearch(restarts=2, updates=30, rounds=2, scout_updates=5, candidates=16, warmup=5)


def test_a_second_planner_is_the_first_ones_and_plans_what_it_would_alone():
    def planned(seed):
        agent = make_agent(seed=seed, policy=CEM(horizon=3, population=8, elites=2, iterations=2))
        agent.learned_env.fit(agent.learn(1, evaluation_episodes=1).episodes, seed)
        return agent.predict(np.ones(2))[0], agent.control

    compiled.clear()
    alone, _ = planned(1)
    compiled.clear()
    (other, first), (action, second) = planned(0), planned(1)
    assert isinstance(first, PlannerControl) and isinstance(second, PlannerControl)
    assert second._planning is first._planning
    np.testing.assert_array_equal(action, alone)
    assert np.any(action != other)


def test_shared_functions_do_not_keep_an_agents_posterior():
    agent = make_agent(learn_reward=True).learn(1, evaluation_episodes=1)
    agent.learned_env.fit(agent.episodes, 0)
    searcher, reward = control_of(agent)._make_searcher(3), agent.learned_env.reward
    assert reward is not None and searcher is control_of(make_agent(learn_reward=True))._make_searcher(3)
    posteriors = [weakref.ref(model.posterior) for model in (agent.model, reward)]
    del agent, reward
    gc.collect()
    assert [posterior() for posterior in posteriors] == [None, None]


def key_of(task=TASK, **changes):
    """Return the key of an agent's searcher."""
    agent = make_agent(task=task, **changes)
    return control_of(agent)._problem.key("searcher", agent.policy, agent.search, agent.horizon)


def cost_of_distance(goal):
    """Return a cost made anew at each call, as registered tasks make theirs."""
    return SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0] - goal))


NEAR = replace(TASK, cost=cost_of_distance(1.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"dynamics": replace(DYNAMICS, prior_std=2.0, method="swag", steps=600)},
        {"task": replace(NEAR, success=None, labels=("a", "b"))},
        {"task": replace(NEAR, cost=cost_of_distance(1.0))},
    ],
    ids=["seed", "inference", "labels", "cost made anew"],
)
def test_what_shapes_no_compiled_function_is_not_in_the_key(changes):
    assert key_of(**{"task": NEAR, **changes}) == key_of(task=NEAR) is not None


def test_all_that_shapes_a_compiled_function_is_in_the_key():
    falls = lambda obs, action, next_obs: next_obs[..., 0] > 9.0
    changes = [
        {"dynamics": replace(DYNAMICS, hidden=(9,))},
        {"dynamics": replace(DYNAMICS, activation="tanh")},
        {"dynamics": replace(DYNAMICS, likelihood=Gaussian("heteroscedastic", floor=0.1))},
        {"policy": RBF(7)},
        {"policy": MLP((6,))},
        {"search": replace(SEARCH, effort=0.2)},
        {"propagation": "ts1"},
        {"horizon": 3},
        {"learn_reward": True},
        {"task": replace(NEAR, cost=cost_of_distance(2.0))},
        {"task": replace(NEAR, terminal_cost=0.5)},
        {"task": replace(NEAR, angles=(0,), invariant=())},
        {"task": replace(NEAR, invariant=())},
        {"task": replace(NEAR, velocities={0: 1})},
        {"task": replace(NEAR, velocities={0: 1}, dt=0.5)},
        {"task": replace(NEAR, termination=falls)},
    ]
    keys = [key_of(**{"task": NEAR, **change}) for change in ({}, *changes)]
    assert None not in keys and len(set(keys)) == len(keys)


class Push:
    """A policy of the user's own, which may change while a program runs."""

    def num_params(self, num_features, num_actions):
        return num_actions

    def init(self, seed, n, reference_features, num_actions):
        return tf.zeros([n, num_actions])

    def parameter_scales(self, reference_features, num_actions):
        return tf.ones([num_actions])

    def apply_dropout(self, params, rate, seed, num_features, num_actions):
        return params

    def __call__(self, params, features, num_actions):
        return tf.repeat(params[:, tf.newaxis], features.shape[1], axis=1)


def test_functions_of_a_policy_of_the_users_own_are_not_shared():
    first, second = make_agent(policy=Push()), make_agent(policy=Push())
    assert control_of(first)._act is not control_of(second)._act
    assert control_of(make_agent())._act is control_of(make_agent())._act
