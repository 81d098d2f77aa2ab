"""The objective of a policy search: what policies share, and what their cost counts."""

import math
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.search import Searcher
from bnnrl.rl.search.objective import Stage, normalize_cost, penalize_extrapolation
from bnnrl.rl.simulator.rollout import SimulatedEnv, rollout_cost
from bnnrl.rl.tasks import SaturatingCost
from bnnrl.seeds import as_seed, fold_in
from tests.rl.search.pushed_mass import (
    CONTROLLER,
    COST,
    OBJECTIVE,
    REFINING,
    SIMULATOR,
    STARTS,
    H,
    Q,
    R,
    S,
    discrete_objective,
    make_objective,
    make_step,
    policies,
)


def test_policies_share_starts_and_noise():
    params = policies(R)
    together = OBJECTIVE(params, SIMULATOR, STARTS, as_seed(5))
    assert len(set(together.numpy())) == R
    for i in range(R):
        copies = OBJECTIVE(tf.repeat(params[i : i + 1], R, axis=0), SIMULATOR, STARTS, as_seed(5))
        np.testing.assert_allclose(copies, tf.repeat(together[i], R), rtol=1e-6)
    other = OBJECTIVE(params, SIMULATOR, STARTS, as_seed(6))
    assert np.all(other != together)


def test_starts_are_near_those_observed_and_particles_differ():
    start, noise = OBJECTIVE.sample_particles(R, STARTS, as_seed(0))
    assert start.shape == (S, R * Q, 2) and noise.shape == (H, S, R * Q, 2)
    assert np.isfinite(start).all()  # the buffer's padding is never drawn
    start, noise = np.reshape(start, [S, R, Q, 2]), np.reshape(noise, [H, S, R, Q, 2])
    np.testing.assert_array_equal(start, np.broadcast_to(start[:, :1], start.shape))
    np.testing.assert_array_equal(noise, np.broadcast_to(noise[:, :, :1], noise.shape))
    assert len(np.unique(noise[:, :, 0])) == H * S * Q * 2


@pytest.mark.parametrize("refining", [False, True])
def test_many_particles_are_chunks_with_particles_of_their_own(monkeypatch, refining):
    """In three chunks, value and gradient are the means of those of three objectives with a third of the particles."""
    objective, stage = (
        replace(OBJECTIVE, per_draw=6, settings=replace(OBJECTIVE.settings, optimism=0.0)),
        Stage(refining=refining),
    )

    def value_and_gradient(objective):  # compiled, because XLA has random numbers of its own
        @tf.function(jit_compile=True)
        def compiled(params, seed):
            with tf.GradientTape() as tape:
                tape.watch(params)
                value = objective(params, SIMULATOR, STARTS, seed, stage)
            return value, tape.gradient(value, params)

        return lambda seed: compiled(policies(R), seed)

    third = value_and_gradient(replace(objective, per_draw=2))
    expected = [third(fold_in(as_seed(5), i)) for i in range(3)]
    for name in ("_PARTICLES", "_GRADIENT_PARTICLES"):
        monkeypatch.setattr(f"bnnrl.rl.search.objective.{name}", S * 2)
    found = value_and_gradient(objective)(as_seed(5))
    for part, parts in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(part, np.mean(parts, axis=0), rtol=1e-4, atol=1e-6)
    assert len(np.unique(found[1])) > R  # policies have gradients of their own


