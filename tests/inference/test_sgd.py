"""SGD against its equations in NumPy, and against the MAP of conjugate regression."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import SGD, Driver, Schedule
from tests.scenarios import draws, linear_regression

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24), slice(4, 10)]


def sgd_in_numpy(theta, grad, batches, alpha, momentum=0.9, nesterov=False, clip_norm=np.inf):
    """Yield (θ, v) after each step, one for each of `batches`."""
    v = np.zeros_like(theta)
    for t, rows in enumerate(batches):
        g = grad(theta, rows)
        g *= min(1.0, clip_norm / np.linalg.norm(g))
        v = momentum * v + g
        theta = theta - alpha(t) * (g + momentum * v if nesterov else v)
        yield theta, v


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (SGD(0.01), {"alpha": lambda t: 0.01}),
        (SGD(0.02, momentum=0.0), {"alpha": lambda t: 0.02, "momentum": 0.0}),
        (SGD(0.02, momentum=0.5, nesterov=True), {"alpha": lambda t: 0.02, "momentum": 0.5, "nesterov": True}),
        (SGD(Schedule(0.1, 0.02, steps=4, kind="linear")), {"alpha": lambda t: 0.1 - 0.08 * t / 4}),
        (SGD(0.01, clip_norm=0.5), {"alpha": lambda t: 0.01, "clip_norm": 0.5}),
    ],
    ids=["defaults", "plain", "nesterov", "schedule", "clipped"],
)
def test_golden_steps(method, settings):
    line, theta = linear_regression(), draws(3)
    state = method.init(line.problem, seed=0, theta=tf.constant(theta))
    for rows, (theta_np, v) in zip(BATCHES, sgd_in_numpy(theta, line.grad, BATCHES, **settings), strict=True):
        before = state.theta.numpy()
        state, info = method.step(line.problem, state, (tf.constant(line.x[rows]), tf.constant(line.y[rows])), seed=0)
        np.testing.assert_allclose(state.theta, theta_np, rtol=1e-5)
        np.testing.assert_allclose(state.v, v, rtol=1e-5)
        np.testing.assert_allclose(info.grad_norm, np.linalg.norm(line.grad(before, rows)), rtol=1e-5)
    assert state.step == 4


@pytest.mark.parametrize("nesterov", [False, True])
def test_reaches_the_map_of_conjugate_regression(nesterov):
    line, method = linear_regression(), SGD(0.05, nesterov=nesterov)
    driver = Driver(line.problem, method, batch_size=None, jit_compile=False)
    state, _ = driver.run(method.init(line.problem, seed=0), line.data, 500, seed=0)
    np.testing.assert_allclose(method.posterior(line.problem, state).theta, line.mean, atol=1e-3)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov"),
        ({"clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_hyper_parameters_are_checked(bad, message):
    with pytest.raises(ValueError, match=rf"`{message}`: expected.*Received"):
        SGD(**bad)
