"""Metrics of real targets and their predictive distributions, in float64.

Arguments of all functions: targets `y` are [N, ...] with N rows. The predictive `mean` and standard deviation `std`
have the shape of y. Predictive `samples` are [S, N, ...], S draws of each target, in units of y. A last axis of size 1
is added or dropped where necessary.

All functions raise ValueError if there are no rows, shapes do not match, or a value is not finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bnnrl.metrics._checks import check_levels, check_like, check_samples, check_std, check_targets


def rmse(y, mean) -> float:
    """Return the root mean squared error over all entries of y, in units of y.

    Raises:
        ValueError: see the module.
    """
    y = check_targets("y", y)
    return float(np.sqrt(np.mean((y - check_like(y, "mean", mean)) ** 2)))


def mae(y, mean) -> float:
    """Return the mean absolute error over all entries of y, in units of y.

    Raises:
        ValueError: see the module.
    """
    y = check_targets("y", y)
    return float(np.mean(np.abs(y - check_like(y, "mean", mean))))


def r2(y, mean) -> float:
    """Return the coefficient of determination R² = 1 − Σ_n (y_n − mean_n)² / Σ_n (y_n − ȳ)², averaged over entries.

    R² is at most 1, and 0 for a prediction as good as the mean ȳ.

    Raises:
        ValueError: see the module; also if an entry of y does not vary, because its R² is then undefined.
    """
    y = check_targets("y", y)
    mean = check_like(y, "mean", mean)
    if not varies(y):
        raise ValueError(
            "Invalid `y`: expected targets that vary from row to row in every column. Received: a constant column. "
            "Use `rmse` or `mae`."
        )
    return r2_of(y, mean)


def r2_of(y: np.ndarray, mean: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return `r2` of y and mean [N, ...], without checks, where rows may have weights [N]."""
    # Computed here, because every evaluation needs R² and scikit-learn takes a second to import.
    share = lambda a: np.average(a, axis=0, weights=weight)
    return float(np.mean(1 - share((y - mean) ** 2) / share((y - share(y)) ** 2)))


def varies(y: np.ndarray) -> bool:
    """Return whether every entry of y [N, ...] varies from row to row."""
    return bool(np.all(np.ptp(y, axis=0) > 0))


def interval(samples, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper ends of the central interval of each target, each [N, ...], in units of y.

    The p-quantile is the (S + 1) p-th smallest draw, linearly interpolated (Weibull's rule). If the draws have the
    distribution of the target, the interval then covers the target with probability `level` for every S. Rules
    that use S instead of S + 1 cover less.

    Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 1996, definition 6.

    Raises:
        ValueError: see the module; also if `level` is not between 0 and 1, or there are fewer than 2 / (1 − level) − 1
            draws, which are 39 for 0.95.
    """
    level = _check_level(level)
    samples = check_samples(None, samples, math.ceil(2 / (1 - level) - 1 - 1e-9), f"an interval of level {level:g}")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
    return low, high


def interval_gaussian(mean, std, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper ends of the central interval of N(mean, std²), each [N, ...], in units of y.

    Raises:
        ValueError: see the module; also if a std is not positive, or `level` is not between 0 and 1.
    """
    from scipy.special import ndtri

    mean = check_targets("mean", mean)
    half = ndtri((1 + _check_level(level)) / 2) * check_std(mean, std)
    return mean - half, mean + half


def picp(y, low, high) -> float:
    """Return the prediction interval coverage probability (PICP): the share of targets in [low, high], in [0, 1].

    For a calibrated predictive distribution, PICP is the level of the interval, up to a standard error of
    √(level (1 − level) / N).

    Source: Khosravi et al., "Comprehensive Review of Neural Network-Based Prediction Intervals", IEEE TNN 2011.

    Args:
        y: targets, [N, ...].
        low: lower ends of the intervals, [N, ...], in units of y, such as those of `interval`.
        high: upper ends of the intervals, [N, ...], in units of y.

    Raises:
        ValueError: see the module; also if an upper end is below its lower end.
    """
    y = check_targets("y", y)
    low, high = _check_ends(check_like(y, "low", low), high)
    return float(np.mean((low <= y) & (y <= high)))


def interval_width(low, high) -> float:
    """Return the mean interval width high − low, in units of y; at equal coverage, a smaller width is better.

    Raises:
        ValueError: see the module; also if an upper end is below its lower end.
    """
    low, high = _check_ends(check_targets("low", low), high)
    return float(np.mean(high - low))


def crps(y, samples) -> float:
    """Return the continuous ranked probability score (CRPS) from samples, averaged over entries, in units of y.

    CRPS = E|X − y| − ½ E|X − X'| for independent draws X, X' of the predictive distribution; for a point prediction it
    is the absolute error. The fair estimator is used: for each draw X it averages over the S − 1 other draws X'. It is
    unbiased for every S, while the estimator that divides by S² overestimates the score of few draws. Sorting gives
    Σ_ij |x_i − x_j| = 2 Σ_i (2i − S − 1) x_(i) in O(S log S).

    Source: Gneiting and Raftery, JASA 2007, equation 21; Ferro, "Fair scores for ensemble forecasts", QJRMS 2014.

    Raises:
        ValueError: see the module; also if there are fewer than 2 draws.
    """
    y = check_targets("y", y)
    errors = check_samples(y, samples, 2, "the fair estimator") - y  # centred at y, which keeps rounding errors small
    draws = len(errors)
    return float(np.mean(np.abs(errors)) - np.mean(pair_distances(errors)) / (2 * draws * (draws - 1)))


def pair_distances(x: np.ndarray) -> np.ndarray:
    """Return Σ_ij |x_i − x_j| over all pairs of draws, [...], for x [S, ...]."""
    return 2 * np.tensordot(2.0 * np.arange(1, len(x) + 1) - len(x) - 1, np.sort(x, axis=0), axes=1)


def crps_gaussian(y, mean, std) -> float:
    """Return the continuous ranked probability score (CRPS) of N(mean, std²), averaged over entries, in units of y.

    CRPS = std [z (2 Φ(z) − 1) + 2 φ(z) − 1 / √π] with z = (y − mean) / std.

    Source: Gneiting and Raftery, JASA 2007, section 4.2.

    Raises:
        ValueError: see the module; also if a std is not positive.
    """
    from scipy.special import ndtr

    y = check_targets("y", y)
    std = check_std(y, std)
    z = (y - check_like(y, "mean", mean)) / std
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return float(np.mean(std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))))


