"""Features of observations."""

import numpy as np
import tensorflow as tf

from bnnrl.rl.simulator.features import Features
from bnnrl_envs.double_pendulum import RODS


def test_features():
    obs = tf.constant([[1.0, 2.0, 0.5, 4.0]])
    np.testing.assert_allclose(Features(4, (2,))(obs), [[1, 2, 4, np.sin(0.5), np.cos(0.5)]], rtol=1e-6)
    np.testing.assert_allclose(Features(4, (2,), omitted=(0,))(obs), [[2, 4, np.sin(0.5), np.cos(0.5)]], rtol=1e-6)
    np.testing.assert_array_equal(Features(4)(obs), obs)
    assert [Features(4).size, Features(4, (2,)).size, Features(4, (2,), (0,)).size] == [4, 5, 4]


def test_linked_rods_add_sums_and_differences_of_angles_and_products_of_rates():
    a, v, b, w = 0.5, 3.0, -1.2, 4.0
    features = Features(4, angles=(0, 2), rates=(1, 3))
    joint = [np.sin(a + b), np.sin(a - b), np.cos(a + b), np.cos(a - b)]
    expected = [v, w, np.sin(a), np.sin(b), np.cos(a), np.cos(b), *joint, v * v, v * w, w * w]
    np.testing.assert_allclose(features(tf.constant([[a, v, b, w]])), [expected], rtol=1e-6)
    assert features.size == len(expected)


def test_the_accelerations_of_linked_rods_are_nearer_to_linear_in_their_features():
    """A linear regression on the features of linked rods leaves less unexplained than one on those of single rods."""
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, size=(2000, 4)) * [np.pi, 8, np.pi, 8]
    accelerations = RODS.derivative(states, np.zeros((2000, 2)))[:, 1::2]

    def unexplained(**links):
        inputs = np.asarray(Features(4, angles=(0, 2), **links)(tf.constant(states)))
        inputs = np.column_stack([inputs, np.ones(len(inputs))])
        fit = np.linalg.lstsq(inputs[:1000], accelerations[:1000], rcond=None)[0]
        return np.mean((accelerations[1000:] - inputs[1000:] @ fit) ** 2, axis=0)

    assert (unexplained(rates=(1, 3)) < 0.85 * unexplained()).all()
