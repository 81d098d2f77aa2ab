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
        plain = obs if len(self._plain) == self.num_obs else tf.gather(obs, self._plain, axis=-1)
        if not self.angles:
            return plain
        angle = tf.gather(obs, self.angles, axis=-1)
        return tf.concat([plain, tf.sin(angle), tf.cos(angle)], axis=-1)
