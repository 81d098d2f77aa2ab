"""Variational Bayesian last layers: the bound, the posterior of a linear model, and predictions."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl.around_point import AroundPoint
from bnnrl.inference import VBLL, Driver, Ensemble, Schedule
from bnnrl.inference.last_layer import Diagonal, Full, LastLayer
from bnnrl.likelihoods import Gaussian
from bnnrl.linearised import LinearisedProblem, expanded
from bnnrl.network import Network
from bnnrl.posterior import Linearised, MeanField, Mixture, Product
from bnnrl.priors import Learned
from bnnrl.problem import Problem
from bnnrl.seeds import MemberSeed, as_seed, fast_normal, fold_in
from tests.scenarios import draws, gaussian_target, linear_regression, mlp, networks

pytestmark = pytest.mark.usefixtures("without_xla")
PRIORS = [tfd.Normal(0.3, 0.7), tfd.Laplace(0.0, 1.0), "learned", Learned("half_cauchy")]


def _moments(found: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the covariance of the posterior of a linear model."""
    source = found.source
    if isinstance(source, MeanField):
        return np.asarray(source.loc), np.diag(np.square(source.scale))
    factor = np.asarray(source.factor, np.float64)
    return np.asarray(source.loc), factor.T @ factor


@pytest.mark.parametrize("line", [linear_regression(24), gaussian_target()], ids=["regression", "any covariance"])
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_q_of_a_linear_model_is_the_posterior_or_the_best_independent_one(line, covariance):
    method = VBLL(Schedule(0.1, 1e-6, 1500), covariance)
    state, _ = Driver(line.problem, method, None).run(method.init(line.problem, 0), line.data, 1500, seed=0)
    mean, cov = _moments(method.posterior(line.problem, state))
    expected = line.cov if covariance == "full" else np.diag(1 / np.diag(np.linalg.inv(line.cov)))
    std = np.sqrt(np.diag(line.cov))
    np.testing.assert_allclose(mean / std, line.mean / std, atol=1e-3)
    np.testing.assert_allclose(cov / np.outer(std, std), expected / np.outer(std, std), atol=1e-3)


def _log_joint(problem: Problem, theta: tf.Tensor, batch) -> tf.Tensor:
    spread = tuple(tf.broadcast_to(a, [theta.shape[0], *a.shape]) for a in batch)
    return tf.reduce_mean(problem.log_joint(theta, spread))


