"""The picture of methods compared over seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.plots.style import _colours, _figure, _legend, _names, _save, _shaped, _style, _title


def comparison(
    path: str | os.PathLike[str],
    cost: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    success: ArrayLike | None = None,
    methods: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Draw the cost by trial of each method with its interval, and the share of runs solved by then, to a PNG.

    Args:
        path: where to.
        cost: a mean over seeds, [M, T]. What is not finite leaves a gap, here and in the others.
        low: the interval's lower bound, [M, T].
        high: the upper one, [M, T].
        success: the share of seeds that have solved the task by a trial, [M, T], in [0, 1], or None.
        methods: a name for each.
        title: of the figure.

    Raises:
        ValueError: for another shape, or another number of names.
    """
    named = {"cost": (cost, "M T"), "low": (low, "M T"), "high": (high, "M T")}
    if success is not None:
        named["success"] = (success, "M T")
    cost, low, high, *rest = _shaped(named, finite=False)
    names = _names("methods", methods, len(cost), "method")
    trials = np.arange(1, cost.shape[1] + 1)
    figure = _figure(6.4, 4.0 + 2.4 * len(rest))
    panels = figure.subplots(1 + len(rest), 1, sharex=True, squeeze=False, height_ratios=(3, 2)[: 1 + len(rest)])[:, 0]
    for i, (name, colour) in enumerate(zip(names, _colours(len(names)), strict=True)):
        # Side by side within a trial, lest intervals hide each other where methods are alike.
        places = trials + 0.3 * ((i + 0.5) / len(names) - 0.5)
        panels[0].plot(places, cost[i], "o-", color=colour, markersize=4, linewidth=1.4, label=name)
        panels[0].vlines(places, low[i], high[i], color=colour, linewidth=1.4, alpha=0.6)
        if rest:
            panels[1].plot(places, 100 * rest[0][i], "o-", color=colour, markersize=4, linewidth=1.4)
    _style(panels[0], "", "evaluation cost, mean of a step")
    panels[0].set_ylim(bottom=0)
    if rest:
        _style(panels[1], "", "seeds solved by then, %")
        panels[1].set_ylim(-4, 104)
    panels[-1].set_xlabel("trial")
    panels[-1].set_xticks(trials)
    _title(figure, title)
    _legend(figure, panels[0].get_legend_handles_labels()[0], columns=6)
    _save(figure, path)
