"""Pictures of a fit, and of predictions of real numbers."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike

from bnnrl.plots.style import INK, MODEL, REAL, _figure, _legend, _save, _shaped, _style, _title


def loss_curve(
    path: str | os.PathLike[str],
    training: ArrayLike,
    validation: ArrayLike | None = None,
    title: str = "",
    ylabel: str = "loss, nats a row",
) -> None:
    """Draw the loss by epoch to a PNG.

    Where the first tenth of the epochs would take up more than half of the axis, it is cut off there, and says so.

    Args:
        path: where to.
        training: the training loss of each epoch, [E]; NaN where there is none.
        validation: the validation loss of each epoch, [E]; NaN where there is none.
        title: of the figure.
        ylabel: the loss's name and unit.

    Raises:
        ValueError: for another shape.
    """
    series = {"training": (training, "E")} | ({} if validation is None else {"validation": (validation, "E")})
    losses = np.array(_shaped(series, finite=False))  # [1 or 2, E]
    epochs = 1 + np.arange(losses.shape[1])
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    for loss, name, colour in zip(losses, ("training", "validation"), (MODEL, REAL), strict=False):
        known = ~np.isnan(loss)
        marker = "o" if known.sum() <= 30 else ""
        axes.plot(
            epochs[known], loss[known], color=colour, marker=marker, markersize=3, linewidth=1.4, label=f"{name} loss"
        )
    if validation is not None and not np.isnan(losses[1]).all():
        best = int(np.nanargmin(losses[1]))
        label = f"least validation loss: {losses[1, best]:.4g}, epoch {epochs[best]}"
        axes.plot(epochs[best], losses[1, best], "D", color=REAL, markersize=6, markerfacecolor="white", label=label)
    _style(axes, "epoch", ylabel)
    axes.locator_params(axis="x", integer=True)
    late = losses[:, losses.shape[1] // 10 :]
    if not np.isnan(late).all():
        low, high, top = np.nanmin(losses), np.nanmax(late), np.nanmax(losses)
        high = top if top <= 2 * high - low else high  # where the start would take up less than half
        margin = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
        if top > high:
            words = f"first epochs: up to {top:.4g}"
            axes.annotate(words, (0.99, 0.98), xycoords="axes fraction", ha="right", va="top", fontsize=8, color=INK)
    _title(figure, title)
    _legend(figure, axes.get_legend_handles_labels()[0])
    _save(figure, path)


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
    """Draw a regression on one input, with bands of two standard deviations, to a PNG.

    Args:
        path: where to.
        x: inputs to predict at, [N], in any order.
        mean: predictive mean, [N].
        epistemic: standard deviation of the function's value, [N], in units of y.
        total: standard deviation of a new target, [N], in units of y.
        x_train: training inputs, [M].
        y_train: training targets, [M].
        truth: the true function at `x`, [N], if it is known.
        title: of the figure.
        xlabel: the input's name and unit.
        ylabel: the target's name and unit.

    Raises:
        ValueError: for another shape, or entries that are not finite.
    """
    named = {"x": (x, "N"), "mean": (mean, "N"), "epistemic": (epistemic, "N"), "total": (total, "N")}
    named |= {"x_train": (x_train, "M"), "y_train": (y_train, "M")}
    named |= {} if truth is None else {"truth": (truth, "N")}
    x, mean, epistemic, total, x_train, y_train, *known = _shaped(named)
    order = np.argsort(x)
    x, mean = x[order], mean[order]
    figure = _figure(6.8, 4.4)
    axes = figure.subplots()
    for spread, alpha, name in ((total, 0.15, "of a new target"), (epistemic, 0.32, "of the function, epistemic")):
        band = 2 * spread[order]
        label = f"2 sd {name}"
        axes.fill_between(x, mean - band, mean + band, color=MODEL, alpha=alpha, linewidth=0, label=label)
    axes.plot(x, mean, color=MODEL, linewidth=1.8, label="mean")
    for function in known:
        axes.plot(x, function[order], color=REAL, linewidth=1.4, linestyle="--", label="true function")
    many = len(x_train) > 200
    size, alpha = (6, 0.4) if many else (16, 0.85)
    axes.scatter(x_train, y_train, s=size, color=INK, alpha=alpha, linewidth=0, label="training data", zorder=3)
    _style(axes, xlabel, ylabel)
    axes.margins(x=0.01)
    _title(figure, title)
    _legend(figure, axes.get_legend_handles_labels()[0])
    _save(figure, path)


def predicted_vs_true(
    path: str | os.PathLike[str],
    y_true: ArrayLike,
    mean: ArrayLike,
    total: ArrayLike,
    title: str = "",
    name: str = "y",
) -> None:
    """Draw predicted against true targets, with error bars of two standard deviations, to a PNG.

    Args:
        path: where to.
        y_true: targets, [N].
        mean: predictive mean, [N].
        total: standard deviation of a new target, [N], in units of y.
        title: of the figure.
        name: the target's name and unit.

    Raises:
        ValueError: for another shape, or entries that are not finite.
    """
    y, mean, total = _shaped({"y_true": (y_true, "N"), "mean": (mean, "N"), "total": (total, "N")})
    inside = np.abs(y - mean) <= 2 * total
    figure = _figure(6.0, 5.8)
    axes = figure.subplots()
    alpha = float(np.clip(30 / np.sqrt(len(y)), 0.15, 1))  # a cloud of thousands is seen by its density
    share = f"within 2 sd: {inside.mean():.1%} of {len(y)}"
    for chosen, colour, label in ((inside, MODEL, share), (~inside, REAL, f"outside: {np.sum(~inside)}")):
        bars = axes.errorbar(
            y[chosen],
            mean[chosen],
            2 * total[chosen],
            fmt="o",
            color=(colour, alpha),
            ecolor=(colour, 0.4 * alpha),
            markersize=3.5,
            markeredgewidth=0,
            elinewidth=0.8,
        )
        bars.set_label(label)
    ends = np.array([min(y.min(), mean.min()), max(y.max(), mean.max())])
    ends += np.array([-1, 1]) * (0.05 * np.ptp(ends) or 1.0)
    axes.plot(ends, ends, color=INK, linewidth=1, linestyle="--", label="predicted = true")
    _style(axes, f"true {name}", f"predicted {name}")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    _title(figure, title)
    _legend(figure, axes.get_legend_handles_labels()[0])
    _save(figure, path)
