"""SGHMC against its equations in NumPy, and against its known stationary distribution for a normal posterior."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import solve_discrete_lyapunov

from bnnrl import seeds
from bnnrl.inference import SGHMC, SGLD, Driver, Ensemble
from bnnrl.posterior import Samples
from tests.scenarios import chains_of, draws, expected_moments, linear_regression, moments, z_scores

LINE = linear_regression()


def batch(rows):
    return tf.constant(LINE.x[rows]), tf.constant(LINE.y[rows])


def test_golden_steps():
    method = SGHMC(0.002, friction=0.1, noise_estimate=0.03, burn_in=0, thin=1)
    theta, v = draws(3).astype(np.float64), np.zeros(3)
    state = method.init(LINE.problem, seed=0, theta=tf.constant(theta))
    for t in range(4):
        rows = slice(4 * t, 4 * t + 8)
        noise = np.sqrt(2 * (0.1 - 0.03) * 0.002) * seeds.fast_normal([3], t).numpy()
        v = (1 - 0.1) * v - 0.002 * 24 * LINE.grad(theta, rows) + noise
        theta = theta + v
        state, info = method.step(LINE.problem, state, batch(rows), seed=t)
        np.testing.assert_allclose(state.theta, theta, rtol=1e-5)
        np.testing.assert_allclose(state.v, v, rtol=1e-5)
    assert info.accept == 1 and info.divergent == 0
    posterior = method.posterior(LINE.problem, state)
    assert isinstance(posterior, Samples)
    np.testing.assert_allclose(posterior.draws[-1], theta, rtol=1e-5)


def test_without_memory_it_is_sgld():
    theta, rows = tf.constant(draws(3)), slice(0, 8)
    heavy, light = SGHMC(0.001, friction=1.0), SGLD(0.002)
    found, _ = heavy.step(LINE.problem, heavy.init(LINE.problem, 0, theta), batch(rows), seed=3)
    expected, _ = light.step(LINE.problem, light.init(LINE.problem, 0, theta), batch(rows), seed=3)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-6)


def law(eta, alpha):
    """Return the stationary covariance of θ for full-batch steps (θ, v) -> A (θ, v) + noise."""
    precision, eye = np.linalg.inv(LINE.cov), np.eye(3)
    a = np.block([[eye - eta * precision, (1 - alpha) * eye], [-eta * precision, (1 - alpha) * eye]])
    return solve_discrete_lyapunov(a, 2 * alpha * eta * np.kron(np.ones((2, 2)), eye))[:3, :3]


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "alpha"), [(1.0, 0.3), (0.05, 0.1)])
def test_draws_have_the_law_of_the_discrete_steps(scale, alpha):
    eta = scale / np.linalg.eigvalsh(np.linalg.inv(LINE.cov))[-1]
    method = Ensemble(SGHMC(eta, friction=alpha, burn_in=300, thin=2, max_draws=1000), 200)
    exact = np.random.default_rng(0).multivariate_normal(LINE.mean, LINE.cov, 200)
    start = method.init(LINE.problem, 0, tf.constant(exact))
    state, _ = Driver(LINE.problem, method, None).run(start, LINE.data, 2300, seed=1)
    found = moments(chains_of(method.posterior(LINE.problem, state)), LINE.mean)
    assert np.abs(z_scores(found, expected_moments(law(eta, alpha)))).max() < 3


def test_the_law_is_the_posterior_in_the_limit_of_small_steps():
    stiffest = np.linalg.eigvalsh(np.linalg.inv(LINE.cov))[-1]
    errors = [np.abs(law(4.0**-k / stiffest, 2.0**-k * 0.4) / LINE.cov - 1).max() for k in range(5)]
    ratios = np.array(errors[1:]) / errors[:-1]  # of order η, quartered each time
    assert (ratios < 0.3).all() and errors[-1] < 2e-3


def test_a_run_cut_in_two_equals_the_whole():
    method = Ensemble(SGHMC(1e-3, burn_in=3, thin=2, max_draws=4), 3)
    driver, start = Driver(LINE.problem, method, 5), method.init(LINE.problem, 3)
    whole, _ = driver.run(start, LINE.data, 40, seed=5)
    half, _ = driver.run(start, LINE.data, 17, seed=5)
    both, _ = driver.run(half, LINE.data, 23, seed=5, start=17)
    for a, b in zip(tf.nest.flatten(whole), tf.nest.flatten(both), strict=True):
        np.testing.assert_array_equal(a, b)
    assert driver.num_traces == 1


@pytest.mark.parametrize(
    "bad",
    [{"step_size": 0.0}, {"friction": 0.0}, {"friction": 1.5}, {"noise_estimate": 0.05}, {"burn_in": -1}],
    ids=str,
)
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        SGHMC(**bad)
