"""Tasks: the costs in TensorFlow are the environments' own."""

import numpy as np
import pytest
import tensorflow as tf

import bnnrl_envs.cartpole_swingup as cartpole
from bnnrl.rl import tasks

STATES = np.random.default_rng(0).normal(size=(200, 4)) * [0.5, 2, 3, 5]


@pytest.mark.parametrize("preset", cartpole.PRESETS)
def test_the_cost_is_the_environments(preset):
    task = tasks.get("bnnrl/CartPoleSwingUp-v0", preset=preset)
    got = task.cost(None, None, tf.constant(STATES, tf.float32))
    np.testing.assert_allclose(got, cartpole.cost(STATES, preset), rtol=1e-4, atol=1e-5)
    assert task.dt == cartpole.PRESETS[preset].dt and task.angles == (2,)


def test_a_wider_cost_keeps_the_order_and_the_minimum():
    cost = tasks.SaturatingCost(lambda obs: tf.square(obs[..., 0]))
    x = tf.constant(np.linspace(-1, 1, 21)[:, None], tf.float32)
    narrow, wide = cost(None, None, x).numpy(), cost(None, None, x, 3.0).numpy()
    np.testing.assert_allclose(wide, 1 - np.exp(-(np.linspace(-1, 1, 21) ** 2) / 9), rtol=1e-4, atol=1e-6)
    assert narrow.argmin() == wide.argmin() == 10 and (wide <= narrow).all()


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ("bnnrl/CartPoleSwingup-v0", {}, "Did you mean 'bnnrl/CartPoleSwingUp-v0'"),
        ("CartPole-v1", {}, "bnnrl.Task"),
        ("bnnrl/CartPoleSwingUp-v0", {"preset": "pilko"}, "Invalid `preset`.*'deep-pilco'"),
    ],
)
def test_what_does_not_exist(env, kwargs, message):
    with pytest.raises(ValueError, match=message):
        tasks.get(env, **kwargs)
