"""SVGD against its equations in NumPy, with one particle, and with many."""

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference import SVGD, Driver, Schedule
from tests.inference.test_adam import adam_in_numpy
from tests.scenarios import draws, linear_regression

BATCHES = [slice(0, 8), slice(8, 16), slice(16, 24)]


def direction(theta, grads):
    """Return −φ / N by sums over pairs, grads being −∇ log p / N."""
    P, N = len(theta), 24
    distance = np.square(theta[:, None] - theta).sum(-1)
    h = np.sort(distance[~np.eye(P, dtype=bool)])[P * (P - 1) // 2] / np.log(P + 1)
    phi = np.zeros_like(theta)
    for i in range(P):
        for j in range(P):
            k = np.exp(-distance[i, j] / h)
            phi[i] += k * -N * grads[j] - 2 / h * (theta[j] - theta[i]) * k
    return -phi / P / N


def test_golden_steps():
    line, theta, method = linear_regression(), draws(4, 3), SVGD(0.05, size=4)

    def grad(theta, rows):
        return direction(theta, np.array([line.grad(own, rows) for own in theta]))

    state = method.init(line.problem, 0, tf.constant(theta))
    for rows, (theta_np, m, _) in zip(
        BATCHES, adam_in_numpy(theta.astype(np.float64), grad, BATCHES, lambda t: 0.05), strict=True
    ):
        batch = tuple(tf.stack([tf.constant(a[rows])] * 4) for a in (line.x, line.y))
        state, _ = method.step(line.problem, state, batch, seed=0)
        np.testing.assert_allclose(state.theta, theta_np, rtol=1e-5)
        np.testing.assert_allclose(state.m, m, rtol=1e-4)


def test_one_particle_is_the_map_and_many_spread_as_the_posterior():
    line = linear_regression()
    fit = lambda method: (
        Driver(line.problem, method, None).run(method.init(line.problem, 0), line.data, 2000, seed=0)[0].theta.numpy()
    )
    np.testing.assert_allclose(fit(SVGD(Schedule(0.1, 1e-4, 2000), size=1))[0], line.mean, atol=1e-3)
    particles = fit(SVGD(Schedule(0.1, 1e-4, 2000), size=100))
    std = np.sqrt(np.diag(line.cov))
    assert np.all(np.abs(particles.mean(0) - line.mean) < 0.05 * std)
    assert np.all(np.abs(particles.std(0) / std - 1) < 0.2)
    correlation = line.cov / np.outer(std, std)
    np.testing.assert_allclose(np.corrcoef(particles.T), correlation, atol=0.15)


def test_bad_settings():
    for bad in ({"learning_rate": 0}, {"size": 0}):
        with pytest.raises(ValueError, match=rf"`{next(iter(bad))}`: expected.*Received"):
            SVGD(**bad)
    with pytest.raises(ValueError, match=r"`theta`: expected shape \(10, 3\).*Received"):
        SVGD().init(linear_regression().problem, 0, tf.zeros([3]))
