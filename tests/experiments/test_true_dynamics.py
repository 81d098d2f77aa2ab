"""The policy search on the true dynamics of a plant."""

import numpy as np
import pytest
import tensorflow as tf
import true_dynamics


@pytest.mark.parametrize("name", true_dynamics.PLANTS)
def test_a_step_is_that_of_the_plant(name):
    plant = true_dynamics.PLANTS[name]
    rng = np.random.default_rng(0)
    states, actions = rng.normal(size=(5, 3, plant.chain.size)), rng.normal(size=(5, 3, len(plant.max_action)))
    found = true_dynamics.true_step(plant)(tf.constant(states, tf.float32), tf.constant(actions, tf.float32), None)
    np.testing.assert_allclose(found, plant.chain.advance(states, actions, plant.dt), rtol=1e-4, atol=1e-4)
