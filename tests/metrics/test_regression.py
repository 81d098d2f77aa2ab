"""Metrics of real targets, against values by hand, closed forms, scikit-learn and simulation."""

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import integrate, stats

from bnnrl import metrics
from bnnrl.metrics import predictive
from tests.metrics.cases import rng


def test_point_metrics_by_hand():
    y, mean = [1.0, 2.0, 4.0], [1.0, 3.0, 2.0]  # errors 0, −1, 2; y − ȳ = −4/3, −1/3, 5/3
    assert metrics.rmse(y, mean) == pytest.approx(np.sqrt(5 / 3))
    assert metrics.mae(y, mean) == pytest.approx(1.0)
    assert metrics.r2(y, mean) == pytest.approx(1 - 5 / (42 / 9))


@pytest.mark.parametrize("shape", [(30,), (30, 3), (30, 2, 2)])
def test_point_metrics_are_those_of_scikit_learn(shape):
    y, mean = rng(0).normal(size=shape), rng(1).normal(size=shape).astype(np.float32)
    flat = [a.reshape(30, -1) for a in (y, mean)]
    assert metrics.rmse(y, mean) == pytest.approx(sk.mean_squared_error(*flat) ** 0.5, rel=1e-12)
    assert metrics.mae(y, mean) == pytest.approx(sk.mean_absolute_error(*flat), rel=1e-12)
    assert metrics.r2(y, mean) == pytest.approx(sk.r2_score(*flat), rel=1e-12)


def test_a_last_axis_of_one_is_added_or_dropped():
    y, mean = rng(0).normal(size=9), rng(1).normal(size=9)
    samples = rng(2).normal(size=(50, 9))
    for other in (mean[:, None], mean):
        assert metrics.rmse(y, other) == metrics.rmse(y[:, None], other) == metrics.rmse(y, mean)
    for other in (samples, samples[..., None]):
        assert metrics.crps(y, other) == metrics.crps(y[:, None], other) == metrics.crps(y, samples)


@pytest.mark.parametrize(("mean", "std", "y"), [(0.0, 1.0, 0.3), (2.0, 0.5, 3.1), (-1.0, 3.0, -8.0)])
def test_crps_of_a_gaussian_is_the_integral_of_its_definition(mean, std, y):
    below = integrate.quad(lambda t: stats.norm.cdf(t, mean, std) ** 2, -np.inf, y)[0]
    above = integrate.quad(lambda t: stats.norm.sf(t, mean, std) ** 2, y, np.inf)[0]
    assert metrics.crps_gaussian([y], [mean], [std]) == pytest.approx(below + above, rel=1e-6)


def test_crps_is_the_definition_by_pairs():
    y, x = rng(0).normal(size=(5, 2)), 100 + rng(1).normal(size=(7, 5, 2))
    pairs = np.abs(x[:, None] - x[None]).sum(axis=(0, 1)) / (7 * 6)
    assert metrics.crps(y, x) == pytest.approx(np.mean(np.abs(x - y).mean(axis=0) - pairs / 2), rel=1e-12)
    assert metrics.crps([1.0], [[3.0], [3.0]]) == 2.0  # of a point, the absolute error


@pytest.mark.parametrize("draws", [2, 5, 100])
def test_crps_of_few_samples_is_unbiased(draws):
    scores = [metrics.crps([0.7], rng(i).normal(size=(draws, 1))) for i in range(1500)]
    error = np.std(scores) / np.sqrt(len(scores))
    assert abs(np.mean(scores) - metrics.crps_gaussian([0.7], [0.0], [1.0])) < 4 * error < 0.1


def test_crps_is_least_for_the_truth():
    y = rng(0).normal(size=4000)
    best = metrics.crps_gaussian(y, 0 * y, 0 * y + 1)
    assert best == pytest.approx(1 / np.sqrt(np.pi), rel=0.03)  # E CRPS = std / √π
    for mean, std in ((0.3, 1.0), (0.0, 1.5), (0.0, 0.6)):
        assert metrics.crps_gaussian(y, 0 * y + mean, 0 * y + std) > best + 0.01


def test_gaussian_interval_and_coverage():
    low, high = metrics.interval_gaussian([1.0, 2.0], [0.5, 1.0], level=0.95)
    np.testing.assert_allclose([low, high], stats.norm.interval(0.95, [1.0, 2.0], [0.5, 1.0]), rtol=1e-12)
    assert metrics.interval_width(low, high) == pytest.approx(2 * 1.959964 * 0.75, rel=1e-6)
    assert metrics.picp([0.0, 3.9], low, high) == 0.5
    assert metrics.picp([1.0, 2.0, 3.0, 4.0], [1, 0, 4, 0], [2, 1, 5, 4]) == 0.5  # the ends belong to it


@pytest.mark.parametrize(("level", "draws"), [(0.5, 3), (0.9, 40), (0.95, 39), (0.95, 200)])
def test_coverage_of_exact_samples_is_the_level(level, draws):
    n = 20_000
    y, samples = rng(draws).gumbel(size=n), rng(draws + 1).gumbel(size=(draws, n))
    error = np.sqrt(level * (1 - level) / n)
    assert abs(metrics.picp(y, *metrics.interval(samples, level)) - level) < 3.5 * error


def test_interval_by_hand():
    low, high = metrics.interval(np.arange(39.0)[::-1, None], 0.9)  # the 0.05 · 40 = 2nd smallest, and the 38th
    np.testing.assert_allclose([low.item(), high.item()], [1.0, 37.0], rtol=1e-12)


def test_interval_of_draws_in_order_is_that_of_draws():
    samples = rng(0).normal(size=(300, 5, 2))
    for level in (0.95, 0.9, 0.5):
        ends = predictive._ends(np.sort(samples, axis=0), level)
        np.testing.assert_allclose(ends, metrics.interval(samples, level), rtol=1e-9)


def test_quantile_calibration():
    n, levels = 8000, np.array([0.1, 0.25, 0.5, 0.9])
    y = rng(0).normal(size=n)
    error = 4 * np.sqrt(levels * (1 - levels) / n)
    right = metrics.quantile_calibration(y, rng(1).normal(size=(99, n)), levels)
    np.testing.assert_array_equal(right.expected, levels)
    assert np.all(np.abs(right.observed - levels) < error)
    half = metrics.quantile_calibration_gaussian(y, 0 * y, 0 * y + 0.5, levels)  # half as wide as the truth
    assert np.all(np.abs(half.observed - stats.norm.cdf(0.5 * stats.norm.ppf(levels))) < error)
    default = metrics.quantile_calibration_gaussian(y, 0 * y, 0 * y + 1)
    np.testing.assert_allclose(default.expected, np.arange(0.05, 0.99, 0.05))
    assert np.max(np.abs(default.observed - default.expected)) < 4 * np.sqrt(0.25 / n)
