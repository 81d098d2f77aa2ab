"""Constraints in a rollout, in the objective, and in a search: what violates them, and which policy is chosen."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.search import Searcher
from bnnrl.rl.search.multipliers import Multipliers
from bnnrl.rl.search.objective import Stage
from bnnrl.rl.simulator.rollout import Constraints, SimulatedEnv, rollout, trajectories, violation_penalty
from bnnrl.seeds import as_seed
from tests.rl.search.pushed_mass import COST, OBJECTIVE, REFERENCE, SEARCH, SIMULATOR, STARTS, H, R, make_step, policies

pytestmark = pytest.mark.usefixtures("without_xla")

# A particle moves by 1 in each step from its start, and may not go beyond 3, nor below −10.
LIMITS = Constraints(2, lambda obs, _, next_obs: tf.stack([next_obs[..., 0] - 3.0, -10.0 - obs[..., 0]], axis=-1))


def walk(constraints=LIMITS, termination=None):
    step = lambda obs, action, noise: obs + 1.0
    return SimulatedEnv(step, lambda obs, action, next_obs: next_obs[..., 0], termination, constraints=constraints)


def worst_of(env, steps=3):
    args = env, lambda obs, t: obs, tf.constant([[[0.0], [-0.5], [-20.0]]]), tf.zeros([steps, 1, 3, 1])
    found, seen = rollout(*args), trajectories(*args)
    np.testing.assert_array_equal(found.worst, seen.worst)
    return found.worst.numpy()[0]


def test_a_rollout_has_the_largest_value_of_each_constraint():
    np.testing.assert_allclose(worst_of(walk()), [[0.0, -10.0], [-0.5, -9.5], [-20.0, 10.0]])
    np.testing.assert_allclose(worst_of(walk(), steps=1)[:, 0], [-2.0, -2.5, -22.0])
    assert worst_of(walk(Constraints())).shape == (3, 0)


def test_constraints_do_not_count_after_a_termination():
    ends = lambda obs, action, next_obs: tf.cast(next_obs[..., 0] > 1.9, tf.float32)
    np.testing.assert_allclose(worst_of(walk(termination=ends), steps=5)[:, 0], [-1.0, -0.5, -18.0])


def test_policies_beyond_what_is_allowed_rank_behind_all_others():
    violated = tf.constant([[0.05, 0.0], [0.051, 0.0], [0.0, 0.3], [1.0, 0.3]])
    penalty = violation_penalty(violated, (0.05, 0.2)).numpy()
    assert penalty[0] == 0 and np.all(np.diff(penalty) > 0) and penalty[1] >= 1e6


def fast_mass(limit, scale=1.0):
    """Return the objective of the pushed mass whose speed may exceed a limit in 5 % of rollouts."""
    constraint = Constraints(1, lambda _, __, next_obs: tf.abs(next_obs[..., 1:]) - limit, tf.constant([scale]))

    def make_env(draws):
        return SimulatedEnv(make_step(draws), COST, step_size=draws.target_std, constraints=constraint)

    return replace(OBJECTIVE, make_env=make_env, allowed=(0.05,), horizon=H, per_draw=4)


def test_the_objective_adds_the_excess_and_counts_violations():
    objective, args = fast_mass(0.3, scale=0.5), (policies(R), SIMULATOR, STARTS, as_seed(5))
    env, act = objective.make_env(SIMULATOR), objective.policy_function(policies(R))
    worst = rollout(env, act, *objective.sample_particles(R, STARTS, as_seed(5))).worst
    worst = np.reshape(worst, [3, R, 4]).transpose(1, 0, 2).reshape(R, 12).astype(np.float64)
    excess = 0.1 * np.log1p(np.exp(worst / 0.5 / 0.1)).mean(axis=1)
    free, violated = objective.judge(*args, Stage(multipliers=0.0))
    np.testing.assert_allclose(violated[:, 0], (worst >= 0).mean(axis=1), rtol=1e-6)
    assert len(set(violated.numpy()[:, 0])) > 1
    np.testing.assert_array_equal(free, replace(objective, allowed=(), make_env=OBJECTIVE.make_env)(*args))
    np.testing.assert_allclose(
        objective(*args, Stage(multipliers=tf.fill([R, 1], 2.5))) - free, 2.5 * excess, rtol=1e-4
    )


def test_a_multiplier_follows_the_share_of_violations():
    def after(share, updates=100):
        multipliers = Multipliers.start(1, 1)
        for _ in range(updates):
            multipliers = multipliers.after(tf.constant([[share]]), (0.05,), tf.constant(updates))
        return float(multipliers.weight[0, 0])

    np.testing.assert_allclose([after(1.0), after(0.05), after(0.0)], [1e3, 1.0, 0.1], rtol=1e-2)
    np.testing.assert_allclose(after(0.075), 1e2, rtol=1e-2)  # half as far beyond: half the exponent


def test_the_best_policy_keeps_the_constraint():
    """Random policies violate it in most of their rollouts, and policies without a constraint always do."""
    objective = fast_mass(0.7)
    searcher = Searcher(replace(objective, settings=replace(SEARCH, updates=100)), jit_compile=False, threads=1)
    kept, cost, violated = searcher.search(None, REFERENCE, SIMULATOR, STARTS, as_seed(0))
    assert kept.shape[0] == R and violated.shape == (R, 1) and violated.numpy()[0, 0] <= 0.05
    assert cost[0] < 0.95
    obs, _, outside = searcher.predict(kept[0], SIMULATOR, STARTS, as_seed(3))
    np.testing.assert_array_equal(outside[:, 0], (np.abs(obs[1:, :, 1]) >= 0.7).any(axis=0))
    assert outside.numpy().mean() < 0.1  # under other noise: 5 % are allowed, with a standard error of 1.5 %
