"""Laplace: the exact posterior of conjugate regression, and curvatures against automatic differentiation."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

import bnnrl
from bnnrl import likelihoods
from bnnrl.inference import SGD, Adam, Diverged, Driver, Ensemble, Laplace, Schedule
from bnnrl.inference import curvature as curvatures
from bnnrl.inference.laplace_evidence import Evidence
from bnnrl.jacobian import outputs_and_jacobian
from bnnrl.linearised import LinearisedProblem
from bnnrl.network import last_dense
from bnnrl.posterior import Kronecker, Linearised, LowRank, MeanField, Point, Product, from_arrays
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed
from tests.scenarios import draws, inputs_of, linear_regression, mlp, networks

pytestmark = pytest.mark.usefixtures("without_xla")
ADAM = Adam(Schedule(0.1, 0.0, 500))


STRUCTURES = ["full", "kronecker", "last_layer", "diagonal"]


def covariance(found):
    """Return the covariance of a normal distribution, [D, D], by its parameters."""
    if isinstance(found, Linearised):
        return covariance(found.source)
    if isinstance(found, Product):
        (head, tail), size = found.components, len(found.mean())
        assert isinstance(head, Point)
        return np.pad(covariance(tail), [(size - len(tail.mean()), 0)] * 2)
    if isinstance(found, MeanField):
        return np.diag(np.square(found.scale))
    if isinstance(found, Kronecker):
        blocks = [
            np.kron(left, right) * np.reshape(scale, -1)
            for left, scale, right in zip(found.lefts, found.scales, found.rights, strict=True)
        ]
        ends = np.cumsum([len(block) for block in blocks])
        whole = np.zeros([len(found.loc)] * 2)
        for end, block in zip(ends, blocks, strict=True):
            whole[end - len(block) : end, end - len(block) : end] = block @ block.T
        return whole
    assert isinstance(found, LowRank)
    return found.factor.numpy().T @ found.factor.numpy()


def after(method, problem, theta, batch, steps=2):
    """Return the state after `steps` steps at θ, the first of which is the optimiser's."""
    state = method.init(problem, 0, tf.constant(theta))
    for _ in range(steps):
        state, _ = method.step(problem, state, batch, as_seed(0))
    return state


@pytest.mark.parametrize(
    ("structure", "curvature"),
    [*((structure, "ggn") for structure in STRUCTURES), ("full", "hessian"), ("last_layer", "hessian")],
)
@pytest.mark.parametrize("batch_size", [None, 8])
def test_exact_on_conjugate_regression(structure, curvature, batch_size):
    """The network has one layer, which is its last, and one output. Three batches of 8 are an epoch."""
    line, method = linear_regression(24), Laplace(ADAM, start=501, structure=structure, curvature=curvature)
    driver = Driver(line.problem, method, batch_size)
    state, _ = driver.run(method.init(line.problem, 0), line.data, 501 + 6, seed=0)
    assert int(state.seen) == 6
    found = method.posterior(line.problem, state)
    cov = np.diag(1 / np.diag(np.linalg.inv(line.cov))) if structure == "diagonal" else line.cov
    np.testing.assert_allclose(covariance(found), cov, rtol=1e-3, atol=1e-7)
    # θ̂ is the MAP estimate up to the noise of minibatches.
    np.testing.assert_allclose(found.mean(), line.mean, atol=0.1 if batch_size else 1e-3)


