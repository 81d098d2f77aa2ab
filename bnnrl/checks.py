"""Checks of arguments of public functions: each returns the valid value or raises ValueError."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_ALWAYS_ALLOWED_BYTES = 2**30  # reading the available memory takes longer than allocating less than this


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int, or raise ValueError unless it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"Invalid `{name}`: expected an integer of at least 1. Received: {name}={value!r}.")
    return int(value)


def check_memory(name: str, count: int, bytes_each: int) -> None:
    """Raise ValueError if `count` items of `bytes_each` bytes exceed 1 GiB and the memory that Linux has available.

    Beyond the available memory, Linux ends a process without a message. On other systems nothing is checked.

    Args:
        name: the argument that `count` is the value of, for the error.
        count: number of items.
        bytes_each: size of an item.
    """
    if count * bytes_each <= _ALWAYS_ALLOWED_BYTES or (available := _available_bytes()) is None:
        return
    if count * bytes_each > available:
        raise ValueError(
            f"Invalid `{name}`: expected at most {available // bytes_each}, for which the available memory of "
            f"{available / 2**30:.1f} GiB suffices. Received: {name}={count}, which takes "
            f"{count * bytes_each / 2**30:.1f} GiB. Ask for fewer at a time."
        )


def _available_bytes() -> int | None:
    """Return the memory that Linux can give to processes without swapping; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def check_positive(name: str, value: Any, infinite: bool = False) -> float:
    """Return `value` as a float, or raise ValueError unless it is a positive number, finite unless `infinite`."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not value > 0 or (value == math.inf and not infinite):
        expected = "a positive number" if infinite else "a positive finite number"
        raise ValueError(f"Invalid `{name}`: expected {expected}. Received: {name}={value!r}.")
    return float(value)


def check_nonnegative(name: str, value: Any) -> float:
    """Return `value` as a float, or raise ValueError unless it is at least 0."""
    if not value >= 0:
        raise ValueError(f"Invalid `{name}`: expected at least 0. Received: {name}={value!r}.")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """Return `value` as a float, or raise ValueError unless it is a number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < 1:
        raise ValueError(f"Invalid `{name}`: expected a number in [0, 1). Received: {name}={value!r}.")
    return float(value)


def changed(options: Any, besides: Iterable[str]) -> list[str]:
    """Return the names of the dataclass fields of `options` that are not at their defaults, besides some."""
    fields = (field for field in dataclasses.fields(options) if field.name not in besides)
    return [field.name for field in fields if getattr(options, field.name) != field.default]


def nearest(word: str, words: Iterable[str]) -> str:
    """Return " Did you mean 'a' or 'b'?" with up to 3 of `words` that resemble `word`, or "" if there is none."""
    by_lower = {w.lower(): w for w in words}
    near = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(by_lower[w]) for w in near)}?" if near else ""
