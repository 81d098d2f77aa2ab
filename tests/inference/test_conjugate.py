"""What the methods converge to on conjugate regression, if that is known."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from bnnrl.inference import BBB, BSAM, IVON, SGD, SWAG, VADAM, Adam, Driver, Ensemble, Laplace, MCDropout, Schedule
from bnnrl.posterior import Linearised, LowRank
from tests.scenarios import gaussian_target, linear_regression

N = 24
LINE = linear_regression(N)
DESIGN = np.c_[LINE.x, np.ones(N)].astype(np.float64)  # [N, D]
PRECISION = np.linalg.inv(LINE.cov)
DELTA = 1 / LINE.prior**2 / N


def fit(method, steps, batch_size=None, line=LINE):
    """Return the posterior and the state after `steps`."""
    driver = Driver(line.problem, method, batch_size, jit_compile=steps > 1000)  # XLA takes seconds to compile
    state, _ = driver.run(method.init(line.problem, 0), line.data, steps, seed=0)
    return method.posterior(line.problem, state), state


@pytest.mark.parametrize("method", [SGD(0.05), Adam(Schedule(0.1, 0.0, 500)), Ensemble(Adam(Schedule(0.1, 0.0, 500)))])
def test_point_methods_reach_the_map(method):
    found, _ = fit(method, 500)
    np.testing.assert_allclose(found.sample(5, 0), np.tile(LINE.mean, [5, 1]), atol=1e-3)


def assert_mean_field(found, tolerance=0.01):
    """q has the mean of the posterior and the variances 1 / diag(Σ⁻¹), the optimum for independent entries."""
    std = np.diag(PRECISION) ** -0.5
    np.testing.assert_array_less(np.abs(found.loc - LINE.mean), tolerance * np.sqrt(np.diag(LINE.cov)))
    np.testing.assert_allclose(found.scale**2, std**2, rtol=0.05)
    # The test would fail for the marginal variances, diag(Σ).
    assert np.any(np.diag(LINE.cov) / std**2 > 1.1)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_bbb_finds_the_best_mean_field(batch_size):
    found, _ = fit(BBB(Schedule(0.02, 1e-6, 20000), draws=64), 20000, batch_size)
    assert_mean_field(found, 0.01 if batch_size is None else 0.03)


def test_temperature_scales_the_variance():
    found, _ = fit(BBB(Schedule(0.02, 1e-5, 4000), draws=16, temperature=0.1), 4000)
    np.testing.assert_allclose(found.scale**2, 0.1 / np.diag(PRECISION), rtol=0.05)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_ivon_finds_the_best_mean_field_for_any_batch(batch_size):
    found, _ = fit(IVON(Schedule(0.1, 1e-4, 12000), beta_2=0.9995, draws=16), 12000, batch_size)
    assert_mean_field(found, 0.01 if batch_size is None else 0.03)


def vadam_scale(batch_size: int) -> np.ndarray:
    """Return VADAM's stationary s: the mean square, over q and batches, of a batch's mean gradient."""
    s = np.ones(3)
    for _ in range(30):
        std = (N * s + 1 / LINE.prior**2) ** -0.5
        theta = LINE.mean + std * np.random.default_rng(0).normal(size=(4000, 3))
        residual = theta @ DESIGN.T - LINE.y[:, 0]  # [draws, N]
        each = residual[..., None] * DESIGN / LINE.noise**2  # [draws, N, D]
        mean, spread = each.mean(1), each.var(1, ddof=1)
        s = (mean**2 + spread / batch_size * (1 - batch_size / N)).mean(0)  # batches are drawn without replacement
    return s


def kl(mean, cov, target) -> float:
    """Return KL(N(mean, cov) ‖ N(target.mean, target.cov)) in nats."""
    precision, gap = np.linalg.inv(target.cov), mean - target.mean
    logdet = np.linalg.slogdet(precision @ cov)[1]
    return 0.5 * (np.trace(precision @ cov) + gap @ precision @ gap - len(mean) - logdet)


@pytest.mark.parametrize("seed", [0, 1])
def test_divergence_from_a_normal_target_of_random_covariance(seed):
    """Full Laplace finds the posterior, BBB and IVON the nearest normal distribution with independent entries."""
    target = gaussian_target(seed=seed)
    precision = np.linalg.inv(target.cov)
    steps = 20000
    near, _ = fit(Laplace(Adam(Schedule(0.05, 1e-6, steps)), steps, "full"), steps + 1, line=target)
    assert isinstance(near, Linearised) and isinstance(near.source, LowRank)
    factor = np.asarray(near.source.factor, np.float64)
    np.testing.assert_allclose(factor.T @ factor, target.cov, rtol=1e-3, atol=1e-5)
    assert kl(np.asarray(near.mean(), np.float64), factor.T @ factor, target) < 1e-3
    least = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert least > 0.3  # the posterior is far from independent
    for method in (
        BBB(Schedule(0.02, 1e-6, steps), draws=64),
        IVON(Schedule(0.1, 1e-4, steps), beta_2=0.9995, draws=64),
    ):
        found, _ = fit(method, steps, line=target)
        scale = np.asarray(found.scale, np.float64)
        assert least <= kl(np.asarray(found.loc, np.float64), np.diag(scale**2), target) < 1.01 * least + 1e-3


@pytest.mark.parametrize("batch_size", [1, 8])
def test_vadam_has_the_squared_batch_gradient_for_a_curvature(batch_size):
    found, state = fit(VADAM(Schedule(0.01, 1e-5, 40000), beta_2=0.9998, draws=8), 40000, batch_size)
    np.testing.assert_array_less(np.abs(found.loc - LINE.mean), 0.05 * np.sqrt(np.diag(LINE.cov)))
    np.testing.assert_allclose(state.s, vadam_scale(batch_size), rtol=0.05)
    variance = np.asarray(found.scale) ** 2 * np.diag(PRECISION)  # in units of the exact one
    if batch_size == 1:  # the mean squared gradient of a row is the curvature if the model fits the data
        assert np.all((variance > 0.6) & (variance < 1.6))
    else:
        assert np.all(variance > 2)


@cache
def bsam_fixed_point(rho: float, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Return w and s that a full-batch step of BSAM does not change on average."""
    A, b = DESIGN.T @ DESIGN / LINE.noise**2 / N, DESIGN.T @ LINE.y[:, 0] / LINE.noise**2 / N
    s = np.ones(3)
    for _ in range(500):
        lift = np.eye(3) + A @ np.diag(rho / s)  # the gradient at w + ρ g / s is A w − b lifted so
        w = np.linalg.solve(lift @ A + DELTA * np.eye(3), lift @ b)
        std = np.sqrt(np.square(A) @ (1 / (N * s)))  # of g over the draws
        size = stats.foldnorm.mean(np.abs(A @ w - b) / std, scale=std)
        s = 0.9 * s + 0.1 * (np.sqrt(s) * size + DELTA + damping)
    return w, s


