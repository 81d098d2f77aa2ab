"""Pictures of predicted classes: where, how often and how surely."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike
from sklearn.metrics import auc, roc_curve

from bnnrl.plots.style import INK, _colours, _figure, _labels, _legend, _names, _save, _shaped, _style, _title

_MANY = 10  # as many curves as have colours that can be told apart


def decision_boundary(
    path: str | os.PathLike[str],
    x1: ArrayLike,
    x2: ArrayLike,
    probs: ArrayLike,
    epistemic: ArrayLike,
    x_train: ArrayLike,
    y_train: ArrayLike,
    title: str = "",
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
) -> None:
    """Draw the classes of a plane of inputs, and what the weights leave open there, to a PNG.

    In the left panel a colour is the likeliest class, the paler the less probable it is.

    Args:
        path: where to.
        x1: the grid's first coordinates, [W], evenly spaced and rising.
        x2: its second coordinates, [H], likewise.
        probs: predictive probabilities on the grid, [H, W, C].
        epistemic: mutual information of class and weights there, [H, W], in nats.
        x_train: training inputs, [N, 2].
        y_train: their classes, [N], in 0 to C − 1.
        title: of the figure.
        class_names: a name for each class.
        feature_names: names and units of the two inputs.

    Raises:
        ValueError: for another shape, entries that are not finite, or classes out of range.
    """
    named = {"x1": (x1, "W"), "x2": (x2, "H"), "probs": (probs, "H W C"), "epistemic": (epistemic, "H W")}
    named |= {"x_train": (x_train, "N 2"), "y_train": (y_train, "N")}
    x1, x2, probs, epistemic, x, y = _shaped(named)
    for name, axis in (("x1", x1), ("x2", x2)):
        steps = np.diff(axis)
        if len(steps) == 0 or steps.min() <= 0 or not np.allclose(steps, steps[0], rtol=1e-3):
            raise ValueError(
                f"Invalid `{name}`: expected two or more evenly spaced, rising coordinates. "
                f"Received: {axis!r:.60}. Use `np.linspace`."
            )
    num_classes = probs.shape[-1]
    _at_least_two(num_classes)
    y = _labels("y_train", y, num_classes)
    classes = _names("class_names", class_names, num_classes, "class")
    features = _names("feature_names", feature_names, 2, "input")
    colours = _colours(num_classes)
    palette = np.array([to_rgb(colour) for colour in colours])
    best = probs.argmax(axis=-1)
    sure = (probs.max(axis=-1, keepdims=True) - 1 / num_classes) / (1 - 1 / num_classes)
    image = 1 - 0.75 * np.clip(sure, 0, 1) * (1 - palette[best])  # [H, W, 3], of white where all are as likely
    figure = _figure(8.8, 4.3)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    steps = [(axis[-1] - axis[0]) / (len(axis) - 1) / 2 for axis in (x1, x2)]  # half a cell, as points are centres
    box = (x1[0] - steps[0], x1[-1] + steps[0], x2[0] - steps[1], x2[-1] + steps[1])
    left.imshow(image, extent=box, origin="lower", aspect="auto", interpolation="nearest")
    shown = right.imshow(epistemic, extent=box, origin="lower", aspect="auto", cmap="Greys", vmin=0)
    figure.colorbar(shown, ax=right, label="epistemic uncertainty, nats").outline.set_visible(False)
    for axes in (left, right):
        for k in range(num_classes):
            ahead = probs[..., k] - np.delete(probs, k, axis=-1).max(axis=-1)
            if ahead.min() < 0 < ahead.max():
                axes.contour(x1, x2, ahead, levels=[0.0], colors=INK, linewidths=0.8)
            drawn = {"markersize": 5.0, "markeredgewidth": 0.5} if len(x) <= 300 else {"markersize": 3.0, "alpha": 0.7}
            dots = {"marker": "o", "linestyle": "", "color": colours[k], "markeredgecolor": "white"}
            axes.plot(*x[y == k].T, **dots, **drawn)
        _style(axes, features[0], features[1] if axes is left else "")
        axes.grid(visible=False)
        axes.set(xlim=box[:2], ylim=box[2:])
    left.set_title("likeliest class, paler where less sure", fontsize=9, loc="left")
    right.set_title("what the weights leave open", fontsize=9, loc="left")
    _title(figure, title)
    names = zip(classes, colours, strict=True)
    handles = [Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in names]
    _legend(figure, handles, columns=5)
    _save(figure, path)


def roc(
    path: str | os.PathLike[str],
    y_true: ArrayLike,
    probs: ArrayLike,
    title: str = "",
    class_names: Sequence[str] | None = None,
) -> None:
    """Draw receiver operating characteristics, each class against the rest, to a PNG.

    Of two classes only the second is drawn, as the first's area is the same. Of more than ten, those of least area get
    a colour. A class that none or all of the targets belong to has no curve.

    Args:
        path: where to.
        y_true: classes, [N], in 0 to C − 1.
        probs: predictive probabilities, [N, C].
        title: of the figure.
        class_names: a name for each class.

    Raises:
        ValueError: for another shape, fewer than two classes, or classes out of range.
    """
    y, probs = _shaped({"y_true": (y_true, "N"), "probs": (probs, "N C")})
    num_classes = probs.shape[1]
    _at_least_two(num_classes)
    y, names = _labels("y_true", y, num_classes), _names("class_names", class_names, num_classes, "class")
    curves = []
    for k in range(1 if num_classes == 2 else 0, num_classes):
        if 0 < np.sum(y == k) < len(y):
            false, true, _ = roc_curve(y == k, probs[:, k])
            curves.append((float(auc(false, true)), names[k], false, true))
    figure = _figure(6.0, 6.2)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", label="chance: AUC 0.5")
    if len(curves) > _MANY:
        curves.sort(key=lambda curve: curve[0])
        rest = curves[_MANY:]
        for _, _, false, true in rest:
            axes.plot(100 * false, 100 * true, color=INK, alpha=0.15, linewidth=0.8)
        label = f"{len(rest)} others: AUC at least {rest[0][0]:.3f}"
        axes.plot([], [], color=INK, alpha=0.3, linewidth=0.8, label=label)
    for (area, name, false, true), colour in zip(curves[:_MANY], _colours(min(len(curves), _MANY)), strict=True):
        axes.plot(100 * false, 100 * true, color=colour, linewidth=1.5, label=f"{name}: AUC {area:.3f}")
    _style(axes, "false positives, % of the rest", "true positives, % of the class")
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    _title(figure, title)
    _legend(figure, axes.get_legend_handles_labels()[0])
    _save(figure, path)


def confusion(
    path: str | os.PathLike[str], matrix: ArrayLike, title: str = "", class_names: Sequence[str] | None = None
) -> None:
    """Draw a confusion matrix, its counts and the shares of each true class, to a PNG.

    Args:
        path: where to.
        matrix: how many of a true class, by row, are predicted as each class, by column, [C, C].
        title: of the figure.
        class_names: a name for each class.

    Raises:
        ValueError: for another shape, or counts that are not finite or below zero.
    """
    (matrix,) = _shaped({"matrix": (matrix, "C C")})
    if matrix.min() < 0:
        raise ValueError(f"Invalid `matrix`: expected counts of at least 0. Received: {matrix.min():g}.")
    num_classes = len(matrix)
    names = _names("class_names", class_names, num_classes, "class")
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.2 + 0.55 * num_classes, 4.4, 8.0))
    figure = _figure(max(side + 1.0, 5.9), side)
    axes = figure.subplots()
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(shown, ax=axes, label="share of the true class, %").outline.set_visible(False)
    if num_classes <= 20:
        size = float(np.clip(90 / num_classes, 6, 11))
        for (i, j), number in np.ndenumerate(matrix):
            colour = "white" if share[i, j] > 55 else INK
            axes.text(j, i, f"{number:.0f}", ha="center", va="center", fontsize=size, color=colour)
    step = -(-num_classes // 25)  # no more names than can be read
    ticks = np.arange(0, num_classes, step)
    shown_names = [names[k] for k in ticks]
    turned = max(map(len, shown_names)) * 7.5 > 0.6 * side * figure.dpi / len(ticks)  # pixels a name, and a column
    axes.set_xticks(ticks, shown_names, rotation=90 if turned else 0, fontsize=8)
    axes.set_yticks(ticks, shown_names, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _title(figure, f"{title}: accuracy {np.trace(matrix) / max(matrix.sum(), 1):.1%}" if title else "")
    _save(figure, path)


def _at_least_two(num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"Invalid `probs`: expected two classes or more on the last axis. Received: {num_classes}.")
