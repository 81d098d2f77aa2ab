"""The rollout against a plain loop, and its gradient against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.features import Features
from bnnrl.rl.policies import MLP, RBF
from bnnrl.rl.rollout import World, rollout_cost, trajectories

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


WORLD = World(step, cost)


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
def cover():
    return FEATURES(tf.constant(RNG.normal(size=(64, O)), tf.float64))


def random_policy(policy, cover):
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
    np.testing.assert_allclose(rollout_cost(WORLD, policy, start, noise), total, rtol=1e-10)
    *_, of_two = np_rollout(lambda obs: np.tanh(obs @ gain), steps=2)
    np.testing.assert_allclose(rollout_cost(WORLD, policy, start, noise, tf.constant(2)), of_two, rtol=1e-10)
    got = trajectories(WORLD, policy, start, noise)
    np.testing.assert_allclose(got[0], seen, rtol=1e-10)
    np.testing.assert_allclose(got[1], actions, rtol=1e-10)


@pytest.mark.parametrize("policy", [RBF(5), MLP((6,))], ids=["rbf", "mlp"])
def test_gradient_against_finite_differences(policy, cover):
    start, noise = tf.constant(START), tf.constant(NOISE)
    params = random_policy(policy, cover)

    def value(params):
        return tf.reduce_mean(rollout_cost(WORLD, act_with(policy, params), start, noise))

    def value_and_grad(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            out = value(params)
        return out, tape.gradient(out, params)

    _, grad = value_and_grad(params)
    compiled = tf.function(value_and_grad, jit_compile=True)
    np.testing.assert_allclose(compiled(params)[1], grad, rtol=1e-8, atol=1e-12)
    rng, eps = np.random.default_rng(2), 1e-6
    for _ in range(5):
        direction = rng.normal(size=params.shape)
        difference = (value(params + eps * direction) - value(params - eps * direction)) / (2 * eps)
        np.testing.assert_allclose(np.sum(grad * direction), difference, rtol=1e-6, atol=1e-10)
    assert np.abs(grad).max() > 1e-4


def test_a_particle_keeps_its_draw():
    push = tf.constant([1.0, -1.0], tf.float64)[:, tf.newaxis, tf.newaxis]  # draw 0 drifts up, draw 1 down
    drift = lambda obs, action, noise: obs + push
    zeros = tf.zeros([S, P, O], tf.float64)
    seen, *_ = trajectories(World(drift, cost), lambda obs, t: obs[..., :1], zeros, tf.constant(NOISE))
    expected = np.arange(H + 1)[:, None, None, None] * push.numpy()
    np.testing.assert_allclose(seen, np.broadcast_to(expected, seen.shape))