MEMORY = """
import sys
import tensorflow as tf
from bnnrl.rl.search.objective import Stage
from dataclasses import replace
from experiments.benchmarks.memory import added_mebibytes, reset_peak
from tests.rl.search.pushed_mass import OBJECTIVE, SIMULATOR, STARTS, R, S, policies

@tf.function(jit_compile=True)
def gradient(params, seed):
    with tf.GradientTape() as tape:
        tape.watch(params)
        value = objective(params, SIMULATOR, STARTS, seed, Stage(refining=True))
    return tape.gradient(value, params)

objective = replace(OBJECTIVE, horizon=60, per_draw=int(sys.argv[1]) // S)
for _ in range(2):
    before = reset_peak()
    gradient(policies(R), tf.constant([0, 1])).numpy()
print(added_mebibytes(before))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_particles(fresh_python):
    run = lambda count: float(subprocess.check_output([*fresh_python, "-c", MEMORY, str(count)], timeout=300))
    few, many = run(2000), run(100_000)
    print(f"a gradient adds {few:.0f} MiB with 2000 particles of each policy and {many:.0f} MiB with 100,000")
    assert many < 1.5 * few + 20


def test_optimism_counts_far_from_the_goal_only():
    """The cost of a policy is its mean over draws, less κ standard deviations above 0.6 and nothing below 0.4."""

    def mean_cost(optimism, scale):
        cost = SaturatingCost(lambda next_obs: scale * tf.square(next_obs[..., 0] - 1.0))
        objective = make_objective(cost, optimism=optimism)
        start, noise = objective.sample_particles(R, STARTS, as_seed(5))
        act = objective.policy_function(policies(R))
        by_particle = rollout_cost(SimulatedEnv(make_step(SIMULATOR), cost), act, start, noise)
        by_draw = np.reshape(by_particle, [S, R, Q]).mean(axis=2)
        return objective(policies(R), SIMULATOR, STARTS, as_seed(5)).numpy(), by_draw

    near, by_draw = mean_cost(2.0, 0.05)
    assert by_draw.mean(axis=0).max() < 0.4
    np.testing.assert_allclose(near, by_draw.mean(axis=0), rtol=1e-6)
    far, by_draw = mean_cost(2.0, 3.0)
    mean, std = by_draw.mean(axis=0), by_draw.std(axis=0)
    assert mean.min() > 0.4 and mean.max() > 0.6
    np.testing.assert_allclose(far, mean - 2.0 * np.clip(5 * mean - 2, 0, 1) * std, atol=2e-3)
    np.testing.assert_allclose(mean_cost(0.0, 3.0)[0], mean, rtol=1e-6)


def test_no_particle_has_the_gradient_to_itself():
    """A particle whose rollout explodes is bounded; without a bound the others are as they would be by themselves."""

    def gradient(bound, growth):
        def make_step(draws):
            rate = tf.reshape(growth, [S, 1, 1])
            return lambda obs, action, noise: obs * tf.concat([rate, tf.ones_like(rate)], -1) + 0.1 * action + 0 * noise

        cost = SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0]) / 1e4)
        objective, params = make_objective(cost, make_step, adjoint_bound=bound), policies(R)
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = objective(params, SIMULATOR, STARTS, as_seed(5))
        return tape.gradient(value, params).numpy(), value.numpy()

    calm, chaotic = tf.constant([1.0, 1.1, 0.9]), tf.constant([1.0, 1.1, 20.0])
    np.testing.assert_array_equal(gradient(1e3, calm)[0], gradient(1e6, calm)[0])
    (free, value), (bounded, same) = gradient(1e6, chaotic), gradient(1e-3, chaotic)
    np.testing.assert_array_equal(value, same)  # the cost itself is not touched
    assert np.linalg.norm(free) > 10 * np.linalg.norm(bounded) > 0


def test_each_policy_acts_on_its_own_particles():
    params, obs = policies(R), tf.constant(np.random.default_rng(2).normal(size=(S, R * Q, 2)), tf.float32)
    actions = np.reshape(OBJECTIVE.policy_function(params)(obs, tf.constant(0)), [S, R, Q, 1])
    for i in range(R):
        own = np.reshape(obs, [S, R, Q, 2])[:, i].reshape(1, S * Q, 2)
        np.testing.assert_allclose(actions[:, i].reshape(S * Q, 1), CONTROLLER(params[i : i + 1], own)[0], rtol=1e-5)


def test_a_cost_of_the_users_own_is_not_given_a_width():
    plain = make_objective(cost=lambda obs, action, next_obs: tf.square(next_obs[..., 0] - 1.0) + 5.0)
    costs = plain(policies(R), SIMULATOR, STARTS, as_seed(5), Stage(2.5, 0.5))
    assert costs.shape == (R,) and (costs.numpy() > 5).all()


def test_effort_costs_what_it_says():
    params = tf.concat([policies(1), tf.zeros_like(policies(1))], axis=0)  # zeros act at the middle: no effort
    cost, with_effort = (OBJECTIVE(params, SIMULATOR, STARTS, as_seed(5), Stage(1.0, e)).numpy() for e in (0.0, 0.5))
    assert with_effort[0] > cost[0]
    np.testing.assert_allclose(with_effort[1], cost[1], rtol=1e-6)


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, {"action_noise": 0.3}], ids=["dropout", "action noise"])
def test_dropout_and_noise_are_for_refining_alone(settings):
    plain, robust, params = OBJECTIVE, make_objective(**settings), policies(R)
    args = params, SIMULATOR, STARTS, as_seed(5)
    np.testing.assert_array_equal(*(Searcher(o, jit_compile=False)._score(*args)[0] for o in (robust, plain)))
    np.testing.assert_array_equal(robust(*args), plain(*args))
    refining = robust(*args, REFINING).numpy()
    assert np.all(np.abs(refining - plain(*args, REFINING)) > 1e-5)
    np.testing.assert_array_equal(refining, robust(*args, REFINING))
    other = robust(params, SIMULATOR, STARTS, as_seed(6), REFINING)
    assert np.all(refining != other)


def test_noise_on_actions_has_the_size_it_says_and_is_the_same_for_all_policies():
    objective = replace(make_objective(action_noise=0.05), per_draw=2000)
    still = lambda obs, t: tf.fill([S, 2 * 2000, 1], 0.5)
    act = objective._add_action_noise(still, as_seed(1))
    first, second = (act(None, tf.constant(t)).numpy().reshape(S, 2, 2000) for t in (0, 1))
    np.testing.assert_array_equal(first[:, 0], first[:, 1])
    assert abs(first[:, 0].std() - 0.05 * 3.0) < 4 * 0.15 / np.sqrt(2 * S * 2000)  # bounds are −1 and 2
    assert abs(first[:, 0].mean() - 0.5) < 4 * 0.15 / np.sqrt(S * 2000)
    assert abs(np.corrcoef(first[:, 0].ravel(), second[:, 0].ravel())[0, 1]) < 4 / np.sqrt(S * 2000)
    loud = replace(make_objective(action_noise=3.0), per_draw=2000)._add_action_noise(still, as_seed(1))
    shaken = loud(None, tf.constant(0)).numpy()
    assert shaken.min() == -1 and shaken.max() == 2  # cut off at the bounds


def test_discrete_actions_are_no_effort():
    objectives = [discrete_objective(COST, effort=effort) for effort in (0.0, 0.9)]
    args = tf.constant([[1.0, 0.5, 0.0]]), SIMULATOR, STARTS, as_seed(0)
    for refining in (False, True):
        costs = (o(*args, Stage(effort=o.settings.effort, refining=refining)) for o in objectives)
        np.testing.assert_array_equal(*costs)


@pytest.mark.parametrize("propagation", ["ts1", "moment_matching", "mean"])
def test_policies_are_refined_by_any_propagation(propagation):
    objective, params = replace(OBJECTIVE, propagation=propagation), policies(R)
    start, noise = objective.sample_particles(R, STARTS, as_seed(0))
    assert start.shape == (S, R * Q, 2) and noise.shape[:3] == (H, S, R * Q)
    is_same = np.all(start == start[:1])
    assert is_same == (propagation == "mean")  # with which all draws must start from the same places
    with tf.GradientTape() as tape:
        tape.watch(params)
        together = objective(params, SIMULATOR, STARTS, as_seed(5))
    gradient = tape.gradient(together, params)
    assert np.isfinite(gradient).all() and (np.abs(gradient).max(axis=1) > 0).all()
    alone = [objective(params[i : i + 1], SIMULATOR, STARTS, as_seed(5))[0] for i in range(R)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    obs, costs, _ = objective.predict(params[0], SIMULATOR, STARTS, as_seed(0))
    assert obs.shape[0] == H + 1 and costs.shape == (H, obs.shape[1]) and np.isfinite(obs).all()


def test_a_search_sees_costs_in_units_of_their_range():
    env = SimulatedEnv(
        lambda obs, action, noise: obs,
        lambda obs, action, next_obs: tf.fill(obs.shape[:-1], 4.0),
        lambda obs, action, next_obs: tf.ones(obs.shape[:-1]),
        cost_after_end=10.0,
        cost_range=tf.constant([2.0, 10.0]),
    )
    unit = normalize_cost(env)
    act = lambda obs, t: tf.zeros([1, 3, 1])
    costs = rollout_cost(unit, act, tf.zeros([1, 3, 2]), tf.zeros([4, 1, 3, 2]))
    np.testing.assert_allclose(costs, (0.25 + 3 * 1.0) / 4)  # one step, and the end


def test_a_step_far_out_of_the_observed_range_has_the_highest_cost():
    """A quarter of the range beyond it counts in full; an entry without limits does not count at all."""
    env = SimulatedEnv(
        lambda obs, action, noise: obs,
        lambda obs, action, next_obs: tf.fill(next_obs.shape[:-1], 0.2),
        obs_range=tf.constant([[-2.0, -math.inf], [6.0, math.inf]]),
    )
    next_obs = tf.constant([[0.0, 9e9], [-4.0, 0.0], [8.0, 0.0], [8.8, 0.0], [-90.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(next_obs)
        cost = penalize_extrapolation(env, margin=0.25).cost(next_obs, None, next_obs)
    np.testing.assert_allclose(cost, [0.2, 0.2, 0.2, 1 - 0.8 * np.exp(-0.5), 1.0], rtol=1e-5)
    gradient = np.asarray(tape.gradient(cost, next_obs))
    assert np.isfinite(gradient).all() and gradient[3, 0] > 0 and not gradient[[0, 1, 2, 4]].any()
    assert penalize_extrapolation(env, math.inf) is env
