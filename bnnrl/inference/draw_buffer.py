"""Ring buffers inside a State, written in place by the compiled loop: the draws of a Markov chain, or rows of SWAG."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf


class DrawBuffer(NamedTuple):
    """The newest K draws of a Markov chain, one for each `thin` steps of sampling.

    The step that begins a period of `thin` steps opens a new slot, and each later step of the period overwrites it, so
    that the newest draw is always the newest θ.
    """

    theta: tf.Tensor  # [..., K, D]
    seen: tf.Tensor  # [] int32, steps of sampling so far

    @classmethod
    def empty(cls, theta: tf.Tensor, max_draws: int) -> DrawBuffer:
        """Return a buffer for K = `max_draws` draws of θ [..., D]."""
        return cls(tf.zeros([*theta.shape[:-1], max_draws, theta.shape[-1]]), tf.constant(0))

    def append(self, theta: tf.Tensor, sampling: tf.Tensor, thin: int) -> DrawBuffer:
        """Return the buffer with θ [..., D] as its newest draw if `sampling` [] is true, else unchanged."""
        updated = write_slot(self.theta, self.seen // thin, theta, sampling)
        return DrawBuffer(updated, self.seen + tf.cast(sampling, tf.int32))

    def in_order(self, thin: int) -> tf.Tensor:
        """Return the n ≤ K draws kept so far, oldest first, [..., n, D].

        Raises:
            ValueError: if there is none.
        """
        size = self.theta.shape[-2]
        count = -(-int(self.seen) // thin)
        if count == 0:
            raise ValueError(
                "Invalid `burn_in`: expected fewer steps than the run has, so that a draw is left. Received: a run "
                "that ended before its first draw. Run longer, or lower `burn_in`."
            )
        return self.theta[..., :count, :] if count <= size else tf.roll(self.theta, -(count % size), axis=-2)


def write_slot(ring: tf.Tensor, n: tf.Tensor, value: tf.Tensor, due: tf.Tensor) -> tf.Tensor:
    """Return `ring` [..., K, D] with row n mod K set to `value` [..., D] if `due` [] is true, else unchanged."""
    *lead, size, D = ring.shape
    slot, members = n % size, math.prod(lead)
    # Writing one row at every step, changed or not, copies [..., D]; a tf.cond on `due` would copy all K rows.
    row = tf.where(due, value, tf.gather(ring, slot, axis=-2))
    index = tf.stack([tf.range(members), tf.fill([members], slot)], axis=-1)
    rows = tf.tensor_scatter_nd_update(tf.reshape(ring, [-1, size, D]), index, tf.reshape(row, [-1, D]))
    return tf.reshape(rows, ring.shape)
