"""Tests of `bnnrl.inference.ranking`."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from bnnrl.inference.ranking import order_of


@pytest.mark.parametrize("by_xla", [False, True])
def test_the_order_is_that_of_a_stable_sort(by_xla):
    keys = np.random.default_rng(0).integers(0, 40, [3, 100]).astype(np.float32) / 40  # many are equal
    keys[:, 90:] = 2.0
    compiled = tf.function(lambda keys: order_of(keys, by_xla), autograph=False, jit_compile=by_xla)
    expected = np.argsort(keys, axis=-1, kind="stable")
    np.testing.assert_array_equal(compiled(tf.constant(keys)), expected)
    np.testing.assert_array_equal(order_of(tf.constant(keys), by_xla), expected)  # eagerly
