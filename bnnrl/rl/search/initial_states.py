"""The distribution of the states that simulated rollouts begin in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.data import pad_rows
from bnnrl.rl.memory import Memory
from bnnrl.seeds import normal, uniform


class InitialStates(NamedTuple):
    """A kernel density estimate with a diagonal normal kernel, in a buffer of fixed capacity.

    The capacity is fixed so that compiled functions are not traced again whenever an episode is added.
    """

    obs: tf.Tensor  # [capacity, O] states, padded with zeros
    count: tf.Tensor  # [] int32, number of states
    bandwidth: tf.Tensor  # [O] standard deviation of the kernel; with memory, its factor [own entries, O]

    @classmethod
    def kernel_density(cls, obs: np.ndarray, memory: Memory | None = None) -> InitialStates:
        """Return the estimate from states [n, O], with Silverman's bandwidth (1986, section 4.3).

        Real episodes are few, and a policy that is fitted to their initial states alone fails from others. The
        bandwidth of a single state is zero. In observations with memory, the kernel moves the newest observation and
        its copies alike.
        """
        memory = memory or Memory(obs.shape[1])
        newest = memory.newest(obs)
        count, dim = newest.shape
        factor = (4 / ((dim + 2) * count)) ** (1 / (dim + 4))
        deviation = newest.std(axis=0, ddof=1, dtype=np.float64) if count > 1 else np.zeros(dim)
        bandwidth = factor * deviation if memory.is_empty else memory.begin(np.diag(factor * deviation))
        capacity = 1 << max(6, (count - 1).bit_length())
        return cls(pad_rows(obs, capacity), tf.constant(count), tf.constant(bandwidth, tf.float32))

    @classmethod
    def empirical(cls, obs: np.ndarray) -> InitialStates:
        """Return the uniform distribution over the given states [n, O], without a kernel."""
        return cls(tf.constant(obs, tf.float32), tf.constant(len(obs)), tf.zeros([obs.shape[1]]))

    def sample(self, shape: list[int], row_seed, kernel_seed) -> tf.Tensor:
        """Return states [*shape, O]: rows drawn with `row_seed`, plus kernel noise drawn with `kernel_seed`."""
        rows = uniform(shape, row_seed, 0, self.count, tf.int32)
        noise = normal([*shape, self.bandwidth.shape[0]], kernel_seed)
        jitter = self.bandwidth * noise if self.bandwidth.shape.rank == 1 else tf.matmul(noise, self.bandwidth)
        return tf.gather(self.obs, rows) + jitter
