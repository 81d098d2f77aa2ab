"""Gauss-Newton learning: exact posterior and evidence on linear models, and what learned priors find."""

from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from bnnrl import BayesianModel
from bnnrl.inference import Driver, Ensemble, GaussNewton
from bnnrl.inference.gauss_newton import _evidence_grad, _weight_prior
from bnnrl.inference.linear_model import LinearModel
from bnnrl.likelihoods import Gaussian
from bnnrl.posterior import Linearised, LowRank, Point
from bnnrl.problem import Problem
from bnnrl.rl.simulator.settings import Dynamics
from tests.scenarios import draws, linear_regression, mlp


def run(problem: Problem, method, data, steps: int, num_data: int | None = None):
    driver = Driver(problem, method, None)
    state, _ = driver.run(method.init(problem, 0), data, steps, seed=0, num_data=num_data)
    return state, method.posterior(problem, state)


@pytest.mark.parametrize("rows", [2, 24])
def test_exact_on_conjugate_regression(rows):
    """With 2 rows the matrix of targets is factorised, and with 24 that of the 3 weights."""
    line, method = linear_regression(rows), GaussNewton(steps=20)
    state, found = run(line.problem, method, line.data, 21)
    assert isinstance(found, Linearised)
    np.testing.assert_allclose(found.mean(), line.mean, atol=1e-5)
    np.testing.assert_allclose(state.theta, line.mean, atol=1e-4)
    factor = cast(LowRank, found.source).factor.numpy()
    np.testing.assert_allclose(factor.T @ factor, line.cov, rtol=1e-4, atol=1e-6)


def test_padding_has_no_influence():
    line, method = linear_regression(24), GaussNewton(steps=10)
    padded = tuple(tf.concat([a, tf.fill([8, a.shape[1]], np.nan)], axis=0) for a in line.data)
    plain, found = (run(line.problem, method, data, 11, 24)[1] for data in (line.data, padded))
    np.testing.assert_allclose(found.sample(3, 0), plain.sample(3, 0), atol=1e-5)


def log_evidence(problem: Problem, theta: np.ndarray, state, data) -> float:
    """Return log N(y − f + J (u − a); 0, J Jᵀ + S) plus the log hyperprior, by a Jacobian of central differences."""
    x, y = data
    W = problem.network.num_params
    single = lambda a: tf.constant(a, tf.float32)
    outputs = lambda weights: problem.apply(single(np.r_[weights, theta[W:]]), x).numpy().ravel()
    columns = [(outputs(theta[:W] + e) - outputs(theta[:W] - e)) / 2e-2 for e in 1e-2 * np.eye(W)]
    J = np.stack(columns, axis=1).astype(np.float64)
    noise = problem.likelihood(problem.apply(single(theta), x), problem.parts(single(theta))[1])
    S = np.broadcast_to(noise.stddev(), y.shape).ravel() ** 2
    shifted = np.asarray(y).ravel() - outputs(theta[:W]) + J @ (theta[:W] - state.anchor.numpy())
    hyper = float(problem.log_prior(single(np.r_[0 * theta[:W], theta[W:]])))
    normal: Any = stats.multivariate_normal
    return normal.logpdf(shifted, np.zeros(len(S)), J @ J.T + np.diag(S)) + hyper


@pytest.mark.parametrize("rows", [5, 40])
def test_the_evidences_gradient(rows):
    """Against differences of the log evidence, in the log-scales of noise and prior, for both factorised matrices."""
    problem = Problem(mlp(2, 2, (3,)), "gaussian", "learned", rows)
    data = tf.constant(draws(rows, 2)), tf.constant(draws(rows, 2, seed=1))
    method = GaussNewton(anchored=True)
    state = method.init(problem, 0)
    theta = tf.constant(0.5 * draws(problem.num_params, seed=2))
    state, W = state._replace(theta=theta), problem.network.num_params
    with tf.GradientTape(persistent=True) as tape:
        hyper = theta[W:]
        tape.watch(hyper)
        model = LinearModel.at(problem, theta, hyper, data, _weight_prior(problem, state.anchor))
        products = model.products()
    found = _evidence_grad(problem, state, model, products, tape, hyper)
    at = lambda i, step: theta.numpy().astype(np.float64) + step * (np.arange(len(theta)) == W + i)
    value = lambda i, step: log_evidence(problem, at(i, step), state, data)
    expected = [(value(i, 1e-2) - value(i, -1e-2)) / 2e-2 for i in range(len(hyper))]
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.05)


