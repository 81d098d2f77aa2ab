"""Pictures of how sure predictions are, and how sure they should be."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.plots.style import INK, MODEL, REAL, _figure, _legend, _save, _shaped, _style, _title


def reliability(
    path: str | os.PathLike[str],
    confidence: ArrayLike,
    accuracy: ArrayLike,
    count: ArrayLike,
    ece: float,
    title: str = "",
) -> None:
    """Draw a reliability diagram, with the number of predictions in each bin, to a PNG.

    Args:
        path: where to.
        confidence: the mean probability of the predicted class in each bin, [K]; NaN for an empty bin.
        accuracy: the share of them that are right, [K]; NaN for an empty bin.
        count: how many there are, [K].
        ece: the expected calibration error, in [0, 1], for the title.
        title: of the figure.

    Raises:
        ValueError: for another shape.
    """
    named = {"confidence": (confidence, "K"), "accuracy": (accuracy, "K"), "count": (count, "K")}
    confidence, accuracy, count = _shaped(named, finite=False)
    filled = (count > 0) & ~np.isnan(confidence) & ~np.isnan(accuracy)
    sure, right, count = 100 * confidence[filled], 100 * accuracy[filled], count[filled]
    figure = _figure(6.0, 6.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", label="calibrated")
    gaps = upper.vlines(sure, np.minimum(sure, right), np.maximum(sure, right), color=REAL, alpha=0.35, linewidth=6)
    gaps.set_label("gap to calibration")
    upper.plot(sure, right, "o-", color=MODEL, markersize=5, label="accuracy of a bin")
    _style(upper, "", "accuracy, %")
    upper.set(xlim=(-2, 102), ylim=(-2, 102))
    lower.bar(sure, count, width=0.6 * 100 / len(confidence), color=MODEL, alpha=0.5)
    for place, number in zip(sure, count, strict=True):
        shown = f"{number:.0f}" if number < 1e4 else f"{number / 1e3:.0f}k"
        lower.annotate(shown, (place, number), (0, 2), textcoords="offset points", ha="center", fontsize=7, color=INK)
    lower.set_ylim(0, 1.2 * max(count, default=1))
    _style(lower, "confidence, the probability of the predicted class, %", "predictions")
    _title(figure, f"{title}: ECE {100 * ece:.1f} %" if title else f"ECE {100 * ece:.1f} %")
    _legend(figure, upper.get_legend_handles_labels()[0])
    _save(figure, path)


def calibration_curve(path: str | os.PathLike[str], expected: ArrayLike, observed: ArrayLike, title: str = "") -> None:
    """Draw how often targets lie below the predicted quantiles, against how often they should, to a PNG.

    Args:
        path: where to.
        expected: levels of the quantiles, [Q], in [0, 1].
        observed: the share of targets below each, [Q], in [0, 1].
        title: of the figure.

    Raises:
        ValueError: for another shape, or entries out of [0, 1].
    """
    expected, observed = _shaped({"expected": (expected, "Q"), "observed": (observed, "Q")})
    for name, values in (("expected", expected), ("observed", observed)):
        if values.min() < 0 or values.max() > 1:
            raise ValueError(
                f"Invalid `{name}`: expected shares in [0, 1]. Received: {values.min():g} to {values.max():g}."
            )
    order = np.argsort(expected)
    expected, observed = 100 * expected[order], 100 * observed[order]
    figure = _figure(6.0, 5.8)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", label="calibrated")
    error = f"mean distance {np.abs(observed - expected).mean():.1f} points"
    axes.fill_between(expected, expected, observed, color=REAL, alpha=0.15, linewidth=0, label=error)
    axes.plot(expected, observed, "o-", color=MODEL, markersize=4, label="observed")
    _style(axes, "expected share of targets below the quantile, %", "observed share, %")
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    _title(figure, title)
    _legend(figure, axes.get_legend_handles_labels()[0])
    _save(figure, path)


def entropy_histogram(
    path: str | os.PathLike[str], inside: ArrayLike, outside: ArrayLike, title: str = "", unit: str = "nats"
) -> None:
    """Draw how unsure the predictions are for inputs like the training data, and for others, to a PNG.

    Args:
        path: where to.
        inside: entropy of the predictive for inputs in distribution, [N].
        outside: the same for inputs out of distribution, [M].
        title: of the figure.
        unit: of the entropies.

    Raises:
        ValueError: for another shape, or entries that are not finite.
    """
    inside, outside = _shaped({"inside": (inside, "N"), "outside": (outside, "M")})
    both = np.concatenate([inside, outside])
    edges = np.linspace(min(0.0, both.min()), both.max() or 1.0, 41).tolist()
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    for values, colour, name in ((inside, MODEL, "in distribution"), (outside, REAL, "out of distribution")):
        weights = np.full(len(values), 100 / len(values))
        label = f"{name}: {len(values)}, median {np.median(values):.2f} {unit}"
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.35, label=label)
        axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.2)
        axes.axvline(np.median(values), color=colour, linewidth=1, linestyle=":")
    _style(axes, f"entropy of the predictive, {unit}", "share of the inputs, %")
    _title(figure, title)
    _legend(figure, axes.get_legend_handles_labels()[0], columns=2)
    _save(figure, path)
