"""Rollouts against a plain NumPy loop, and their gradients against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.policies import MLP, RBF
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.rollout import SimulatedEnv, rollout_cost, trajectories

S, P, O, A, H = 2, 3, 4, 1, 5
RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(S, O + A, O)) * 0.4  # each draw is another system
START = RNG.normal(size=(S, P, O))
NOISE = RNG.normal(size=(H, S, P, O))
FEATURES = Features(O, angles=(2,))


def step(obs, action, noise):
    mix = tf.constant(MIX, obs.dtype)
    return obs + 0.3 * tf.tanh(tf.matmul(tf.concat([obs, action], -1), mix)) + 0.1 * noise


def cost(obs, action, next_obs):
    return 1.0 - tf.exp(-tf.reduce_sum(tf.square(next_obs), -1)) + 0.01 * tf.square(action[..., 0])


ENV = SimulatedEnv(step, cost)


def np_rollout(policy, steps=H):
    obs, seen, actions, total = START, [START], [], 0.0
    for noise in NOISE[:steps]:
        action = policy(obs)
        x = np.concatenate([obs, action], -1)
        next_obs = obs + 0.3 * np.tanh(x @ MIX) + 0.1 * noise
        total = total + 1 - np.exp(-np.square(next_obs).sum(-1)) + 0.01 * np.square(action[..., 0])
        obs = next_obs
        seen.append(obs)
        actions.append(action)
    return np.array(seen), np.array(actions), total / steps


@pytest.fixture
def reference_features():
    return FEATURES(tf.constant(RNG.normal(size=(64, O)), tf.float64))


def random_policy(policy, reference_features):
    size = policy.num_params(FEATURES.size, A)
    return tf.constant(0.5 * np.random.default_rng(1).normal(size=(1, size)))


def act_with(policy, params):
    # Both draws' particles go through the one policy.
    def act(obs, t):
        flat = tf.reshape(obs, [1, S * P, O])
        return 2.0 * tf.reshape(policy(params, FEATURES(flat), A), [S, P, A])

    return act


def test_rollout_is_the_plain_loop():
    gain = np.array([[0.3], [-0.2], [0.5], [0.1]])
    seen, actions, total = np_rollout(lambda obs: np.tanh(obs @ gain))
    policy = lambda obs, t: tf.tanh(tf.matmul(obs, tf.constant(gain)[tf.newaxis]))
    start, noise = tf.constant(START), tf.constant(NOISE)
    np.testing.assert_allclose(rollout_cost(ENV, policy, start, noise), total, rtol=1e-10)
    *_, of_two = np_rollout(lambda obs: np.tanh(obs @ gain), steps=2)
    np.testing.assert_allclose(rollout_cost(ENV, policy, start, noise, tf.constant(2)), of_two, rtol=1e-10)
    got = trajectories(ENV, policy, start, noise)
    np.testing.assert_allclose(got[0], seen, rtol=1e-10)
    np.testing.assert_allclose(got[1], actions, rtol=1e-10)


@pytest.mark.parametrize("policy", [RBF(5), MLP((6,))], ids=["rbf", "mlp"])
def test_gradient_against_finite_differences(policy, reference_features):
    start, noise = tf.constant(START), tf.constant(NOISE)
    params = random_policy(policy, reference_features)

    def value(params):
        return tf.reduce_mean(rollout_cost(ENV, act_with(policy, params), start, noise))

    def value_and_grad(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            out = value(params)
        return out, tape.gradient(out, params)

    _, grad = value_and_grad(params)
    compiled = tf.function(value_and_grad, autograph=False, jit_compile=True)
    np.testing.assert_allclose(compiled(params)[1], grad, rtol=1e-8, atol=1e-12)
    value, rng, eps = tf.function(value, autograph=False), np.random.default_rng(2), 1e-6
    for _ in range(5):
        direction = rng.normal(size=params.shape)
        difference = (value(params + eps * direction) - value(params - eps * direction)) / (2 * eps)
        np.testing.assert_allclose(np.sum(grad * direction), difference, rtol=1e-6, atol=1e-10)
    assert np.abs(grad).max() > 1e-4


# Ends.


def soft_end(obs, action, next_obs):
    return tf.sigmoid(next_obs[..., 0] + next_obs[..., 1] - 0.5)


def hard_end(obs, action, next_obs):
    return tf.cast(next_obs[..., 0] > 0.5, next_obs.dtype)


AFTER = 0.7
GAIN = np.array([[0.3], [-0.2], [0.5], [0.1]])
ENDING_ENV = ENV._replace(cost_after_end=AFTER)


def linear_policy(obs, t):
    return tf.tanh(tf.matmul(obs, tf.constant(GAIN)[tf.newaxis]))


def np_costs(end):
    """Return the expected cost of each step, [H, S, P], by a plain loop over steps and particles."""
    seen, actions, _ = np_rollout(lambda obs: np.tanh(obs @ GAIN))
    costs = np.zeros([H, S, P])
    for s in range(S):
        for p in range(P):
            alive = 1.0
            for t in range(H):
                next_obs = seen[t + 1, s, p]
                plain = 1 - np.exp(-np.square(next_obs).sum()) + 0.01 * actions[t, s, p, 0] ** 2
                costs[t, s, p] = alive * plain + (1 - alive) * AFTER
                alive *= 1 - end(next_obs)
    return costs


SOFT = lambda x: 1 / (1 + np.exp(0.5 - x[0] - x[1]))
HARD = lambda x: float(x[0] > 0.5)


@pytest.mark.parametrize(("ends", "end"), [(soft_end, SOFT), (hard_end, HARD)], ids=["soft", "hard"])
def test_a_step_costs_what_is_expected_of_it(ends, end):
    env, start, noise = ENDING_ENV._replace(termination_prob=ends), tf.constant(START), tf.constant(NOISE)
    expected = np_costs(end)
    np.testing.assert_allclose(trajectories(env, linear_policy, start, noise).costs, expected, rtol=1e-10)
    np.testing.assert_allclose(rollout_cost(env, linear_policy, start, noise), expected.mean(0), rtol=1e-10)
    of_two = rollout_cost(env, linear_policy, start, noise, tf.constant(2))
    np.testing.assert_allclose(of_two, expected[:2].mean(0), rtol=1e-10)


def test_a_certain_end_is_paid_for_from_the_next_step_on():
    seen, *_ = np_rollout(lambda obs: np.tanh(obs @ GAIN))
    over = np.cumsum(seen[1:, ..., 0] > 0.5, axis=0) > 0  # [H, S, P]
    first = over.argmax(axis=0)
    assert over.any() and not over[-1].all() and first.max() > 0  # some end, at different steps, and some do not
    env, start, noise = ENDING_ENV._replace(termination_prob=hard_end), tf.constant(START), tf.constant(NOISE)
    costs = trajectories(env, linear_policy, start, noise).costs.numpy()
    plain = trajectories(ENV, linear_policy, start, noise).costs.numpy()
    after = np.concatenate([np.zeros([1, S, P], bool), over[:-1]])
    np.testing.assert_array_equal(costs[after], AFTER)
    np.testing.assert_allclose(costs[~after], plain[~after], rtol=1e-12)  # the step that ends it costs what it costs


def test_what_has_ended_does_not_overflow():
    """A model that explodes beyond an end gives finite costs and gradients, of steps before it."""
    env = SimulatedEnv(
        lambda obs, action, noise: obs * 1e80 + action,
        lambda obs, action, next_obs: tf.square(action[..., 0]) + tf.tanh(next_obs[..., 0]),
        lambda obs, action, next_obs: tf.ones_like(next_obs[..., 0]),
    )
    gain = tf.constant(0.5, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(gain)
        cost = rollout_cost(env, lambda obs, t: gain * obs[..., :1], tf.constant(START), tf.constant(NOISE))
    assert np.isfinite(cost).all() and np.isfinite(tape.gradient(cost, gain))


def test_what_never_ends_costs_what_it_did_without_ends():
    start, noise = tf.constant(START), tf.constant(NOISE)
    never = ENDING_ENV._replace(termination_prob=lambda obs, action, next_obs: tf.zeros_like(next_obs[..., 0]))
    plain, same = (trajectories(env, linear_policy, start, noise) for env in (ENV, never))
    for a, b in zip(plain, same, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(*(rollout_cost(env, linear_policy, start, noise) for env in (ENV, never)), rtol=1e-12)


def test_the_gradient_through_an_end_against_finite_differences():
    env, start, noise = ENDING_ENV._replace(termination_prob=soft_end), tf.constant(START), tf.constant(NOISE)

    def value(gain):
        policy = lambda obs, t: tf.tanh(tf.matmul(obs, gain[tf.newaxis]))
        return tf.reduce_mean(rollout_cost(env, policy, start, noise))

    gain = tf.constant(GAIN)
    with tf.GradientTape() as tape:
        tape.watch(gain)
        out = value(gain)
    gradient, eps = tape.gradient(out, gain), 1e-6
    differences = [
        (value(gain + eps * unit) - value(gain - eps * unit)) / (2 * eps) for unit in np.eye(O)[:, :, np.newaxis]
    ]
    np.testing.assert_allclose(gradient[:, 0], differences, rtol=1e-6, atol=1e-10)
    # The end has a part in it: the same costs without one have another gradient.
    with tf.GradientTape() as tape:
        tape.watch(gain)
        policy = lambda obs, t: tf.tanh(tf.matmul(obs, gain[tf.newaxis]))
        plain = tf.reduce_mean(rollout_cost(ENV, policy, start, noise))
    assert np.abs(gradient - tape.gradient(plain, gain)).max() > 1e-3


def test_a_particle_keeps_its_draw():
    push = tf.constant([1.0, -1.0], tf.float64)[:, tf.newaxis, tf.newaxis]  # draw 0 drifts up, draw 1 down
    drift = lambda obs, action, noise: obs + push
    zeros = tf.zeros([S, P, O], tf.float64)
    seen, *_ = trajectories(SimulatedEnv(drift, cost), lambda obs, t: obs[..., :1], zeros, tf.constant(NOISE))
    expected = np.arange(H + 1)[:, None, None, None] * push.numpy()
    np.testing.assert_allclose(seen, np.broadcast_to(expected, seen.shape))