def line_of_learned_prior(scale: float | str = 0.5):
    """Return a problem of two inputs, 20 rows and a learned prior: one scale for each input, and one for the bias."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    x = draws(20, 2)
    y = x @ np.array([[0.8], [0.05]], np.float32) + 0.3 + 0.4 * draws(20, 1, seed=5)
    return Problem(network, likelihoods.Gaussian(scale, floor=0.0), "learned", 20), x, y


@pytest.mark.parametrize("structure", STRUCTURES)
def test_exact_given_the_scales_of_a_learned_prior(structure):
    """θ holds u = w / scale, and then the log-scales, which are fixed; the weights stay where they were."""
    problem, x, y = line_of_learned_prior()
    theta = tf.constant(np.concatenate([draws(3), [0.5, -0.7, 0.2]]), tf.float32)
    for linearised in (True, False):
        method = Laplace(SGD(1e-9), start=1, structure=structure, linearised=linearised)
        found = method.posterior(problem, after(method, problem, theta, (tf.constant(x), tf.constant(y))))
        scales = np.exp(found.mean()[3:]) * [2**-0.5, 2**-0.5, 1]
        design = np.c_[x, np.ones(20)] * scales / 0.5
        precision = design.T @ design + np.eye(3)
        expected = np.linalg.inv(precision) if structure != "diagonal" else np.diag(1 / np.diag(precision))
        np.testing.assert_allclose(covariance(found), np.pad(expected, (0, 3)), rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(problem.split(found.mean())[0], problem.split(theta)[0], rtol=1e-5)


def log_evidence(x, y, scales, noise):
    """Return log p(y) of conjugate regression, log N(y; 0, X diag(scales²) Xᵀ + noise²)."""
    design = np.c_[x, np.ones(len(x))].astype(np.float64) * scales
    normal: Any = stats.multivariate_normal
    return normal.logpdf(y[:, 0], np.zeros(len(x)), design @ design.T + noise**2 * np.eye(len(x)))


@pytest.mark.parametrize("structure", ["full", "kronecker", "last_layer"])
def test_log_evidence_of_conjugate_regression(structure):
    line = linear_regression(24)
    method = Laplace(SGD(1e-9), start=1, structure=structure)
    theta = tf.constant(line.mean, tf.float32)
    found: Any = method.posterior(line.problem, after(method, line.problem, theta, line.data))
    np.testing.assert_allclose(found.log_evidence, log_evidence(line.x, line.y, line.prior, line.noise), rtol=1e-4)
    assert from_arrays(*found.to_arrays()).log_evidence == found.log_evidence  # pyright: ignore


@pytest.mark.parametrize("structure", STRUCTURES)
def test_prior_and_noise_have_the_largest_evidence_at_the_weights(structure):
    """The gradient is that of finite differences; a rule of MacKay's holds: noise² = residuals² / (N − γ)."""
    problem, x, y = line_of_learned_prior("learned")
    method = Laplace(SGD(1e-9), start=1, structure=structure)
    state = after(method, problem, np.concatenate([draws(3), [-1.0], np.zeros(3)]), (tf.constant(x), tf.constant(y)))
    curvature: Any = method._on_host(problem, state)
    args = problem, state.theta, curvature, 0, 20 * float(state.log_likelihood)
    evidence, hyper = Evidence(*args), np.array([0.3, -0.4, 0.1, 0.2])
    step = 1e-5 * np.eye(4)
    ends = [[evidence.value_and_grad(hyper + s * h)[0] for s in (1, -1)] for h in step]
    np.testing.assert_allclose(evidence.value_and_grad(hyper)[1], np.diff(ends)[:, 0] / -2e-5, rtol=1e-4, atol=1e-5)
    best, found = evidence.maximised()
    w, loc = problem.split(state.theta)[0].numpy(), evidence.result(best)[0]
    noise, scales = np.exp(loc[3]), np.exp(loc[4:]) * [2**-0.5, 2**-0.5, 1]
    design = np.c_[x, np.ones(20)].astype(np.float64)
    H = design.T @ design / noise**2
    H = np.diag(np.diag(H)) if structure == "diagonal" else H
    gamma = 3 - np.diag(np.linalg.inv(H + np.diag(scales**-2.0)) / scales**2).sum()
    of_noise_prior = loc[3] / 9
    residuals = np.square(y[:, 0] - design @ w).sum()
    np.testing.assert_allclose(residuals / noise**2, 20 - gamma + of_noise_prior, rtol=1e-3)
    assert found is not None and found > evidence.value_and_grad(np.zeros(4))[0]


def test_the_hessians_diagonal_is_the_fisher_matrixs_by_drawn_targets():
    """The Fisher diagonal for normal noise is diag(XᵀX / s²), here averaged over 600 epochs of drawn targets."""
    line, method = linear_regression(24), Laplace(SGD(1e-9), start=1, structure="diagonal", curvature="hessian")
    driver = Driver(line.problem, method, 8)
    state, _ = driver.run(method.init(line.problem, 0), line.data, 1 + 1800, seed=0)
    found = method.posterior(line.problem, state)
    np.testing.assert_allclose(1 / np.diag(covariance(found)), np.diag(np.linalg.inv(line.cov)), rtol=0.05)