class QuantileCalibration(NamedTuple):
    """Expected and observed shares of targets below predictive quantiles; equal for perfect calibration."""

    expected: np.ndarray  # levels of the quantiles, [L]
    observed: np.ndarray  # shares of targets at or below the quantiles, [L]


_LEVELS = tuple(i / 20 for i in range(1, 20))


def quantile_calibration(y, samples, levels=_LEVELS) -> QuantileCalibration:
    """Return the share of continuous targets at or below quantiles of the samples, computed as in `interval`.

    Source: Kuleshov et al., "Accurate Uncertainties for Deep Learning Using Calibrated Regression", ICML 2018.

    Args:
        y: targets, [N, ...].
        samples: predictive samples, [S, N, ...].
        levels: levels of the quantiles, [L], between 0 and 1; by default 0.05, 0.1, …, 0.95.

    Raises:
        ValueError: see the module; also if a level is not between 0 and 1, or too close to 0 or 1 for S draws.
    """
    y, levels = check_targets("y", y), check_levels("levels", levels)
    least = math.ceil(1 / np.min(np.minimum(levels, 1 - levels)) - 1 - 1e-9)
    samples = check_samples(y, samples, least, "the levels nearest to 0 and 1")
    # One level at a time: all levels at once would take L times the memory of y.
    ordered = np.sort(samples, axis=0)
    below = [np.mean(y <= np.quantile(ordered, p, axis=0, method="weibull")) for p in levels]
    return QuantileCalibration(levels, np.array(below))


def quantile_calibration_gaussian(y, mean, std, levels=_LEVELS) -> QuantileCalibration:
    """Return the share of targets at or below quantiles of N(mean, std²), as `quantile_calibration` does for samples.

    Raises:
        ValueError: see the module; also if a std is not positive, or a level is not between 0 and 1.
    """
    from scipy.special import ndtr

    y, levels = check_targets("y", y), check_levels("levels", levels)
    cdf = np.sort(ndtr((y - check_like(y, "mean", mean)) / check_std(y, std)), axis=None)
    return QuantileCalibration(levels, np.searchsorted(cdf, levels, side="right") / cdf.size)


def _check_level(level: float) -> float:
    return float(check_levels("level", level).item())


def _check_ends(low: np.ndarray, high) -> tuple[np.ndarray, np.ndarray]:
    high = check_like(low, "high", high)
    bad = np.argwhere(high < low)
    if len(bad):
        raise ValueError(
            f"Invalid `high`: expected upper ends at or above the lower ends. Received: {high[tuple(bad[0])]} with a "
            f"lower end of {low[tuple(bad[0])]} in row {bad[0][0]}. Swap the two."
        )
    return low, high
