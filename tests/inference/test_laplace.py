"""Laplace: the exact posterior of conjugate regression, and curvatures against automatic differentiation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods
from bnnrl.inference import SGD, Adam, Diverged, Driver, Ensemble, Laplace, Schedule
from bnnrl.posterior import LowRank, MeanField, Point
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed
from tests.scenarios import draws, linear_regression, mlp

pytestmark = pytest.mark.usefixtures("without_xla")
ADAM = Adam(Schedule(0.1, 0.0, 500))


def covariance(found):
    assert isinstance(found, LowRank)
    return found.factor.numpy().T @ found.factor.numpy()


@pytest.mark.parametrize("structure", ["full", "last_layer"])
@pytest.mark.parametrize("batch_size", [None, 8])
def test_exact_on_conjugate_regression(structure, batch_size):
    """The network has one layer, which is its last. Three batches of 8 are an epoch."""
    line, method = linear_regression(24), Laplace(ADAM, start=501, structure=structure)
    driver = Driver(line.problem, method, batch_size)
    state, _ = driver.run(method.init(line.problem, 0), line.data, 501 + 6, seed=0)
    assert int(state.seen) == 6
    found = method.posterior(line.problem, state)
    np.testing.assert_allclose(covariance(found), line.cov, rtol=1e-3)
    # θ̂ is the MAP estimate up to the noise of minibatches.
    np.testing.assert_allclose(found.mean(), line.mean, atol=0.1 if batch_size else 1e-3)


def test_the_diagonal_is_the_fisher_matrixs():
    """The Fisher diagonal for normal noise is diag(XᵀX / s²), here averaged over 600 epochs of drawn targets."""
    line, method = linear_regression(24), Laplace(SGD(1e-9), start=1, structure="diagonal")
    driver = Driver(line.problem, method, 8)
    state, _ = driver.run(method.init(line.problem, 0), line.data, 1 + 1800, seed=0)
    found = method.posterior(line.problem, state)
    assert isinstance(found, MeanField)
    np.testing.assert_allclose(found.scale**-2, np.diag(np.linalg.inv(line.cov)), rtol=0.05)


def network_problem(likelihood, num_outputs=2):
    return Problem(mlp(3, num_outputs, (4,)), likelihood, tfd.Normal(0.0, 0.7), 30)


@pytest.mark.parametrize("structure", ["full", "last_layer"])
def test_a_networks_curvature_without_its_negative_part(structure):
    problem = network_problem(likelihoods.Gaussian("learned"))
    x, y = draws(10, 3), draws(10, 2, seed=3)
    theta = tf.constant(0.5 * draws(problem.num_params, seed=2))
    method = Laplace(SGD(1e-9), start=1, structure=structure)
    state = method.init(problem, 0, theta)
    for _ in range(2):
        state, _ = method.step(problem, state, (tf.constant(x), tf.constant(y)), as_seed(0))
    found = method.posterior(problem, state)
    theta, offset = found.mean(), 0 if structure == "full" else 12  # a kernel [3, 4] without bias, then the last
    with tf.GradientTape() as outer:
        outer.watch(theta)
        with tf.GradientTape() as inner:
            inner.watch(theta)
            value = -problem.log_likelihood(theta, (tf.constant(x), tf.constant(y))) / 10
        grad = inner.gradient(value, theta)
    H = outer.jacobian(grad, theta).numpy()[offset:, offset:].astype(np.float64)
    values, vectors = np.linalg.eigh(H)
    assert values.min() < -1e-3  # there is a negative eigenvalue to set to 0
    prior = np.full(problem.num_params, 0.7**-2)
    prior[-2:] = 1 / 9  # the prior precision of the two learned log-scales
    precision = 30 * (vectors * np.maximum(values, 0)) @ vectors.T + np.diag(prior[offset:])
    cov = covariance(found)
    np.testing.assert_allclose(cov[offset:, offset:], np.linalg.inv(precision), rtol=1e-2, atol=1e-5)
    assert not cov[:offset].any()  # the rest of the network is fixed


def test_the_categorical_fisher_matrix():
    """E[(onehot(y) − p)²] x² = p (1 − p) x² for the last kernel of a linear classifier."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, use_bias=False)])
    problem = Problem(network, "categorical", tfd.Normal(0.0, 1.0), 5)
    x, theta = draws(5, 2), draws(6, seed=1)
    method = Laplace(SGD(1e-9), start=1, structure="diagonal")
    driver = Driver(problem, method, None)
    data = tf.constant(x), tf.zeros([5], tf.int32)
    state, _ = driver.run(method.init(problem, 0, tf.constant(theta)), data, 4001, seed=0)
    logits = x @ theta.reshape(2, 3)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.einsum("nf,nk->fk", x**2, p * (1 - p)).ravel() / 5
    np.testing.assert_allclose(state.curvature, expected, rtol=0.1)


