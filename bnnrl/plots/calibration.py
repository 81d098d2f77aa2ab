"""Pictures of uncertainty: reliability diagrams, calibration curves and entropy histograms."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.checks import check_within
from bnnrl.plots.style import INK, MODEL, REAL, check_arrays, finish, make_figure, style_axes


def reliability(
    path: str | os.PathLike[str],
    confidence: ArrayLike,
    accuracy: ArrayLike,
    count: ArrayLike,
    ece: float,
    title: str = "",
) -> None:
    """Draw a reliability diagram with the number of predictions in each bin to a PNG file.

    Args:
        path: the PNG file.
        confidence: mean probability of the predicted class in each bin, [K]; NaN for an empty bin.
        accuracy: share of correct predictions in each bin, [K]; NaN for an empty bin.
        count: number of predictions in each bin, [K].
        ece: expected calibration error in [0, 1], shown in the title; NaN without predictions.
        title: the title.

    Raises:
        ValueError: if an array has another shape.
    """
    if not (isinstance(ece, float) and np.isnan(ece)):
        check_within("ece", ece, "[0, 1]")
    named = {"confidence": (confidence, "K"), "accuracy": (accuracy, "K"), "count": (count, "K")}
    confidence, accuracy, count = check_arrays(named, finite=False)
    filled = (count > 0) & ~np.isnan(confidence) & ~np.isnan(accuracy)
    sure, right, count = 100 * confidence[filled], 100 * accuracy[filled], count[filled]
    figure = make_figure(6.0, 6.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", label="perfect calibration")
    gaps = upper.vlines(sure, np.minimum(sure, right), np.maximum(sure, right), color=REAL, alpha=0.35, linewidth=6)
    gaps.set_label("gap")
    upper.plot(sure, right, "o-", color=MODEL, markersize=5, label="accuracy of a bin")
    style_axes(upper, "", "accuracy, %")
    upper.set(xlim=(-2, 102), ylim=(-2, 102))
    lower.bar(sure, count, width=0.6 * 100 / len(confidence), color=MODEL, alpha=0.5)
    for place, number in zip(sure, count, strict=True):
        shown = f"{number:.0f}" if number < 1e4 else f"{number / 1e3:.0f}k"
        lower.annotate(shown, (place, number), (0, 2), textcoords="offset points", ha="center", fontsize=7, color=INK)
    lower.set_ylim(0, 1.2 * max(count, default=1))
    style_axes(lower, "confidence (probability of the predicted class), %", "predictions")
    score = f"ECE {100 * ece:.1f} %"
    finish(figure, path, f"{title}: {score}" if title else score, upper.get_legend_handles_labels()[0])


def calibration_curve(path: str | os.PathLike[str], expected: ArrayLike, observed: ArrayLike, title: str = "") -> None:
    """Draw the observed against the expected share of targets below predictive quantiles to a PNG file.

    Args:
        path: the PNG file.
        expected: levels of the quantiles, [Q], in [0, 1].
        observed: share of targets below each quantile, [Q], in [0, 1].
        title: the title.

    Raises:
        ValueError: if an array has another shape, or an entry is not in [0, 1].
    """
    expected, observed = check_arrays({"expected": (expected, "Q"), "observed": (observed, "Q")})
    for name, values in (("expected", expected), ("observed", observed)):
        if values.min() < 0 or values.max() > 1:
            raise ValueError(
                f"Invalid `{name}`: expected shares in [0, 1]. Received: {values.min():g} to {values.max():g}."
            )
    order = np.argsort(expected)
    expected, observed = 100 * expected[order], 100 * observed[order]
    figure = make_figure(6.0, 5.8)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", label="perfect calibration")
    gap = f"mean gap: {np.abs(observed - expected).mean():.1f} percentage points"
    axes.fill_between(expected, expected, observed, color=REAL, alpha=0.15, linewidth=0, label=gap)
    axes.plot(expected, observed, "o-", color=MODEL, markersize=4, label="observed")
    style_axes(axes, "expected share of targets below the quantile, %", "observed share, %")
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    finish(figure, path, title, axes.get_legend_handles_labels()[0])


def entropy_histogram(
    path: str | os.PathLike[str], inside: ArrayLike, outside: ArrayLike, title: str = "", unit: str = "nats"
) -> None:
    """Draw the entropies of predictions in and out of distribution to a PNG file.

    Args:
        path: the PNG file.
        inside: entropy of the predictive distribution for inputs like the training data, [N].
        outside: entropy of the predictive distribution for other inputs, [M].
        title: the title.
        unit: unit of the entropies.

    Raises:
        ValueError: if an array has another shape, or an entry is not finite.
    """
    inside, outside = check_arrays({"inside": (inside, "N"), "outside": (outside, "M")})
    both = np.concatenate([inside, outside])
    edges = np.linspace(min(0.0, both.min()), both.max() or 1.0, 41).tolist()
    figure = make_figure(6.4, 4.0)
    axes = figure.subplots()
    for values, colour, name in ((inside, MODEL, "in distribution"), (outside, REAL, "out of distribution")):
        weights = np.full(len(values), 100 / len(values))
        label = f"{name}: {len(values)} inputs, median {np.median(values):.2f} {unit}"
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.35, label=label)
        axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.2)
        axes.axvline(np.median(values), color=colour, linewidth=1, linestyle=":")
    style_axes(axes, f"entropy of the predictive distribution, {unit}", "share of inputs, %")
    finish(figure, path, title, axes.get_legend_handles_labels()[0], columns=2)
