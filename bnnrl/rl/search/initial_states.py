"""The distribution of the states that simulated rollouts begin in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.data import pad_rows
from bnnrl.rl.memory import Memory
from bnnrl.seeds import normal, uniform

_ON_CIRCLE = 1e-5  # by how much the squares of a cosine and a sine in float32 may differ from a sum of 1


class InitialStates(NamedTuple):
    """Given states plus noise of a diagonal normal kernel, in a buffer of fixed capacity.

    Two entries that are the cosine and the sine of an angle stay on their circle: the kernel moves them, and they are
    then divided by their norm. Off the circle there are no states, and a model has no data.

    The capacity is fixed so that compiled functions are not traced again whenever an episode is added.
    """

    obs: tf.Tensor  # [capacity, O] states, padded with zeros
    count: tf.Tensor  # [] int32, number of states
    circles: tf.Tensor  # [O, O] 1 in the rows and columns of a pair of entries on the unit circle, 0 elsewhere
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
        memory = memory or Memory(obs.shape[1])
        bandwidth = deviation if memory.is_empty else memory.begin(np.diag(deviation))
        capacity = 1 << max(6, (len(obs) - 1).bit_length())
        circles = np.zeros([obs.shape[1]] * 2)
        for pair in _circles(memory.newest(obs)):
            for past in range(1 + memory.observations):
                circles[np.ix_(*[np.array(pair) + past * memory.num_obs] * 2)] = 1.0
        fixed = tf.constant(circles, tf.float32), tf.constant(bandwidth, tf.float32)
        return cls(pad_rows(obs.astype(np.float32), capacity), tf.constant(len(obs)), *fixed)

    @classmethod
    def empirical(cls, obs: np.ndarray) -> InitialStates:
        """Return the uniform distribution over the given states [n, O], without a kernel."""
        size = obs.shape[1]
        return cls(tf.constant(obs, tf.float32), tf.constant(len(obs)), tf.zeros([size, size]), tf.zeros([size]))

    def sample(self, shape: list[int], row_seed, kernel_seed) -> tf.Tensor:
        """Return states [*shape, O]: rows drawn with `row_seed`, plus kernel noise drawn with `kernel_seed`."""
        rows = uniform(shape, row_seed, 0, self.count, tf.int32)
        noise = normal([*shape, self.bandwidth.shape[0]], kernel_seed)
        jitter = self.bandwidth * noise if self.bandwidth.shape.rank == 1 else tf.matmul(noise, self.bandwidth)
        found = tf.gather(self.obs, rows) + jitter
        norm = tf.sqrt(tf.matmul(tf.square(found), self.circles))
        return tf.where(tf.reduce_sum(self.circles, axis=0) > 0, found / norm, found)


def _circles(obs: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of entries whose squares sum to 1 in all states [n, O]; no entry is in two pairs."""
    squares, pairs = np.square(obs, dtype=np.float64), []
    free = list(range(obs.shape[1]))
    while free:
        first = free.pop(0)
        partner = next((i for i in free if np.abs(squares[:, first] + squares[:, i] - 1).max() < _ON_CIRCLE), None)
        if partner is not None:
            free.remove(partner)
            pairs.append((first, partner))
    return pairs
