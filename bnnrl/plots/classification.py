"""Pictures of predicted classes: decision boundaries, ROC curves and confusion matrices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from bnnrl.plots.style import (
    INK,
    check_arrays,
    check_labels,
    check_names,
    finish,
    make_figure,
    series_colours,
    style_axes,
)

_MAX_CURVES = 10  # there are ten colours that can be told apart
_MIN_COUNT_SIZE = 5  # points, below which a number in a confusion matrix cannot be read


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
    """Draw the predicted class and the epistemic uncertainty over a plane of inputs to a PNG file.

    In the left panel, the colour is the most probable class; it is paler where that class is less probable.

    Args:
        path: the PNG file.
        x1: first coordinates of the grid, [W], evenly spaced and increasing.
        x2: second coordinates of the grid, [H], evenly spaced and increasing.
        probs: predictive class probabilities on the grid, [H, W, C].
        epistemic: mutual information of class and weights on the grid, [H, W], in nats.
        x_train: training inputs, [N, 2].
        y_train: training classes, [N], in 0 to C − 1.
        title: the title.
        class_names: name of each class.
        feature_names: name and unit of each of the two inputs.

    Raises:
        ValueError: if an array has another shape, an entry is not finite, or a class is out of range.
    """
    named = {"x1": (x1, "W"), "x2": (x2, "H"), "probs": (probs, "H W C"), "epistemic": (epistemic, "H W")}
    named |= {"x_train": (x_train, "N 2"), "y_train": (y_train, "N")}
    x1, x2, probs, epistemic, x, y = check_arrays(named)
    _check_spacing(x1=x1, x2=x2)
    num_classes = probs.shape[-1]
    _check_two_classes(num_classes)
    y = check_labels("y_train", y, num_classes)
    classes = check_names("class_names", class_names, num_classes, "class")
    features = check_names("feature_names", feature_names, 2, "input")
    colours = series_colours(num_classes)
    figure = make_figure(8.8, 4.3)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    steps = [(axis[-1] - axis[0]) / (len(axis) - 1) / 2 for axis in (x1, x2)]  # half a cell: points are cell centres
    box = (x1[0] - steps[0], x1[-1] + steps[0], x2[0] - steps[1], x2[-1] + steps[1])
    left.imshow(_class_image(probs, colours), extent=box, origin="lower", aspect="auto", interpolation="nearest")
    shown = right.imshow(epistemic, extent=box, origin="lower", aspect="auto", cmap="Greys", vmin=0)
    figure.colorbar(shown, ax=right, label="mutual information, nats").outline.set_visible(False)
    for axes in (left, right):
        _draw_boundaries(axes, x1, x2, probs)
        _draw_points(axes, x, y, colours)
        style_axes(axes, features[0], features[1] if axes is left else "")
        axes.grid(visible=False)
        axes.set(xlim=box[:2], ylim=box[2:])
    left.set_title("most probable class, paler if less certain", fontsize=9, loc="left")
    right.set_title("epistemic uncertainty", fontsize=9, loc="left")
    names = zip(classes, colours, strict=True)
    handles = [Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in names]
    finish(figure, path, title, handles, columns=5)


def _class_image(probs: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Return the colour of the most probable class, [H, W, 3], which fades to white where all are equally probable."""
    palette, num_classes = np.array([to_rgb(colour) for colour in colours]), probs.shape[-1]
    certainty = (probs.max(axis=-1, keepdims=True) - 1 / num_classes) / (1 - 1 / num_classes)
    return 1 - 0.75 * np.clip(certainty, 0, 1) * (1 - palette[probs.argmax(axis=-1)])


def _draw_boundaries(axes, x1: np.ndarray, x2: np.ndarray, probs: np.ndarray) -> None:
    for k in range(probs.shape[-1]):
        margin = probs[..., k] - np.delete(probs, k, axis=-1).max(axis=-1)
        if margin.min() < 0 < margin.max():
            axes.contour(x1, x2, margin, levels=[0.0], colors=INK, linewidths=0.8)


def _draw_points(axes, x: np.ndarray, y: np.ndarray, colours: Sequence[str]) -> None:
    size = {"markersize": 5.0, "markeredgewidth": 0.5} if len(x) <= 300 else {"markersize": 3.0, "alpha": 0.7}
    for k, colour in enumerate(colours):
        axes.plot(*x[y == k].T, marker="o", linestyle="", color=colour, markeredgecolor="white", **size)


