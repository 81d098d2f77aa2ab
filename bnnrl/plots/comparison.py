"""Picture of methods compared over seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.plots.style import check_arrays, check_names, finish, make_figure, series_colours, style_axes


def comparison(
    path: str | os.PathLike[str],
    cost: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    success: ArrayLike | None = None,
    methods: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draw the cost and the share of solved runs by trial for each method to a PNG file.

    Entries of the arrays that are not finite leave a gap.

    Args:
        path: the PNG file.
        cost: evaluation cost, averaged over seeds, [M, T].
        low: lower bound of the cost's interval, [M, T].
        high: upper bound of the cost's interval, [M, T].
        success: share of runs that have solved the task by each trial, [M, T], in [0, 1]; None for no such panel.
        methods: name of each method.
        title: the title.

    Raises:
        ValueError: if an array has another shape, or `methods` another length.
    """
    named = {"cost": (cost, "M T"), "low": (low, "M T"), "high": (high, "M T")}
    if success is not None:
        named["success"] = (success, "M T")
    cost, low, high, *rest = check_arrays(named, finite=False)
    names = check_names("methods", methods, len(cost), "method")
    trials = np.arange(1, cost.shape[1] + 1)
    figure = make_figure(6.4, 4.0 + 2.4 * len(rest))
    panels = figure.subplots(1 + len(rest), 1, sharex=True, squeeze=False, height_ratios=(3, 2)[: 1 + len(rest)])[:, 0]
    for i, (name, colour) in enumerate(zip(names, series_colours(len(names)), strict=True)):
        # Methods stand side by side within a trial, so that similar intervals do not hide each other.
        places = trials + 0.3 * ((i + 0.5) / len(names) - 0.5)
        panels[0].plot(places, cost[i], "o-", color=colour, markersize=4, linewidth=1.4, label=name)
        panels[0].vlines(places, low[i], high[i], color=colour, linewidth=1.4, alpha=0.6)
        if rest:
            panels[1].plot(places, 100 * rest[0][i], "o-", color=colour, markersize=4, linewidth=1.4)
    style_axes(panels[0], "", "evaluation cost, mean per step")
    if not np.any(np.array([cost, low]) < 0):  # costs may be negative if they are minus a reward
        panels[0].set_ylim(bottom=0)
    if rest:
        style_axes(panels[1], "", "runs solved so far, %")
        panels[1].set_ylim(-4, 104)
    panels[-1].set_xlabel("trial")
    panels[-1].set_xticks(trials)
    finish(figure, path, title, panels[0].get_legend_handles_labels()[0], columns=6)