def test_learned_priors_find_noise_and_relevant_inputs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3)).astype(np.float32)
    truth = lambda x: np.sin(2 * x[:, :1]) + 0.3 * x[:, 1:2]
    y = truth(x) + 0.05 * rng.normal(size=(100, 1))
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    model = BayesianModel(network, "gaussian", "learned", GaussNewton(steps=100))
    model.fit(x, y, batch_size=None, epochs=101, verbose=0)
    theta = model.posterior.mean()
    assert 0.04 < np.exp(model._problem.parts(theta)[1].numpy()[0]) < 0.07
    first, second, third = [scale for name, scale in model.prior_scales().items() if "kernel[" in name]
    assert first > 3 * second > 3 * third
    new = rng.normal(size=(500, 3)).astype(np.float32)
    scores = model.evaluate(new, truth(new) + 0.05 * rng.normal(size=(500, 1)))
    assert scores["nll"] < -0.8 and scores["picp_95"] > 0.85  # the noise alone has an NLL of -1.58


def test_anchors_differ_between_members_and_leave_the_last_layer_alone():
    problem, method = Problem(mlp(2, 1, (3,)), "gaussian", "learned", 10), Ensemble(GaussNewton(anchored=True), 2)
    anchors = method.init(problem, 0).anchor.numpy()
    assert np.all(anchors[0, :6] != anchors[1, :6]) and not np.any(anchors[:, 6:])
    assert not np.any(GaussNewton().init(problem, 0).anchor)


def test_there_is_no_posterior_before_the_last_step():
    line, method = linear_regression(8), GaussNewton(steps=5)
    assert isinstance(run(line.problem, method, line.data, 5)[1], Point)
    assert isinstance(run(line.problem, method, line.data, 6)[1], Linearised)


REFUSED = {
    "likelihood": (lambda: Problem(mlp(), Gaussian("heteroscedastic"), tfd.Normal(0.0, 1.0), 8), "likelihood"),
    "classes": (lambda: Problem(mlp(), "categorical", tfd.Normal(0.0, 1.0), 8), "likelihood"),
    "prior": (lambda: Problem(mlp(), "gaussian", tfd.Laplace(0.0, 1.0), 8), "prior"),
    "size": (lambda: Problem(mlp(3, 2, (70, 70)), "gaussian", tfd.Normal(0.0, 1.0), 8), "at most 4000 weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_do_is_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"Invalid .*{message}"):
        GaussNewton().init(make(), 0)


def test_data_whose_jacobian_does_not_fit_into_memory_are_refused(monkeypatch):
    """The Jacobian of 1000 rows of 2 targets for some 30 weights, four times in float64, takes 2 MB."""
    monkeypatch.setattr("bnnrl.inference.gauss_newton.available_bytes", lambda: 2**20)
    problem = Problem(mlp(3, 2, (4, 3)), "gaussian", "learned", 1000)
    with pytest.raises(ValueError, match=r"Invalid data for GaussNewton: .* 1000 rows of 2 targets.*Use Laplace"):
        GaussNewton().init(problem, 0)
    GaussNewton().init(problem.with_num_data(100), 0)


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"rate": 0.0}, {"anchored": 1}])
def test_bad_hyper_parameters_are_refused(arguments):
    with pytest.raises(ValueError, match=f"Invalid `{next(iter(arguments))}`"):
        GaussNewton(**arguments)


def test_a_dynamics_model_takes_it_by_one_word():
    settings = Dynamics(method="gauss_newton")
    assert (settings.hidden, settings.prior, settings.separate_outputs) == ((32,), "learned", True)
    assert Dynamics().hidden == (64, 64) and not Dynamics().separate_outputs
