"""Conversion of targets to class indices or real numbers."""

import numpy as np
import pytest

from bnnrl.data.targets import encode


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (["b", "a", "c", "a"], ("a", "b", "c")),
        (np.array([b"b", b"a", b"c", b"a"], object), ("a", "b", "c")),
        ([3, -1, 10, -1], ("-1", "3", "10")),
        (np.array([30, 10, 200, 10], np.uint8), ("10", "30", "200")),
    ],
)
def test_classes_are_numbered_in_sorted_order(y, names):
    encoded, found = encode({"train": np.array(y)}, None)
    assert found == names and encoded["train"].dtype == np.int32
    np.testing.assert_array_equal(encoded["train"], [1, 0, 2, 0])


def test_booleans_are_classes():
    encoded, names = encode({"train": np.array([True, False])}, None)
    assert names == ("False", "True")
    np.testing.assert_array_equal(encoded["train"], [1, 0])


def test_a_class_of_the_test_part_alone_is_numbered_too():
    encoded, names = encode({"train": np.array(["a", "c"]), "test": np.array(["b", "c"])}, None)
    assert names == ("a", "b", "c")
    np.testing.assert_array_equal(encoded["train"], [0, 2])
    np.testing.assert_array_equal(encoded["test"], [1, 2])


def test_the_task_overrides_the_type():
    counts, names = encode({"train": np.array([0, 4, 2])}, "regression")
    assert names is None and counts["train"].dtype == np.float32 and counts["train"].shape == (3, 1)
    classes, names = encode({"train": np.array([[1.0], [0.0]])}, "classification")
    assert names == ("0", "1")
    np.testing.assert_array_equal(classes["train"], [1, 0])


def test_several_targets_a_row():
    labels, names = encode({"train": np.array([[0, 1, 1], [1, 0, 1]])}, None)
    assert names == ("0", "1")
    np.testing.assert_array_equal(labels["train"], [[0, 1, 1], [1, 0, 1]])
    assert encode({"train": np.zeros([5, 3])}, None)[0]["train"].shape == (5, 3)


def test_known_names_are_kept_where_a_class_has_no_row():
    encoded, names = encode({"train": np.array([2, 0])}, None, ("x", "y", "z"))
    assert names == ("x", "y", "z")
    np.testing.assert_array_equal(encoded["train"], [2, 0])


@pytest.mark.parametrize(
    ("y", "task", "names", "message"),
    [
        (np.arange(100), None, None, "100 different integers from 0 to 99 in 100 rows.*`task='regression'`"),
        (np.zeros(5, int), None, None, r"at least two classes.*\[0\]"),
        (np.array([0.0, 0.5]), "classification", None, "whole numbers.*0.5 in row 1"),
        (np.array([1.0, np.nan]), "classification", None, "nan in row 1"),
        (np.array(["a", "b"]), "regression", None, "expected numbers for regression.*'a'"),
        (np.array(["a", None, "b"], object), None, None, "None in row 1 of the train part"),
        (np.array([0, -1]), None, ("x", "y"), "classes from 0 to 1.*-1 in row 1"),
        (np.array(["2020-01-01"], "datetime64[D]"), None, None, "type datetime64"),
        (np.zeros([0, 1]), None, None, "at least one row"),
    ],
)
def test_mistakes_are_named(y, task, names, message):
    with pytest.raises(ValueError, match=message):
        encode({"train": y}, task, names)


def test_many_integers_are_classes_where_the_task_says_so():
    _, names = encode({"train": np.arange(100)}, "classification")
    assert names == tuple(map(str, range(100)))
