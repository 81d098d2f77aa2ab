"""BSAM against its equations in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.inference import BSAM
from bnnrl.problem import Problem
from bnnrl.seeds import as_seed, fast_normal
from tests.scenarios import draws, linear_regression, mlp

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24)]
N = 24


def bsam_in_numpy(
    theta,
    likelihood_grad,
    noises,
    batches,
    lam,
    alpha=0.5,
    beta_1=0.9,
    beta_2=0.999,
    rho=0.05,
    gamma=0.1,
    s=1.0,
    T=1.0,
    xi=np.inf,
):
    """Yield (w, gm, s) after each step."""
    w, gm, s, delta = theta.astype(np.float64), np.zeros_like(theta, np.float64), np.full(len(theta), s), lam / N
    for epsilon, rows in zip(noises, batches, strict=True):
        g = np.array([likelihood_grad(w + e * np.sqrt(T / (N * s)), rows) for e in epsilon])
        moves = rho * np.clip(g / s, -xi, xi)
        ge = np.array([likelihood_grad(w + move, rows) for move in moves])  # the mean is perturbed
        gm = beta_1 * gm + (1 - beta_1) * (ge.mean(0) + delta * w)
        w = w - alpha * np.clip(gm / s, -xi, xi)
        s = beta_2 * s + (1 - beta_2) * ((np.sqrt(s) * np.abs(g)).mean(0) + delta + gamma)
        yield w, gm, s


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (BSAM(), {}),
        (
            BSAM(0.1, beta_1=0.5, beta_2=0.8, rho=0.2, damping=0.3, s_init=4.0, draws=3, temperature=0.3),
            {"alpha": 0.1, "beta_1": 0.5, "beta_2": 0.8, "rho": 0.2, "gamma": 0.3, "s": 4.0, "T": 0.3},
        ),
        (BSAM(clip_radius=0.5), {"xi": 0.5}),
    ],
    ids=["defaults", "all set", "clipped"],
)
def test_golden_steps(method, settings):
    line, theta = linear_regression(N), draws(3)
    likelihood_grad = lambda theta, rows: line.grad(theta, rows) - theta / line.prior**2 / N
    noises = [fast_normal([method.draws, 3], as_seed(t)).numpy() for t in range(3)]
    state = method.init(line.problem, 0, tf.constant(theta))
    for t, (w, gm, s) in enumerate(
        bsam_in_numpy(theta, likelihood_grad, noises, BATCHES, 1 / line.prior**2, **settings)
    ):
        batch = (tf.constant(line.x[BATCHES[t]]), tf.constant(line.y[BATCHES[t]]))
        state, _ = method.step(line.problem, state, batch, as_seed(t))
        np.testing.assert_allclose(state.theta, w, rtol=1e-5)
        np.testing.assert_allclose(state.gm, gm, rtol=1e-5)
        np.testing.assert_allclose(state.s, s, rtol=1e-5)
    found = method.posterior(line.problem, state)
    np.testing.assert_allclose(found.scale, np.sqrt(method.temperature / (N * s)), rtol=1e-5)


def test_other_priors_are_refused():
    with pytest.raises(ValueError, match=r"`prior` for BSAM: expected normal.*Received"):
        BSAM().init(Problem(mlp(), "gaussian", tfd.Laplace(0.0, 1.0), 10), 0)


@pytest.mark.parametrize(
    "bad",
    [
        {"learning_rate": 0},
        {"beta_1": 1.0},
        {"beta_2": -0.1},
        {"rho": -1.0},
        {"damping": float("nan")},
        {"s_init": 0},
        {"draws": 0},
        {"temperature": 0},
        {"clip_radius": 0.0},
    ],
)
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        BSAM(**bad)
