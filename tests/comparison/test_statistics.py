"""Statistics over seeds, against values counted by hand or over all resamples there are."""

import itertools
import math

import numpy as np
import pytest

from bnnrl.comparison import statistics


def middle(values, cut: int) -> float:
    """Return the mean without the `cut` smallest and largest."""
    values = sorted(values)
    return sum(values[cut : len(values) - cut]) / (len(values) - 2 * cut)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0], 3.0), ([1, 2, 9], 4.0), ([0, 1, 3, 100], 2.0), ([9, 1, 2, 3, -7], 2.0), (range(1, 9), 4.5)],
)
def test_interquartile_mean(values, expected):
    assert statistics.iqm(list(values)) == pytest.approx(expected)


def test_interquartile_mean_along_an_axis():
    values = np.random.default_rng(0).normal(size=(10, 3))
    expected = [middle(column, 2) for column in values.T]
    np.testing.assert_allclose(statistics.iqm(values, axis=0), expected)


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_interval_against_all_resamples(level):
    values = [0.31, 0.42, 0.44, 0.60, 0.93]
    every = [middle(sample, 1) for sample in itertools.product(values, repeat=5)]
    expected = np.quantile(every, [(1 - level) / 2, (1 + level) / 2])
    np.testing.assert_allclose(statistics.interval(values, level=level), expected, atol=0.01)


def test_interval_of_two_tasks_resamples_within_each():
    strata = [1.0, 2.0, 4.0], [10.0, 10.5, 12.0, 13.0, 20.0]
    draws = [itertools.product(stratum, repeat=len(stratum)) for stratum in strata]
    every = [middle(first + second, 2) for first, second in itertools.product(*draws)]
    found = statistics.interval(*strata)
    np.testing.assert_allclose(found, np.quantile(every, [0.025, 0.975]), atol=0.1)
    pooled = statistics.interval(strata[0] + strata[1])  # may draw one task alone, and is wider for it
    assert pooled[1] - pooled[0] > 1.1 * (found[1] - found[0])


def test_interval_of_few_runs():
    assert statistics.interval([0.3, 0.3, 0.3]) == (0.3, 0.3)
    assert all(math.isnan(bound) for bound in statistics.interval([0.3]))
    assert statistics.interval([0.1, 0.5]) == statistics.interval([0.1, 0.5]) == (0.1, 0.5)


def test_estimate_leaves_out_what_is_missing():
    found = statistics.estimate([0.2, None, 0.4, math.nan, 0.3, 0.9])
    assert found.median == pytest.approx(0.35) and found.iqm == pytest.approx(0.35)
    assert 0.2 <= found.low < 0.35 < found.high <= 0.9
    assert all(math.isnan(value) for value in statistics.estimate([None]))
    alone = statistics.estimate([0.5])
    assert alone[:2] == (0.5, 0.5) and math.isnan(alone.low) and math.isnan(alone.high)


def test_success_by_trial():
    np.testing.assert_allclose(statistics.success_by_trial([2, None, 4, 2], 5), [0, 0.5, 0.5, 0.75, 0.75])
    np.testing.assert_array_equal(statistics.success_by_trial([None], 2), [0, 0])


@pytest.mark.parametrize(
    ("solved", "expected"),
    [([4, 5, 6], 5), ([4, None, 5], 5), ([4, 6], 5), ([4, None], math.inf), ([None], math.inf)],
)
def test_median_of_the_trials_that_solved(solved, expected):
    assert statistics.median_solved(solved) == expected


def test_a_run_that_stopped_keeps_its_last_figure():
    found = statistics.carried([[0.9, 0.2], [0.8, None, 0.3], [0.7, 0.6, 0.5, 0.4]], 3)
    np.testing.assert_array_equal(found, [[0.9, 0.2, 0.2], [0.8, math.nan, 0.3], [0.7, 0.6, 0.5]])


def test_figures_by_steps_are_the_last_ones_until_then():
    steps, found = statistics.carried_by_steps([[2, 4, 8], [3, 6]], [[1.0, 2.0, None], [5.0, 6.0]])
    assert steps.tolist() == [3, 4, 6, 8]
    np.testing.assert_array_equal(found, [[1, 2, 2, np.nan], [5, 5, 6, 6]])
