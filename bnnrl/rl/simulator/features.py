"""The features of an observation that models and policies see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Any

import tensorflow as tf

from bnnrl.rl.memory import Memory

_NONE: Any = None  # stands for the memory of nothing


@dataclass(frozen=True)
class Features:
    """Maps observations [..., O] to features [..., F]: plain entries first, then sines, then cosines of angles.

    Of rods that are linked, the sines and then the cosines of the sums and differences of their angles follow, and the
    products of their angular rates: inertia and gravity of linked rods are functions of the former, and the forces of
    rods that turn are linear in the latter.

    Of an observation with memory, changes between successive observations and the past actions follow. The changes say
    the same as the past observations, and are on the scale of what these add to the newest one. Those of angles are
    within half a turn.

    Args:
        num_obs: O.
        angles: indices of the observation entries that are angles, in radians.
        omitted: indices of the entries that are left out; their changes are not.
        memory: the layout of the observations; None for one without memory.
        rates: the rate of change of each angle, as indices of entries, if the angles are those of linked rods.
    """

    num_obs: int
    angles: tuple[int, ...] = ()
    omitted: tuple[int, ...] = ()
    memory: Memory = _NONE
    rates: tuple[int, ...] = ()

    def __post_init__(self):
        if self.memory is None:
            object.__setattr__(self, "memory", Memory(self.num_obs))

    @property
    def size(self) -> int:
        """F, the number of features."""
        n = len(self.rates)
        of_links = 2 * n * (n - 1) + n * (n + 1) // 2
        return len(self.plain) + 2 * len(self.angles) + of_links + self.memory.size - self.num_obs

    @property
    def plain(self) -> list[int]:
        """Indices of the observation entries that are features as they are."""
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
        if len(self.plain) == self.num_obs:
            return obs
        # Not tf.gather, whose gradient is a scatter and takes 60 operations.
        entries = tf.unstack(obs, self.num_obs, axis=-1)
        angles = [entries[i] for i in self.angles]
        of_angles = [*map(tf.sin, angles), *map(tf.cos, angles)]
        if self.rates:
            of_angles += self._of_links(angles, [entries[i] for i in self.rates])
        return tf.stack([*(entries[i] for i in self.plain), *of_angles], axis=-1)

    def _of_links(self, angles: list[tf.Tensor], rates: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return sines and cosines of sums and differences of angles, and the products of rates, [...] each."""
        pairs = list(combinations(angles, 2))
        joint = [a + b for a, b in pairs] + [a - b for a, b in pairs]
        products = [a * b for a, b in combinations_with_replacement(rates, 2)]
        return [*map(tf.sin, joint), *map(tf.cos, joint), *products]
