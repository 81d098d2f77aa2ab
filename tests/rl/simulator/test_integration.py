"""The rules by which a learned change becomes the next observation."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.rl.simulator.dynamics import DynamicsModel
from bnnrl.rl.simulator.features import Features
from bnnrl.rl.simulator.integration import Explicit, Midpoint
from bnnrl.rl.simulator.settings import Dynamics
from bnnrl.seeds import as_seed
from tests.rl.simulator.test_dynamics import transitions

pytestmark = pytest.mark.usefixtures("without_xla")
DT = 0.1


def observations(rows: int, seed: int = 0) -> np.ndarray:
    """Angles and velocities of a rod, with an entry that is neither."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 3)).astype(np.float32)


def rate(at) -> tf.Tensor:
    """Return what is learned of a rod's step from the middle: its velocity's change, and that of the third entry."""
    theta, velocity, other = tf.unstack(tf.constant(at), axis=-1)
    return tf.stack([0.001 * theta, DT * (4.0 * tf.sin(theta) - 0.3 * velocity), -0.05 * other], axis=-1)


def move_of(obs):
    """Return the function that the rules call, with a noise of 0.1 in each entry."""
    return lambda at, noise: obs + rate(at) + (0.0 if noise is None else 0.1 * noise)


def test_the_middle_and_the_change_of_a_step_are_those_it_was_made_of():
    rule, obs = Midpoint({0: 1}, DT), observations(50)
    following = rule.next_obs(move_of(obs), tf.constant(obs), tf.zeros(obs.shape))
    middle, change = rule.regression(obs, following.numpy())
    np.testing.assert_allclose(change, rate(middle), atol=2e-5)
    # Constant acceleration a: θ + dt/2 v + dt²/8 a in the middle, and half of what the network adds.
    a = (following[:, 1] - obs[:, 1]) / DT
    expected = obs[:, 0] + DT / 2 * obs[:, 1] + DT**2 / 8 * a + change[:, 0] / 2
    np.testing.assert_allclose(middle[:, 0], expected, atol=1e-6)


def test_a_step_back_in_time_is_the_inverse():
    """The midpoint rule is symmetric: from the next observation, with dt and the change reversed, it leads back."""
    forward, backward, obs = Midpoint({0: 1}, DT), Midpoint({0: 1}, -DT), observations(50)
    following = forward.next_obs(move_of(obs), tf.constant(obs), tf.zeros(obs.shape))
    back = backward.next_obs(lambda at, noise: following - rate(at), following, tf.zeros(obs.shape))
    np.testing.assert_allclose(back, obs, atol=2e-5)


def test_noise_in_a_velocity_moves_its_position():
    obs = tf.constant(observations(5))
    for rule in (Explicit({0: 1}, DT), Midpoint({0: 1}, DT)):
        of = lambda noise, rule=rule: rule.next_obs(move_of(obs), obs, noise)
        shift = of(tf.constant([[0.0, 1.0, 0.0]] * 5)) - of(tf.zeros([5, 3]))
        np.testing.assert_allclose(shift, [[0.1 * DT / 2, 0.1, 0.0]] * 5, atol=1e-6)


def test_without_velocities_all_entries_are_averaged():
    obs, following = observations(5), observations(5, seed=1)
    middle, change = Midpoint({}, DT).regression(obs, following)
    np.testing.assert_array_equal(middle, (obs + following) / 2)
    np.testing.assert_array_equal(change, following - obs)


def test_a_model_that_sees_the_middle_learns_a_linear_system():
    dynamics = Dynamics(hidden=(16,), size=3, steps=1500, midpoint=True)
    model = DynamicsModel(dynamics, Features(2), 1, capacity=64)
    model.fit(*transitions(64), seed=0)
    obs, actions, following = transitions(200, seed=1, noise=0.0)
    stacked = lambda a: tf.tile(tf.constant(a)[tf.newaxis], [3, 1, 1])
    step = model.make_step(model.sample(3, as_seed(0)))
    mean = step(stacked(obs), stacked(actions), tf.zeros([3, 200, 2])).numpy().mean(axis=0)
    assert np.sqrt(np.square(mean - following).mean()) < 0.05
