"""Laplace's approximation in function space: the posterior of "full" by the products of the rows' Jacobians."""

from typing import Any

import keras
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods
from bnnrl.inference import Laplace
from bnnrl.posterior import FunctionSpace
from tests.scenarios import draws, mlp

pytestmark = pytest.mark.usefixtures("without_xla")


def covariance(found: FunctionSpace) -> np.ndarray:
    """Return the covariance of the entries that are not fixed, by its definition."""
    scale, rows = np.asarray(found.scale, np.float64), np.asarray(found.rows, np.float64)
    free = scale > 0
    inner = np.linalg.inv(np.eye(free.sum()) + rows[:, free].T @ rows[:, free])
    return scale[free, np.newaxis] * inner * scale[free]


@pytest.mark.parametrize("prior", ["learned", tfd.Normal(0.0, 0.7)], ids=["learned", "fixed"])
@pytest.mark.parametrize("name", ["learned noise", "classes"])
def test_it_is_the_posterior_of_full(prior, name):
    """300 rows are two batches, the second one padded."""
    x = draws(300, 3)
    y = np.arange(300) % 2 if name == "classes" else x[:, :2] + 0.1 * draws(300, 2, seed=1)
    likelihood = likelihoods.Categorical() if name == "classes" else likelihoods.Gaussian()
    network = mlp()
    found, full = (bnnrl.laplace(network, (x, y), likelihood, s, prior).posterior for s in ("function", "full"))
    assert isinstance(found, bnnrl.posterior.Linearised) and isinstance(found.source, FunctionSpace)
    expected: Any = full
    evidence: Any = found.log_evidence
    cov = expected.source.factor.numpy().T @ expected.source.factor.numpy()
    size = int(np.sum(found.source.scale > 0))
    np.testing.assert_allclose(found.mean(), full.mean(), atol=2e-3)
    np.testing.assert_allclose(covariance(found.source), cov[:size, :size], atol=2e-3 * np.abs(cov).max())
    np.testing.assert_allclose(evidence, expected.log_evidence, rtol=1e-4)


def test_draws_and_density_are_those_of_the_covariance(tmp_path):
    model = bnnrl.laplace(mlp(hidden=(2,)), (draws(5, 3), draws(5, 2)), likelihoods.Gaussian(0.5), "function")
    found: Any = model.posterior
    cov: Any = covariance(found.source)
    theta = found.sample(40_000, 0).numpy()
    free = found.source.scale.numpy() > 0
    deviation = (theta - found.mean().numpy())[:, free]
    width = np.sqrt(np.diag(cov))
    error = (np.cov(deviation.T) - cov) / np.outer(width, width)
    assert np.abs(error).max() < 5 * np.sqrt(2 / 40_000)
    np.testing.assert_allclose(deviation.mean(axis=0) / width, 0, atol=5 / np.sqrt(40_000))
    np.testing.assert_array_equal(theta[:, ~free], np.broadcast_to(found.mean()[~free], theta[:, ~free].shape))
    expected = multivariate_normal(cov=cov).logpdf(deviation[:4])
    np.testing.assert_allclose(found.log_prob(theta[:4]), expected, rtol=1e-4)
    model.save(tmp_path / "model")
    again: Any = bnnrl.load(tmp_path / "model")
    np.testing.assert_array_equal(again.posterior.sample(2, 1), found.sample(2, 1))
    with pytest.raises(ValueError, match="function space"):
        model.update(draws(2, 3), draws(2, 2))


def test_full_takes_it_where_weights_are_many_and_rows_are_few():
    wide = keras.Sequential([keras.Input((3,)), keras.layers.Dense(900, "tanh"), keras.layers.Dense(2)])
    x = draws(20, 3)
    model = bnnrl.laplace(wide, (x, x[:, :2]), likelihoods.Gaussian(0.1), "full", tfd.Normal(0.0, 1.0))
    assert model.method.structure == "function"
    outputs = model.predict_samples(np.concatenate([x, 10 + x]), 50)
    assert outputs[:, :20].std(axis=0).mean() < 0.2 < outputs[:, 20:].std(axis=0).mean()


def test_data_that_are_too_many_and_fits_are_refused():
    x = draws(2001, 3)
    words = r"'function' for 2001 rows of 2 outputs and 49 weights, which takes a matrix of 4002 rows, 0\.1 GiB.*'full'"
    with pytest.raises(ValueError, match=words):
        bnnrl.laplace(mlp(), (x, x[:, :2]), likelihoods.Gaussian(0.5), "function")
    model = bnnrl.BayesianModel(mlp(), likelihoods.Gaussian(0.5), method=Laplace(start=1, structure="function"))
    with pytest.raises(ValueError, match=r"`structure` of a fit: .*'function', which holds all rows.*bnnrl\.laplace"):
        model.fit(x, x[:, :2], epochs=1, verbose=0)
    classes = bnnrl.laplace(mlp(), (x[:9], np.arange(9) % 2), "categorical", "function", tfd.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"`probit`: expected False for .* in function space"):
        classes.predict(x, probit=True)