def roc(
    path: str | os.PathLike[str],
    y_true: ArrayLike,
    probs: ArrayLike,
    title: str = "",
    class_names: Sequence[str] | None = None,
) -> None:
    """Draw the ROC curve (receiver operating characteristic) of each class against all others to a PNG file.

    Of two classes, only the second is drawn, because both have the same area under the curve (AUC). Of more than ten
    classes, the ten with the smallest area get a colour. A class without targets, or with all targets, has no curve.

    Args:
        path: the PNG file.
        y_true: classes, [N], in 0 to C − 1.
        probs: predictive class probabilities, [N, C].
        title: the title.
        class_names: name of each class.

    Raises:
        ValueError: if an array has another shape, there are fewer than two classes, or a class is out of range.
    """
    y, probs = check_arrays({"y_true": (y_true, "N"), "probs": (probs, "N C")})
    num_classes = probs.shape[1]
    _check_two_classes(num_classes)
    y = check_labels("y_true", y, num_classes)
    curves = _roc_curves(y, probs, check_names("class_names", class_names, num_classes, "class"))
    figure = make_figure(6.0, 6.2)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle="--", label="chance: AUC 0.5")
    if len(curves) > _MAX_CURVES:
        curves.sort(key=lambda curve: curve.area)
        rest = curves[_MAX_CURVES:]
        for curve in rest:
            axes.plot(100 * curve.false, 100 * curve.true, color=INK, alpha=0.15, linewidth=0.8)
        label = f"{len(rest)} others: AUC at least {rest[0].area:.3f}"
        axes.plot([], [], color=INK, alpha=0.3, linewidth=0.8, label=label)
    for curve, colour in zip(curves[:_MAX_CURVES], series_colours(min(len(curves), _MAX_CURVES)), strict=True):
        label = f"{curve.name}: AUC {curve.area:.3f}"
        axes.plot(100 * curve.false, 100 * curve.true, color=colour, linewidth=1.5, label=label)
    style_axes(axes, "false positive rate, %", "true positive rate, %")
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    finish(figure, path, title, axes.get_legend_handles_labels()[0])


class _Curve(NamedTuple):
    """ROC curve of a class against all others."""

    name: str
    area: float
    false: np.ndarray  # false positive rates
    true: np.ndarray  # true positive rates


def _roc_curves(y: np.ndarray, probs: np.ndarray, names: Sequence[str]) -> list[_Curve]:
    from sklearn.metrics import auc, roc_curve  # which pictures of other kinds do not need

    curves = []
    for k in range(1 if len(names) == 2 else 0, len(names)):
        if 0 < np.sum(y == k) < len(y):
            false, true, _ = roc_curve(y == k, probs[:, k])
            curves.append(_Curve(names[k], float(auc(false, true)), false, true))
    return curves


def confusion(
    path: str | os.PathLike[str], matrix: ArrayLike, title: str = "", class_names: Sequence[str] | None = None
) -> None:
    """Draw a confusion matrix, with counts and with shares of each true class, to a PNG file.

    Args:
        path: the PNG file.
        matrix: counts by true class (rows) and predicted class (columns), [C, C].
        title: the title.
        class_names: name of each class.

    Raises:
        ValueError: if `matrix` has another shape, or a count is negative or not finite.
    """
    (matrix,) = check_arrays({"matrix": (matrix, "C C")})
    if matrix.min() < 0:
        raise ValueError(f"Invalid `matrix`: expected counts of at least 0. Received: {matrix.min():g}.")
    num_classes = len(matrix)
    names = check_names("class_names", class_names, num_classes, "class")
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.2 + 0.55 * num_classes, 4.4, 8.0))
    figure = make_figure(max(side + 1.0, 5.9), side)
    axes = figure.subplots()
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(shown, ax=axes, label="share of the true class, %").outline.set_visible(False)
    # A digit takes about 0.6 of its size, which is in points, and the axes about 0.6 of the figure's width.
    fitting = 72 * 0.6 * side / num_classes / (0.6 * len(f"{matrix.max():.0f}") + 0.6)
    size = float(min(np.clip(90 / num_classes, 6, 11), fitting))
    if num_classes <= 20 and size >= _MIN_COUNT_SIZE:
        _write_counts(axes, matrix, share, size)
    ticks = np.arange(0, num_classes, -(-num_classes // 25))  # at most 25 names can be read
    shown_names = [names[k] for k in ticks]
    # A character takes about 7.5 pixels, and the axes about 0.6 of the figure's width.
    rotated = max(map(len, shown_names)) * 7.5 > 0.6 * side * figure.dpi / len(ticks)
    axes.set_xticks(ticks, shown_names, rotation=90 if rotated else 0, fontsize=8)
    axes.set_yticks(ticks, shown_names, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    accuracy = f"accuracy {100 * np.trace(matrix) / max(matrix.sum(), 1):.1f} %"
    finish(figure, path, f"{title}: {accuracy}" if title else "")


def _write_counts(axes, matrix: np.ndarray, share: np.ndarray, size: float) -> None:
    for (i, j), number in np.ndenumerate(matrix):
        colour = "white" if share[i, j] > 55 else INK
        axes.text(j, i, f"{number:.0f}", ha="center", va="center", fontsize=size, color=colour)


def _check_spacing(**coordinates: np.ndarray) -> None:
    for name, axis in coordinates.items():
        steps = np.diff(axis)
        if len(steps) == 0 or steps.min() <= 0 or not np.allclose(steps, steps[0], rtol=1e-3):
            raise ValueError(
                f"Invalid `{name}`: expected two or more evenly spaced, increasing coordinates. "
                f"Received: {axis!r:.60}. Use `np.linspace`."
            )


def _check_two_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"Invalid `probs`: expected two classes or more on the last axis. Received: {num_classes}.")
