"""Pictures of calibration: empty bins, titles and legends."""

import numpy as np
import pytest

from bnnrl import plots
from tests.plots.figures import figure_of, legend


def test_reliability_leaves_out_empty_bins(monkeypatch):
    figure = figure_of(monkeypatch, plots.reliability, [np.nan, 0.4, 0.9], [np.nan, 0.5, 0.8], [0, 20, 12345], 0.1, "a")
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.lines[1].get_xydata(), [[40, 50], [90, 80]])
    assert [text.get_text() for text in lower.texts] == ["20", "12k"]
    assert figure.get_suptitle() == "a: ECE 10.0 %"


def test_reliability_of_no_predictions(tmp_path):
    plots.reliability(tmp_path / "none.png", [np.nan] * 3, [np.nan] * 3, [0] * 3, np.nan)
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_calibration_curve_says_how_far_it_is_off(monkeypatch):
    figure = figure_of(monkeypatch, plots.calibration_curve, [0.9, 0.5, 0.1], [0.8, 0.5, 0.3])
    assert legend(figure)[1] == "mean gap: 10.0 percentage points"
    np.testing.assert_allclose(figure.axes[0].lines[1].get_xydata(), [[10, 30], [50, 50], [90, 80]])


@pytest.mark.parametrize("argument", ["expected", "observed"])
def test_calibration_curve_of_what_are_no_shares(argument):
    given = {"expected": [0.1, 0.9], "observed": [0.1, 0.9], argument: [10, 90]}
    with pytest.raises(ValueError, match=rf"Invalid `{argument}`: expected shares in \[0, 1\]. Received: 10 to 90"):
        plots.calibration_curve("nowhere", **given)


def test_entropy_histogram_shows_shares_of_either(monkeypatch):
    figure = figure_of(monkeypatch, plots.entropy_histogram, [0.0] * 5, [1.0] * 200, unit="bits")
    assert legend(figure) == [
        "in distribution: 5 inputs, median 0.00 bits",
        "out of distribution: 200 inputs, median 1.00 bits",
    ]
    assert max(bar.get_height() for bar in figure.axes[0].patches[:40]) == pytest.approx(100)


@pytest.mark.parametrize("value", [0.0, -1e-9, 2.0])
def test_entropy_histogram_of_one_value(tmp_path, value):
    plots.entropy_histogram(tmp_path / "one.png", [value], [value])
    assert (tmp_path / "one.png").stat().st_size > 1000
