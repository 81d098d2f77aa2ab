"""IVON against its equations in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.inference import IVON
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed, fast_normal
from tests.scenarios import draws, linear_regression, mlp

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24)]
N = 24


def ivon_in_numpy(
    theta, likelihood_grad, noises, batches, lam, alpha=0.1, beta_1=0.9, beta_2=0.999, h0=1.0, clip=np.inf, T=1.0
):
    """Yield (m, g, h) after each step."""
    m, g, h, delta = theta.astype(np.float64), np.zeros_like(theta, np.float64), np.full(len(theta), h0), lam / N
    ess = N / T
    for t, (epsilon, rows) in enumerate(zip(noises, batches, strict=True), start=1):
        e = epsilon / np.sqrt(ess * (h + delta))  # θ − m
        grads = np.array([likelihood_grad(m + own, rows) for own in e])
        h_hat = ess * (e * grads).mean(0) * (h + delta)
        g = beta_1 * g + (1 - beta_1) * grads.mean(0)
        h = beta_2 * h + (1 - beta_2) * h_hat + 0.5 * (1 - beta_2) ** 2 * (h - h_hat) ** 2 / (h + delta)
        move = (g / (1 - beta_1**t) + delta * m) / (h + delta)
        m = m - alpha * (h0 + delta) * np.clip(move, -clip, clip)
        yield m, g, h


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (IVON(), {}),
        (
            IVON(0.02, beta_1=0.5, beta_2=0.8, hess_init=3.0, clip_radius=0.5, draws=3, temperature=0.3),
            {"alpha": 0.02, "beta_1": 0.5, "beta_2": 0.8, "h0": 3.0, "clip": 0.5, "T": 0.3},
        ),
    ],
    ids=["defaults", "all set"],
)
def test_golden_steps(method, settings):
    line, theta = linear_regression(N), draws(3)
    likelihood_grad = lambda theta, rows: line.grad(theta, rows) - theta / line.prior**2 / N
    noises = [fast_normal([method.draws, 3], as_seed(t)).numpy() for t in range(3)]
    state = method.init(line.problem, 0, tf.constant(theta))
    for t, (m, g, h) in enumerate(
        ivon_in_numpy(theta, likelihood_grad, noises, BATCHES, 1 / line.prior**2, **settings)
    ):
        batch = (tf.constant(line.x[BATCHES[t]]), tf.constant(line.y[BATCHES[t]]))
        state, _ = method.step(line.problem, state, batch, as_seed(t))
        np.testing.assert_allclose(state.theta, m, rtol=1e-5)
        np.testing.assert_allclose(state.g, g, rtol=1e-5)
        np.testing.assert_allclose(state.h, h, rtol=1e-5)
    found = method.posterior(line.problem, state)
    expected = np.sqrt(method.temperature / (N * h + 1 / line.prior**2))
    np.testing.assert_allclose(found.scale, expected, rtol=1e-5)


def test_curvature_stays_positive_where_its_estimate_is_not():
    """With one draw ĥ can be negative, but h + δ stays positive."""
    line, method = linear_regression(N), IVON(0.5, beta_2=0.5)
    state = method.init(line.problem, 0)
    step = tf.function(lambda state, seed: method.step(line.problem, state, line.data, seed)[0], autograph=False)
    for t in range(200):
        state = step(state, as_seed(t))
        assert np.all(state.h.numpy() + 1 / line.prior**2 / N > 0)
    assert np.isfinite(state.theta).all()


def test_other_priors_are_refused():
    with pytest.raises(ValueError, match=r"`prior` for IVON: expected normal.*Received"):
        IVON().init(Problem(mlp(), "gaussian", tfd.Laplace(0.0, 1.0), 10), 0)


@pytest.mark.parametrize(
    "bad",
    [
        {"learning_rate": 0},
        {"beta_1": 1.0},
        {"beta_2": -0.1},
        {"hess_init": 0},
        {"clip_radius": 0.0},
        {"draws": 0},
        {"temperature": 0},
    ],
)
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        IVON(**bad)