def network_problem(likelihood, num_outputs=2):
    return Problem(mlp(3, num_outputs, (4,)), likelihood, tfd.Normal(0.0, 0.7), 30)


@pytest.mark.parametrize("structure", ["full", "last_layer"])
def test_a_networks_curvature_without_its_negative_part(structure):
    problem = network_problem(likelihoods.Gaussian("learned"))
    x, y = draws(10, 3), draws(10, 2, seed=3)
    theta = tf.constant(0.5 * draws(problem.num_params, seed=2))
    method = Laplace(SGD(1e-9), start=1, structure=structure, curvature="hessian", linearised=False)
    found = method.posterior(problem, after(method, problem, theta, (tf.constant(x), tf.constant(y))))
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


def softplus(a):
    return np.log1p(np.exp(a))


def expected_information(name, outputs, scale):
    """Return the Fisher information of a row's outputs [T, T], and of learned log-scales, [L, L]."""
    sigmoid = 1 / (1 + np.exp(-outputs))
    if name == "categorical":
        p = np.exp(outputs) / np.exp(outputs).sum()
        return np.diag(p) - np.outer(p, p), np.zeros([0, 0])
    if name == "heteroscedastic":  # −log p = log s + (y − m)² / (2 s²) has E[∂²/∂s²] = 2 / s²
        s = 1e-3 + softplus(outputs[1])
        return np.diag([1 / s**2, 2 * sigmoid[1] ** 2 / s**2]), np.zeros([0, 0])
    if name == "learned":
        return np.diag(1 / scale**2), np.diag(2 * ((scale - 1e-3) / scale) ** 2)
    of = {"bernoulli": sigmoid * (1 - sigmoid), "poisson": np.exp(outputs), "fixed": np.full(2, 1 / 0.5**2)}
    return np.diag(of[name]), np.zeros([0, 0])


