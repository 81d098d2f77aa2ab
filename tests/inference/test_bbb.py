"""BBB against its equations in NumPy, under normal priors and others."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl import likelihoods
from bnnrl.inference import BBB
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed, fast_normal
from tests.inference.test_adam import adam_in_numpy
from tests.scenarios import draws, linear_regression, mlp

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24)]
N = 24


def softplus(a):
    return np.log1p(np.exp(a))


def bbb_in_numpy(theta, likelihood_grad, noises, batches, precision, alpha, std_init, temperature):
    """Yield (μ, ρ) after each step, noises being [S, D] each."""
    D = len(theta)
    grads = []

    def adam(both, t):  # the gradient of (μ, ρ) at step t, for Adam in NumPy
        mu, rho = both[:D], both[D:]
        sigma, epsilon = softplus(rho), noises[t]
        g = np.array([likelihood_grad(mu + sigma * e, batches[t]) for e in epsilon])
        d_mu = g.mean(0) + precision * mu / N
        d_sigma = (g * epsilon).mean(0) + precision * sigma / N - temperature / (N * sigma)
        grads.append(d_mu)
        return np.r_[d_mu, d_sigma / (1 + np.exp(-rho))]

    start = np.r_[theta.astype(np.float64), np.full(D, np.log(np.expm1(std_init)))]
    for both, _, _ in adam_in_numpy(start, adam, range(len(batches)), lambda t: alpha):
        yield both[:D], both[D:], np.linalg.norm(grads[-1])


@pytest.mark.parametrize("settings", [{}, {"std_init": 0.3, "draws": 3, "temperature": 0.2}], ids=["defaults", "all"])
def test_golden_steps(settings):
    line, theta = linear_regression(N), draws(3)
    method = BBB(0.01, **settings)
    likelihood_grad = lambda theta, rows: line.grad(theta, rows) - theta / line.prior**2 / N
    noises = [fast_normal([method.draws, 3], as_seed(t)).numpy() for t in range(3)]
    state = method.init(line.problem, 0, tf.constant(theta))
    golden = bbb_in_numpy(
        theta, likelihood_grad, noises, BATCHES, 1 / line.prior**2, 0.01, method.std_init, method.temperature
    )
    for t, (mu, rho, norm) in enumerate(golden):
        batch = (tf.constant(line.x[BATCHES[t]]), tf.constant(line.y[BATCHES[t]]))
        state, info = method.step(line.problem, state, batch, as_seed(t))
        np.testing.assert_allclose(state.theta, mu, rtol=1e-5)
        np.testing.assert_allclose(state.rho.theta, rho, rtol=1e-5)
        np.testing.assert_allclose(info.grad_norm, norm, rtol=1e-5)
    found = method.posterior(line.problem, state)
    np.testing.assert_allclose(found.scale, softplus(state.rho.theta.numpy()), rtol=1e-5)


def scale_mixture():
    return tfd.MixtureSameFamily(tfd.Categorical(probs=[0.25, 0.75]), tfd.Normal([0.0, 0.0], [1.0, 0.1]))


@pytest.mark.parametrize(
    "prior",
    [
        tfd.Normal(0.3, 0.7),
        {"*/kernel": tfd.Normal(0.0, 0.5), "*": tfd.Normal(1.0, 2.0)},
        tfd.Laplace(0.0, 1.0),
        scale_mixture(),
    ],
    ids=["normal", "two normals", "Laplace", "scale mixture"],
)
def test_the_step_follows_the_bounds_gradient(prior):
    """The gradient agrees with automatic differentiation of the bound, also for parameters of the likelihood."""
    problem = Problem(mlp(), likelihoods.Gaussian("learned"), prior, 50)
    method, batch = BBB(draws=2000, std_init=0.1), (tf.constant(draws(6, 3)), tf.constant(draws(6, 2)))
    state = method.init(problem, 0)
    epsilon = fast_normal([2000, problem.num_params], as_seed(3))
    mu, rho = tf.Variable(state.theta), tf.Variable(state.rho.theta)
    with tf.GradientTape() as tape:
        q = tfd.Normal(mu, tf.math.softplus(rho))
        theta = mu + tf.math.softplus(rho) * epsilon
        spread = tuple(tf.broadcast_to(a, [2000, *a.shape]) for a in batch)
        bound = tf.reduce_mean(problem.log_joint(theta, spread)) + tf.reduce_sum(q.entropy())
        loss = -bound / 50
    expected = tape.gradient(loss, [mu, rho])
    after, _ = method.step(problem, state, batch, as_seed(3))
    for found, grad in zip((after.mu.m, after.rho.m), expected, strict=True):
        # BBB's gradient of a normal prior is exact; `grad` averages it over draws, which explains the tolerance.
        np.testing.assert_allclose(found / 0.1, grad, atol=4 * 0.1 * 4 / 50 / np.sqrt(2000), rtol=1e-3)


@pytest.mark.parametrize("name", ["learning_rate", "std_init", "draws", "temperature"])
def test_hyper_parameters_are_checked(name):
    with pytest.raises(ValueError, match=rf"`{name}`: expected.*Received"):
        BBB(**{name: 0})