@pytest.mark.parametrize("structure", ["full", "last_layer", "diagonal"])
def test_members_have_each_its_own_curvature_and_padding_does_not_matter(structure):
    problem = network_problem(likelihoods.Gaussian(0.5))
    one = Laplace(SGD(1e-3), start=1, structure=structure)
    many, theta = Ensemble(one, 2), 0.5 * draws(2, problem.num_params)
    x, y = draws(12, 3), draws(12, 2, seed=3)
    x[9:], y[9:] = np.nan, np.nan
    drivers = {method: Driver(problem, method, None, jit_compile=False) for method in (one, many)}
    run = lambda method, start, rows: drivers[method].run(
        method.init(problem, 0, tf.constant(start)), (tf.constant(x[:rows]), tf.constant(y[:rows])), 3, 0, num_data=9
    )[0]
    together = run(many, theta, 12)
    assert np.isfinite(together.curvature).all()
    if structure != "diagonal":  # the Fisher diagonal has random targets
        for i in range(2):
            alone = run(one, theta[i], 9)
            np.testing.assert_allclose(together.curvature[i], alone.curvature, rtol=1e-3, atol=1e-4)
    assert np.isfinite(many.posterior(problem.with_num_data(9), together).sample(6, 0)).all()


def test_before_the_last_stage_there_is_a_point():
    line, method = linear_regression(), Laplace(start=3)
    state, _ = Driver(line.problem, method, 8, jit_compile=False).run(
        method.init(line.problem, 0), line.data, 3, seed=0
    )
    assert isinstance(method.posterior(line.problem, state), Point)


def state_of(method, problem, curvature):
    """Return the state after one batch of this curvature, at θ = 0."""
    start = method.init(problem, 0, tf.zeros([problem.num_params]))
    return start._replace(seen=tf.constant(1), curvature=tf.constant(curvature, tf.float32))


def test_a_curvature_that_is_not_finite_is_named():
    problem = network_problem(likelihoods.Gaussian("learned"))
    last = problem.network.paths[1]
    for structure, shape, entry, names in (
        ("last_layer", (12, 12), (2, 7), rf"{last}\[1, 0\] and {last}\[3, 1\]"),
        ("last_layer", (12, 12), (11, 11), "the likelihood's parameter 1"),
        ("diagonal", (24,), (13,), rf"{last}\[0, 1\]"),
    ):
        method, curvature = Laplace(start=1, structure=structure), np.ones(shape)
        curvature[entry] = np.inf
        with pytest.raises(Diverged, match=rf"curvature: .*Received: inf for {names}, the first of 1 .*Standardise"):
            method.posterior(problem, state_of(method, problem, curvature))


def test_a_prior_that_rounding_would_hide_keeps_the_covariance_positive_definite():
    """H = a aᵀ has rank 1, and its rounding in float64 is larger than the prior's precision: Cholesky would fail."""
    std, N = 1e7, 1000
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    problem = Problem(network, likelihoods.Gaussian(1.0), tfd.Normal(0.0, std), N)
    method, a = Laplace(start=1, structure="full"), np.array([1.0, 2.0, 2.0])
    H = 1e4 * np.outer(a, a)
    cov = covariance(method.posterior(problem, state_of(method, problem, H)))
    along = a / 3
    expected = std**2 * (np.eye(3) - np.outer(along, along))  # in float64 the variance along a is 1e-8, next to 1e14
    np.testing.assert_allclose(cov, expected, rtol=1e-3, atol=1e-3 * std**2)


def test_bad_settings():
    for bad in ({"optimizer": "adam"}, {"start": 0}, {"structure": "kronecker"}):
        with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
            Laplace(**bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`prior` for Laplace: expected normal.*Received"):
        Laplace().init(Problem(mlp(), "gaussian", tfd.Laplace(0.0, 1.0), 10), 0)
    wide = Problem(mlp(hidden=(70, 70)), "gaussian", tfd.Normal(0.0, 1.0), 10)
    with pytest.raises(ValueError, match=r"`structure`: expected.*4000.*Received: 'full', which has.*last_layer"):
        Laplace(structure="full").init(wide, 0)
    Laplace().init(wide, 0)
