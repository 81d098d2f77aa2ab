"""Adam against its equations in NumPy, and against the MAP of conjugate regression."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import Adam, Driver, Schedule
from bnnrl.posterior import Point
from tests.scenarios import draws, linear_regression

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24), slice(4, 10)]


def adam_in_numpy(theta, grad, batches, alpha, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Yield (θ, m, v) after each step, one for each of `batches`."""
    m = v = np.zeros_like(theta)
    for t, rows in enumerate(batches, start=1):
        g = grad(theta, rows)
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        theta = theta - alpha(t - 1) * (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        yield theta, m, v


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (Adam(0.1), {"alpha": lambda t: 0.1}),
        (
            Adam(0.02, beta_1=0.5, beta_2=0.8, epsilon=0.3),
            {"alpha": lambda t: 0.02, "beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.3},
        ),
        (Adam(Schedule(0.1, 0.02, steps=4, kind="linear")), {"alpha": lambda t: 0.1 - 0.08 * t / 4}),
    ],
    ids=["defaults", "all set", "schedule"],
)
def test_golden_steps(method, settings):
    line = linear_regression()
    theta = draws(3)
    state = method.init(line.problem, seed=0, theta=tf.constant(theta))
    for rows, (theta_np, m, v) in zip(BATCHES, adam_in_numpy(theta, line.grad, BATCHES, **settings), strict=True):
        before = state.theta.numpy()
        state, info = method.step(line.problem, state, (tf.constant(line.x[rows]), tf.constant(line.y[rows])), seed=0)
        np.testing.assert_allclose(state.theta, theta_np, rtol=1e-5)
        np.testing.assert_allclose(state.m, m, rtol=1e-5)
        np.testing.assert_allclose(state.v, v, rtol=1e-5)
        np.testing.assert_allclose(info.grad_norm, np.linalg.norm(line.grad(before, rows)), rtol=1e-5)
    assert state.step == 4


def test_reaches_the_map_of_conjugate_regression():
    line = linear_regression()
    method = Adam(Schedule(0.1, 0.0, steps=500))
    driver = Driver(line.problem, method, batch_size=None)
    state, _ = driver.run(method.init(line.problem, seed=0), line.data, 500, seed=0)
    found = method.posterior(line.problem, state)
    assert isinstance(found, Point)
    np.testing.assert_allclose(found.theta, line.mean, atol=1e-3)
    assert np.abs(line.mean - np.linalg.lstsq(np.c_[line.x, np.ones(24)], line.y[:, 0])[0]).max() > 3e-3  # not ML


def test_starts_from_the_initialisers_or_from_theta():
    problem = linear_regression().problem
    state = Adam().init(problem, seed=4)
    np.testing.assert_array_equal(state.theta, problem.init(4, 1)[0])
    np.testing.assert_array_equal(Adam().init(problem, 0, state.theta).theta, state.theta)
    assert state.step == 0 and not state.m.numpy().any() and not state.v.numpy().any()
    with pytest.raises(ValueError, match=r"`theta`: expected.*Received"):
        Adam().init(problem, 0, tf.zeros(5))


@pytest.mark.parametrize(
    "bad",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": "fast"},
        {"beta_1": 1.0},
        {"beta_2": -0.1},
        {"epsilon": 0.0},
    ],
)
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        Adam(**bad)
