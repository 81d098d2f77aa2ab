"""What all pictures share: colours, figures, axes, titles, legends, and the check of arrays."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import ArrayLike

from bnnrl.checks import all_finite, as_array, check_path, check_text
from bnnrl.storage.atomic import atomic_write

REAL = "#c62828"  # real data
MODEL = "#1565c0"  # predictions of the model
GOOD = "#2e7d32"  # success and returns
GRID = "#dfe3e6"
INK = "#263238"  # data points and reference lines
_SERIES = (MODEL, "#ef6c00", GOOD, "#8e24aa", "#00838f", "#6d4c41", "#d81b60", "#9e9d24", "#455a64", "#5c6bc0")
_LINES = ("-", "--", "-.", ":")  # with markers, they tell series apart where colours do not, as in grey
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MAX_NAME_LENGTH = 20  # characters of a name in a legend


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` times `height` inches."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes, xlabel: str = "", ylabel: str = "") -> None:
    """Label the axes, and give them the grid and the spines of all pictures."""
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def finish(
    figure: Figure, path: str | os.PathLike[str], title: str, handles: Sequence | None = None, columns: int = 3
) -> None:
    """Add the title and the legend, and write the figure to a PNG file.

    Args:
        figure: the figure.
        path: the PNG file.
        title: the title; a long one is wrapped.
        handles: what the legend below the axes explains; no legend if None.
        columns: the largest number of columns of the legend.
    """
    check_text("title", title)
    width = int(12 * figure.get_figwidth())  # about 12 characters of ten points in an inch
    figure.suptitle(textwrap.fill(title, width), fontsize=10, x=0.01, ha="left")
    if handles is not None:
        _add_legend(figure, handles, columns)
    save(figure, path)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a PNG file, atomically."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a "$" in a name or title is no formula
    with atomic_write(check_path("path", path)) as unfinished:
        figure.savefig(unfinished, format="png")


def _add_legend(figure: Figure, handles: Sequence, columns: int) -> None:
    """Add a legend below the axes, where it hides no data, in at most `columns` columns and no more than fit."""
    lengths = [len(handle.get_label()) for handle in handles]
    # About 0.06 inches for a character of eight points, and 0.45 inches for the symbol and the gap of a column.
    width = lambda count: sum(0.06 * max(part) + 0.45 for part in np.array_split(lengths, count) if len(part))
    columns = next((count for count in range(columns, 1, -1) if width(count) <= figure.get_figwidth()), 1)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def series_colours(count: int) -> list[str]:
    """Return the colours of the first `count` series. Colours repeat after ten."""
    return list(islice(cycle(_SERIES), count))


def series_styles(count: int) -> list[dict[str, str]]:
    """Return colours, line styles and markers of the first `count` series, as keyword arguments of Matplotlib."""
    styles = zip(cycle(_SERIES), cycle(_LINES), cycle(_MARKERS), strict=False)
    return [{"color": colour, "linestyle": line, "marker": mark} for colour, line, mark in islice(styles, count)]


def check_names(argument: str, names: Sequence[str] | None, count: int, default: str = "") -> list[str]:
    """Return `count` names, cut to fit a legend.

    Args:
        argument: the argument's name, for error messages.
        names: the names; None for "`default` 0", "`default` 1" and so on.
        count: how many are needed.
        default: see `names`.

    Raises:
        ValueError: for another number of names.
    """
    if names is None:
        return [f"{default} {i}" for i in range(count)]
    if not isinstance(names, tuple | list) or len(names) != count:
        raise ValueError(f"Invalid `{argument}`: expected {count} names. Received: {names!r:.200}.")
    return [name if len(name) <= _MAX_NAME_LENGTH else name[: _MAX_NAME_LENGTH - 1] + "…" for name in map(str, names)]


def check_labels(argument: str, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels as integers, or raise ValueError unless they are whole numbers in 0 to `num_classes` − 1."""
    if np.any(labels != np.round(labels)) or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"Invalid `{argument}`: expected whole numbers in 0 to {num_classes - 1}, one class each. "
            f"Received: {labels.min():g} to {labels.max():g}."
        )
    return labels.astype(int)


def check_arrays(arrays: Mapping[str, tuple[ArrayLike, str]], finite: bool = True) -> list[np.ndarray]:
    """Return arrays as float64, after a check of their shapes and entries.

    Args:
        arrays: for each argument's name, the array and its shape: an axis is a letter or a number, as in "N C" or
            "N 2". A letter stands for the same size in all arrays of a call.
        finite: whether NaN, infinite entries and those beyond float32 are refused. If not, they become NaN, which
            Matplotlib does not draw.

    Raises:
        ValueError: if an array has another shape, is empty, does not hold numbers, or holds refused entries.
    """
    sizes: dict[str, int] = {}
    checked = []
    for name, (given, axes) in arrays.items():
        array = as_array(name, given)
        wanted = [int(axis) if axis.isdigit() else sizes.get(axis) for axis in axes.split()]
        shown = [axis if size is None else size for axis, size in zip(axes.split(), wanted, strict=True)]
        expected = f"Invalid `{name}`: expected finite numbers [{', '.join(map(str, shown))}]"
        fits = array.ndim == len(wanted) and all(w in (None, n) for w, n in zip(wanted, array.shape, strict=True))
        if not fits or array.size == 0:
            is_column = array.ndim == len(wanted) + 1 and array.shape[-1] == 1
            remedy = f" Pass `{name}[..., 0]`." if is_column else ""
            raise ValueError(f"{expected}, at least one. Received: shape {list(array.shape)}.{remedy}")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{expected}. Received: an array of {array.dtype}.")
        bad = np.count_nonzero(~all_finite(array))
        if finite and bad:
            raise ValueError(f"{expected}. Received: {bad} of {array.size} that are NaN, infinite or beyond float32.")
        sizes |= zip(axes.split(), array.shape, strict=True)
        checked.append(np.where(all_finite(array), array, np.nan).astype(float))
    return checked
