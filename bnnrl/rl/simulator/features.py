"""What models and policies see of an observation."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Features:
    """Observations [..., O] as what models and policies see [..., F]: angles become sine and cosine, put last.

    Args:
        num_obs: O.
        angles: indices of the entries that are angles, in radians.
        omitted: indices of entries that are left out.
    """

    num_obs: int
    angles: tuple[int, ...] = ()
    omitted: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return len(self._others) + 2 * len(self.angles)

    @property
    def _others(self) -> list[int]:
        return [i for i in range(self.num_obs) if i not in (*self.angles, *self.omitted)]

    def __call__(self, obs: tf.Tensor) -> tf.Tensor:
        others = obs if len(self._others) == self.num_obs else tf.gather(obs, self._others, axis=-1)
        if not self.angles:
            return others
        angle = tf.gather(obs, self.angles, axis=-1)
        return tf.concat([others, tf.sin(angle), tf.cos(angle)], axis=-1)
