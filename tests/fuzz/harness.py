"""Arbitrary values, the property that bad input is refused, and the number of cases, for tests by random input.

A case is one call of a public function with arguments that Hypothesis draws. Every case must end in one of two ways: a
ValueError or a TypeError that names an argument as its caller typed it, "Invalid `name`: ...", or a result.
"""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import collections.abc
import re
import types
import typing
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

REFUSED = object()  # stands for the result of a call that was refused
CASES: Counter[str] = Counter()  # number of cases by target, since the present test began

_BASE = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def quick(cases: int) -> settings:
    """Settings of a test that draws the same few cases in every run."""
    return settings(_BASE, derandomize=True, max_examples=cases)


def thorough(cases: int) -> settings:
    """Settings of a slow test that draws other cases in every run; a failure prints how to repeat it."""
    return settings(_BASE, max_examples=cases)


def attempt(target: str, names: collections.abc.Container[str], call: Callable[[], Any]) -> Any:
    """Return the result of a call, or REFUSED if the call refuses its arguments with a message that names one.

    Args:
        target: what is called, for the number of cases.
        names: arguments that a message may name.
        call: the call.
    """
    CASES[target] += 1
    try:
        return call()
    except (ValueError, TypeError) as error:
        message = str(error)
    named = re.match(r"Invalid (?:`-*([\w-]+)|([a-z ]+))", message)
    assert named and (named[1] or named[2]) in names, f"refused by an internal message: {message}"
    assert "eceived" in message
    return REFUSED


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of the type that an annotation promises, where a truth value is no number."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if hint is Any:
        return True
    if hint in (None, type(None)):
        return value is None
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if hint is float:
        return (
            isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and value == value
        )
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if origin is tuple:
        return isinstance(value, tuple | list) and all(fits(entry, arguments[0]) for entry in value)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin is collections.abc.Mapping:
        return isinstance(value, origin) and all(
            fits(key, arguments[0]) and fits(entry, arguments[1]) for key, entry in value.items()
        )
    return isinstance(value, typing.get_origin(hint) or hint)


_SPECIAL = [
    *(0, 1, -1, 2, 2**31 - 1, 2**31, 10**30, -(10**30), 10**400, True, False, None, Ellipsis, NotImplemented),
    *(0.0, -0.0, 0.5, 1.0, 1e-3, 5e-324, 1e-300, 1e39, 1e300, float("inf"), -float("inf"), float("nan")),
    *(1j, 0.5 + 0j, Fraction(1, 2), Decimal("0.5"), "", "adam", "nan", "0.5", "1", b"1", bytearray(b"x"), range(3)),
    *(np.int8(3), np.int64(-1), np.uint8(5), np.float16(0.5), np.float32(1e-3), np.float64("nan"), np.bool_(True)),
    *(np.complex64(1), np.str_("swag"), np.datetime64("2020-01-01"), np.longdouble(2), int, object, len, object()),
    *((), (1,), (1, 2), [], [1], [0.5, "x"], {}, {"a": 1}, set(), frozenset({1}), lambda *arguments: 0.5, slice(2)),
    *(np.array(0.5), np.array(3), np.array([]), np.array([1.0, np.nan]), np.array(["a"]), np.array([None])),
    *(np.zeros((2, 0, 3)), np.array([[1, 2], [3, 4]]), tf.constant(1.0), tf.constant([1, 2]), tf.constant("text")),
]

leaves = st.one_of(
    st.sampled_from(_SPECIAL),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=6),
    st.binary(max_size=4),
)
# Values of any type, nested ones among them.
anything = st.one_of(
    leaves,
    leaves,
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    st.lists(leaves, max_size=3).map(tuple),
)
