"""Class probabilities of Laplace's approximation by the probit approximation."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
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
    """Return the mean [7, 2] and the covariance [7, 2, 2] of the logits of the linearised network, by its Jacobian."""
    found = model.posterior
    theta = found.sample(200_000, 3)
    outputs, jacobian = outputs_and_jacobian(model._problem.network, found.point, x)
    cov = np.cov(np.asarray(theta - found.point, np.float64).T)
    return outputs.numpy(), np.einsum("bti,ij,buj->btu", jacobian, cov, jacobian)


def of_two_classes(mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Return the probabilities by the difference of the logits, which is normal."""
    variance = cov[:, 0, 0] + cov[:, 1, 1] - 2 * cov[:, 0, 1]
    second = expit((mean[:, 1] - mean[:, 0]) / np.sqrt(1 + np.pi / 8 * variance))
    return np.stack([1 - second, second], axis=1)


@pytest.mark.parametrize("structure", ["full", "kronecker", "diagonal", "last_layer"])
@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli"])
def test_logits_are_divided_by_their_width(structure, likelihood):
    model, x = fitted(mlp(hidden=(3,)), likelihood, structure)
    mean, cov = moments(model, x)
    if likelihood == "categorical":
        expected = of_two_classes(mean, cov)
    else:
        expected = expit(mean / np.sqrt(1 + np.pi / 8 * np.diagonal(cov, axis1=1, axis2=2)))
    np.testing.assert_allclose(model.predict(x, probit=True), expected, atol=3e-3)
    np.testing.assert_allclose(model.predict(x, 2000), expected, atol=0.05)


def test_networks_of_other_layers_and_mixtures():
    model, x = fitted(networks()["two inputs"], "categorical", "full")
    np.testing.assert_allclose(model.predict(x, 2000), model.predict(x, probit=True), atol=0.05)
    one, part = model.predict(x, probit=True), model.posterior
    model.become(mixture([part, part]))
    np.testing.assert_allclose(model.predict(x, probit=True), one, rtol=1e-6)


def test_five_classes_have_nearly_the_probabilities_of_draws():
    x = draws(60, 3)
    y = np.arange(60) % 5
    model = bnnrl.laplace(mlp(num_outputs=5), (x, y), "categorical", "last_layer", tfd.Normal(0.0, 1.0))
    probs = model.predict(x, probit=True)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(probs, model.predict(x, 4000), atol=0.03)


def test_a_temperature_divides_the_logits():
    model, x = fitted(mlp(hidden=(3,)), "categorical", "full")
    rows = draws(40, 3, seed=5)
    temperature = float(model.calibrate(rows, np.arange(40) % 2, method="temperature").values)
    mean, cov = moments(model, x)
    expected = of_two_classes(mean / temperature, cov / temperature**2)
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
