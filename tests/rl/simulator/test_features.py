"""Features of observations."""

import numpy as np
import tensorflow as tf

from bnnrl.rl.simulator.features import Features


def test_features():
    obs = tf.constant([[1.0, 2.0, 0.5, 4.0]])
    np.testing.assert_allclose(Features(4, (2,))(obs), [[1, 2, 4, np.sin(0.5), np.cos(0.5)]], rtol=1e-6)
    np.testing.assert_allclose(Features(4, (2,), omitted=(0,))(obs), [[2, 4, np.sin(0.5), np.cos(0.5)]], rtol=1e-6)
    np.testing.assert_array_equal(Features(4)(obs), obs)
    assert [Features(4).size, Features(4, (2,)).size, Features(4, (2,), (0,)).size] == [4, 5, 4]
