"""Metrics of real targets and their predictives, in float64.

Throughout, targets y are [N] or [N, ...] with N rows, a predictive mean and std (standard deviation, not variance) have
the shape of y, and predictive samples are [S, N, ...], S draws of each target in y's units. A last axis of size 1 is
added or dropped where it helps; any other difference of shapes is refused. Every function raises ValueError for that,
for no rows, and for values that are not finite, the first row of which it names.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bnnrl.metrics._checks import check_levels, check_like, check_samples, check_std, check_targets


def rmse(y, mean) -> float:
    """Return the root of the mean squared error over all entries of y [N, ...], in units of y.

    Raises:
        ValueError: see the module.
    """
    y = check_targets("y", y)
    return float(np.sqrt(np.mean((y - check_like(y, "mean", mean)) ** 2)))


def mae(y, mean) -> float:
    """Return the mean absolute error over all entries of y [N, ...], in units of y.

    Raises:
        ValueError: see the module.
    """
    y = check_targets("y", y)
    return float(np.mean(np.abs(y - check_like(y, "mean", mean))))


def r2(y, mean) -> float:
    """Return the coefficient of determination R², at most 1; 0 is as good as the mean of y. Entries are averaged.

    For each entry of y [N, ...] it is 1 − Σ_n (y − mean)² / Σ_n (y − ȳ)².

    Raises:
        ValueError: see the module; and if an entry of y does not vary, for then it has no R².
    """
    y = check_targets("y", y)
    mean = check_like(y, "mean", mean)
    if not varies(y):
        raise ValueError(
            "Invalid `y`: expected targets that vary from row to row in every column. Received: one that does not. "
            "Use `rmse` or `mae`."
        )
    return r2_of(y, mean)


def r2_of(y: np.ndarray, mean: np.ndarray) -> float:
    """Return `r2` of y and mean [N, ...]; nothing is checked."""
    # By hand, as every evaluation needs it, and scikit-learn takes a second to import.
    return float(np.mean(1 - np.sum((y - mean) ** 2, axis=0) / np.sum((y - y.mean(axis=0)) ** 2, axis=0)))


def varies(y: np.ndarray) -> bool:
    """Return whether every entry of y [N, ...] takes two values or more."""
    return bool(np.all(np.ptp(y, axis=0) > 0))


def interval(samples, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the central interval of each target, [N, ...] each, in units of y, from samples [S, N, ...].

    The p-quantile is the (S + 1) p-th smallest draw, interpolated linearly (Weibull's rule): of draws from the truth,
    the interval then holds the target with probability `level` exactly, whatever S. Rules without the 1 fall short.

    Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 1996, definition 6.

    Raises:
        ValueError: see the module; and if `level` is not between 0 and 1, or the draws are too few to reach its ends:
            39 are needed for 0.95.
    """
    level = _check_level(level)
    samples = check_samples(None, samples, math.ceil(2 / (1 - level) - 1 - 1e-9), f"an interval of level {level:g}")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
    return low, high