@pytest.mark.parametrize("prior", PRIORS, ids=["normal", "Laplace", "learned", "half-Cauchy"])
@pytest.mark.parametrize(
    ("likelihood", "outputs", "last"),
    [
        (Gaussian("learned"), 2, "linear"),
        (Gaussian(0.3), 2, "linear"),
        ("heteroscedastic", 4, "linear"),
        ("categorical", 3, "linear"),
        (Gaussian(0.3), 2, "softplus"),
    ],
    ids=["learned scale", "fixed scale", "heteroscedastic", "classes", "activation"],
)
def test_the_step_follows_the_gradient_of_the_bound(prior, likelihood, outputs, last):
    """A step agrees with automatic differentiation of the bound over many draws, with padding and without."""
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(outputs, last)])
    problem = Problem(network, likelihood, prior, 50)
    S, D, layer = 4000, problem.num_params, LastLayer.of(problem.network)
    y = np.array([0, 1, 2, 1, 0, 2]) if likelihood == "categorical" else draws(6, 2)
    batch = tf.constant(draws(6, 3)), tf.constant(y)
    method = VBLL(draws=S, std_init=0.1)
    state = method.init(problem, 0)
    rho = state.rho.theta + 0.1 * draws(*state.rho.theta.shape)
    state = state._replace(rho=state.rho._replace(theta=rho))
    epsilon = fast_normal([S, layer.size], fold_in(as_seed(3), 0))
    epsilon = tf.reshape(epsilon, [S, layer.columns, layer.rows])
    if last == "linear":  # draws of exact first and second moments, of which a quadratic bound has no error
        epsilon = tf.concat([epsilon, -epsilon], axis=0)
        roots = [np.linalg.cholesky(np.cov(epsilon[:, o].numpy().T, ddof=0)) for o in range(layer.columns)]
        epsilon = tf.constant(np.einsum("oij,soj->soi", np.linalg.inv(roots), epsilon), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch((state.theta, rho))
        root = tf.linalg.set_diag(tf.linalg.band_part(rho, -1, 0), tf.exp(tf.linalg.diag_part(rho)))
        moved = tf.einsum("oij,soj->sio", root, epsilon)
        start = layer.offset + layer.size
        before, after = (tf.zeros([epsilon.shape[0], n]) for n in (layer.offset, D - start))
        theta = state.theta + tf.concat([before, tf.reshape(moved, [epsilon.shape[0], -1]), after], axis=-1)
        entropy = 0.5 * tf.reduce_sum(tf.linalg.slogdet(root @ tf.linalg.matrix_transpose(root))[1])
        loss = -(_log_joint(problem, theta, batch) + entropy) / 50
    expected = tape.gradient(loss, (state.theta, rho))
    padded = (
        *(tf.concat([a, a[:2] * 0 + 7 if a.dtype.is_floating else a[:2]], axis=0) for a in batch),
        [1.0] * 6 + [0.0] * 2,
    )
    for rows in (batch, tuple(map(tf.convert_to_tensor, padded))):
        found, _ = method.step(problem, state, rows, as_seed(3))
        for got, grad in zip((found.mu.m, found.rho.m), expected, strict=True):
            # Draws of outputs are others than those of `grad`, which explains the tolerance.
            largest = np.abs(grad if isinstance(likelihood, Gaussian) else expected[0]).max()
            tolerance = 0.01 if isinstance(likelihood, Gaussian) else 0.05
            np.testing.assert_allclose(got / 0.1, grad, atol=tolerance * largest, rtol=1e-3)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_variances_along_and_draws_belong_to_the_same_distribution(covariance):
    layer = LastLayer.of(Network(mlp(3, 2)))
    q = (Full if covariance == "full" else Diagonal).start([], layer, 0.5)
    q = q._replace(rho=q.rho + 0.3 * draws(*q.rho.shape))
    x, scales = draws(4, layer.rows, seed=1), np.exp(0.3 * draws(layer.rows, layer.columns, seed=2))
    moved = q.deviations(tf.constant(draws(40_000, layer.columns, layer.rows, seed=3))).numpy()
    np.testing.assert_allclose(moved.var(axis=0), q.variances, rtol=0.05)
    along = np.einsum("bi,soi,io->sbo", x, moved, scales)
    np.testing.assert_allclose(along.var(axis=0), q.variance_along(tf.constant(x), tf.constant(scales)), rtol=0.05)
    entries = layer.entries(tf.constant(moved)).numpy()
    own = np.asarray(q.normal(layer, tf.zeros([layer.size + 3])).sample(40_000, 0))
    np.testing.assert_allclose(np.cov(own[:, :-3].T), np.cov(entries.T), atol=0.03)
    assert not np.any(own[:, -3:])
    logs = [np.linalg.slogdet(np.cov(moved[:, o].T))[1] for o in range(layer.columns)]
    np.testing.assert_allclose(q.log_det, 0.5 * np.sum(logs), atol=0.05)


@pytest.mark.parametrize(
    ("name", "offset", "rows", "columns"),
    [("dense", 3 * 5 + 5 * 4 + 4, 5, 2), ("conv", 20 + 18, 9, 2), ("LSTM", 84, 4, 2), ("subclassed", 24, 5, 2)],
)
def test_the_last_layer_is_the_last_kernel_with_its_bias(name, offset, rows, columns):
    assert LastLayer.of(Network(networks()[name])) == (offset, rows, columns, True)


def test_weights_after_the_last_kernel_that_are_not_its_bias_are_points():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, use_bias=False), keras.layers.LayerNormalization()]
    )
    assert LastLayer.of(Network(model)) == (0, 3, 2, False)
    problem = Problem(model, Gaussian(0.5), tfd.Normal(0.0, 1.0), 12)
    method = VBLL()
    found = np.asarray(method.posterior(problem, method.init(problem, 0)).sample(5, 0))
    assert np.all(found[:, 6:] == found[0, 6:]) and np.all(found[0, :6] != found[1, :6])


