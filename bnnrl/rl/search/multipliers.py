"""Lagrange multipliers of constraints, which grow as long as too many rollouts violate a constraint."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import tensorflow as tf

_GROWTH = 1e4  # factor by which a multiplier grows over a whole refinement in which its constraint is always violated
_LEAST, _MOST = 0.1, 1e3  # bounds of a multiplier; 1 weighs an excess of a standard deviation like the worst cost
_MEMORY = 0.98  # of the running mean of shares, over which about 600 particles of default settings count


class Multipliers(NamedTuple):
    """Weights of each policy's excess over the limits of C constraints, learned beside the policies.

    A policy follows the gradient of a smooth excess, and the multiplier is moved by the share of rollouts that
    violate the constraint, which has no gradient: the proxy Lagrangian of Cotter, Jiang & Sridharan ("Two-player games
    for efficient non-convex constrained optimization", ALT 2019).
    """

    weight: tf.Tensor  # [R, C]
    violated: tf.Tensor  # [R, C] running mean, not yet divided by the sum of its weights
    updates: tf.Tensor  # [] float32

    @classmethod
    def start(cls, num_policies: int, num_constraints: int) -> Self:
        """Return multipliers of 1."""
        shape = [num_policies, num_constraints]
        return cls(tf.ones(shape), tf.zeros(shape), tf.constant(0.0))

    def after(self, violated: tf.Tensor, allowed: tuple[float, ...], num_updates: tf.Tensor) -> Multipliers:
        """Return the multipliers after an update, one of `num_updates`.

        Args:
            violated: share of the update's rollouts that violated each constraint, [R, C].
            allowed: the largest share that may, [C].
            num_updates: number of updates of the phase, int32 [].
        """
        updates, limit = self.updates + 1.0, tf.constant(allowed, tf.float32)
        mean = _MEMORY * self.violated + (1 - _MEMORY) * violated
        beyond = mean / (1 - _MEMORY**updates) / limit - 1.0
        rate = math.log(_GROWTH) / tf.cast(num_updates, tf.float32)
        weight = self.weight * tf.exp(rate * tf.clip_by_value(beyond, -1.0, 1.0))
        return Multipliers(tf.clip_by_value(weight, _LEAST, _MOST), mean, updates)
