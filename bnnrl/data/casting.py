"""Conversion of inputs and targets to numbers: accepted types, finite float32, and the rule of standardization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnrl.checks import as_array
from bnnrl.data.scaler import is_wide

_COARSE = 1e-4  # standard deviations: far below what a network can resolve
STANDARDIZE = ("auto", "inputs", True, False)


def is_image(dtype: np.dtype, rank: int) -> bool:
    """Return whether an array of this type and rank holds images: uint8 of shape [N, H, W] or [N, H, W, C]."""
    return dtype == np.uint8 and rank >= 3


def scales_inputs(standardize: str | bool, rank: int) -> bool:
    """Return whether `standardize` gives inputs of this rank, the axis of rows included, a scaler."""
    return standardize is True or (standardize in ("auto", "inputs") and rank == 2)


def scales_targets(standardize: str | bool, classes: bool) -> bool:
    """Return whether `standardize` gives targets, which are classes or real numbers, a scaler."""
    return not classes and standardize in ("auto", True)


def as_inputs(x, part: str, columns: Sequence[str] | None = None, scaled: bool = False) -> np.ndarray:
    """Return inputs as float32 [N, ...], or as `as_standardizable` does if they are standardized.

    A single feature [N] becomes [N, 1]. Images of bytes are divided by 255. Integers, such as tokens, keep their type
    unless they are standardized.

    Args:
        x: inputs [N, ...].
        part: the part that the rows belong to, for error messages.
        columns: names of the last axis, for error messages.
        scaled: whether the inputs are going to be standardized.

    Raises:
        ValueError: if x has no rows, holds something else than numbers, or has a value that is not finite.
    """
    x = as_array("x", x)
    if x.dtype.kind not in "biuf":
        raise ValueError(
            f"Invalid `x`: expected an array of numbers. Received: type {x.dtype} in the {part} part. To have strings "
            "one-hot encoded, pass a DataFrame."
        )
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"Invalid `x`: expected at least one row. Received: shape {x.shape} as the {part} part.")
    if is_image(x.dtype, x.ndim):
        return x.astype(np.float32) / np.float32(255)
    x = x[:, np.newaxis] if x.ndim == 1 else x
    if scaled:
        return as_standardizable("x", x, part, columns)
    return x if x.dtype.kind in "iu" else as_float32("x", x, part, columns)


def as_standardizable(name: str, values: np.ndarray, part: str, columns: Sequence[str] | None = None) -> np.ndarray:
    """Return finite `values` [N, ..., F] as float32, or as float64 where float32 would round them too coarsely.

    That is where float32 changes a value by more than 1e-4 standard deviations of its column. Time stamps in seconds,
    about 1.7e9, would be rounded to multiples of 128.

    Raises:
        ValueError: as `as_float32`.
    """
    single = as_float32(name, values, part, columns)
    if not is_wide(values.dtype):
        return single
    double = values.astype(np.float64)
    rows = tuple(range(values.ndim - 1))
    return double if np.any(is_too_coarse(np.abs(double - single).max(axis=rows), double.std(axis=rows))) else single


def is_too_coarse(rounded: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return for each column whether float32 changes values by too much, at most `rounded`, for their deviation."""
    return rounded > _COARSE * std


def as_float32(
    name: str,
    values: np.ndarray,
    part: str | None = None,
    columns: Sequence[str] | None = None,
    first_row: int = 0,
    copy: bool = True,
) -> np.ndarray:
    """Return finite `values` [N, ...] as float32.

    Args:
        name: the argument's name, for error messages.
        values: numbers [N, ...].
        part: the part that the rows belong to, for error messages; None for rows that are not divided.
        columns: names of the last axis, for error messages.
        first_row: the number that error messages give to row 0 of `values`.
        copy: whether values that are float32 already are copied.

    Raises:
        ValueError: if a value is not finite, or too large for float32. The message names its row and column.
    """
    with np.errstate(over="ignore"):
        array = values.astype(np.float32, copy=copy)
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        row, *column = bad[0].tolist() or [0]  # a single number has no row
        where = f"row {first_row + row}" + (f", column {', '.join(map(str, column))}" if column else "")
        if columns and column:
            where += f" ({columns[column[-1]]!r})"
        where += f", of the {part} part" if part else ""
        raise ValueError(
            f"Invalid `{name}`: expected finite float32 numbers. Received: {array[tuple(bad[0])]} in {where}, the "
            f"first of {len(bad)}. Drop such rows, or fill them in."
        )
    return array
