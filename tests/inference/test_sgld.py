"""SGLD and pSGLD against their equations in NumPy, and against their stationary distributions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import seeds
from bnnrl.inference import PSGLD, SGLD, Driver, Ensemble, Polynomial, Schedule
from bnnrl.likelihoods import Gaussian
from bnnrl.posterior import Samples
from bnnrl.problem import Problem
from tests.scenarios import chains_of, draws, expected_moments, linear_regression, moments, z_scores

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24), slice(4, 10)]
LINE = linear_regression()


def batch(rows):
    return tf.constant(LINE.x[rows]), tf.constant(LINE.y[rows])


@pytest.mark.parametrize(
    ("step_size", "eta"),
    [
        (1e-3, lambda t: 1e-3),
        (Polynomial(0.01, b=3.0, gamma=0.7), lambda t: 0.01 * (3.0 + t) ** -0.7),
        (Schedule(0.01, 0.0, steps=8, kind="linear"), lambda t: 0.01 * (1 - t / 8)),
    ],
    ids=["constant", "polynomial", "schedule"],
)
def test_golden_steps(step_size, eta):
    method, theta = SGLD(step_size, burn_in=1, thin=2, max_draws=5), draws(3).astype(np.float64)
    state, path = method.init(LINE.problem, seed=0, theta=tf.constant(theta)), []
    for t, rows in enumerate(BATCHES):
        grad = -24 * LINE.grad(theta, rows)  # gradient of the log joint of the whole data set
        state, info = method.step(LINE.problem, state, batch(rows), seed=t)
        np.testing.assert_allclose(info.grad_norm, np.linalg.norm(grad) / 24, rtol=1e-5)
        theta = theta + eta(t) / 2 * grad + np.sqrt(eta(t)) * seeds.fast_normal([3], t).numpy()
        np.testing.assert_allclose(state.theta, theta, rtol=1e-5)
        path.append(theta)
    found = method.posterior(LINE.problem, state)
    assert isinstance(found, Samples)
    np.testing.assert_allclose(found.draws, path[2:], rtol=1e-5)


def test_golden_steps_of_psgld():
    method, theta, v = PSGLD(0.01, alpha=0.9, damping=1e-3, burn_in=0, thin=1), draws(3).astype(np.float64), 0.0
    state = method.init(LINE.problem, seed=0, theta=tf.constant(theta))
    for t, rows in enumerate(BATCHES):
        grad = -24 * LINE.grad(theta, rows)
        g = LINE.grad(theta, rows) - theta / LINE.prior**2 / 24  # gradient of the likelihood
        v = 0.9 * v + 0.1 * g**2
        scale = 1 / (1e-3 + np.sqrt(v))
        theta = theta + 0.01 / 2 * scale * grad + np.sqrt(0.01 * scale) * seeds.fast_normal([3], t).numpy()
        state, _ = method.step(LINE.problem, state, batch(rows), seed=t)
        np.testing.assert_allclose(state.theta, theta, rtol=1e-5)
        np.testing.assert_allclose(state.v, v, rtol=1e-5)
    posterior = method.posterior(LINE.problem, state)
    assert isinstance(posterior, Samples)
    np.testing.assert_allclose(posterior.draws[-1], theta, rtol=1e-5)


def run(method, steps, chains=200, batch_size=None, line=LINE):
    """Return the draws of many chains, [C, K, D]."""
    ensemble = Ensemble(method, chains)
    exact = np.random.default_rng(0).multivariate_normal(line.mean, line.cov, chains)
    start = ensemble.init(line.problem, 0, tf.constant(exact))
    state, _ = Driver(line.problem, ensemble, batch_size).run(start, line.data, steps, seed=1)
    return chains_of(ensemble.posterior(line.problem, state))


@pytest.mark.slow
def test_bias_shrinks_as_the_step_halves():
    """With all rows at each step the chain samples N(mean, Σ (I − η Σ⁻¹ / 4)⁻¹), for small steps N(mean, Σ)."""
    precision = np.linalg.inv(LINE.cov)
    errors = []
    for eta in 2 / np.linalg.eigvalsh(precision)[-1] / 2.0 ** np.arange(3):
        law = LINE.cov @ np.linalg.inv(np.eye(3) - eta / 4 * precision)
        found = moments(run(SGLD(eta, burn_in=200, thin=4, max_draws=400), 1800), LINE.mean)
        assert np.abs(z_scores(found, expected_moments(law))).max() < 3
        errors.append(np.abs(found.mean(0) - expected_moments(LINE.cov)).max())
    assert errors[1] < 0.6 * errors[0] and errors[2] < 0.6 * errors[1]


@pytest.mark.slow
def test_minibatches_leave_the_mean_and_widen_the_law():
    precision = np.linalg.eigvalsh(np.linalg.inv(LINE.cov))[-1]
    found = moments(run(SGLD(0.1 / precision, burn_in=200, thin=10, max_draws=400), 4200, batch_size=8), LINE.mean)
    assert np.abs(z_scores(found, np.zeros(9)))[:3].max() < 3
    ratio = found.mean(0)[[3, 6, 8]] / np.diag(LINE.cov)
    assert (ratio > 0.97).all() and (ratio < 1.3).all()


@pytest.mark.slow
def test_psgld_samples_from_the_posterior_where_v_is_constant():
    """With α near 1, V is nearly constant, and the chain samples from the posterior."""
    method = PSGLD(3e-4, alpha=0.9999, burn_in=20_000, thin=10, max_draws=1000)
    found = moments(run(method, 40_000, chains=100), LINE.mean)
    np.testing.assert_allclose(found.mean(0)[[3, 6, 8]], np.diag(LINE.cov), rtol=0.05)
    assert np.abs(z_scores(found, np.zeros(9)))[:3].max() < 3


@pytest.mark.slow
def test_psgld_with_all_rows_has_the_dent_its_docstring_tells():
    """For one weight and a flat prior, the chain samples from N(m, σ²) (λ + |g|) with g = (θ − m) / (σ² N)."""
    x = draws(24, 1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    problem = Problem(model, Gaussian(0.5), tfd.Normal(0.0, 1e3), 24)
    sigma, damping = 0.5 / np.linalg.norm(x), 0.05
    method = Ensemble(PSGLD(5e-5, alpha=0.0, damping=damping, burn_in=2000, thin=20, max_draws=1000), 100)
    start = method.init(problem, 0, tf.constant(1 + sigma * draws(100, 1, seed=2)))
    state, _ = Driver(problem, method, None).run(start, (tf.constant(x), tf.constant(x)), 20_000, seed=1)
    found = chains_of(method.posterior(problem, state))
    c = np.sqrt(2 / np.pi) / (sigma * 24)  # the mean of |g| under the posterior; that of |g| (θ − m)² is 2 c σ²
    law = np.array([sigma**2 * (damping + 2 * c) / (damping + c)])
    assert np.abs(z_scores(((found - 1) ** 2).mean(axis=1), law)).max() < 3
    assert law > 1.8 * sigma**2


@pytest.mark.parametrize("method", [SGLD(1e-3, 0, 3, 4), PSGLD(1e-3, burn_in=2)], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_run_cut_in_two_equals_the_whole_and_traces_once(method, jit_compile):
    method = Ensemble(method, 3) if jit_compile else method
    driver, start = Driver(LINE.problem, method, 5, jit_compile), method.init(LINE.problem, 3)
    whole, _ = driver.run(start, LINE.data, 40, seed=5)
    half, _ = driver.run(start, LINE.data, 17, seed=5)
    both, _ = driver.run(half, LINE.data, 23, seed=5, start=17)
    for a, b in zip(tf.nest.flatten(whole), tf.nest.flatten(both), strict=True):
        np.testing.assert_array_equal(a, b)
    assert driver.num_traces == 1


def test_members_are_chains_run_alone():
    method = SGLD(1e-3, burn_in=0, thin=1, max_draws=3)
    start = draws(2, 3)
    state, _ = Ensemble(method, 2).step(
        LINE.problem,
        Ensemble(method, 2).init(LINE.problem, 0, tf.constant(start)),
        tuple(tf.stack([a, a]) for a in batch(slice(0, 8))),
        seed=7,
    )
    noise = seeds.fast_normal([2, 3], 7).numpy()
    for i in range(2):
        grad = -24 * LINE.grad(start[i], slice(0, 8))
        np.testing.assert_allclose(state.theta[i], start[i] + 5e-4 * grad + np.sqrt(1e-3) * noise[i], rtol=1e-5)
    np.testing.assert_array_equal(chains_of(Ensemble(method, 2).posterior(LINE.problem, state))[:, 0], state.theta)


def test_a_burn_in_longer_than_the_run():
    method = SGLD(1e-3, burn_in=10)
    state, _ = Driver(LINE.problem, method, 4, jit_compile=False).run(
        method.init(LINE.problem, 0), LINE.data, 10, seed=0
    )
    with pytest.raises(ValueError, match=r"`burn_in`: expected fewer steps.*Received"):
        method.posterior(LINE.problem, state)
    assert method.min_steps == 11 and Ensemble(method, 2).min_steps == 11


@pytest.mark.parametrize(
    ("cls", "bad"),
    [
        (SGLD, {"step_size": 0.0}),
        (SGLD, {"step_size": "small"}),
        (PSGLD, {"step_size": -1.0}),
        (PSGLD, {"alpha": 1.0}),
        (PSGLD, {"damping": 0.0}),
        (PSGLD, {"thin": 0}),
    ],
)
def test_hyper_parameters_are_checked(cls, bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        cls(**bad)
