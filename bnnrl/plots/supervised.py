"""Pictures of a fit's loss and of predictions of real targets."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.plots.style import INK, MODEL, REAL, check_arrays, finish, make_figure, style_axes

_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # hides lines behind a note


def loss_curve(
    path: str | os.PathLike[str],
    training: ArrayLike,
    validation: ArrayLike | None = None,
    title: str = "",
    ylabel: str = "loss, nats per row",
    levels: Mapping[str, float] | None = None,
) -> None:
    """Draw the loss by epoch to a PNG file.

    If the first tenth of the epochs would take up more than half of the y axis, that part is cut off, and a note in the
    picture gives its maximum.

    Args:
        path: the PNG file.
        training: training loss by epoch, [E]; NaN for epochs without one.
        validation: validation loss by epoch, [E]; NaN for epochs without one.
        title: the title.
        ylabel: name and unit of the loss.
        levels: values in the same unit by name, such as the NLL of test data after the fit, drawn as lines. A value
            that would take up most of the y axis is in the legend only.

    Raises:
        ValueError: if an array has another shape.
    """
    series = {"training": (training, "E")} | ({} if validation is None else {"validation": (validation, "E")})
    losses = np.array(check_arrays(series, finite=False))  # [1 or 2, E]
    epochs = 1 + np.arange(losses.shape[1])
    figure = make_figure(6.4, 4.0)
    axes = figure.subplots()
    for loss, name, colour in zip(losses, ("training", "validation"), (MODEL, REAL), strict=False):
        known = ~np.isnan(loss)
        marker = "o" if known.sum() <= 30 else ""
        style = {"color": colour, "marker": marker, "markersize": 3, "linewidth": 1.4}
        axes.plot(epochs[known], loss[known], label=f"{name} loss", **style)
    if validation is not None and not np.isnan(losses[1]).all():
        best = int(np.nanargmin(losses[1]))
        label = f"lowest validation loss: {losses[1, best]:.4g}, epoch {epochs[best]}"
        axes.plot(epochs[best], losses[1, best], "D", color=REAL, markersize=6, markerfacecolor="white", label=label)
    style_axes(axes, "epoch", ylabel)
    axes.locator_params(axis="x", integer=True)
    _cut_off_start(axes, losses)
    for name, level in (levels or {}).items():
        _draw_level(axes, name, level)
    finish(figure, path, title, axes.get_legend_handles_labels()[0])


def _cut_off_start(axes, losses: np.ndarray) -> None:
    """Set the range of the y axis, without the first tenth of the losses [L, E] if that takes more than half of it."""
    late = losses[:, losses.shape[1] // 10 :]
    if np.isnan(late).all():
        return
    low, high, top = np.nanmin(losses), np.nanmax(late), np.nanmax(losses)
    high = top if top <= 2 * high - low else high  # the start takes at most half of the axis
    margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    if top > high:
        note = f"first epochs: up to {top:.4g}"
        axes.annotate(
            note, (0.99, 0.98), xycoords="axes fraction", ha="right", va="top", fontsize=8, color=INK
        ).set_bbox(_BOX)


def _draw_level(axes, name: str, level: float) -> None:
    """Draw a line at a level, to which the y axis is extended if the curves keep at least a third of it."""
    low, high = axes.get_ylim()
    extended = min(low, level), max(high, level)
    shown = np.isfinite(level) and extended[1] - extended[0] <= 3 * (high - low)
    label = f"{name}: {level:.4g}{'' if shown else ', outside of the picture'}"
    axes.plot([], [], color=INK, linewidth=1.2, linestyle=":", label=label)
    if shown:
        margin = 0.04 * (extended[1] - extended[0])
        axes.axhline(level, color=INK, linewidth=1.2, linestyle=":")
        axes.set_ylim(min(low, level - margin), max(high, level + margin))


def predictive_bands(
    path: str | os.PathLike[str],
    x: ArrayLike,
    mean: ArrayLike,
    epistemic: ArrayLike,
    total: ArrayLike,
    x_train: ArrayLike,
    y_train: ArrayLike,
    truth: ArrayLike | None = None,
    title: str = "",
    xlabel: str = "x",
    ylabel: str = "y",
) -> None:
    """Draw a regression on one input, with bands of two standard deviations, to a PNG file.

    Args:
        path: the PNG file.
        x: inputs of the predictions, [N], in any order.
        mean: predictive mean, [N].
        epistemic: standard deviation of the function's value, [N], in units of y.
        total: standard deviation of a new target, [N], in units of y.
        x_train: training inputs, [M].
        y_train: training targets, [M].
        truth: true function at `x`, [N], if known.
        title: the title.
        xlabel: name and unit of the input.
        ylabel: name and unit of the target.

    Raises:
        ValueError: if an array has another shape, or an entry is not finite.
    """
    named = {"x": (x, "N"), "mean": (mean, "N"), "epistemic": (epistemic, "N"), "total": (total, "N")}
    named |= {"x_train": (x_train, "M"), "y_train": (y_train, "M")}
    named |= {} if truth is None else {"truth": (truth, "N")}
    x, mean, epistemic, total, x_train, y_train, *known = check_arrays(named)
    order = np.argsort(x)
    x, mean = x[order], mean[order]
    figure = make_figure(6.8, 4.4)
    axes = figure.subplots()
    for std, alpha, name in ((total, 0.15, "total (new target)"), (epistemic, 0.32, "epistemic (function)")):
        band = 2 * std[order]
        label = f"± 2 std, {name}"
        axes.fill_between(x, mean - band, mean + band, color=MODEL, alpha=alpha, linewidth=0, label=label)
    axes.plot(x, mean, color=MODEL, linewidth=1.8, label="predictive mean")
    for function in known:
        axes.plot(x, function[order], color=REAL, linewidth=1.4, linestyle="--", label="true function")
    size, alpha = (6, 0.4) if len(x_train) > 200 else (16, 0.85)
    axes.scatter(x_train, y_train, s=size, color=INK, alpha=alpha, linewidth=0, label="training data", zorder=3)
    style_axes(axes, xlabel, ylabel)
    axes.margins(x=0.01)
    finish(figure, path, title, axes.get_legend_handles_labels()[0])


def predicted_vs_true(
    path: str | os.PathLike[str],
    y_true: ArrayLike,
    mean: ArrayLike,
    total: ArrayLike,
    title: str = "",
    name: str = "y",
) -> None:
    """Draw predicted against true targets, with error bars of two standard deviations, to a PNG file.

    Args:
        path: the PNG file.
        y_true: targets, [N].
        mean: predictive mean, [N].
        total: standard deviation of a new target, [N], in units of y.
        title: the title.
        name: name and unit of the target.

    Raises:
        ValueError: if an array has another shape, or an entry is not finite.
    """
    y, mean, total = check_arrays({"y_true": (y_true, "N"), "mean": (mean, "N"), "total": (total, "N")})
    inside = np.abs(y - mean) <= 2 * total
    figure = make_figure(6.0, 5.8)
    axes = figure.subplots()
    alpha = float(np.clip(30 / np.sqrt(len(y)), 0.15, 1))  # among thousands of points, only their density can be seen
    share = f"within 2 std: {100 * inside.mean():.1f} % of {len(y)}"
    for chosen, colour, label in ((inside, MODEL, share), (~inside, REAL, f"outside: {np.sum(~inside)}")):
        style = {"fmt": "o", "markersize": 3.5, "markeredgewidth": 0, "elinewidth": 0.8}
        style |= {"color": (colour, alpha), "ecolor": (colour, 0.4 * alpha)}
        axes.errorbar(y[chosen], mean[chosen], 2 * total[chosen], **style).set_label(label)
    ends = np.array([min(y.min(), mean.min()), max(y.max(), mean.max())])
    ends += np.array([-1, 1]) * (0.05 * np.ptp(ends) or 1.0)
    axes.plot(ends, ends, color=INK, linewidth=1, linestyle="--", label="predicted = true")
    style_axes(axes, f"true {name}", f"predicted {name}")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    finish(figure, path, title, axes.get_legend_handles_labels()[0])
