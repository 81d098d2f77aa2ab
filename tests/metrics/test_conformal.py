"""Conformal quantiles, class scores and coverage against hand-computed values."""

import numpy as np
import pytest
from scipy.stats import binomtest

from bnnrl import metrics
from bnnrl.metrics.conformal import class_scores, least_rows


def test_the_quantile_is_the_right_order_statistic():
    scores = np.arange(1.0, 20.0)[::-1]  # 19 rows: (19 + 1) 0.95 = 19, the largest; (19 + 1) 0.5 = 10
    assert metrics.conformal_quantile(scores, 0.95) == 19
    assert metrics.conformal_quantile(scores, 0.5) == 10
    assert metrics.conformal_quantile(scores, 0.52) == 11  # 10.4 is rounded up
    columns = np.stack([scores, 2 * scores], axis=1)
    np.testing.assert_array_equal(metrics.conformal_quantile(columns, 0.95), [19, 38])


@pytest.mark.parametrize(("level", "least"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_rows_are_refused_with_the_number_needed(level, least):
    assert least_rows(level) == least
    assert metrics.conformal_quantile(np.ones(least), level) == 1
    if least > 1:
        with pytest.raises(ValueError, match=rf"expected at least {least} rows for level {level}.*{least - 1} rows"):
            metrics.conformal_quantile(np.ones(least - 1), level)


def test_the_quantile_covers_a_new_score_with_the_promised_probability():
    """Over 20,000 calibrations, the share of new scores within the quantile is ⌈(n + 1) level⌉ / (n + 1)."""
    rng = np.random.default_rng(0)
    n, trials = 24, 20_000
    scores = rng.exponential(size=(n + 1, trials))
    hits = scores[-1] <= metrics.conformal_quantile(scores[:-1], 0.9)
    assert binomtest(int(hits.sum()), trials, 23 / 25).pvalue > 1e-3


def test_adaptive_scores_of_a_small_case():
    probs = np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]])
    found = class_scores(probs, "aps", np.array([0.5, 0.0]))
    np.testing.assert_allclose(found, [[0.8 + 0.1, 0.25, 0.5 + 0.15], [0.0, 0.9, 0.7]])
    np.testing.assert_allclose(class_scores(probs, "lac", np.zeros(2)), 1 - probs)


def test_adaptive_scores_of_the_true_class_are_uniform_under_the_true_probabilities():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(4), size=20_000)
    labels = (probs.cumsum(axis=1) < rng.random(len(probs))[:, np.newaxis]).sum(axis=1)
    scores = class_scores(probs, "aps", rng.random(len(probs)))[np.arange(len(probs)), labels]
    for p in (0.1, 0.5, 0.9):
        assert binomtest(int((scores <= p).sum()), len(probs), p).pvalue > 1e-3


@pytest.mark.parametrize(("hits", "rows"), [(0, 7), (7, 7), (3, 7), (90, 100)])
def test_coverage_has_the_exact_binomial_interval(hits, rows):
    found = metrics.coverage(np.arange(rows) < hits)
    expected = binomtest(hits, rows).proportion_ci(method="exact")
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-9)
    assert found.share == hits / rows and found.rows == rows
    assert str(found).startswith(f"{hits / rows:.3f} of {rows} rows, 95 % confidence interval")


def test_entries_of_a_row_count_as_shares_of_the_row():
    one = metrics.coverage([True, False, True, True])
    assert metrics.coverage([[True, True], [False, False], [True, True], [True, True]]) == one
