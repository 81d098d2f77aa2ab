"""`BayesianModel.update`: new rows without a fit from the start."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import inference, likelihoods
from bnnrl.posterior import Kronecker, Linearised, LowRank, MeanField, Product
from tests.scenarios import draws, linear_regression, mlp, networks, trained_network

pytestmark = pytest.mark.usefixtures("without_xla")
FAST = inference.Adam(inference.Schedule(0.05, 0.0, 300))


def moments(model) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [D] and the covariance [D, D] of a normal posterior."""
    source: Any = model.posterior
    mean = source.mean().numpy()
    source = source.source if isinstance(source, Linearised) else source
    source = source.components[-1] if isinstance(source, Product) else source
    if isinstance(source, LowRank):
        return mean, source.factor.numpy().T @ source.factor.numpy()
    if isinstance(source, MeanField):
        return mean, np.diag(source.scale.numpy() ** 2)
    assert isinstance(source, Kronecker)
    blocks = [
        np.kron(left, right) * np.reshape(s, -1)
        for left, s, right in zip(source.lefts, source.scales, source.rights, strict=True)
    ]
    assert len(blocks) == 1
    return mean, blocks[0] @ blocks[0].T


def posterior_of(design: np.ndarray, line, rows=slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact mean and covariance of a linear regression by some rows."""
    cov = np.linalg.inv(design[rows].T @ design[rows] / line.noise**2 + np.eye(3) / line.prior**2)
    return cov @ design[rows].T @ line.y[rows, 0] / line.noise**2, cov


@pytest.fixture(scope="module")
def line():
    """Return a linear regression of 300 rows, and its design matrix with a column of ones."""
    found = linear_regression(300)
    return found, np.c_[found.x, np.ones(300)].astype(np.float64)


def model_of_first(line, design, method) -> bnnrl.BayesianModel:
    """Return a model of a linear network with the posterior of the first 40 rows by Laplace's approximation."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(line.noise), tfd.Normal(0.0, line.prior), method)
    problem, theta = model._problem.with_num_data(40), tf.constant(posterior_of(design, line, slice(40))[0], tf.float32)
    batch = tf.constant(line.x[:40]), tf.constant(line.y[:40]), tf.ones([40])
    model.become(method.posterior(problem, method.at(problem, theta, [batch])))
    return model


@pytest.mark.parametrize(
    ("structure", "linearised"), [("full", True), ("full", False), ("last_layer", True), ("kronecker", True)]
)
def test_a_linear_model_has_the_posterior_of_all_rows_after_two_updates(line, structure, linearised, tmp_path):
    line, design = line
    model = model_of_first(line, design, inference.Laplace(structure=structure, linearised=linearised))
    assert model.update(line.x[40:50], line.y[40:50]) is None
    model.save(tmp_path / "model")
    again = bnnrl.load(tmp_path / "model")
    again.update((line.x[50:], line.y[50:]))
    mean, covariance = moments(again)
    np.testing.assert_allclose(mean, line.mean, rtol=1e-5)
    np.testing.assert_allclose(covariance, line.cov, rtol=1e-4, atol=1e-8)
    if linearised:
        kernel = line.prior**2 * design @ design.T + line.noise**2 * np.eye(300)
        y = line.y[:, 0].astype(np.float64)
        expected = -0.5 * (y @ np.linalg.solve(kernel, y) + np.linalg.slogdet(2 * np.pi * kernel)[1])
        np.testing.assert_allclose(again.posterior.log_evidence, expected, rtol=1e-4)


def test_the_diagonal_adds_the_precisions_of_the_new_rows(line):
    line, design = line
    model = model_of_first(line, design, inference.Laplace(structure="diagonal"))
    model.update(line.x[40:], line.y[40:])
    np.testing.assert_allclose(np.diag(moments(model)[1]), 1 / np.diag(np.linalg.inv(line.cov)), rtol=1e-5)


def test_gauss_newton_learning_takes_new_rows(line):
    line, _ = line
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    prior, method = tfd.Normal(0.0, line.prior), inference.GaussNewton(steps=5)
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(line.noise), prior, method)
    model.fit(line.x[:100], line.y[:100], batch_size=None, epochs=6, verbose=0)
    model.update(line.x[100:], line.y[100:])
    mean, covariance = moments(model)
    np.testing.assert_allclose(mean, line.mean, rtol=1e-4)
    np.testing.assert_allclose(covariance, line.cov, rtol=1e-3, atol=1e-7)


