"""Laplace's approximation by samples: the exact posterior of linear models, and the scales of the largest evidence."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods
from bnnrl.inference import Laplace, laplace_samples, nystrom
from bnnrl.inference.laplace_evidence import Evidence
from bnnrl.inference.laplace_normal import Full
from bnnrl.inference.laplace_samples import RowProducts, SampledEvidence
from bnnrl.problem import Problem
from tests.scenarios import draws, linear_regression, mlp

pytestmark = pytest.mark.usefixtures("without_xla")


def network(inputs=3):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2)])


def problem_and_batch(name, prior: Any = None):
    """Return a problem of 40 rows of 2 outputs, θ, and all rows as a batch with 3 rows of padding."""
    x = draws(43, 3)
    y = np.arange(43) % 2 if name == "classes" else np.stack([x[:, 0], np.sin(x[:, 1])], 1) + 0.1 * draws(43, 2, seed=1)
    likelihood = {
        "classes": likelihoods.Categorical(),
        "fixed": likelihoods.Gaussian(0.3),
        "learned": likelihoods.Gaussian(),
        "own": likelihoods.StudentT(),
    }[name]
    problem = Problem(network(), likelihood, prior or tfd.Normal(0.0, 0.8), 40)
    theta = tf.constant(0.5 * draws(problem.num_params))
    weight = tf.constant([1.0] * 40 + [0.0] * 3)
    return problem, theta, (tf.constant(x), tf.constant(y), weight)


def dense(method, problem, theta, batch):
    """Return the curvature of "full" as a matrix, at the same θ."""
    full: Any = method._on_host(problem, method.at(problem, theta, [batch]))
    return full.matrix


@pytest.mark.parametrize("name", ["classes", "fixed", "learned", "own"])
def test_products_are_those_of_the_gauss_newton_matrix(name):
    problem, theta, batch = problem_and_batch(name)
    expected = dense(Laplace(structure="full"), problem, theta, batch)
    state = Laplace(structure="samples").at(problem, theta, [batch])
    factors = state.curvature.some(slice(None))
    u = tf.constant(draws(4, len(expected)), tf.float64)
    found = factors.transposed_times(factors.times(u)) + state.curvature.own.numpy() * u
    np.testing.assert_allclose(found, u @ expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_samples_of_conjugate_regression_have_the_exact_mean_and_covariance():
    """4000 samples: the standard error of a variance is √(2 / 4000) = 2.2 % of it; five of them are allowed."""
    line = linear_regression(24)
    x, y = line.data
    halves = [(x[:12], y[:12], tf.ones(12)), (x[12:], y[12:], tf.ones(12))]
    method = Laplace(structure="samples", samples=4000)
    found: Any = method.posterior(line.problem, method.at(line.problem, tf.constant(line.mean, tf.float32), halves))
    np.testing.assert_allclose(found.mean(), line.mean, rtol=1e-6)
    assert found.log_evidence is None and found.source.factor.shape == (4000, 3)
    samples = found.source.factor.numpy() * np.sqrt(4000)
    width = np.sqrt(np.diag(line.cov))
    np.testing.assert_allclose(samples.mean(axis=0) / width, 0, atol=5 / np.sqrt(4000))
    error = (samples.T @ samples / 4000 - line.cov) / np.outer(width, width)
    assert np.abs(error).max() < 5 * np.sqrt(2 / 4000)


def test_each_sample_solves_its_least_squares_problem_however_stiff():
    """Eigenvalues go from 1 to 1e6 in units of the prior; a sample is the solution of a dense system."""
    problem, theta, batch = problem_and_batch("fixed")
    state = Laplace(structure="samples").at(problem, theta, [batch])
    precision, factor = np.geomspace(1e-3, 1e2, problem.num_params), np.full(problem.num_params, 3.0)
    products = RowProducts(state.curvature._replace(own=np.zeros(problem.num_params)), 16)
    matrix = dense(Laplace(structure="full"), problem, theta, batch)
    B = factor[:, np.newaxis] * matrix * factor / np.sqrt(np.outer(precision, precision))
    assert np.linalg.eigvalsh(B).max() > 1e6
    inverse = np.linalg.inv(np.eye(len(B)) + B)
    root = products.normal(np.zeros(len(B)), precision, factor, np.ones(len(B)), 0).factor.numpy()
    z = 4 * root * np.sqrt(precision)
    b = products._drawn(tf.constant(factor / np.sqrt(precision)), 16, 0).numpy()
    np.testing.assert_allclose(z, b @ inverse, atol=5e-3)
    share = products.determined(precision, factor)
    expected, off_diagonal = 1 - np.diag(inverse), inverse - np.diag(np.diag(inverse))
    assert np.all(np.abs(share - expected) < 5 * np.sqrt(np.square(off_diagonal).sum(axis=1) / 16) + 1e-3)
    assert abs(share.sum() - expected.sum()) < 4 * np.sqrt(2 * np.square(off_diagonal).sum() / 16)


def test_rounds_without_end_are_told_of(monkeypatch):
    problem, theta, batch = problem_and_batch("fixed")
    monkeypatch.setattr(laplace_samples, "_ITERATIONS", 2)
    monkeypatch.setattr(laplace_samples, "_REST", np.inf)  # so that the preconditioner has a single direction
    monkeypatch.setattr(nystrom, "_FIRST_RANK", 1)
    method = Laplace(structure="samples")
    with pytest.warns(UserWarning, match=r"not exact: after 2 iterations the residual is .* times too large"):
        method.posterior(problem, method.at(problem, theta, [batch]))


def test_prior_and_noise_are_those_of_the_largest_evidence():
    """With the exact shares in place of their estimates, the fixed point is the maximum that L-BFGS finds."""
    problem, theta, batch = problem_and_batch("learned", "learned")
    state = Laplace(structure="full").at(problem, theta, [batch])
    full = Full(dense(Laplace(structure="full"), problem, theta, batch))
    arguments = 0, 40 * float(state.log_likelihood)
    expected = Evidence(problem, theta, full, *arguments).maximised()[0]
    factors = Laplace(structure="samples").at(problem, theta, [batch]).curvature

    class Exact(RowProducts):
        def determined(self, precision, factor):
            return 1 - full.log_det(precision, factor)[1]

    factors = factors._replace(own=factors.own.numpy().astype(float))
    kinds: list[Any] = [Exact(factors, 4), RowProducts(factors, 4)]
    exact, sampled = (SampledEvidence(problem, theta, kind, *arguments) for kind in kinds)
    np.testing.assert_allclose(exact.maximised()[0], expected, atol=0.05)
    # The effective number of parameters of a group, γ of some units, has an error of √(2 γ / 16).
    np.testing.assert_allclose(sampled.maximised()[0], expected, atol=0.3)


def test_a_network_of_classes_predicts_as_with_the_full_matrix(tmp_path):
    x = draws(300, 3)
    y = (x[:, 0] + 0.5 * draws(300) > 0).astype(int)
    network = mlp()
    model, full = (
        bnnrl.laplace(network, (x, y), "categorical", structure, tfd.Normal(0.0, 1.0), samples=400)
        for structure in ("samples", "full")
    )
    far = np.concatenate([x[:20], 4 * x[20:40]])
    # A standard deviation of a logit has an error of 1 / √800 = 4 %, and a probability changes by a quarter of that.
    np.testing.assert_allclose(model.predict(far, probit=True), full.predict(far, probit=True), atol=0.03)
    model.save(tmp_path / "model")
    again: Any = bnnrl.load(tmp_path / "model")
    np.testing.assert_array_equal(again.posterior.sample(2, 1), model.posterior.sample(2, 1))


def test_what_is_refused(monkeypatch):
    x = draws(30, 3)
    layers = keras.layers
    loop = keras.Sequential([keras.Input((3,)), layers.Reshape((3, 1)), layers.LSTM(2), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"`structure`: expected 'last_layer'.*not a plain chain.*Received: 'samples'"):
        bnnrl.laplace(loop, (x, x[:, :2]), likelihoods.Gaussian(0.5), "samples")
    with pytest.raises(ValueError, match=r"`samples`: expected.*Received: .*0"):
        bnnrl.laplace(mlp(), (x, x[:, :2]), likelihoods.Gaussian(0.5), "samples", samples=0)
    model = bnnrl.BayesianModel(mlp(), likelihoods.Gaussian(0.5), method=Laplace(start=1, structure="samples"))
    with pytest.raises(ValueError, match=r"`structure` of a fit: .*'samples', which holds all rows.*bnnrl\.laplace"):
        model.fit(x, x[:, :2], epochs=2, verbose=0)
    few = bnnrl.laplace(mlp(), (x, x[:, :2]), likelihoods.Gaussian(0.5), "samples", samples=8)
    with pytest.raises(ValueError, match="by samples"):
        few.update(x[:2], x[:2, :2])
    monkeypatch.setattr(laplace_samples, "available_bytes", lambda: 2**16)
    words = r"'samples' for 30 rows of 2 outputs, 49 weights and 64 samples, which take .* GiB\. Use 'kronecker'"
    with pytest.raises(ValueError, match=words):
        bnnrl.laplace(mlp(), (x, x[:, :2]), likelihoods.Gaussian(0.5), "samples")