def _fitted(last: keras.layers.Layer, method: Any, likelihood: Any = "gaussian") -> bnnrl.BayesianModel:
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(8, "tanh"), last])
    model = bnnrl.BayesianModel(network, likelihood, method=method)
    model.fit(draws(64, 2), np.square(draws(64, 2, seed=1)), epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("method", [VBLL(0.01), Ensemble(VBLL(0.01, "diagonal"), 2)], ids=["one", "ensemble"])
def test_draws_share_the_hidden_layers(method):
    model = _fitted(keras.layers.Dense(2), method)
    found, x = model.posterior, draws(5, 2, seed=2)
    parts = found.components if isinstance(found, Mixture) else (found,)
    assert all(isinstance(part, Linearised) for part in parts)
    assert all(isinstance(piece, AroundPoint) for piece in model._predictor.draw(found, 6, 0))
    theta = found.sample(6, 3)
    outputs = model._problem.apply(theta, tf.constant(np.tile(x, [6, 1, 1])))
    shared = tf.concat([model._predictor.outputs(piece, x) for piece in model._predictor.draw(found, 6, 3)], axis=0)
    np.testing.assert_allclose(shared, outputs, atol=1e-5)


def test_outputs_that_are_not_linear_in_the_last_layer_are_those_of_the_network(tmp_path):
    model = _fitted(keras.layers.Dense(2, "softplus"), VBLL(0.01))
    found, x = model.posterior, draws(5, 2, seed=2)
    assert isinstance(found, Product)
    theta = found.sample(6, 3)
    outputs = model._problem.apply(theta, tf.constant(np.tile(x, [6, 1, 1])))
    both = LinearisedProblem(model._problem).apply(expanded(found).sample(6, 3), tf.constant(np.tile(x, [6, 1, 1])))
    np.testing.assert_allclose(both, outputs, atol=1e-5)
    before = model.predict(x, 7, seed=1)
    model.save(tmp_path / "m")
    np.testing.assert_allclose(bnnrl.load(tmp_path / "m").predict(x, 7, seed=1), before, rtol=1e-5)


def test_a_frozen_base_leaves_a_linear_model():
    """With all hidden layers frozen, q is the posterior of the linear model on their outputs."""
    base = keras.layers.Dense(4, "tanh", trainable=False)
    network = keras.Sequential([keras.Input((2,)), base, keras.layers.Dense(1)])
    x, y = draws(40, 2), draws(40, 1, seed=1)
    problem = Problem(network, Gaussian(0.5), tfd.Normal(0.0, 1.0), 40)
    method = VBLL(Schedule(0.1, 1e-6, 1500))
    state, _ = Driver(problem, method, None).run(
        method.init(problem, 0), (tf.constant(x), tf.constant(y)), 1500, seed=0
    )
    mean, cov = _moments(method.posterior(problem, state))
    design = np.c_[np.asarray(base(x), np.float64), np.ones(40)]
    exact = np.linalg.inv(design.T @ design / 0.25 + np.eye(5))
    std = np.sqrt(np.diag(exact))
    np.testing.assert_allclose(cov / np.outer(std, std), exact / np.outer(std, std), atol=2e-3)
    np.testing.assert_allclose(mean / std, exact @ design.T @ y[:, 0] / 0.25 / std, atol=2e-3)


@pytest.mark.parametrize("likelihood", ["heteroscedastic", "categorical", "poisson"])
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_members_side_by_side_take_the_steps_of_members_alone(likelihood, covariance):
    problem = Problem(mlp(3, 2), likelihood, tfd.Normal(0.0, 1.0), 50)
    method = VBLL(covariance=covariance, draws=3)
    x, y = draws(2, 6, 3), np.random.default_rng(1).integers(0, 2, (2, 6)).astype(np.float32)
    if likelihood != "categorical":
        y = np.stack([y, y], axis=-1)[..., : 1 if likelihood == "heteroscedastic" else 2]
    batch = tf.constant(x), tf.constant(y)
    state = Ensemble(method, 2).init(problem, 0)
    both, _ = method.step(problem, state, batch, as_seed(3))
    for i in range(2):
        take = lambda tree: tf.nest.map_structure(lambda a: a[i] if a.shape.rank else a, tree)  # noqa: B023
        alone, _ = method.step(problem, take(state), take(batch), MemberSeed(as_seed(3), tf.constant(i), 2))
        for found, expected in zip(tf.nest.flatten(take(both)), tf.nest.flatten(alone), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_new_rows_narrow_the_last_layer(covariance):
    """`update` takes new rows alone, and the rows of the first fit need not be there."""
    model = _fitted(keras.layers.Dense(2), VBLL(0.01, covariance), Gaussian(0.5))
    at = draws(5, 2, seed=2)
    before = model.predict_samples(at, 500, seed=0).std(axis=0)
    assert model.update(draws(200, 2, seed=3), draws(200, 2, seed=4), verbose=0) is None
    after = model.predict_samples(at, 500, seed=0).std(axis=0)
    assert np.all(after < 0.8 * before)


def test_a_last_layer_that_is_too_large_for_full_covariances_is_refused_with_the_remedy():
    problem = Problem(mlp(2, 400, (10,)), "categorical", tfd.Normal(0.0, 1.0), 5)
    with pytest.raises(ValueError, match="`covariance`: expected 'diagonal'.* 4400 weights, 11 for each of 400"):
        VBLL().init(problem, 0)
    assert VBLL(covariance="diagonal").init(problem, 0).rho.theta.shape == (400, 11)


@pytest.mark.parametrize(
    "bad",
    [{"learning_rate": 0}, {"covariance": "ful"}, {"std_init": 0}, {"draws": 0}, {"beta_2": 1}, {"linearised": 1}],
)
def test_hyper_parameters_are_checked(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=rf"`{name}`: expected.*Received"):
        VBLL(**bad)
