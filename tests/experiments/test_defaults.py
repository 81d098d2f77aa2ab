"""The comparison of methods by name: the data that it makes, and how its table marks methods."""

import defaults
import numpy as np


def row(method: str, nll: float, prior: str = "learned") -> dict:
    """A row of results."""
    fit = {"set": "counts", "method": method, "prior": prior, "seed": 0}
    return {**fit, "nll": nll, "error": 1.0, "calibration": 0.9, "seconds": 1.0}


def test_methods_behind_adam_are_bold_and_failures_are_named():
    table = defaults.summary([row("adam", 1.0), row("near", 1.04), row("far", 1.06), row("none", np.nan)])
    of = lambda method: next(line for line in table.splitlines() if line.startswith(f"| {method} "))
    assert of("near") == "| near | 1.040 |" and of("far") == "| far | **1.060** |"
    assert of("none") == "| none | **failed** |"


def test_methods_are_compared_with_adam_under_the_same_prior():
    table = defaults.summary([row("adam", 1.0), row("adam", 2.0, "normal"), row("sgd", 2.04, "normal")])
    assert "| sgd, N(0, 1) | 2.040 |" in table


def test_counts_follow_their_rate():
    x, y = defaults.make("counts", 0)
    rate = np.exp(0.8 + np.sin(2 * x[:, 0]) + 0.4 * x[:, 1])
    assert abs(np.sum(y - rate)) < 4 * np.sqrt(np.sum(rate))  # a Poisson count has its mean as variance


def test_the_series_obeys_its_delay_equation():
    x = defaults.mackey_glass(300)
    assert 0.2 < x.min() < 0.6 < 1.1 < x.max() < 1.4  # the attractor for a delay of 17
    windows, following = defaults.make("series", 0)
    np.testing.assert_array_equal(windows[8], following[:8])
