"""Exact Gaussian processes: evidence and predictions against scikit-learn, draws against the exact posterior."""

from typing import Any

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from bnnrl.rl.simulator.gaussian_process import Kernel, ProcessPosterior, log_evidence, maximise_evidence

LENGTHS, AMPLITUDE, SLOPES, OFFSET, NOISE = np.array([0.7, 1.9, 5.0]), 1.3, np.array([0.4, 0.1, 0.8]), 0.5, 0.1
VECTOR = np.concatenate([LENGTHS, [AMPLITUDE], SLOPES, [OFFSET, NOISE]])


def data(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, np.sin(2 * x[:, 0]) + 0.3 * x[:, 1] ** 2 + 0.8 * x[:, 2] + NOISE * rng.normal(size=n)


def reference(x: np.ndarray, y: np.ndarray) -> GaussianProcessRegressor:
    """Return scikit-learn's process of the same kernel, for inputs that are multiplied by the slopes.

    With such inputs, its linear kernel, which knows one scale for all inputs, has a scale for each.
    """
    lengths: Any = LENGTHS * SLOPES  # scikit-learn's annotation says float
    smooth = ConstantKernel(AMPLITUDE**2) * RBF(lengths)
    kernel = smooth + DotProduct(OFFSET) + WhiteKernel(Kernel.of(VECTOR).noise_variance)
    return GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(x * SLOPES, y)  # pyright: ignore[reportArgumentType]


def test_evidence_and_predictions_equal_those_of_scikit_learn():
    x, y = data(40)
    theirs = reference(x, y)
    value, grad = log_evidence(np.log(VECTOR), x, y)
    np.testing.assert_allclose(value, theirs.log_marginal_likelihood_value_, rtol=1e-9)
    differences = [
        (log_evidence(np.log(VECTOR) + h, x, y)[0] - log_evidence(np.log(VECTOR) - h, x, y)[0]) / 2e-5
        for h in 1e-5 * np.eye(len(VECTOR))
    ]
    np.testing.assert_allclose(grad, differences, rtol=1e-6, atol=1e-6)
    at, _ = data(25, seed=1)
    mean, std = theirs.predict(at * SLOPES, return_std=True)
    found_mean, found_std = ProcessPosterior(x, y[:, np.newaxis], VECTOR[np.newaxis]).predict(at)
    np.testing.assert_allclose(found_mean[:, 0], mean, atol=1e-9)
    with_noise = np.sqrt(found_std[:, 0] ** 2 + Kernel.of(VECTOR).noise_variance)
    np.testing.assert_allclose(with_noise, std, atol=1e-9)


@pytest.mark.slow
def test_hyper_parameters_are_at_least_as_good_as_scikit_learns():
    x, y = data(60)
    y = (y - y.mean()) / y.std()
    lengths: Any = np.ones(3)
    kernel = ConstantKernel() * RBF(lengths) + ConstantKernel() * DotProduct() + WhiteKernel(1e-2)
    theirs: Any = GaussianProcessRegressor(kernel, random_state=0).fit(x, y)
    found = maximise_evidence(x, y)
    value, grad = log_evidence(np.log(found), x, y)
    assert value >= theirs.log_marginal_likelihood_value_ - 1e-3  # ours has more scales
    assert abs(Kernel.of(found).noise * y.std() - NOISE / data(60)[1].std()) < 0.03
    inside = (found > 1.001e-4) & (found < 99.0)
    assert np.abs(grad[inside]).max() < 0.05  # nats for a relative change, of some hundred in all


def values(draws, lengths: np.ndarray, x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return draws of one output at points, as the docstring of FunctionDraws defines them, [S, B]."""
    waves = np.cos(np.einsum("bi,sim->sbm", at, draws.frequencies[:, 0]) + draws.phases[:, 0, np.newaxis])
    near = np.exp(-0.5 * np.square((at[:, np.newaxis] - x) / lengths).sum(axis=-1))  # [B, N]
    smooth = np.einsum("sbm,sm->sb", waves, draws.amplitudes[:, 0]) + draws.weights[:, 0] @ near.T
    return smooth + draws.slopes[:, 0] @ at.T + draws.offsets


def test_the_mean_is_the_exact_one():
    x, y = data(30)
    posterior = ProcessPosterior(x, y[:, np.newaxis], VECTOR[np.newaxis])
    at = data(10, seed=2)[0]
    np.testing.assert_allclose(values(posterior.mean(), LENGTHS, x, at)[0], posterior.predict(at)[0][:, 0], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 20])
def test_draws_have_the_exact_mean_and_covariance(rows):
    x, y = data(rows)
    posterior, n = ProcessPosterior(x, y[:, np.newaxis], VECTOR[np.newaxis]), 4000
    kernel, at = posterior.kernels[0], data(6, seed=2)[0]
    solved = np.linalg.solve(kernel(x, x) + kernel.noise_variance * np.eye(rows), kernel(x, at))
    mean, covariance = solved.T @ y, kernel(at, at) - kernel(at, x) @ solved
    found = values(posterior.sample(n, 0), LENGTHS, x, at)
    std = np.sqrt(np.diag(covariance))
    assert np.abs(found.mean(axis=0) - mean).max() < 4 * std.max() / np.sqrt(n)
    z = (found - mean) / std
    # The products of two standard normal numbers have a variance of at most 2.
    assert np.abs(z.T @ z / n - covariance / np.outer(std, std)).max() < 4 * np.sqrt(2 / n)
    np.testing.assert_allclose(np.quantile(z, [0.05, 0.95], axis=0), [[-1.645] * 6, [1.645] * 6], atol=0.12)