def test_the_program_of_an_update_is_shared_by_models_of_other_numbers(line):
    """Two models of one structure, with another noise: the second one's posterior is that of its own noise."""
    line, design = line
    model_of_first(line, design, inference.Laplace(structure="full")).update(line.x[40:], line.y[40:])
    other = line._replace(noise=2 * line.noise)
    model = model_of_first(other, design, inference.Laplace(structure="full"))
    model.update(line.x[40:], line.y[40:])
    mean, cov = posterior_of(design, other)
    np.testing.assert_allclose(moments(model)[0], mean, rtol=1e-4)
    np.testing.assert_allclose(moments(model)[1], cov, rtol=1e-4, atol=1e-8)


def test_two_outputs_and_a_hidden_layer_by_the_equations():
    """Under a learned prior θ holds u: J and the covariance are those of u, for the last layer and for all."""
    x, y = draws(30, 3), draws(30, 2, seed=1)
    keras.utils.set_random_seed(0)
    model = bnnrl.laplace(mlp(), (x[:20], y[:20]), likelihoods.Gaussian(0.5), "full", prior="learned")
    before: Any = model.posterior
    W = model._problem.network.num_params
    with tf.GradientTape(persistent=True) as tape:
        theta = tf.Variable(before.point)
        outputs = tf.reshape(model._problem.apply(theta, x[20:]), [-1])
    jacobian = np.asarray(tape.jacobian(outputs, theta, experimental_use_pfor=False), np.float64)[:, :W]
    residual = y[20:].ravel() - outputs.numpy() - jacobian @ (before.mean() - before.point).numpy()[:W]
    old = moments(model)[1][:W, :W].astype(np.float64)
    gain = old @ jacobian.T @ np.linalg.inv(jacobian @ old @ jacobian.T + 0.25 * np.eye(20))
    model.update(x[20:], y[20:])
    mean, covariance = moments(model)
    np.testing.assert_allclose(covariance[:W, :W], old - gain @ jacobian @ old, atol=2e-4 * np.abs(old).max())
    np.testing.assert_allclose(mean[:W] - before.mean().numpy()[:W], gain @ residual, atol=2e-4)
    np.testing.assert_array_equal(mean[W:], before.mean()[W:])


@pytest.fixture(scope="module")
def trained():
    """Return a trained Keras model and its data."""
    return trained_network()


def test_kronecker_factors_of_a_deep_network_come_near_those_of_all_rows(trained):
    network, x, y = trained
    order = np.random.default_rng(0).permutation(80)
    x, y = x[order], y[order]
    model = bnnrl.laplace(network, (x[:30], y[:30]), likelihoods.Gaussian(0.1), "kronecker", tfd.Normal(0.0, 1.0))
    before = model.predict_samples(x, 1000).std(axis=0)
    model.update(x[30:], y[30:])
    whole = bnnrl.laplace(network, (x, y), likelihoods.Gaussian(0.1), "kronecker", tfd.Normal(0.0, 1.0))
    width = [m.predict_samples(x, 1000).std(axis=0) for m in (model, whole)]
    assert 0.9 < np.median(width[0] / width[1]) < 1.1
    assert np.median(before / width[1]) > 1.2


def test_classes_end_at_the_mode_of_the_linearised_model():
    x = draws(60, 2)
    labels = (x[:, 0] + 0.5 * draws(60, seed=3) > 0).astype(int)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model = bnnrl.laplace(network, (x[:10], labels[:10]), "categorical", "full", tfd.Normal(0.0, 1.0))
    before: Any = model.posterior
    model.update(x[10:], labels[10:])
    theta = tf.Variable(model.posterior.mean())
    precision = np.linalg.inv(before.source.factor.numpy().T @ before.source.factor.numpy())
    with tf.GradientTape() as tape:
        log_likelihood = model._problem.log_likelihood(theta, (x[10:], labels[10:].astype(np.float32)))
    grad = tape.gradient(log_likelihood, theta).numpy()
    np.testing.assert_allclose(grad, precision @ (theta.numpy() - before.mean().numpy()), atol=0.1)
    assert model.evaluate(x, labels)["accuracy"] > 0.8


