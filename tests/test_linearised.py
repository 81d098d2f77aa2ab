"""Linearised networks against automatic differentiation, and predictions of linearised posteriors."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import bnnrl
from bnnrl.inference import Ensemble, GaussNewton
from bnnrl.jacobian import outputs_and_jacobian
from bnnrl.linearised import LinearisedNetwork, LinearisedProblem, expanded, is_linearised
from bnnrl.network import Network
from bnnrl.posterior import Linearised, LowRank, MeanField, Mixture, Point, Product, from_arrays
from bnnrl.problem import Problem
from tests.scenarios import draws, inputs_of, mlp, networks

NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_networks_and_the_jacobian_times_the_deviation(name):
    network = Network(NETWORKS[name])
    w, deviation = (tf.constant(0.3 * draws(2, network.num_params, seed=seed)) for seed in (0, 1))
    x = tf.nest.map_structure(lambda a: tf.stack([a, a + 0.1]), inputs_of(NETWORKS[name], 3))
    found = LinearisedNetwork(network)(tf.concat([w, deviation], axis=-1), x)
    step = 1e-2
    ahead, behind = (network(w + s * step * deviation, x) for s in (1, -1))
    # Central differences have an error of the order step² and the rounding of float32 divided by step.
    np.testing.assert_allclose(found, network(w, x) + (ahead - behind) / (2 * step), atol=2e-3)
    alone = LinearisedNetwork(network)(
        tf.concat([w[1], deviation[1]], axis=-1), tf.nest.map_structure(lambda a: a[1], x)
    )
    np.testing.assert_allclose(alone, found[1], atol=1e-5)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name", ["dense", "two inputs"])
def test_jacobian_against_finite_differences(name, stacked):
    network = Network(NETWORKS[name])
    w = tf.constant(0.3 * draws(*([2] if stacked else []), network.num_params))
    x = inputs_of(network.model, 3)
    x = tf.nest.map_structure(lambda a: tf.stack([a, a + 0.1]), x) if stacked else x
    outputs, jacobian = outputs_and_jacobian(network, w, x)
    np.testing.assert_allclose(outputs, network(w, x), atol=1e-6)
    deviation = tf.constant(draws(network.num_params, seed=2))
    ahead, behind = (network(w + s * 1e-2 * deviation, x) for s in (1, -1))
    np.testing.assert_allclose(tf.linalg.matvec(jacobian, deviation), (ahead - behind) / 2e-2, atol=2e-3)


def test_a_problem_with_a_learned_prior_is_expanded_in_theta():
    """The expansion is in u and in the log-scales: that of the outputs as a function of θ."""
    problem = Problem(mlp(3, 2, (4,)), "gaussian", "learned", 10)
    theta, deviation = (tf.constant(0.3 * draws(2, problem.num_params, seed=seed)) for seed in (0, 1))
    x = tf.constant(draws(2, 5, 3))
    found = LinearisedProblem(problem).apply(tf.concat([theta, deviation], axis=-1), x)
    ahead, behind = (problem.apply(theta + s * 1e-2 * deviation, x) for s in (1, -1))
    np.testing.assert_allclose(found, problem.apply(theta, x) + (ahead - behind) / 2e-2, atol=2e-3)


def test_expanded_draws_hold_the_point_and_the_deviation():
    point, loc = tf.constant([1.0, 2.0]), tf.constant([1.5, 2.5])
    linearised = Linearised(point, MeanField(loc, tf.ones([2])))
    mixed = Mixture((linearised, Point(tf.constant([5.0, 6.0]))))
    found = expanded(mixed).sample(4, 3).numpy()
    theta = mixed.sample(4, 3).numpy()
    np.testing.assert_array_equal(found[:2, :2], [[1, 2], [1, 2]])
    np.testing.assert_allclose(found[:2, 2:], theta[:2] - [1, 2])
    np.testing.assert_array_equal(found[2:], [[5, 6, 0, 0]] * 2)
    assert is_linearised(linearised) and not is_linearised(mixed) and is_linearised(Product((linearised,)))


@pytest.mark.parametrize("kind", [Mixture, Product])
def test_arrays_rebuild_linearised_posteriors(kind):
    source = LowRank(tf.constant([1.0, 2.0]), tf.ones([2]), tf.ones([1, 2]))
    found = kind((Linearised(tf.constant([0.0, 1.0]), source), Point(tf.constant([3.0, 4.0]))))
    again = from_arrays(*found.to_arrays())
    np.testing.assert_array_equal(again.sample(4, 1), found.sample(4, 1))
    np.testing.assert_array_equal(expanded(again).sample(4, 1), expanded(found).sample(4, 1))
    assert again.num_distinct is None


def test_a_product_draws_its_parts_independently():
    found = Product((MeanField(tf.zeros([2]), tf.ones([2])), MeanField(tf.ones([1]), tf.ones([1]))))
    sample = found.sample(20_000, 0).numpy()
    np.testing.assert_allclose(np.cov(sample.T), np.eye(3), atol=0.03)
    np.testing.assert_allclose(found.mean(), [0, 0, 1])


@pytest.mark.parametrize("members", [1, 2])
def test_a_model_predicts_linearly_before_and_after_saving(members, tmp_path):
    """The mean over many draws is that of the linear model, f + J (m − θ*), although the weights' spread is large."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    method = GaussNewton(steps=20)
    model = bnnrl.BayesianModel(
        network, bnnrl.likelihoods.Gaussian(0.5), method=method if members == 1 else Ensemble(method, members)
    )
    x = np.linspace(-1, 1, 5)[:, np.newaxis].astype(np.float32)
    model.fit(x, np.sin(3 * x), batch_size=None, epochs=21, verbose=0)
    found: Any = model.posterior
    parts = found.components if members > 1 else (found,)
    far = np.array([[-4.0], [0.0], [4.0]], np.float32)
    linear = []
    for part in parts:
        outputs, jacobian = outputs_and_jacobian(model._problem.network, model._problem.split(part.point)[0], far)
        change = (part.mean() - part.point)[: jacobian.shape[-1]] * model._problem.weight_scales(part.point)
        linear.append(outputs + tf.linalg.matvec(jacobian, change))
    expected = np.mean(linear, axis=0)
    found = model.predict_samples(far, 4000)
    np.testing.assert_allclose(model.predict(far, 4000), expected, atol=4 * found.std() / np.sqrt(4000))
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "model").predict(far), model.predict(far))
