"""The distribution of the states that simulated rollouts begin in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.data import pad_rows
from bnnrl.rl.memory import Memory
from bnnrl.seeds import normal, uniform


class InitialStates(NamedTuple):
    """Given states plus noise of a diagonal normal kernel, in a buffer of fixed capacity.

    The capacity is fixed so that compiled functions are not traced again whenever an episode is added.
    """

    obs: tf.Tensor  # [capacity, O] states, padded with zeros
    count: tf.Tensor  # [] int32, number of states
    bandwidth: tf.Tensor  # [O] standard deviation of the kernel; with memory, its factor [own entries, O]

    @classmethod
    def estimate(cls, obs: np.ndarray, std: Sequence[float] | None, memory: Memory | None = None) -> InitialStates:
        """Return an estimate from the first states [n, O] of real episodes.

        Args:
            obs: the states.
            std: standard deviation of each entry of the newest observation, if it is known: the estimate is then
                normal, see `normal`; None takes `kernel_density`.
            memory: the layout of the states, if they have memory.
        """
        return cls.kernel_density(obs, memory) if std is None else cls.normal(obs, std, memory)

    @classmethod
    def normal(cls, obs: np.ndarray, std: Sequence[float], memory: Memory | None = None) -> InitialStates:
        """Return the predictive distribution of a normal one of known standard deviation σ, from n of its states.

        Under a flat prior over the mean, the next state is normal with the mean of the states and the standard
        deviation σ √(1 + 1/n).
        """
        deviation = np.sqrt(1 + 1 / len(obs)) * np.asarray(std, np.float64)
        return cls._with_kernel(obs.mean(axis=0, keepdims=True, dtype=np.float64), deviation, memory)

    @classmethod
    def kernel_density(cls, obs: np.ndarray, memory: Memory | None = None) -> InitialStates:
        """Return the kernel density estimate from states [n, O], with Silverman's bandwidth (1986, section 4.3).

        Real episodes are few, and a policy that is fitted to their initial states alone fails from others. The
        bandwidth of a single state is zero. In observations with memory, the kernel moves the newest observation and
        its copies alike.
        """
        newest = (memory or Memory(obs.shape[1])).newest(obs)
        count, dim = newest.shape
        factor = (4 / ((dim + 2) * count)) ** (1 / (dim + 4))
        deviation = newest.std(axis=0, ddof=1, dtype=np.float64) if count > 1 else np.zeros(dim)
        return cls._with_kernel(obs, factor * deviation, memory)

    @classmethod
    def _with_kernel(cls, obs: np.ndarray, deviation: np.ndarray, memory: Memory | None) -> InitialStates:
        """Return the distribution of states [n, O] whose newest observations have noise of a standard deviation."""
        bandwidth = deviation if memory is None or memory.is_empty else memory.begin(np.diag(deviation))
        capacity = 1 << max(6, (len(obs) - 1).bit_length())
        return cls(
            pad_rows(obs.astype(np.float32), capacity), tf.constant(len(obs)), tf.constant(bandwidth, tf.float32)
        )

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
