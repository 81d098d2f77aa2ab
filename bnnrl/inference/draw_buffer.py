"""What Markov chains share: a ring of thinned draws inside the State, written in place by the compiled loop."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from bnnrl.checks import check_count


class DrawBuffer(NamedTuple):
    """The last K draws, one for each `thin` steps of sampling; while such a period lasts, its draw is the newest θ."""

    theta: tf.Tensor  # [..., K, D]
    seen: tf.Tensor  # [] int32, steps of sampling so far


def check_chain(burn_in: int, thin: int, max_draws: int) -> None:
    """Raise ValueError unless `burn_in` is an integer >= 0, and the others are at least 1."""
    if isinstance(burn_in, bool) or not isinstance(burn_in, int) or burn_in < 0:
        raise ValueError(f"Invalid `burn_in`: expected an integer of at least 0. Received: burn_in={burn_in!r}.")
    check_count("thin", thin)
    check_count("max_draws", max_draws)


def no_draws(theta: tf.Tensor, max_draws: int) -> DrawBuffer:
    """Return the empty ring of `max_draws` draws of θ [..., D]."""
    return DrawBuffer(tf.zeros([*theta.shape[:-1], max_draws, theta.shape[-1]]), tf.constant(0))


def append(draws: DrawBuffer, theta: tf.Tensor, sampling: tf.Tensor, thin: int) -> DrawBuffer:
    """Return `draws` with θ [..., D] in its place if `sampling` [], else unchanged."""
    updated = write_slot(draws.theta, draws.seen // thin, theta, sampling)
    return DrawBuffer(updated, draws.seen + tf.cast(sampling, tf.int32))


def write_slot(ring: tf.Tensor, n: tf.Tensor, value: tf.Tensor, due: tf.Tensor) -> tf.Tensor:
    """Return `ring` [..., K, D] with its row n mod K set to `value` [..., D] if `due` [], else unchanged."""
    *lead, size, D = ring.shape
    slot, members = n % size, math.prod(lead)
    # A row written at each step, changed or not, costs a copy of θ; a condition would cost one of all rows.
    row = tf.where(due, value, tf.gather(ring, slot, axis=-2))
    index = tf.stack([tf.range(members), tf.fill([members], slot)], axis=-1)
    rows = tf.tensor_scatter_nd_update(tf.reshape(ring, [-1, size, D]), index, tf.reshape(row, [-1, D]))
    return tf.reshape(rows, ring.shape)


def ordered(draws: DrawBuffer, thin: int) -> tf.Tensor:
    """Return the draws kept so far, oldest first, [..., n, D].

    Raises:
        ValueError: if there is none.
    """
    size = draws.theta.shape[-2]
    count = -(-int(draws.seen) // thin)
    if count == 0:
        raise ValueError(
            "Invalid `burn_in`: expected fewer steps than the run has, so that a draw is left. Received: a run that "
            "ended before its first draw. Run longer, or lower `burn_in`."
        )
    return draws.theta[..., :count, :] if count <= size else tf.roll(draws.theta, -(count % size), axis=-2)
