"""Checks of arguments."""

import math

import numpy as np
import pytest

from bnnrl.checks import check_count, check_positive, nearest


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_counts(value):
    assert check_count("n", value) == value
    assert type(check_count("n", value)) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, np.float64(2)], ids=repr)
def test_invalid_counts(value):
    with pytest.raises(ValueError, match="Invalid `n`: expected an integer of at least 1. Received"):
        check_count("n", value)


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
