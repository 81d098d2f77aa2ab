"""SWAG against its equations in NumPy: learning rate, collected iterates, Gaussian."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import SGD, SWAG, Adam, Driver, Ensemble, Schedule
from bnnrl.posterior import LowRank, Point
from tests.inference.test_adam import adam_in_numpy
from tests.inference.test_sgd import sgd_in_numpy
from tests.scenarios import draws, linear_regression

BATCHES = [slice(8 * (i % 3), 8 * (i % 3) + 8) for i in range(30)]


def swag_rate(t, alpha, swa_rate, start):
    p = t / start
    return alpha if p <= 0.5 else swa_rate if p >= 0.9 else alpha + (swa_rate - alpha) * (p - 0.5) / 0.4


def swag_in_numpy(path, start, every, rank):
    """Return μ, q − μ² and the deviations [K, D], oldest first, of a path of θ [T, D]."""
    collected = path[start + every - 1 :: every]
    mu = np.zeros(path.shape[1])
    deviations = []
    for n, theta in enumerate(collected):
        mu = (n * mu + theta) / (n + 1)
        deviations.append(theta - mu)
    q = (collected**2).mean(0)
    return mu, q - mu**2, np.array(deviations[-rank:])


@pytest.mark.parametrize(
    ("method", "in_numpy"),
    [
        (SWAG(Adam(0.1), swa_rate=0.02, start=10, every=3, rank=4), adam_in_numpy),
        (SWAG(SGD(0.02), swa_rate=0.05, start=8, every=1, rank=30), sgd_in_numpy),
        (SWAG(SGD(0.02), start=15, every=2, rank=2), sgd_in_numpy),
    ],
    ids=["adam", "sgd", "constant rate"],
)
def test_golden_run(method, in_numpy):
    line, theta = linear_regression(), draws(3)
    alpha = method.optimizer.learning_rate
    rate = lambda t: swag_rate(t, alpha, method.swa_rate or alpha, method.start)
    path = np.array([step[0] for step in in_numpy(theta.astype(np.float64), line.grad, BATCHES, rate)])
    state = method.init(line.problem, 0, tf.constant(theta))
    for t, rows in enumerate(BATCHES):
        batch = (tf.constant(line.x[rows]), tf.constant(line.y[rows]))
        state, _ = method.step(line.problem, state, batch, seed=0)
        np.testing.assert_allclose(state.theta, path[t], rtol=2e-5)
    mean, var, deviations = swag_in_numpy(path, method.start, method.every, method.rank)
    found, stored = method.posterior(line.problem, state), len(deviations)
    assert isinstance(found, LowRank)
    np.testing.assert_allclose(found.loc, mean, rtol=1e-5)
    np.testing.assert_allclose(found.scale, np.sqrt(0.5 * var), rtol=1e-4)
    # The order of the columns is arbitrary: the draws depend on their sum of squares.
    expected = 0.5 * deviations.T @ deviations / (stored - 1)
    np.testing.assert_allclose(found.factor.numpy().T @ found.factor.numpy(), expected, rtol=1e-3, atol=1e-9)
    assert found.factor.shape == (stored, 3) and int(state.collected) == (30 - method.start) // method.every


def test_small_variances_about_large_means_survive_float32():
    line, method = linear_regression(), SWAG(SGD(1e-9), start=1, every=1, rank=2, scale=1.0)
    state, path = method.init(line.problem, 0), 100 + 1e-3 * draws(50, 3)
    for theta in path:
        state = state._replace(inner=state.inner._replace(theta=tf.constant(theta)))
        state = method._collect(state, tf.constant(True))
    found = method.posterior(line.problem, state)
    assert isinstance(found, LowRank)
    np.testing.assert_allclose(found.scale, path.astype(np.float64).std(0), rtol=1e-2)


def test_before_the_first_two_collections_there_is_a_point():
    line, method = linear_regression(), SWAG(start=5, every=2)
    driver, state = Driver(line.problem, method, 8, jit_compile=False), method.init(linear_regression().problem, 0)
    for steps, n in [(6, 0), (1, 1), (1, 1)]:
        state, _ = driver.run(state, line.data, steps, 0, start=int(state.inner.step))
        found = method.posterior(line.problem, state)
        assert isinstance(found, Point) and int(state.collected) == n
    state, _ = driver.run(state, line.data, 1, 0, start=8)
    assert isinstance(method.posterior(line.problem, state), LowRank)


def test_members_collect_side_by_side():
    line, one = linear_regression(), SWAG(start=2, every=1, rank=3)
    method = Ensemble(one, 2)
    theta = draws(2, 3)
    state = method.init(line.problem, 0, tf.constant(theta))
    alone = [one.init(line.problem, 0, tf.constant(own)) for own in theta]
    for rows in BATCHES[:8]:
        x, y = tf.constant(line.x[rows]), tf.constant(line.y[rows])
        state, _ = method.step(line.problem, state, (tf.stack([x, x]), tf.stack([y, y])), 0)
        alone = [one.step(line.problem, own, (x, y), 0)[0] for own in alone]
    together = method.posterior(line.problem, state).to_arrays()[1]
    for i, own in enumerate(alone):
        for name, array in one.posterior(line.problem, own).to_arrays()[1].items():
            np.testing.assert_allclose(together[f"{i}/{name}"], array, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"optimizer": Adam(Schedule(0.1, 0.01, 10))},
        {"optimizer": "adam"},
        {"swa_rate": 0.0},
        {"start": 0},
        {"every": 0},
        {"rank": 1},
        {"scale": 0.0},
    ],
)
def test_hyper_parameters_are_checked(bad):
    with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
        SWAG(**bad)
