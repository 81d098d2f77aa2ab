"""Class probabilities of Laplace's approximation by the probit approximation."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import inference
from bnnrl.jacobian import outputs_and_jacobian
from bnnrl.posterior import mixture
from tests.scenarios import draws, inputs_of, mlp, networks

pytestmark = pytest.mark.usefixtures("without_xla")


def fitted(network, likelihood, structure, rows=20) -> tuple[bnnrl.BayesianModel, Any]:
    """Return Laplace's approximation around an untrained network, and other inputs."""
    x = inputs_of(network, rows)
    y = np.arange(rows) % 2 if likelihood == "categorical" else (draws(rows, 2, seed=9) > 0).astype(int)
    return bnnrl.laplace(network, (x, y), likelihood, structure, tfd.Normal(0.0, 1.0)), inputs_of(network, 7)


def moments(model, x) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance of the logits of the linearised network, [7, 2] each, by its Jacobian."""
    found = model.posterior
    theta = found.sample(200_000, 3)
    outputs, jacobian = outputs_and_jacobian(model._problem.network, found.point, x)
    cov = np.cov(np.asarray(theta - found.point, np.float64).T)
    return outputs.numpy(), np.einsum("bti,ij,btj->bt", jacobian, cov, jacobian)


@pytest.mark.parametrize("structure", ["full", "kronecker", "diagonal", "last_layer"])
@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_logits_are_divided_by_their_width(structure, likelihood):
    model, x = fitted(mlp(hidden=(3,)), likelihood, structure)
    mean, variance = moments(model, x)
    expected = mean / np.sqrt(1 + np.pi / 8 * variance)
    expected = softmax(expected, axis=-1) if likelihood == "categorical" else expit(expected)
    np.testing.assert_allclose(model.predict(x, probit=True), expected, atol=3e-3)
    np.testing.assert_allclose(model.predict(x, 2000), expected, atol=0.05)


def test_networks_of_other_layers_and_mixtures():
    model, x = fitted(networks()["two inputs"], "categorical", "full")
    np.testing.assert_allclose(model.predict(x, 2000), model.predict(x, probit=True), atol=0.05)
    one, part = model.predict(x, probit=True), model.posterior
    model.become(mixture([part, part]))
    np.testing.assert_allclose(model.predict(x, probit=True), one, rtol=1e-6)


def test_a_temperature_divides_the_logits():
    model, x = fitted(mlp(hidden=(3,)), "categorical", "full")
    rows = draws(40, 3, seed=5)
    temperature = float(model.calibrate(rows, np.arange(40) % 2, method="temperature").values)
    mean, variance = moments(model, x)
    expected = softmax(mean / temperature / np.sqrt(1 + np.pi / 8 * variance / temperature**2), axis=-1)
    np.testing.assert_allclose(model.predict(x, probit=True), expected, atol=3e-3)


def test_other_models_are_refused():
    x, y = draws(20, 3), draws(20, 2)
    numbers = bnnrl.laplace(mlp(), (x, y), "gaussian")
    with pytest.raises(ValueError, match=r"`probit`: expected False for a likelihood without classes.*Gaussian"):
        numbers.predict(x, probit=True)
    adam = bnnrl.BayesianModel(mlp(), "categorical", method=inference.Adam())
    adam.fit(x, np.arange(20) % 2, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=r"`probit`: expected False for a posterior that is not linearised"):
        adam.predict(x, probit=True)
    with pytest.raises(ValueError, match="`probit`: expected"):
        adam.predict(x, probit=tf.constant(1))
