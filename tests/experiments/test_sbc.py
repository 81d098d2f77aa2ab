"""Simulation-based calibration: its data, ranks and p-values, with a right posterior and wrong ones."""

import numpy as np
import pytest
import sbc
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.posterior import Samples

REPLICATIONS = [sbc.make(0.95, seed=100, replication=i) for i in range(300)]


def normal_posteriors(shift=0.0, width=1.0):
    """Return what independent normal draws find, with the mean off by `shift` and the width by the factor `width`."""
    found = []
    for i, data in enumerate(REPLICATIONS):
        noise = np.random.default_rng([1, i]).normal(size=(sbc.DRAWS, 4))
        draws = data.mean + data.std * (shift + width * noise)
        found.append(sbc.judge(Samples(draws.astype(np.float32)), data.theta, (0, i)))
    return found


def test_the_exact_posterior_is_that_of_bayes_rule():
    data = REPLICATIONS[0]
    problem = sbc.make_problem()
    points = data.mean + data.std * np.random.default_rng(0).normal(size=(50, 4))
    rows = tuple(tf.constant([a] * 50, tf.float32) for a in (data.x, data.y))
    found = problem.log_joint(tf.constant(points, tf.float32), rows)
    design = np.column_stack([data.x, np.ones(sbc.ROWS)])
    cov = np.linalg.inv(design.T @ design / sbc.NOISE**2 + np.eye(4))
    exact = tfd.MultivariateNormalTriL(data.mean, np.linalg.cholesky(cov)).log_prob(points)
    np.testing.assert_allclose(found - found[0], exact - exact[0], atol=1e-2)
    np.testing.assert_allclose(data.std, np.sqrt(np.diag(cov)))
    assert abs(np.corrcoef(np.concatenate([a.x for a in REPLICATIONS]).T)[0, 1] - 0.95) < 0.01


def test_a_right_posterior_passes_and_wrong_ones_do_not():
    score = lambda found: sbc.worst([sbc.scores(REPLICATIONS, found, i) for i in range(4)])
    right = score(normal_posteriors())
    assert right["p"] > 0.05 and abs(right["bias"]) < 3 and abs(right["spread"] - 1) < 0.15
    assert right["narrowest"] == pytest.approx(1, abs=0.02) and right["widest"] == pytest.approx(1, abs=0.02)
    shifted = score(normal_posteriors(shift=0.5))
    assert shifted["p"] < 0.001 and shifted["bias"] < -5 and shifted["error"] == pytest.approx(0.5, abs=0.02)
    narrow = score(normal_posteriors(width=0.5))
    assert narrow["p"] < 0.001 and narrow["spread"] == pytest.approx(2, abs=0.3)
    point = score(normal_posteriors(width=0.0))
    assert point["p"] < 0.001 and np.isnan(point["spread"])


def test_p_values_of_uniform_ranks_are_uniform_enough():
    p = np.array([sbc.p_value(np.random.default_rng(i).integers(0, sbc.RANKED + 1, 200)) for i in range(100)])
    assert 0.02 < (p < 0.1).mean() < 0.2 and 0.35 < np.median(p) < 0.65


def test_the_excess_is_that_of_the_cumulative_counts():
    # Of two ranks, 30 of 40 below the middle: 10 above the expected 20, in units of √(40 / 4).
    assert sbc.excess(np.array([30, 10])) == pytest.approx(10 / np.sqrt(10))


def test_small_p_values_are_bold_and_points_have_no_spread():
    row = {"inputs": "independent", "method": "m", "p": 1e-4, "bias": 1.0, "error": 0.5, "spread": np.nan, "width": 0.0}
    table = sbc.summary([row] * 4)
    assert "| m | **< 0.001** | 1.0 | 0.500 |  | 0.00 to 0.00 |" in table
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
    line = sbc.line_of("m", {"p": 0.02, "bias": -1.25, "error": 0.0312, "spread": 1.1, "narrowest": 0.9, "widest": 1.0})
    assert line == "| m | 0.020 | -1.2 | 0.031 | 1.10 | 0.90 to 1.00 |"


def test_the_fit_of_a_method_by_name_is_judged(monkeypatch):
    monkeypatch.setattr(sbc, "STEPS", 400)
    data = REPLICATIONS[0]
    found = sbc.judge(sbc.fit(sbc.make_problem(), "laplace", data, (0, 0)), data.theta, (0, 0))
    np.testing.assert_allclose(found.std, data.std, rtol=0.15)
    assert np.abs(found.mean - data.mean).max() < 0.3 * data.std.max()
