"""The features of an observation that models and policies see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from bnnrl.rl.memory import Memory

_NONE: Any = None  # stands for the memory of nothing


@dataclass(frozen=True)
class Features:
    """Maps observations [..., O] to features [..., F]: plain entries first, then sines, then cosines of angles.

    Of an observation with memory, changes between successive observations and the past actions follow. The changes say
    the same as the past observations, and are on the scale of what these add to the newest one. Those of angles are
    within half a turn.

    Args:
        num_obs: O.
        angles: indices of the observation entries that are angles, in radians.
        omitted: indices of the entries that are left out; their changes are not.
        memory: the layout of the observations; None for one without memory.
    """

    num_obs: int
    angles: tuple[int, ...] = ()
    omitted: tuple[int, ...] = ()
    memory: Memory = _NONE

    def __post_init__(self):
        if self.memory is None:
            object.__setattr__(self, "memory", Memory(self.num_obs))

    @property
    def size(self) -> int:
        """F, the number of features."""
        return len(self._plain) + 2 * len(self.angles) + self.memory.size - self.num_obs

    @property
    def _plain(self) -> list[int]:
        return [i for i in range(self.num_obs) if i not in (*self.angles, *self.omitted)]

    def __call__(self, obs: tf.Tensor) -> tf.Tensor:
        """Return the features [..., F] of observations [..., O]."""
        newest = self._of_newest(self.memory.newest(obs))
        if self.memory.is_empty:
            return newest
        return tf.concat([newest, self._changes(obs), self.memory.past_actions(obs)], axis=-1)

    def _changes(self, obs: tf.Tensor) -> tf.Tensor:
        """Return the changes between successive observations, [..., h O], those of angles within half a turn."""
        changes = self.memory.changes(obs)
        if not self.angles or not self.memory.observations:
            return changes
        is_angle = tf.constant([float(i in self.angles) for i in range(self.num_obs)] * self.memory.observations)
        return changes - is_angle * 2 * math.pi * tf.round(changes / (2 * math.pi))

    def _of_newest(self, obs: tf.Tensor) -> tf.Tensor:
        if len(self._plain) == self.num_obs:
            return obs
        # Not tf.gather, whose gradient is a scatter and takes 60 operations.
        entries = tf.unstack(obs, self.num_obs, axis=-1)
        angles = [entries[i] for i in self.angles]
        return tf.stack([*(entries[i] for i in self._plain), *map(tf.sin, angles), *map(tf.cos, angles)], axis=-1)
