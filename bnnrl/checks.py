"""Checks of arguments of public functions: each returns the valid value or raises ValueError."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_ALWAYS_ALLOWED_BYTES = 2**30  # reading the available memory takes longer than allocating less than this

# The range of the positive normal numbers of float32. Compiled programs take smaller numbers for 0.
_LOWEST, _HIGHEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_MOST = 2**31 - 1  # TensorFlow counts in int32

Check = Callable[[str, Any], Any]  # from an argument's name and its value to the valid value


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int, or raise ValueError unless it is an integer of at least `least` that int32 can hold."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= int(value) <= _MOST:
        most = f" and at most {_MOST}" if whole and value > _MOST else ""
        raise ValueError(
            f"Invalid `{name}`: expected an integer of at least {least}{most}. Received: {name}={value!r}."
        )
    return int(value)


def check_counts(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """Return `value` as a tuple of ints, or raise ValueError unless it is one of integers as in `check_count`."""
    if not isinstance(value, tuple | list):
        raise ValueError(f"Invalid `{name}`: expected a tuple of integers. Received: {name}={value!r}.")
    return tuple(check_count(name, entry, least) for entry in value)


def check_within(name: str, value: Any, interval: str, expected: str = "") -> float:
    """Return `value` as a float, or raise ValueError unless it lies in an interval, and is one of float32 or infinite.

    Args:
        name: the argument's name, for the error.
        value: the argument. Truth values, complex numbers and arrays are not numbers.
        interval: such as "(0, 1]"; "inf" stands for infinity.
        expected: what the error says was expected; by default, a number in the interval.
    """
    low, high = map(float, interval[1:-1].split(","))
    number = _as_float(value)
    if not low <= number <= high or (number == low and interval[0] == "(") or (number == high and interval[-1] == ")"):
        expected = expected or f"a number in {interval}"
        raise ValueError(f"Invalid `{name}`: expected {expected}. Received: {name}={value!r}.")
    if 0 < abs(number) < _LOWEST or _HIGHEST < abs(number) < math.inf:
        raise ValueError(
            f"Invalid `{name}`: expected a number of float32, 0 or from {_LOWEST:.2g} to {_HIGHEST:.2g} in magnitude. "
            f"Received: {name}={value!r}."
        )
    return number


def check_memory(name: str, count: int, bytes_each: int, remedy: str = "Ask for fewer at a time.") -> None:
    """Raise ValueError if `count` items of `bytes_each` bytes exceed 1 GiB and the memory that Linux has available.

    Beyond the available memory, Linux ends a process without a message. On other systems nothing is checked.

    Args:
        name: the argument that `count` is the value of, for the error.
        count: number of items.
        bytes_each: size of an item.
        remedy: what to do, for the error.
    """
    if count * bytes_each <= _ALWAYS_ALLOWED_BYTES or (available := available_bytes()) is None:
        return
    if count * bytes_each > available:
        raise ValueError(
            f"Invalid `{name}`: expected at most {available // bytes_each}, for which the available memory of "
            f"{available / 2**30:.1f} GiB suffices. Received: {name}={count}, which takes "
            f"{count * bytes_each / 2**30:.1f} GiB. {remedy}"
        )


def available_bytes() -> int | None:
    """Return the memory that Linux can give to processes without swapping; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def check_positive(name: str, value: Any, infinite: bool = False) -> float:
    """Return `value` as a float, or raise ValueError unless it is a positive number, finite unless `infinite`."""
    if infinite:
        return check_within(name, value, "(0, inf]", "a positive number")
    return check_within(name, value, "(0, inf)", "a positive finite number")


def check_nonnegative(name: str, value: Any) -> float:
    """Return `value` as a float, or raise ValueError unless it is a finite number of at least 0."""
    return check_within(name, value, "[0, inf)", "a finite number of at least 0")


def check_fraction(name: str, value: Any) -> float:
    """Return `value` as a float, or raise ValueError unless it is a number in [0, 1)."""
    return check_within(name, value, "[0, 1)")


def check_open_unit(name: str, value: Any) -> float:
    """Return `value` as a float, or raise ValueError unless it is a number in (0, 1)."""
    return check_within(name, value, "(0, 1)")


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool, or raise ValueError unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"Invalid `{name}`: expected True or False. Received: {name}={value!r}.")
    return bool(value)


