"""What the pictures share: colours, figures, axes, the check of shapes and the way to a file."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bnnrl.storage.atomic import atomic_write

REAL, MODEL, GOOD, GRID = "#c62828", "#1565c0", "#2e7d32", "#dfe3e6"
INK = "#263238"  # of data points and reference lines
_LONGEST = 20  # characters of a name
_SERIES = (MODEL, "#ef6c00", GOOD, "#8e24aa", "#00838f", "#6d4c41", "#d81b60", "#9e9d24", "#455a64", "#5c6bc0")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _style(axes, xlabel: str = "", ylabel: str = "") -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG whole or not at all."""
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")


def _title(figure: Figure, title: str) -> None:
    """Put a title above the axes, on more than one line if it is long."""
    width = int(12 * figure.get_figwidth())  # characters of ten points
    figure.suptitle(textwrap.fill(title, width), fontsize=10, x=0.01, ha="left")


def _legend(figure: Figure, handles: Sequence, columns: int = 3) -> None:
    """Put a legend below the axes, where no data are, in at most as many columns as fit."""
    lengths = [len(handle.get_label()) for handle in handles]
    # Inches for the characters of eight points, and for each column's signs.
    wide = lambda count: sum(0.06 * max(part) + 0.45 for part in np.array_split(lengths, count) if len(part))
    columns = next((count for count in range(columns, 1, -1) if wide(count) <= figure.get_figwidth()), 1)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _colours(count: int) -> list[str]:
    """Return a colour for each of a few series, the same one for the same place in every picture."""
    return list(islice(cycle(_SERIES), count))


def _names(argument: str, names: Sequence[str] | None, count: int, default: str) -> list[str]:
    """Return `count` names short enough for a legend, "`default` 0" and so on where none are given.

    Raises:
        ValueError: for another number of names.
    """
    if names is None:
        return [f"{default} {i}" for i in range(count)]
    if len(names) != count:
        raise ValueError(f"Invalid `{argument}`: expected {count} names. Received: {len(names)}.")
    return [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in map(str, names)]


def _labels(argument: str, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels as integers.

    Raises:
        ValueError: unless they are whole numbers in 0 to `num_classes` − 1.
    """
    if np.any(labels != np.round(labels)) or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"Invalid `{argument}`: expected whole numbers in 0 to {num_classes - 1}, one class each. "
            f"Received: {labels.min():g} to {labels.max():g}."
        )
    return labels.astype(int)


def _shaped(arrays: Mapping[str, tuple[ArrayLike, str]], finite: bool = True) -> list[np.ndarray]:
    """Return arrays of numbers once their shapes are found right.

    Args:
        arrays: by the argument's name, the array and its shape: a letter for each axis, as in "N C". A letter stands
            for one size in all arrays of a call, a digit for itself.
        finite: refuse NaN and infinite entries; else they become NaN, which Matplotlib leaves out.

    Raises:
        ValueError: if an array has another shape, is empty, or is not of numbers, or of finite ones where it must be.
    """
    sizes: dict[str, int] = {}
    checked = []
    for name, (given, letters) in arrays.items():
        array = np.asarray(given)
        wanted = [int(letter) if letter.isdigit() else sizes.get(letter) for letter in letters.split()]
        shown = [letter if size is None else size for letter, size in zip(letters.split(), wanted, strict=True)]
        expected = f"Invalid `{name}`: expected finite numbers [{', '.join(map(str, shown))}]"
        right = array.ndim == len(wanted) and all(w in (None, n) for w, n in zip(wanted, array.shape, strict=True))
        if not right or array.size == 0:
            column = array.ndim == len(wanted) + 1 and array.shape[-1] == 1
            remedy = f" Give `{name}[..., 0]`." if column else ""
            raise ValueError(f"{expected}, at least one. Received: shape {list(array.shape)}.{remedy}")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{expected}. Received: an array of {array.dtype}.")
        if finite and not np.isfinite(array).all():
            bad = np.count_nonzero(~np.isfinite(array))
            raise ValueError(f"{expected}. Received: {bad} of {array.size} that are NaN or infinite.")
        sizes |= zip(letters.split(), array.shape, strict=True)
        array = array.astype(float)
        checked.append(np.where(np.isfinite(array), array, np.nan))
    return checked
