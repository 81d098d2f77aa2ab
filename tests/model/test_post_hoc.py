"""bnnrl.laplace: a trained Keras model becomes a BayesianModel whose mean function is the Keras model."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods
from tests.scenarios import draws, linear_regression, networks, trained_network

pytestmark = pytest.mark.usefixtures("without_xla")


def test_a_linear_model_has_its_exact_posterior_and_evidence_over_all_rows():
    """300 rows are two batches, the second one padded; the Keras weights are the exact posterior mean."""
    line = linear_regression(300)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.set_weights([line.mean[:2, np.newaxis], line.mean[2:]])
    prior, likelihood = tfd.Normal(0.0, line.prior), likelihoods.Gaussian(line.noise)
    model = bnnrl.laplace(network, (line.x, line.y), likelihood, structure="full", prior=prior)
    found: Any = model.posterior
    factor = found.source.factor.numpy()
    np.testing.assert_allclose(factor.T @ factor, line.cov, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(found.mean(), line.mean, rtol=1e-5)
    design = np.c_[line.x, np.ones(300)].astype(np.float64) * line.prior
    cov = design @ design.T + line.noise**2 * np.eye(300)
    y = line.y[:, 0].astype(np.float64)
    expected = -0.5 * (y @ np.linalg.solve(cov, y) + np.linalg.slogdet(2 * np.pi * cov)[1])
    np.testing.assert_allclose(found.log_evidence, expected, rtol=1e-4)


@pytest.fixture(scope="module")
def trained():
    """Return a trained Keras model and its data."""
    return trained_network()


@pytest.mark.parametrize("structure", ["last_layer", pytest.param("kronecker", marks=pytest.mark.slow)])
def test_a_keras_fit_predicts_evaluates_and_is_saved(trained, structure, tmp_path):
    network, x, y = trained
    before = network.predict(x, verbose=0)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    model = bnnrl.laplace(network, data, "gaussian", structure)
    np.testing.assert_allclose(model._problem.apply(model.posterior.mean(), x), before, atol=1e-5)
    outputs = model.predict_samples(x, 1000)
    np.testing.assert_allclose(outputs.mean(axis=0), before, atol=4 * outputs.std() / np.sqrt(1000))
    params = model._problem.split(model.posterior.mean())[1]
    noise = float(np.squeeze(model._problem.likelihood(outputs[0], params).stddev()[0]))
    rmse = np.sqrt(np.mean((before - y) ** 2))
    assert rmse < noise < 1.2 * rmse  # degrees of freedom make the noise larger than the residuals
    assert 0.85 < model.evaluate(x, y)["picp_95"] <= 1
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "model").predict(x), model.predict(x))


def test_batch_normalisation_keeps_the_statistics_of_the_keras_model():
    network: Any = networks()["batch norm"]
    network.layers[1].moving_mean.assign([0.3, -0.2, 0.1, 0.5])
    x = draws(20, 3)
    model = bnnrl.laplace(network, (x, x[:, :2]), likelihoods.Gaussian(0.3))
    outputs = model.predict_samples(x, 1000)
    error = 5 * outputs.std(axis=0).max() / np.sqrt(1000)
    np.testing.assert_allclose(outputs.mean(axis=0), network.predict(x, verbose=0), atol=error)


def test_classes_have_the_keras_models_logits():
    network: Any = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    x = draws(12, 2)
    model = bnnrl.laplace(network, (x, np.arange(12) % 3), "categorical")
    np.testing.assert_allclose(model.predict(x).sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        model._problem.apply(model.posterior.mean(), x), network.predict(x, verbose=0), atol=1e-5
    )
