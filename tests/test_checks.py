"""Checks of arguments."""

import dataclasses
import math
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from bnnrl import checks
from bnnrl.checks import check_count, check_positive, check_within, nearest


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_counts(value):
    assert check_count("n", value) == value
    assert type(check_count("n", value)) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, np.float64(2)], ids=repr)
def test_invalid_counts(value):
    with pytest.raises(ValueError, match="Invalid `n`: expected an integer of at least 1. Received"):
        check_count("n", value)


@pytest.mark.parametrize("value", [2**31, 10**400])
def test_counts_that_tensorflow_cannot_hold(value):
    with pytest.raises(
        ValueError, match="Invalid `n`: expected an integer of at least 0 and at most 2147483647. Received"
    ):
        check_count("n", value, least=0)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(3)])
def test_positive_numbers(value):
    assert check_positive("scale", value) == value
    assert type(check_positive("scale", value)) is float


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, True, "1", None], ids=repr)
def test_invalid_positive_numbers(value):
    with pytest.raises(ValueError, match="Invalid `scale`: expected a positive finite number. Received"):
        check_positive("scale", value)


def test_positive_numbers_that_may_be_infinite():
    assert check_positive("radius", math.inf, infinite=True) == math.inf
    for value in (0, -1.0, math.nan, True, "1", None):
        with pytest.raises(ValueError, match="Invalid `radius`: expected a positive number. Received"):
            check_positive("radius", value, infinite=True)


NO_NUMBERS = [True, np.True_, 1j, np.complex64(1), Fraction(1, 2), Decimal("0.5"), np.array(0.5), "0.5", None, math.nan]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0.2, 1.5, 10**400, -(10**400)], ids=repr)
def test_numbers_outside_of_an_interval(value):
    with pytest.raises(ValueError, match=r"Invalid `share`: expected a number in \(0.2, 1\]. Received: share="):
        check_within("share", value, "(0.2, 1]")


@pytest.mark.parametrize("value", [1, np.float16(0.5), np.int8(1), np.longdouble(0.5)], ids=repr)
def test_numbers_within_an_interval(value):
    number = check_within("share", value, "(0.2, 1]")
    assert number == value and type(number) is float


@pytest.mark.parametrize("value", [1e39, 1e-39, 10**100, 5e-324])
def test_numbers_beyond_float32(value):
    with pytest.raises(ValueError, match="Invalid `rate`: expected a number of float32.*Received: rate="):
        check_positive("rate", value)


@pytest.mark.parametrize("value", [0, 1, None, "True", np.array(True)], ids=repr)
def test_flags(value):
    assert checks.check_flag("stop", np.True_) is True
    with pytest.raises(ValueError, match="Invalid `stop`: expected True or False. Received: stop="):
        checks.check_flag("stop", value)


@pytest.mark.parametrize(("value", "hint"), [("swaag", " Did you mean 'swag'"), (None, "$"), (np.array(["swag"]), "$")])
def test_choices(value, hint):
    assert checks.check_choice("method", "swag", ("swag", "bbb")) == "swag"
    with pytest.raises(ValueError, match=rf"Invalid `method`: expected one of \['swag', 'bbb'\]. Received: .*{hint}"):
        checks.check_choice("method", value, ("swag", "bbb"))


def test_sequences_of_counts():
    assert checks.check_counts("hidden", [np.int64(3), 4]) == (3, 4)
    for value in (3, "34", {3: 4}, None):
        with pytest.raises(ValueError, match="Invalid `hidden`: expected a tuple of integers. Received: hidden="):
            checks.check_counts("hidden", value)


def test_fields_become_what_their_checks_return():
    @dataclasses.dataclass(frozen=True)
    class Options:
        rate: float
        steps: int | None = None

        def __post_init__(self):
            steps = checks.optional(partial(check_count, least=2))
            checks.check_fields(self, rate=check_positive, steps=steps)

    made = Options(np.float32(0.5))  # pyright: ignore[reportArgumentType]
    assert type(made.rate) is float and made.steps is None
    with pytest.raises(ValueError, match="Invalid `steps`: expected an integer of at least 2. Received: steps=1."):
        Options(1, 1)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ensembel", " Did you mean 'ensemble'?"),
        ("ENSEMBLE", " Did you mean 'ensemble'?"),
        ("swaag", " Did you mean 'SWAG' or 'sgd'?"),
        ("sgdl", " Did you mean 'sgd' or 'sgld' or 'SWAG'?"),
        ("xyz", ""),
        ("", ""),
    ],
)
def test_nearest_names(word, expected):
    assert nearest(word, ["ensemble", "SWAG", "sgd", "sgld"]) == expected
