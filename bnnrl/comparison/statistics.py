"""Statistics over a few seeds: interquartile means with bootstrap intervals, and success by trial.

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
    """Statistics of a figure over seeds. All are NaN for no seeds; the bounds are NaN for one seed."""

    median: float
    iqm: float  # interquartile mean
    low: float  # lower bound of its 95 % interval
    high: float  # upper bound of its 95 % interval


def iqm(values: ArrayLike, axis: int = -1) -> np.ndarray:
    """Return the interquartile mean: the mean without the ⌊n / 4⌋ smallest and the ⌊n / 4⌋ largest values."""
    return stats.trim_mean(values, 0.25, axis=axis)


def interval(*strata: ArrayLike, level: float = 0.95, resamples: int = 9999, seed: int = 0) -> tuple[float, float]:
    """Return the stratified percentile bootstrap interval of the interquartile mean over all strata.

    Each resample draws the runs of each stratum with replacement, as many as the stratum has.

    Args:
        strata: for each task, the figures of its runs, [S].
        level: the share of the resampled means inside the interval.
        resamples: the number of resamples.
        seed: the seed of the resampling.

    Returns:
        The lower and the upper bound. Both are NaN if a stratum has fewer than two runs, which show no spread.
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
    """Return the statistics of one figure for each run. Runs with None or NaN are left out."""
    found = np.array([value for value in values if value is not None and not math.isnan(value)])
    if not len(found):
        return Estimate(math.nan, math.nan, math.nan, math.nan)
    return Estimate(float(np.median(found)), float(iqm(found)), *interval(found))


def success_by_trial(solved: Sequence[int | None], trials: int) -> np.ndarray:
    """Return the share of runs that have solved the task by each trial, [T].

    Args:
        solved: for each run, the number of the first trial that solved the task, or None.
        trials: the number of trials T.
    """
    first = _first(solved)
    return np.array([(first <= trial).mean() for trial in range(1, trials + 1)])


def median_solved(solved: Sequence[int | None]) -> float:
    """Return the median of the trials that solved the task. It is infinite if at least half of the runs never did."""
    return float(np.median(_first(solved)))


def carried(series: Sequence[Sequence[float | None]], trials: int) -> np.ndarray:
    """Return figures of runs by trial, [S, T]. A run that stopped early keeps its last figure, as it keeps its policy.

    Args:
        series: for each run, its figures by trial, at least one; None becomes NaN.
        trials: the number of trials T.
    """
    rows = [[math.nan if value is None else value for value in values][:trials] for values in series]
    return np.array([row + row[-1:] * (trials - len(row)) for row in rows])


def carried_by_steps(
    steps: Sequence[Sequence[float]], series: Sequence[Sequence[float | None]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return figures of runs by steps: at each number of steps of any run, the last figures until then.

    Args:
        steps: for each run, increasing numbers of steps, at least one.
        series: for each run, its figures after these steps; None becomes NaN.

    Returns:
        The numbers of steps [N], from the first ones on at which all runs have a figure, and the figures [S, N].
    """
    grid = np.unique(np.concatenate([np.asarray(each, float) for each in steps]))
    grid = grid[grid >= max(each[0] for each in steps)]
    rows = []
    for of_run, values in zip(steps, series, strict=True):
        found = np.array([math.nan if value is None else value for value in values], float)
        rows.append(found[np.searchsorted(of_run, grid, side="right") - 1])
    return grid, np.array(rows)


def _first(solved: Sequence[int | None]) -> np.ndarray:
    """Return the first trials that solved the task, infinite for runs that never did."""
    return np.array([math.inf if trial is None else trial for trial in solved])
