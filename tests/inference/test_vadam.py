"""VADAM against its equations in NumPy, and its initial precision."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods
from bnnrl.inference import VADAM
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed, fast_normal
from tests.scenarios import draws, linear_regression, mlp

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24)]
N = 24


def vadam_in_numpy(theta, likelihood_grad, noises, batches, lam, s, alpha, beta_1=0.9, beta_2=0.999, T=1.0):
    """Yield (μ, m, s) after each step."""
    mu, m = theta.astype(np.float64), np.zeros_like(theta, np.float64)
    for t, (epsilon, rows) in enumerate(zip(noises, batches, strict=True), start=1):
        g = np.array([likelihood_grad(mu + e * np.sqrt(T / (N * s + lam)), rows) for e in epsilon])
        m = beta_1 * m + (1 - beta_1) * (g.mean(0) + lam * mu / N)
        s = beta_2 * s + (1 - beta_2) * (g**2).mean(0)
        mu = mu - alpha * (m / (1 - beta_1**t)) / (np.sqrt(s / (1 - beta_2**t)) + lam / N)
        yield mu, m, s


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (VADAM(0.1), {"alpha": 0.1, "s": 1.0}),
        (
            VADAM(0.02, beta_1=0.5, beta_2=0.8, prec_init=2.0, draws=3, temperature=0.3),
            {"alpha": 0.02, "beta_1": 0.5, "beta_2": 0.8, "s": (2 - 1 / 1.5**2) / N, "T": 0.3},
        ),
    ],
    ids=["defaults", "all set"],
)
def test_golden_steps(method, settings):
    line, theta = linear_regression(N), draws(3)
    likelihood_grad = lambda theta, rows: line.grad(theta, rows) - theta / line.prior**2 / N
    noises = [fast_normal([method.draws, 3], as_seed(t)).numpy() for t in range(3)]
    state = method.init(line.problem, 0, tf.constant(theta))
    golden = vadam_in_numpy(theta, likelihood_grad, noises, BATCHES, 1 / line.prior**2, **settings)
    for t, (mu, m, s) in enumerate(golden):
        batch = (tf.constant(line.x[BATCHES[t]]), tf.constant(line.y[BATCHES[t]]))
        state, _ = method.step(line.problem, state, batch, as_seed(t))
        np.testing.assert_allclose(state.theta, mu, rtol=1e-5)
        np.testing.assert_allclose(state.m, m, rtol=1e-5)
        np.testing.assert_allclose(state.s, s, rtol=1e-5)
    found, T = method.posterior(line.problem, state), method.temperature
    np.testing.assert_allclose(found.scale, np.sqrt(T / (N * s + 1 / line.prior**2)), rtol=1e-5)


def test_the_first_draw_has_the_precision_asked_for():
    line = linear_regression()
    for precision in (1 / 1.5**2 + 1e-6, 1.0, 50.0):
        method = VADAM(prec_init=precision)
        found = method.posterior(line.problem, method.init(line.problem, 0))
        np.testing.assert_allclose(found.scale, precision**-0.5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"`prec_init`: expected at least the prior's precision, 0\.444444.*Received"):
        VADAM(prec_init=0.4).init(line.problem, 0)


def test_the_prior_may_differ_from_weight_to_weight():
    """With one row of zero inputs as data, μ moves to the prior's mean, by the gradient λ (μ − m₀) / N."""
    prior = {"*/kernel": tfd.Normal(1.0, 0.5), "*": tfd.Normal(-2.0, 0.1)}
    problem = Problem(mlp(hidden=()), likelihoods.Gaussian(1.0), prior, 7)
    method = VADAM(beta_1=0.0)
    state = method.init(problem, 0, tf.zeros([8]))
    epsilon = fast_normal([1, 8], as_seed(0))[0].numpy()
    state, _ = method.step(problem, state, (tf.zeros([1, 3]), tf.zeros([1, 2])), as_seed(0))
    bias = epsilon[6:] / np.sqrt(7 + 100)  # the biases of the draw, which are the outputs, at s = 1
    np.testing.assert_allclose(state.m, [*[-4 / 7] * 6, *(bias + 200 / 7)], rtol=1e-5)


@pytest.mark.parametrize("prior", [tfd.Laplace(0.0, 1.0), tfd.StudentT(5.0, 0.0, 1.0)], ids=["Laplace", "Student"])
def test_other_priors_are_refused_with_the_remedy(prior):
    problem = Problem(mlp(), "gaussian", prior, 10)
    with pytest.raises(ValueError, match=r"`prior` for VADAM: expected normal.*Received.*BBB"):
        VADAM().init(problem, 0)


@pytest.mark.parametrize(
    "bad", [{"learning_rate": 0}, {"beta_1": 1.0}, {"beta_2": -0.1}, {"prec_init": 0}, {"draws": 0}, {"temperature": 0}]
)
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        VADAM(**bad)