def check_text(name: str, value: Any) -> str:
    """Return `value`, or raise ValueError unless it is a string."""
    if not isinstance(value, str):
        raise ValueError(f"Invalid `{name}`: expected a string. Received: {name}={value!r}.")
    return value


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value`, or raise ValueError, with the nearest choices, unless it is one of the strings `choices`."""
    if not isinstance(value, str) or value not in choices:
        near = nearest(value, choices) if isinstance(value, str) else ""
        raise ValueError(f"Invalid `{name}`: expected one of {list(choices)}. Received: {value!r}.{near}")
    return value


def check_instance(name: str, value: Any, cls: type | types.UnionType, expected: str) -> Any:
    """Return `value`, or raise ValueError, which says what was `expected`, unless it is an instance of `cls`."""
    if not isinstance(value, cls):
        raise ValueError(f"Invalid `{name}`: expected {expected}. Received: {name}={value!r}.")
    return value


def check_callable(name: str, value: Any) -> Any:
    """Return `value`, or raise ValueError unless it is a function or another callable."""
    if not callable(value):
        raise ValueError(f"Invalid `{name}`: expected a function. Received: {name}={value!r}.")
    return value


def check_iterable(name: str, value: Any, expected: str) -> Iterator[Any]:
    """Return an iterator over `value`, or raise ValueError, which says what was `expected`, unless it is a collection.

    Arrays and tensors without axes, which claim to be iterable, are refused, and so is text.
    """
    given: Any = None if isinstance(value, str) else value
    try:
        return iter(given)
    except TypeError:
        raise ValueError(f"Invalid `{name}`: expected {expected}. Received: {name}={value!r}.") from None


def check_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return `value`, or raise ValueError unless it is a mapping with text keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"Invalid `{name}`: expected a mapping from names to values. Received: {name}={value!r}.")
    return value


def check_seed(name: str, value: Any) -> int:
    """Return `value` as an int, or raise ValueError unless it is an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"Invalid `{name}`: expected an integer of at least 0. Received: {name}={value!r}.")
    return int(value)


def check_path(name: str, value: Any) -> Path:
    """Return `value` as a path, or raise ValueError unless it is text or a path that a file system can hold."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value) or not str(value):
        raise ValueError(f"Invalid `{name}`: expected the path of a file or folder. Received: {name}={value!r}.")
    return Path(value)


def as_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of any type, or raise ValueError unless it has the form of one."""
    try:
        return np.asarray(value)
    except Exception as error:  # rows of different lengths, symbolic tensors, and objects whose own conversion fails
        raise ValueError(
            f"Invalid `{name}`: expected an array, with rows of the same shape. Received: {type(value).__name__}, "
            f"which NumPy cannot convert ({error})."
        ) from error


def all_finite(array: np.ndarray) -> np.ndarray:
    """Return for each entry of an array of real numbers whether it is finite, also as a float32."""
    finite = np.isfinite(array)
    return finite & (np.abs(array) <= _HIGHEST) if array.dtype.itemsize > 4 else finite


def optional(check: Check) -> Check:
    """Return the check that lets None pass, and every other value to `check`."""
    return lambda name, value: None if value is None else check(name, value)


def check_fields(options: Any, **checks: Check) -> None:
    """Set fields of a dataclass, frozen or not, to what their checks return; for `__post_init__`.

    NumPy numbers thereby become numbers of Python, which settings are saved and compared as.
    """
    for name, check in checks.items():
        object.__setattr__(options, name, check(name, getattr(options, name)))


def _as_float(value: Any) -> float:
    """Return a real number of Python or NumPy as a float, and NaN for any other object."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an int beyond float64
        return math.inf if value > 0 else -math.inf


def changed(options: Any, besides: Iterable[str]) -> list[str]:
    """Return the names of the dataclass fields of `options` that are not at their defaults, besides some."""
    fields = (field for field in dataclasses.fields(options) if field.name not in besides)
    return [field.name for field in fields if getattr(options, field.name) != default_of(field)]


def default_of(field: dataclasses.Field) -> Any:
    """Return the default value of a dataclass field; `dataclasses.MISSING` for a required one."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def nearest(word: str, words: Iterable[str]) -> str:
    """Return " Did you mean 'a' or 'b'?" with up to 3 of `words` that resemble `word`, or "" if there is none."""
    by_lower = {w.lower(): w for w in words}
    near = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(by_lower[w]) for w in near)}?" if near else ""
