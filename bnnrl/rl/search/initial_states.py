"""The distribution of the states that simulated rollouts begin in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.data import pad_rows
from bnnrl.seeds import normal, uniform


class InitialStates(NamedTuple):
    """A kernel density estimate with a diagonal normal kernel, in a buffer of fixed capacity.

    The capacity is fixed so that compiled functions are not traced again whenever an episode is added.
    """

    obs: tf.Tensor  # [capacity, O] states, padded with zeros
    count: tf.Tensor  # [] int32, number of states
    bandwidth: tf.Tensor  # [O] standard deviation of the kernel

    @classmethod
    def kernel_density(cls, obs: np.ndarray) -> InitialStates:
        """Return the estimate from states [n, O], with Silverman's bandwidth (1986, section 4.3).

        Real episodes are few, and a policy that is fitted to their initial states alone fails from others. The
        bandwidth of a single state is zero.
        """
        count, dim = obs.shape
        factor = (4 / ((dim + 2) * count)) ** (1 / (dim + 4))
        deviation = obs.std(axis=0, ddof=1, dtype=np.float64) if count > 1 else np.zeros(dim)
        capacity = 1 << max(6, (count - 1).bit_length())
        return cls(pad_rows(obs, capacity), tf.constant(count), tf.constant(factor * deviation, tf.float32))

    @classmethod
    def empirical(cls, obs: np.ndarray) -> InitialStates:
        """Return the uniform distribution over the given states [n, O], without a kernel."""
        return cls(tf.constant(obs, tf.float32), tf.constant(len(obs)), tf.zeros([obs.shape[1]]))

    def sample(self, shape: list[int], row_seed, kernel_seed) -> tf.Tensor:
        """Return states [*shape, O]: rows drawn with `row_seed`, plus kernel noise drawn with `kernel_seed`."""
        rows = uniform(shape, row_seed, 0, self.count, tf.int32)
        return tf.gather(self.obs, rows) + self.bandwidth * normal([*shape, self.obs.shape[-1]], kernel_seed)
