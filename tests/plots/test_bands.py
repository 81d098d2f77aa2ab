"""Curves with bands."""

import numpy as np
import pytest

from bnnrl import plots
from bnnrl.plots import Band
from tests.plots.figures import figure_of, legend, share_inked

SHORT = Band([1, 10], [2.0, 3.0], [1.0, 2.0], [3.0, 4.0])
LONG = Band([1, 10, 100], [5.0, np.nan, 6.0], [4.0, np.nan, 5.0], [6.0, np.nan, 7.0])


def test_each_curve_has_its_own_line_and_its_band(monkeypatch, tmp_path):
    panels = {"return": {"a": SHORT, "b": LONG}, "solved, %": {"b": LONG}}
    figure = figure_of(monkeypatch, plots.bands, panels, "steps", "title", log_x=True)
    upper, lower = figure.axes
    assert legend(figure) == ["a", "b"] and (upper.get_ylabel(), lower.get_xlabel()) == ("return", "steps")
    curves = {line.get_label(): line for line in upper.get_lines() if line.get_label()[0] != "_"}
    assert curves["a"].get_ydata().tolist() == [2, 3] and curves["b"].get_xdata().tolist() == [1, 10, 100]
    kinds = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in curves.values()}
    assert len(set(zip(*kinds, strict=True))) == 3 and all(len(set(each)) == 2 for each in zip(*kinds, strict=True))
    assert lower.get_lines()[0].get_color() == curves["b"].get_color() and upper.get_xscale() == "log"
    bounds = upper.collections[0].get_datalim(upper.transData)
    assert (bounds.y0, bounds.y1) == (1, 4)


def test_it_is_written(tmp_path):
    plots.bands(tmp_path / "b.png", {"cost": {"a": SHORT}}, "trial")
    assert share_inked(tmp_path / "b.png") > 0.01


@pytest.mark.parametrize(
    ("panels", "message"),
    [({}, "at least one curve"), ({"cost": {"a": Band([1, 2], [1], [1], [1])}}, "Invalid `middle`"), (3, "`panels`")],
)
def test_bad_input(panels, message):
    with pytest.raises(ValueError, match=message):
        plots.bands("nowhere", panels, "trial")
