"""The picture of counts: what was observed, what is predicted, and how often."""

import numpy as np
import pytest

from bnnrl import plots
from tests.plots.figures import figure_of, legend


def test_counts_say_how_many_rows_are_inside_and_how_often_each_count_is(monkeypatch):
    y, draws = np.array([0, 0, 1, 3]), np.array([[0, 1, 1, 3], [0, 0, 2, 3], [0, 1, 1, 3]])
    figure = figure_of(monkeypatch, plots.counts, y, [0.5, 0.4, 1.5, 1.0], [0] * 4, [1, 1, 3, 2], draws, name="calls")
    left, right = figure.axes
    assert legend(figure)[:2] == ["inside the 95 % interval: 75.0 % of 4", "outside: 1"]
    assert left.get_xlabel() == "observed calls" and left.get_ylabel().startswith("predicted calls")
    assert right.get_xlabel() == "calls"
    np.testing.assert_array_equal([bar.get_height() for bar in right.patches], [2, 1, 0, 1])
    medians = right.lines[0].get_ydata()
    np.testing.assert_array_equal(medians, [1, 2, 0, 1])


def test_large_counts_are_gathered(monkeypatch):
    y = np.arange(0, 1000, 10)
    right = figure_of(monkeypatch, plots.counts, y, y, y, y + 1, [y, y]).axes[1]
    assert right.get_xlabel() == "count, in steps of 25" and len(right.patches) == 40
    assert sum(bar.get_height() for bar in right.patches) == 100


def test_counts_below_zero_are_refused():
    with pytest.raises(ValueError, match="Invalid `low`: expected counts of at least 0. Received: -1"):
        plots.counts("nowhere", [1], [1], [-1], [1], [[1]])