def test_rows_far_outside_widen_the_noise_and_not_beyond_their_own(trained):
    """The Fisher step of the log-scale alone, some 200, would overflow; it is halved until the rows become likelier."""
    network, x, y = trained
    model = bnnrl.laplace(network, (x, y), "gaussian")
    far = y[:20] + 20 * draws(20, 1, seed=5)
    old = model.evaluate(x[:20], far)["nll"]
    model.update(x[:20], far)
    assert model.evaluate(x[:20], far)["nll"] < 0.01 * old
    assert model.evaluate(x, y)["rmse"] < 5


@pytest.mark.slow
def test_members_of_an_ensemble_and_batch_normalisation():
    network: Any = networks()["batch norm"]
    x = draws(40, 3)
    y = x[:, :2]
    method = inference.Ensemble(inference.Laplace(inference.Adam(0.05), start=20), 2)
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(0.1), method=method)
    model.fit(x[:20], y[:20], batch_size=10, epochs=12, verbose=0)
    before: Any = model.posterior
    error = model.evaluate(x[20:], y[20:])["rmse"]
    model.update(x[20:], y[20:])
    assert model.evaluate(x[20:], y[20:])["rmse"] < error
    after: Any = model.posterior
    for old, new in zip(before.components, after.components, strict=True):
        np.testing.assert_array_equal(old.point, new.point)
        gain = [np.square(part.source.components[1].factor).sum(axis=0) for part in (old, new)]
        assert np.all(gain[1] < gain[0])


def test_an_ensemble_is_trained_further_with_the_scalers_of_the_first_fit(tmp_path):
    x = 5 + draws(80, 2)
    y = x @ np.array([[2.0], [-1.0]], np.float32) + 0.1 * draws(80, 1, seed=1)
    first = bnnrl.data.load((x[:40], y[:40]), test=0.0, validation=0.25, task="regression")
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, likelihoods.Gaussian(0.1), method=inference.Ensemble(FAST, 3))
    model.fit(first, epochs=40, verbose=0)
    model.calibrate(x[40:], y[40:], level=0.9)
    scaler, before = model.x_scaler, model.posterior.sample(3, 0)
    model.save(tmp_path / "model")
    model = bnnrl.load(tmp_path / "model")
    model.method = inference.Ensemble(inference.Adam(1e-9), 3)
    history = model.update(x[40:], y[40:], replay=first, epochs=1, verbose=0)
    assert history is not None and history.history["loss"]
    np.testing.assert_allclose(model.posterior.sample(3, 0), before, atol=1e-6)
    assert scaler is not None and model.x_scaler is not None
    np.testing.assert_array_equal(model.x_scaler.mean, scaler.mean)
    assert not model.calibrations
    model.method = inference.Ensemble(FAST, 3)
    model.update((x[40:], y[40:]), replay=(x[:40], y[:40]), epochs=40, verbose=0)
    assert model.evaluate(x, y)["rmse"] < 0.13


def test_what_cannot_be_updated_is_refused_with_the_remedy():
    x, y = draws(20, 3), draws(20, 2)
    make = lambda method: bnnrl.BayesianModel(mlp(), likelihoods.Gaussian(0.5), method=method)
    with pytest.raises(ValueError, match="Call `fit`"):
        make("laplace").update(x, y)
    sampler = make(inference.SGLD(1e-5, burn_in=1, thin=1, max_draws=2))
    sampler.fit(x, y, epochs=5, verbose=0)
    with pytest.raises(ValueError, match=r"Received: SGLD, whose draws.*initial=model\.posterior\.sample"):
        sampler.update(x, y)
    adam = make(FAST)
    adam.fit(x, y, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=r"`replay`: expected the earlier rows.*Adam.*forget"):
        adam.update(x, y)
    laplace = bnnrl.laplace(mlp(), (x, y), likelihoods.Gaussian(0.5))
    with pytest.raises(ValueError, match=r"`replay`: expected None.*Laplace holds"):
        laplace.update(x, y, replay=(x, y))
    with pytest.raises(ValueError, match="`x`: expected"):
        laplace.update(x[:, :2], y)
    laplace.method = inference.Laplace(inference.Adam(), start=1)
    laplace.become(inference.Laplace().posterior(laplace._problem, inference.Laplace().init(laplace._problem, 0)))
    with pytest.raises(ValueError, match="curvature is known"):
        laplace.update(x, y)
