"""The diagonal mass matrix of Markov chains, estimated over windows of the burn-in."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Shares of the burn-in. As in Stan, the first draws, which find the typical set, count for nothing, each window is
# about twice as long as the one before, and the last steps adapt the step size to the final scales.
_BEGIN, _ENDS = 0.15, (0.25, 0.45, 0.85)
_LEAST = 10  # draws of each chain in a window
_WEIGHT = 5.0  # draws for which the mean of all log-variances counts, Stan's weight of its own shrinkage


class Scales(NamedTuple):
    """The scale of a step in each entry of θ, and the draws of the present window.

    A window's scale of an entry is its standard deviation within the chains, so that chains near different modes do not
    widen it. Its log-variance is drawn toward the mean of all, as the variance of few draws is uncertain.
    """

    scale: tf.Tensor  # [D]
    count: tf.Tensor  # [] int32, draws of each chain in the window
    mean: tf.Tensor  # [C, D] of the window's draws
    squares: tf.Tensor  # [D] squared distances from the chains' means, summed over chains and draws

    @classmethod
    def start(cls, scale: tf.Tensor, theta: tf.Tensor) -> Scales:
        """Return the scales [D] before the first step, for chains at θ [C, D]."""
        return cls(scale, tf.constant(0), tf.zeros_like(theta), tf.zeros_like(scale))

    def updated(self, theta: tf.Tensor, step: tf.Tensor, burn_in) -> tuple[Scales, tf.Tensor]:
        """Return the scales after the transition to θ [C, D], and whether the transition ended a window, [] bool.

        Args:
            theta: the chains' new θ.
            step: [] int32, the number of transitions with this one.
            burn_in: the number of transitions of the burn-in.
        """
        at = lambda share: tf.cast(share * tf.cast(burn_in, tf.float32), tf.int32)
        begun = step > at(_BEGIN)
        count = self.count + tf.cast(begun, tf.int32)
        gap = theta - self.mean
        mean = self.mean + gap / tf.cast(tf.maximum(count, 1), tf.float32)
        squares = self.squares + tf.reduce_sum(gap * (theta - mean), axis=0)
        mean, squares = (tf.where(begun, new, old) for new, old in ((mean, self.mean), (squares, self.squares)))
        ended = tf.reduce_any([tf.equal(step, at(end)) for end in _ENDS]) & (count >= _LEAST)
        scale = tf.where(ended, self._shrunk(squares, theta.shape[0] * (count - 1)), self.scale)
        keep = lambda value: tf.where(ended, tf.zeros_like(value), value)
        return Scales(scale, keep(count), keep(mean), keep(squares)), ended

    def _shrunk(self, squares: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Return the window's scales [D]; that of an entry that has not moved stays."""
        draws = tf.cast(draws, tf.float32)
        moved = squares > 0
        log_variance = tf.math.log(tf.where(moved, squares / draws, tf.square(self.scale)))
        shrunk = (draws * log_variance + _WEIGHT * tf.reduce_mean(log_variance)) / (draws + _WEIGHT)
        return tf.where(moved, tf.exp(shrunk / 2), self.scale)