LIKELIHOODS = {
    "fixed": likelihoods.Gaussian(0.5),
    "learned": likelihoods.Gaussian("learned"),
    "heteroscedastic": likelihoods.Gaussian("heteroscedastic"),
    "categorical": likelihoods.get("categorical"),
    "bernoulli": likelihoods.get("bernoulli"),
    "poisson": likelihoods.get("poisson"),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gauss_newton_matrix_by_the_jacobian_and_the_fisher_information(name):
    """All structures are parts of H = Σ Jᵀ Λ J / N, and the row of weight 0 has no part in it."""
    problem = network_problem(LIKELIHOODS[name])
    x, theta = draws(5, 3), 0.5 * draws(problem.num_params, seed=2)
    y = np.ones([5] if name == "categorical" else [5, 1 if name == "heteroscedastic" else 2], np.float32)
    weights, params = problem.split(tf.constant(theta))
    scale = 1e-3 + np.exp(params)
    H = np.zeros([problem.num_params] * 2)
    for output, J in zip(*outputs_and_jacobian(problem.network, weights, tf.constant(x)), strict=True):
        of_outputs, own = expected_information(name, output.numpy(), scale)
        H[: len(weights), : len(weights)] += J.numpy().T @ of_outputs @ J.numpy() / 5
        H[len(weights) :, len(weights) :] += own / 5
    x, y = np.concatenate([x, [[np.nan] * 3]]), np.concatenate([y, y[:1]])
    batch = tf.constant(x, tf.float32), tf.constant(y), tf.constant([1.0] * 5 + [0.0])
    theta = tf.constant(theta)
    close: Any = {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(curvatures.gauss_newton(problem, theta, batch, 0), H, **close)
    np.testing.assert_allclose(curvatures.gauss_newton(problem, theta, batch, 12), H[12:, 12:], **close)
    np.testing.assert_allclose(curvatures.gauss_newton_diagonal(problem, theta, batch), np.diag(H), **close)
    if name in ("fixed", "learned"):  # in the last layer Λ is the same for all rows: the Kronecker form is exact
        factors = curvatures.kronecker_factors(problem, theta, batch)
        W = len(weights)
        np.testing.assert_allclose(np.kron(factors.inputs[1], factors.outputs[1]), H[12:W, 12:W], **close)
        np.testing.assert_allclose(factors.own, H[W:, W:], **close)


@pytest.mark.parametrize("name", ["fixed", "categorical", "bernoulli", "poisson"])
def test_gauss_newton_matrix_of_a_linear_model_is_the_hessian(name):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    problem = Problem(network, LIKELIHOODS[name], tfd.Normal(0.0, 1.0), 6)
    batch = tf.constant(draws(6, 2)), tf.constant([0, 1] * 3 if name == "categorical" else np.eye(2)[[0, 1] * 3])
    found = [
        after(Laplace(SGD(1e-9), start=1, structure="full", curvature=curvature), problem, draws(6), batch).curvature
        for curvature in ("ggn", "hessian")
    ]
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-5)


def test_a_distribution_of_the_users_own_has_the_positive_part_of_its_hessian_at_the_targets():
    """−log p of Student's t has the curvature (ν + 1)(ν − r²) / (ν + r²)², which is negative for an outlier."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    likelihood = lambda outputs: tfd.Independent(tfd.StudentT(4.0, outputs, 1.0), 1)
    problem = Problem(network, likelihood, tfd.Normal(0.0, 1.0), 3)
    x, theta = draws(3, 2), draws(2, seed=1)
    r = np.array([0.3, -1.2, 4.0])
    y = x @ theta + r
    curvature = np.maximum(5 * (4 - r**2) / (4 + r**2) ** 2, 0)
    found = curvatures.gauss_newton(problem, tf.constant(theta), (tf.constant(x), tf.constant(y[:, np.newaxis])), 0)
    np.testing.assert_allclose(found, (x.T * curvature) @ x / 3, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["conv", "batch norm", "two inputs", "subclassed"])
def test_the_last_layer_of_any_network_takes_its_part_of_the_whole_matrix(name):
    network = networks()[name]
    problem = Problem(network, likelihoods.Gaussian(0.5), tfd.Normal(0.0, 1.0), 4)
    theta, batch = 0.5 * draws(problem.num_params), (inputs_of(network, 4), tf.constant(draws(4, 2)))
    whole, last = (
        after(Laplace(SGD(1e-9), start=1, structure=structure), problem, theta, batch).curvature
        for structure in ("full", "last_layer")
    )
    offset = len(whole) - len(last)
    assert (last_dense(problem.network, offset) is None) == (name == "subclassed")
    np.testing.assert_allclose(last, whole[offset:, offset:], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("structure", STRUCTURES)
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
    for i in range(2):
        alone = run(one, theta[i], 9)
        np.testing.assert_allclose(together.log_likelihood[i], alone.log_likelihood, rtol=1e-4)
        for a, b in zip(*map(tf.nest.flatten, (together.curvature, alone.curvature)), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4)
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
    method = Laplace(start=1, structure="kronecker")
    state = method.init(problem, 0)
    outputs = state.curvature.outputs[0], tf.fill([2, 2], np.nan)
    state = state._replace(seen=tf.constant(1), curvature=state.curvature._replace(outputs=outputs))
    with pytest.raises(Diverged, match=rf"Received: nan for {last}, the first of 4"):
        method.posterior(problem, state)


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


@pytest.mark.parametrize("structure", STRUCTURES)
def test_posteriors_are_rebuilt_from_their_arrays(structure):
    problem = network_problem(likelihoods.Gaussian("learned"))
    method = Laplace(SGD(1e-9), start=1, structure=structure)
    batch = tf.constant(draws(10, 3)), tf.constant(draws(10, 2))
    found = method.posterior(problem, after(method, problem, 0.5 * draws(problem.num_params), batch))
    again = from_arrays(*found.to_arrays())
    np.testing.assert_array_equal(again.sample(3, 1), found.sample(3, 1))
    many = found.sample(40_000, 0).numpy().astype(np.float64)
    cov = covariance(found)
    error = np.sqrt((cov**2 + np.outer(np.diag(cov), np.diag(cov))) / 40_000)  # of a sample covariance
    assert (np.abs(np.cov(many.T) - cov) <= 5 * error + 1e-9).all()
    np.testing.assert_allclose(many.mean(axis=0), found.mean(), atol=5 * np.sqrt(np.diag(cov).max() / 40_000))


def test_the_density_of_a_kronecker_normal():
    problem = network_problem(likelihoods.Gaussian("learned"))
    method = Laplace(SGD(1e-9), start=1, structure="kronecker")
    batch = tf.constant(draws(10, 3)), tf.constant(draws(10, 2))
    found: Any = method.posterior(problem, after(method, problem, 0.5 * draws(problem.num_params), batch))
    theta = found.sample(3, 0)
    normal: Any = stats.multivariate_normal
    expected = normal.logpdf(theta.numpy(), found.mean().numpy(), covariance(found))
    np.testing.assert_allclose(found.log_prob(theta), expected, rtol=1e-3)


slow = lambda *case: pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("structure", "name"),
    [("kronecker", "dense"), slow("full", "dense"), slow("full", "batch norm"), slow("last_layer", "batch norm")],
)
def test_a_model_predicts_by_the_expansion_and_is_loaded(structure, name, tmp_path):
    """The predictive variance of the function is Jᵀ Σ J, as for any linear model."""
    model = bnnrl.BayesianModel(
        networks()[name], likelihoods.Gaussian(0.3), method=Laplace(Adam(0.01), start=20, structure=structure)
    )
    x = draws(16, 3)
    model.fit(x, x[:, :2] ** 2, batch_size=None, epochs=22, verbose=0)
    found = model.predict_samples(x[:4], 4000)
    if name == "dense":
        J = outputs_and_jacobian(model._problem.network, model.posterior.mean(), tf.constant(x[:4]))[1].numpy()
        expected = np.einsum("bki,ij,bkj->bk", J, covariance(model.posterior), J)
        np.testing.assert_allclose(found.var(axis=0), expected, rtol=5 * np.sqrt(2 / 4000))
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(bnnrl.load(tmp_path / "model").predict(x), model.predict(x))


def test_draws_of_the_last_layer_are_those_of_the_expansion():
    """A last layer without activation is linear in its weights, so that both predict the same distribution."""
    problem = network_problem(likelihoods.Gaussian(0.5))
    batch = tf.constant(draws(10, 3)), tf.constant(draws(10, 2))
    method = Laplace(SGD(1e-9), start=1)
    own = replace(method, linearised=False)
    state = after(method, problem, 0.5 * draws(problem.num_params), batch)
    found, plain = method.posterior(problem, state), own.posterior(problem, state)
    np.testing.assert_allclose(covariance(found), covariance(plain), rtol=1e-5, atol=1e-9)
    theta = plain.sample(1, 0)
    both = tf.concat([state.theta[tf.newaxis], theta - state.theta], axis=-1)
    x = batch[0][tf.newaxis]
    np.testing.assert_allclose(LinearisedProblem(problem).apply(both, x), problem.apply(theta, x), atol=1e-4)


def test_bad_settings():
    for bad in (
        {"optimizer": "adam"},
        {"start": 0},
        {"structure": "layer"},
        {"curvature": "fisher"},
        {"linearised": 1},
        {"curvature": "hessian", "structure": "kronecker"},
        {"curvature": "hessian", "structure": "function"},
    ):
        with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
            Laplace(**bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`prior` for Laplace: expected normal.*Received"):
        Laplace().init(Problem(mlp(), "gaussian", tfd.Laplace(0.0, 1.0), 10), 0)
    wide = Problem(mlp(hidden=(70, 70)), "gaussian", tfd.Normal(0.0, 1.0), 10)
    too_large = r"`structure`: expected.*4000.*Received: 'full', which has \d+ .* 0.2 GiB. Use last_layer or diagonal"
    with pytest.raises(ValueError, match=too_large):
        Laplace(structure="full").init(wide, 0)
    Laplace().init(wide, 0)
    with pytest.raises(ValueError, match=r"Received: 'kronecker', which has 4003 with .*Use last_layer or diagonal"):
        Laplace(structure="kronecker").init(
            Problem(mlp(4002, hidden=()), likelihoods.Gaussian(1.0), tfd.Normal(0.0, 1.0), 9), 0
        )


def test_networks_and_priors_that_kronecker_factors_do_not_cover():
    method = Laplace(structure="kronecker")
    with pytest.raises(ValueError, match=r"`structure`: expected 'last_layer'.*chain of Dense.*Received: 'kronecker'"):
        method.init(Problem(networks()["conv"], "gaussian", tfd.Normal(0.0, 1.0), 10), 0)
    uneven = {"*/bias": tfd.Normal(0.0, [1.0, 2.0]), "*": tfd.Normal(0.0, 1.0)}
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"`prior` for Laplace with Kronecker factors: expected.*Received: several"):
        method.init(Problem(network, "gaussian", uneven, 10), 0)
