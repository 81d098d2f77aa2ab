"""Random division of rows into parts."""

import numpy as np
import pytest

from bnnrl.data.source import PARTS
from bnnrl.data.split import assign

_FRACTIONS = {"validation": 0.1, "test": 0.25}


@pytest.mark.parametrize("labels", [None, np.arange(101) % 3])
def test_parts_have_their_sizes_and_seeds_decide_the_rows(labels):
    codes = assign(101, _FRACTIONS, 0, labels)
    np.testing.assert_array_equal(np.bincount(codes), [66, 10, 25])  # train, validation, test
    np.testing.assert_array_equal(codes, assign(101, _FRACTIONS, 0, labels))
    assert not np.array_equal(codes, assign(101, _FRACTIONS, 1, labels))


@pytest.mark.parametrize("labels", [None, np.arange(50) % 2])
def test_the_test_part_does_not_depend_on_the_validation_part(labels):
    test = PARTS.index("test")
    with_validation = assign(50, {"validation": 0.3, "test": 0.2}, 3, labels)
    np.testing.assert_array_equal(with_validation == test, assign(50, {"test": 0.2}, 3, labels) == test)


def test_each_row_is_as_likely_as_the_others_to_be_tested():
    tested = np.stack([assign(10, {"test": 0.3}, seed) == PARTS.index("test") for seed in range(2000)])
    np.testing.assert_allclose(tested.mean(0), 0.3, atol=5 * np.sqrt(0.3 * 0.7 / 2000))


def test_strata_have_equal_shares():
    labels = np.repeat([0, 1], [80, 20])
    codes = assign(100, {"test": 0.2}, 0, labels)
    np.testing.assert_array_equal(np.bincount(labels[codes == PARTS.index("test")]), [16, 4])


@pytest.mark.parametrize(
    ("n", "fractions"), [(2, {"test": 0.2}), (10, {"test": 0.01}), (1, {"test": 0.9}), (2, _FRACTIONS)]
)
def test_no_part_is_empty(n, fractions):
    with pytest.raises(ValueError, match=rf"expected at least one row for each part.*Received: {n} rows.*none for"):
        assign(n, fractions, 0)


@pytest.mark.parametrize("labels", [np.array([0] * 9 + [1]), np.zeros([10, 2])])
def test_strata_that_cannot_be_divided(labels):
    with pytest.raises(ValueError, match="Invalid `stratify`"):
        assign(10, {"test": 0.2}, 0, labels)


def test_no_group_is_in_two_parts_and_fractions_are_those_of_groups():
    groups = np.array([f"g{i % 20}" for i in range(110)])  # groups of 6 and 5 rows
    codes = assign(110, {"validation": 0.1, "test": 0.25}, 0, groups=groups)
    parts = [set(groups[codes == code]) for code in range(3)]
    assert [len(part) for part in parts] == [13, 2, 5] and len(set.union(*parts)) == 20
    assert not np.array_equal(codes, assign(110, {"validation": 0.1, "test": 0.25}, 1, groups=groups))


def test_the_latest_rows_are_tested_and_rows_of_one_time_stay_together():
    times = np.array([3, 1, 2, 5, 4, 5, 5, 0, 2, 1])
    codes = assign(10, {"validation": 0.2, "test": 0.2}, 0, times=times)
    np.testing.assert_array_equal(codes, [1, 0, 0, 2, 1, 2, 2, 0, 0, 0])  # three rows have the latest time
    shuffled = np.random.default_rng(0).permutation(10)
    again = assign(10, {"validation": 0.2, "test": 0.2}, 0, times=times[shuffled])
    np.testing.assert_array_equal(again, codes[shuffled])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": [0, 0, 0, 1]}, "Received: 2 groups and fractions 0.2 for test, which leave none for test"),
        ({"groups": [0, 1]}, r"Invalid `groups`: expected a value for each of 4 rows\. Received: shape \(2,\)"),
        ({"groups": ["a", None, "b", "c"]}, "none in 1 rows, the first of which is row 1"),
        ({"groups": np.array(["a", 1, "b", 2], object)}, "expected values of one type"),
        ({"times": [2, 2, 2, 2]}, "Invalid `test`: expected a time before all rows of the test part.*1 distinct"),
        ({"times": [1, 2, np.nan, 3]}, "Invalid `times`: expected a value for each row"),
    ],
)
def test_groups_and_times_that_cannot_be_divided(given, words):
    with pytest.raises(ValueError, match=words):
        assign(4, {"test": 0.2} if len(given.get("times", [])) == 0 else {"test": 0.25}, 0, **given)
