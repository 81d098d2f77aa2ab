"""Statistics over seeds, few as they are: interquartile means with bootstrap intervals, and success by trial.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Estimate(NamedTuple):
    """A figure over seeds; NaN where there are none, and for the bounds where there is one."""

    median: float
    iqm: float
    low: float
    high: float


def iqm(values: ArrayLike, axis: int = -1) -> np.ndarray:
    """Return the interquartile mean: that of the middle half, ⌊n / 4⌋ values being cut off at either end."""
    return stats.trim_mean(values, 0.25, axis=axis)


def interval(*strata: ArrayLike, level: float = 0.95, resamples: int = 9999, seed: int = 0) -> tuple[float, float]:
    """Return the stratified percentile bootstrap's interval of the interquartile mean over all strata.

    Each resample draws as many runs as there are from every stratum, with replacement.

    Args:
        strata: for each task the figures of its runs, [S].
        level: the share of resamples inside.
        resamples: how many.
        seed: of the resampling.

    Returns:
        The lower and the upper bound; NaN where a stratum has fewer than two runs, which say nothing of a spread.
    """
    if min(len(np.atleast_1d(stratum)) for stratum in strata) < 2:
        return math.nan, math.nan
    pooled = lambda *samples, axis: iqm(np.concatenate(samples, axis=axis), axis)
    found = stats.bootstrap(
        strata,
        pooled,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def estimate(values: Sequence[float | None]) -> Estimate:
    """Return median, interquartile mean and its 95 % interval of one figure of each run, None and NaN left out."""
    found = np.array([value for value in values if value is not None and not math.isnan(value)])
    if not len(found):
        return Estimate(math.nan, math.nan, math.nan, math.nan)
    return Estimate(float(np.median(found)), float(iqm(found)), *interval(found))


def success_by_trial(solved: Sequence[int | None], trials: int) -> np.ndarray:
    """Return the share of runs that have solved the task by each trial, [T].

    Args:
        solved: each run's first trial that solved it, or None.
        trials: T.
    """
    first = _first(solved)
    return np.array([(first <= trial).mean() for trial in range(1, trials + 1)])


def median_solved(solved: Sequence[int | None]) -> float:
    """Return the median of the trials that solved the task, infinite where half of the runs or more never did."""
    return float(np.median(_first(solved)))


def carried(series: Sequence[Sequence[float | None]], trials: int) -> np.ndarray:
    """Return figures of runs by trial as a table [S, T]: a run that stopped keeps its last one, its policy being kept.

    Args:
        series: for each run its figures, at least one; None is NaN.
        trials: T.
    """
    rows = [[math.nan if value is None else value for value in values][:trials] for values in series]
    return np.array([row + row[-1:] * (trials - len(row)) for row in rows])


def _first(solved: Sequence[int | None]) -> np.ndarray:
    return np.array([math.inf if trial is None else trial for trial in solved])
