"""Groups of named arrays in one flat mapping."""

import numpy as np

from bnnrl.storage.arrays import flatten, select

A, B, C = np.zeros(1), np.ones(2), np.arange(3)


def test_groups_round_trip():
    groups = {"posterior": {"loc": A, "0/draws": B}, "scalers/inputs": {"mean": C}, "empty": {}}
    flat = flatten(groups)
    assert list(flat) == ["posterior/loc", "posterior/0/draws", "scalers/inputs/mean"]
    assert {group: select(flat, group) for group in groups} == groups
    assert select(flat, "post") == select(flat, "other") == {}


def test_a_group_without_a_name_keeps_its_arrays_names():
    flat = flatten({"": {"a": A}, "more": {"b": B}})
    assert list(flat) == ["a", "more/b"]
    assert select(flat, "") == flat
