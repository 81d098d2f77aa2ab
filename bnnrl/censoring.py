"""The distribution of targets of which some are censored: known to lie above or below a value, and not exactly."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd


class CensoredIndependent(tfd.Independent):
    """Independent real entries, with the log density of rows that hold a mark for each entry.

    Everything but `log_prob` is that of the entries as if they were observed: mean, variance, samples and quantiles.

    Args:
        distribution: of the entries, Normal or StudentT with batch shape [..., K].
        reinterpreted_batch_ndims: 1, for the axis of the K entries.
        name: of the distribution.
    """

    @property
    def target_shape(self) -> tf.TensorShape:
        """The shape [2K] of a target: K values, then their K marks."""
        return tf.TensorShape([2 * int(self.event_shape[-1])])

    def log_prob(self, value, name: str = "log_prob", **kwargs) -> tf.Tensor:
        """Return the log likelihood of targets [..., 2K], [...].

        Each entry v adds log p(v) for a mark of 0, log P(y > v) for a mark of 1, and log P(y < v) for a mark of −1.
        """
        with tf.name_scope(name):
            values, marks = tf.split(tf.convert_to_tensor(value, self.dtype), 2, axis=-1)
            entry: Any = self.distribution
            # Where a term does not count, it is computed at the location: an infinite one would make gradients NaN.
            at = lambda counts: tf.where(counts, values, entry.loc)
            # The families are symmetric, and float32 holds a lower tail more accurately than one minus it.
            above, below = entry.log_cdf(2.0 * entry.loc - at(marks > 0)), entry.log_cdf(at(marks < 0))
            each = tf.where(marks > 0, above, tf.where(marks < 0, below, entry.log_prob(values)))
            return tf.reduce_sum(each, axis=-1)