def interval_gaussian(mean, std, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the central interval of N(mean, std²), [N, ...] each, in units of y.

    Raises:
        ValueError: see the module; and if a std is not positive, or `level` is not between 0 and 1.
    """
    from scipy.special import ndtri

    mean = check_targets("mean", mean)
    half = ndtri((1 + _check_level(level)) / 2) * check_std(mean, std)
    return mean - half, mean + half


def picp(y, low, high) -> float:
    """Return the prediction interval coverage probability: the share of targets in [low, high], in [0, 1].

    Of a calibrated predictive it is the level of the interval (see `interval`, `interval_gaussian`; other quantiles
    do as well), up to a standard error of √(level (1 − level) / N).

    Source: Khosravi et al., "Comprehensive Review of Neural Network-Based Prediction Intervals", IEEE TNN 2011.

    Args:
        y: targets, [N, ...].
        low: lower ends, [N, ...], in units of y.
        high: upper ends, likewise.

    Raises:
        ValueError: see the module; and if an upper end is below the lower one.
    """
    y = check_targets("y", y)
    low, high = _check_ends(check_like(y, "low", low), high)
    return float(np.mean((low <= y) & (y <= high)))


def interval_width(low, high) -> float:
    """Return the mean of high − low [N, ...], in units of y. Of intervals with the same coverage, prefer the narrower.

    Raises:
        ValueError: see the module; and if an upper end is below the lower one.
    """
    low, high = _check_ends(check_targets("low", low), high)
    return float(np.mean(high - low))


def crps(y, samples) -> float:
    """Return the continuous ranked probability score from samples [S, N, ...]: a mean over y [N, ...], in its units.

    CRPS = E|X − y| − ½ E|X − X'| for independent draws X, X' of the predictive; that of a point is its absolute error.
    This is the fair estimator, which takes X' among the S − 1 other draws: it is unbiased for any S, while the one
    that divides by S² calls a predictive of few draws worse than it is. Sorted, it takes O(S log S):
    Σ_ij |x_i − x_j| = 2 Σ_i (2i − S − 1) x_(i).

    Source: Gneiting and Raftery, JASA 2007, equation 21; Ferro, "Fair scores for ensemble forecasts", QJRMS 2014.

    Raises:
        ValueError: see the module; and if there are fewer than 2 draws.
    """
    y = check_targets("y", y)
    errors = check_samples(y, samples, 2, "the fair estimator") - y  # about y, where rounding matters least
    draws = len(errors)
    return float(np.mean(np.abs(errors)) - np.mean(pair_distances(errors)) / (2 * draws * (draws - 1)))


def pair_distances(x: np.ndarray) -> np.ndarray:
    """Return Σ_ij |x_i − x_j| over all pairs of draws of x [S, ...], [...]."""
    return 2 * np.tensordot(2.0 * np.arange(1, len(x) + 1) - len(x) - 1, np.sort(x, axis=0), axes=1)


def crps_gaussian(y, mean, std) -> float:
    """Return the continuous ranked probability score of N(mean, std²): a mean over y [N, ...], in its units.

    With z = (y − mean) / std it is std [z (2 Φ(z) − 1) + 2 φ(z) − 1 / √π].

    Source: Gneiting and Raftery, JASA 2007, section 4.2.

    Raises:
        ValueError: see the module; and if a std is not positive.
    """
    from scipy.special import ndtr

    y = check_targets("y", y)
    std = check_std(y, std)
    z = (y - check_like(y, "mean", mean)) / std
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return float(np.mean(std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))))


class QuantileCalibration(NamedTuple):
    """Levels of predictive quantiles, [L], and the share of targets at or below them, [L]; equal if calibrated."""

    expected: np.ndarray
    observed: np.ndarray


_LEVELS = tuple(i / 20 for i in range(1, 20))


def quantile_calibration(y, samples, levels=_LEVELS) -> QuantileCalibration:
    """Return how often targets [N, ...] fall at or below the quantiles of samples [S, N, ...], for continuous targets.

    Quantiles are those of `interval`.

    Source: Kuleshov et al., "Accurate Uncertainties for Deep Learning Using Calibrated Regression", ICML 2018.

    Args:
        y: targets, [N, ...].
        samples: [S, N, ...].
        levels: of the quantiles, [L], between 0 and 1; 0.05 to 0.95 unless given.

    Raises:
        ValueError: see the module; and if a level is not between 0 and 1, or beyond the outermost draws.
    """
    y, levels = check_targets("y", y), check_levels("levels", levels)
    least = math.ceil(1 / np.min(np.minimum(levels, 1 - levels)) - 1 - 1e-9)
    samples = check_samples(y, samples, least, "the outermost of the levels")
    # Level by level: all at once would take L times the memory of y.
    ordered = np.sort(samples, axis=0)
    below = [np.mean(y <= np.quantile(ordered, p, axis=0, method="weibull")) for p in levels]
    return QuantileCalibration(levels, np.array(below))


def quantile_calibration_gaussian(y, mean, std, levels=_LEVELS) -> QuantileCalibration:
    """Return how often targets [N, ...] fall at or below the quantiles of N(mean, std²); as `quantile_calibration`.

    Raises:
        ValueError: see the module; and if a std is not positive or a level not between 0 and 1.
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
            f"Invalid `high`: expected upper ends at or above the lower ones. Received: {high[tuple(bad[0])]} with a "
            f"lower end of {low[tuple(bad[0])]} in row {bad[0][0]}. Swap the two."
        )
    return low, high
