"""Checks of arguments of public functions: each returns the valid value or raises ValueError."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int, or raise ValueError unless it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"Invalid `{name}`: expected an integer of at least 1. Received: {name}={value!r}.")
    return int(value)


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