@pytest.mark.parametrize(("rho", "damping"), [(0.05, 0.1), (0.5, 0.02)])
def test_bsam_stays_where_its_equations_do(rho, damping):
    method = BSAM(Schedule(0.05, 1e-4, 8000), beta_2=0.999, rho=rho, damping=damping, draws=8)
    found, state = fit(method, 8000)
    w, s = bsam_fixed_point(rho, damping)
    np.testing.assert_array_less(np.abs(found.loc - w), 0.02 * np.sqrt(np.diag(LINE.cov)))
    np.testing.assert_allclose(state.s, s, rtol=0.03)


def test_dropout_is_ridge_regression_weighted_by_the_inputs_squares():
    """E‖y − X (z ∘ w)‖² = ‖y − X w‖² + rate / (1 − rate) Σ w_j² Σ_i x_ij²; the bias is not dropped."""
    rate = 0.3
    method = MCDropout(Schedule(0.05, 1e-5, 20000), input_rate=rate, masks=8)
    found, _ = fit(method, 20000)
    extra = rate / (1 - rate) * np.diag([*(DESIGN**2).sum(0)[:2], 0.0])
    precision = PRECISION + extra / LINE.noise**2
    expected = np.linalg.solve(precision, DESIGN.T @ LINE.y[:, 0] / LINE.noise**2)
    np.testing.assert_array_less(np.abs(found.mean() - expected), 0.05 * np.sqrt(np.diag(LINE.cov)))
    assert np.all(np.abs(expected - LINE.mean)[:2] > np.sqrt(np.diag(LINE.cov))[:2])  # far from the MAP


@pytest.mark.parametrize("rate", [0.02, 0.01])
def test_swag_has_half_the_stationary_covariance_of_its_path(rate):
    """The covariance S of plain SGD on single rows solves S = E[(I − α H) S (I − α H)] + α² E[g gᵀ], over rows.

    There are so many rows that sampling without replacement within an epoch makes no difference.
    """
    line = linear_regression(4000)
    method = SWAG(SGD(rate, momentum=0.0), start=4000, every=40, rank=1000)
    found, _ = fit(method, 4000 + 40 * 2000, 1, line)
    design = np.c_[line.x, np.ones(4000)].astype(np.float64)
    H = design[:, :, None] * design[:, None] / line.noise**2 + np.eye(3) / line.prior**2 / 4000
    g = design * (design @ line.mean - line.y[:, 0])[:, None] / line.noise**2 + line.mean / line.prior**2 / 4000
    K = np.eye(3) - rate * H
    transition = np.einsum("nij,nkl->ikjl", K, K).reshape(9, 9) / 4000
    noise = (rate**2 * g.T @ g / 4000).ravel()
    S = np.linalg.solve(np.eye(9) - transition, noise).reshape(3, 3)
    assert isinstance(found, LowRank)
    np.testing.assert_allclose(2 * found.scale**2, np.diag(S), rtol=0.12)
    np.testing.assert_allclose(2 * np.square(found.factor).sum(0), np.diag(S), rtol=0.2)
    error = np.sqrt(np.diag(S) / 2000)
    np.testing.assert_array_less(np.abs(found.loc - line.mean), 5 * error)
