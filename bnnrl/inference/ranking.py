"""The order of random keys, which shuffles rows inside a compiled loop."""

from __future__ import annotations

import tensorflow as tf

try:  # XLA's sort of one array, which `tf.sort` does not use and TensorFlow does not publish
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_sort  # pyright: ignore[reportMissingImports]
except ImportError:  # pragma: no cover
    xla_sort = None


def order_of(keys: tf.Tensor, by_xla: bool) -> tf.Tensor:
    """Return the indices that sort the last axis, int32 [..., K]; of equal keys, the one that comes first is first.

    Args:
        keys: numbers of at least 0, float32 [..., K].
        by_xla: whether XLA compiles the function that is being traced.
    """
    if not by_xla or xla_sort is None or tf.executing_eagerly():  # eagerly: `tf.config.run_functions_eagerly`
        return tf.argsort(keys, axis=-1, stable=True)
    # XLA on a CPU sorts one array of integers five times as fast as two arrays, keys and indices. The bits of numbers
    # of at least 0 are in the order of the numbers, and the index is in the lower half.
    bits = tf.cast(tf.bitcast(keys, tf.int32), tf.int64)
    both = tf.bitwise.left_shift(bits, tf.constant(32, tf.int64)) | tf.range(keys.shape[-1], dtype=tf.int64)
    return tf.cast(xla_sort(both) & 0xFFFFFFFF, tf.int32)
