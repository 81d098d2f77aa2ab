"""Pictures of predicted counts."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.plots.style import INK, MODEL, REAL, check_arrays, finish, make_figure, style_axes

_MOST_BARS = 40  # of a histogram; more counts are gathered in bars of several counts each
_JITTER = 0.6  # width over which rows of the same count are spread, so that points do not hide each other


def counts(
    path: str | os.PathLike[str],
    y_true: ArrayLike,
    mean: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    draws: ArrayLike,
    title: str = "",
    name: str = "count",
) -> None:
    """Draw observed against predicted counts, and how often each count was observed and predicted, to a PNG file.

    The right panel is a posterior predictive check: the bars are the observed rows of each count, the points and lines
    the median and the central 90 % of the numbers of rows in draws of all counts.

    Args:
        path: the PNG file.
        y_true: observed counts, [N].
        mean: predictive mean, [N].
        low: lower end of the 95 % prediction interval, [N].
        high: its upper end, [N].
        draws: draws of the counts from the predictive distribution, [S, N].
        title: the title.
        name: name of the target.

    Raises:
        ValueError: if an array has another shape, or an entry is not finite or negative.
    """
    named = {"y_true": (y_true, "N"), "mean": (mean, "N"), "low": (low, "N"), "high": (high, "N")}
    arrays = dict(zip([*named, "draws"], check_arrays({**named, "draws": (draws, "S N")}), strict=True))
    for argument, values in arrays.items():
        if values.min() < 0:
            raise ValueError(f"Invalid `{argument}`: expected counts of at least 0. Received: {values.min():g}.")
    y, mean, low, high, draws = arrays.values()
    figure = make_figure(9.0, 4.6)
    left, right = figure.subplots(1, 2)
    _draw_intervals(left, y, mean, low, high, name)
    _draw_frequencies(right, y, draws, name)
    finish(figure, path, title, [h for a in (left, right) for h in a.get_legend_handles_labels()[0]])


def _draw_intervals(axes, y: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, name: str) -> None:
    """Draw the predictive mean and interval of each row above its observed count."""
    inside = (low <= y) & (y <= high)
    place = y + _spread_within(y)
    ends = np.array([np.minimum(low, mean), np.maximum(high, mean)])
    alpha = float(np.clip(30 / np.sqrt(len(y)), 0.15, 1))
    share = f"inside the 95 % interval: {100 * inside.mean():.1f} % of {len(y)}"
    for chosen, colour, label in ((inside, MODEL, share), (~inside, REAL, f"outside: {np.sum(~inside)}")):
        axes.vlines(place[chosen], *ends[:, chosen], color=colour, alpha=0.4 * alpha, linewidth=0.8)
        axes.plot(place[chosen], mean[chosen], "o", color=colour, alpha=alpha, markersize=3, mew=0, label=label)
    largest = max(y.max(), ends.max(), 1.0)
    axes.plot([0, largest], [0, largest], color=INK, linewidth=1, linestyle="--", label="predicted = observed")
    style_axes(axes, f"observed {name}", f"predicted {name}, mean and 95 % interval")
    axes.set(xlim=(-0.03 * largest - _JITTER, 1.05 * max(y.max(), 1.0) + _JITTER), ylim=(-0.03 * largest, None))


def _spread_within(y: np.ndarray) -> np.ndarray:
    """Return shifts [N] that spread rows of the same count evenly over `_JITTER`."""
    shift = np.zeros(len(y))
    for value in np.unique(y):
        same = np.flatnonzero(y == value)
        shift[same] = _JITTER * ((np.arange(len(same)) + 0.5) / len(same) - 0.5)
    return shift


def _draw_frequencies(axes, y: np.ndarray, draws: np.ndarray, name: str) -> None:
    """Draw the number of rows of each count: observed as bars, in draws as their median and central 90 %."""
    largest = max(y.max(), np.quantile(draws, 0.999))
    width = max(1, int(np.ceil((largest + 1) / _MOST_BARS)))
    edges = np.arange(0, largest + width + 1, width) - 0.5
    centres = (edges[:-1] + edges[1:]) / 2
    drawn = np.array([np.histogram(np.minimum(row, largest), edges)[0] for row in draws])
    low, median, high = np.quantile(drawn, [0.05, 0.5, 0.95], axis=0)
    axes.bar(centres, np.histogram(y, edges)[0], 0.9 * width, color=REAL, alpha=0.35, label="observed rows")
    axes.vlines(centres, low, high, color=MODEL, linewidth=1.4)
    axes.plot(centres, median, "o", color=MODEL, markersize=4, label="predicted rows, median and central 90 %")
    style_axes(axes, name if width == 1 else f"{name}, in steps of {width}", "rows")
    axes.locator_params(axis="x", integer=True)
