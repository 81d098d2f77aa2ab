"""Inputs and targets as numbers: what is refused, what is cast, what is standardised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STANDARDIZE = ("auto", "inputs", True, False)


def is_image(dtype: np.dtype, rank: int) -> bool:
    """Return whether rows of this type, N among their axes, are images: bytes [N, H, W] or [N, H, W, C]."""
    return dtype == np.uint8 and rank >= 3


def scales_inputs(standardize: str | bool, rank: int) -> bool:
    return standardize is True or (standardize in ("auto", "inputs") and rank == 2)


def scales_targets(standardize: str | bool, classes: bool) -> bool:
    return not classes and standardize in ("auto", True)


def as_inputs(x, part: str, columns: Sequence[str] | None = None, scaled: bool = False) -> np.ndarray:
    """Return inputs as float32 [N, ...], a single feature [N] as [N, 1], images in [0, 1].

    Integers stay as they are unless they are to be `scaled`.

    Raises:
        ValueError: if x is no array of numbers with rows, or has a value that is not finite.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise ValueError(
            f"Invalid `x`: expected an array of numbers. Received: type {x.dtype} in the {part} part. Strings are "
            "encoded in a DataFrame's columns only."
        )
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"Invalid `x`: expected at least one row. Received: shape {x.shape} as the {part} part.")
    if is_image(x.dtype, x.ndim):
        return x.astype(np.float32) / np.float32(255)
    x = x[:, np.newaxis] if x.ndim == 1 else x
    return x if x.dtype.kind in "iu" and not scaled else finite("x", x, part, columns)


def finite(
    name: str, values: np.ndarray, part: str | None = None, columns: Sequence[str] | None = None, first: int = 0
) -> np.ndarray:
    """Return `values` [N, ...] as float32, or say where they are not finite.

    Args:
        name: of the argument.
        values: numbers.
        part: whose rows they are, if they are divided.
        columns: names of the last axis.
        first: the number of the first row.

    Raises:
        ValueError: if a value is not finite, or too large for float32.
    """
    with np.errstate(over="ignore"):
        array = values.astype(np.float32)
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))
        row, *column = bad[0].tolist()
        where = f"row {first + row}" + (f", column {', '.join(map(str, column))}" if column else "")
        if columns and column:
            where += f" ({columns[column[-1]]!r})"
        where += f", of the {part} part" if part else ""
        raise ValueError(
            f"Invalid `{name}`: expected finite float32 numbers. Received: {array[tuple(bad[0])]} in {where}, the "
            f"first of {len(bad)}. Drop or fill in such rows."
        )
    return array
