"""A pushed mass, its learned environment and policies: what tests of the policy search share."""

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from bnnrl.rl.policies import RBF, Controller
from bnnrl.rl.search import InitialStates, PolicySearch, SearchObjective
from bnnrl.rl.search.objective import Stage
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.regression import NetworkDraws
from bnnrl.rl.simulator.rollout import SimulatedEnv
from bnnrl.rl.tasks import Cost, SaturatingCost
from bnnrl.seeds import as_seed

S, Q, R, H = 3, 2, 4, 6
SEARCH = PolicySearch(restarts=R, updates=60, rounds=2, scout_updates=10, candidates=16, warmup=5)
CONTROLLER = Controller(RBF(5), Features(2), tf.constant([-1.0]), tf.constant([2.0]))
ONES = tf.ones(2)
REFINING = Stage(refining=True)
# Each draw of the model has a push of its own, θ [S, 1], which shows whether a particle keeps its draw.
SIMULATOR = NetworkDraws(tf.constant([[0.1], [0.2], [0.3]]), tf.zeros(3), tf.ones(3), tf.zeros(2), ONES)
STARTS = InitialStates.kernel_density(np.random.default_rng(0).normal(size=(5, 2)) * 0.2)
PADDING = tf.range(len(STARTS.obs))[:, tf.newaxis] >= STARTS.count
STARTS = STARTS._replace(obs=tf.where(PADDING, np.nan, STARTS.obs))
REFERENCE = tf.constant(np.random.default_rng(1).normal(size=(100, 2)), tf.float32)
COST = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0] - 1.0))


def make_step(draws):
    """Return the step of a mass that each draw of the model pushes differently."""

    def step(obs, action, noise):
        x, v = obs[..., :1], obs[..., 1:]
        push = draws.theta[:, tf.newaxis]  # [S, 1, 1]
        return tf.concat([x + 0.25 * v, v + 0.25 * (action + push)], -1) + 0.02 * noise

    return step


def in_env(make_step, cost):
    """Return the function from draws of the model to the simulated environment."""
    return lambda draws: SimulatedEnv(make_step(draws), cost, step_size=draws.target_std)


def make_objective(cost: Cost = COST, make_step=make_step, **settings: Any):
    """Return the objective of a search with changed settings."""
    return SearchObjective(replace(SEARCH, **settings), CONTROLLER, in_env(make_step, cost), H, S, Q)


OBJECTIVE = make_objective()


def policies(n, seed=3):
    """Return random policies, [n, K]."""
    return CONTROLLER.init(as_seed(seed), n, REFERENCE)


class Constant:
    """A policy that always does the same: its cost is known."""

    def num_params(self, num_features, num_actions):
        return num_actions

    def init(self, seed, n, reference_features, num_actions):
        return tf.random.stateless_normal([n, num_actions], seed)

    def parameter_scales(self, reference_features, num_actions):
        return tf.ones([num_actions])

    def apply_dropout(self, params, rate, seed, num_features, num_actions):
        return params

    def __call__(self, params, features, num_actions):
        return tf.tanh(tf.repeat(params[:, tf.newaxis], features.shape[1], axis=1))


DISCRETE = Controller(Constant(), Features(2), tf.zeros(3), tf.ones(3), discrete=True)
PRICES = tf.constant([0.9, 0.2, 0.6])


def price(obs, action, next_obs):
    return tf.reduce_sum(action * PRICES, axis=-1)


def discrete_objective(cost: Cost = price, **settings: Any):
    """Return the objective of a search for a policy that chooses one of three pushes."""
    to_force = lambda action: tf.reduce_sum(action * tf.constant([-1.0, 0.0, 1.0]), axis=-1, keepdims=True)

    def make_env(draws):
        step = make_step(draws)
        return SimulatedEnv(lambda obs, action, noise: step(obs, to_force(action), noise), cost, step_size=ONES)

    return SearchObjective(replace(SEARCH, **settings), DISCRETE, make_env, H, S, Q)
