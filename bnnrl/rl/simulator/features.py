"""The features of an observation that models and policies see."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Features:
    """Maps observations [..., O] to features [..., F]: plain entries first, then sines, then cosines of angles.

    Args:
        num_obs: O.
        angles: indices of the observation entries that are angles, in radians.
        omitted: indices of the entries that are left out.
    """

    num_obs: int
    angles: tuple[int, ...] = ()
    omitted: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """F, the number of features."""
        return len(self._plain) + 2 * len(self.angles)

    @property
    def _plain(self) -> list[int]:
        return [i for i in range(self.num_obs) if i not in (*self.angles, *self.omitted)]

    def __call__(self, obs: tf.Tensor) -> tf.Tensor:
        """Return the features [..., F] of observations [..., O]."""
        if len(self._plain) == self.num_obs:
            return obs
        # Not tf.gather, whose gradient is a scatter and takes 60 operations.
        entries = tf.unstack(obs, self.num_obs, axis=-1)
        angles = [entries[i] for i in self.angles]
        return tf.stack([*(entries[i] for i in self._plain), *map(tf.sin, angles), *map(tf.cos, angles)], axis=-1)
