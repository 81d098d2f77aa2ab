"""A normal distribution over the weights of the last layer, independent for each of the layer's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.network import Network, last_kernel
from bnnrl.posterior import LowRank, MeanField


class LastLayer(NamedTuple):
    """Where θ holds the last kernel and its bias: F × O consecutive entries, the matrix [F, O] in row-major order.

    A kernel of more than two axes is a matrix [inputs, O] of its last axis. A bias is the last row of the matrix.
    """

    offset: int  # number of entries of θ before the layer's
    rows: int  # F, the number of weights of an output
    columns: int  # O, the number of outputs
    use_bias: bool

    @classmethod
    def of(cls, network: Network) -> LastLayer:
        """Return the place of a network's last kernel, and of the bias that follows it."""
        i, paths = last_kernel(network), network.paths
        columns = network.shapes[i][-1]
        follows = network.shapes[i + 1 : i + 2] == [(columns,)]
        use_bias = follows and paths[i + 1] == f"{paths[i].rpartition('/')[0]}/bias"
        return cls(sum(network.sizes[:i]), network.sizes[i] // columns + use_bias, columns, use_bias)

    @property
    def size(self) -> int:
        """F × O."""
        return self.rows * self.columns

    def matrix(self, theta: tf.Tensor) -> tf.Tensor:
        """Return the layer's part of θ [..., D], or of the network's weights, as a matrix [..., F, O]."""
        part = theta[..., self.offset : self.offset + self.size]
        return tf.reshape(part, [*part.shape[:-1], self.rows, self.columns])

    def entries(self, by_output: tf.Tensor) -> tf.Tensor:
        """Return values [..., O, F] in the order of θ, [..., F O]."""
        return tf.reshape(tf.linalg.matrix_transpose(by_output), [*by_output.shape[:-2], self.size])

    def padded(self, entries: tf.Tensor, size: int) -> tf.Tensor:
        """Return values [..., F O] of the layer with 0 for all other entries of a θ of `size` entries."""
        after = size - self.offset - self.size
        return tf.pad(entries, [*[[0, 0]] * (entries.shape.rank - 1), [self.offset, after]])


class Full(NamedTuple):
    """Covariances L Lᵀ, one for each output: L is lower triangular, and its diagonal is that of ρ, exponentiated."""

    rho: tf.Tensor  # [..., O, F, F], of which entries above the diagonal have no meaning

    @classmethod
    def start(cls, lead: Sequence[int], layer: LastLayer, std: float) -> Full:
        """Return independent entries of standard deviation `std`."""
        identity = tf.eye(layer.rows, batch_shape=[*lead, layer.columns])
        return cls(math.log(std) * identity)

    @property
    def root(self) -> tf.Tensor:
        """L, [..., O, F, F]."""
        return tf.linalg.set_diag(tf.linalg.band_part(self.rho, -1, 0), tf.exp(tf.linalg.diag_part(self.rho)))

    @property
    def log_det(self) -> tf.Tensor:
        """Half the logarithm of the determinant of all covariances, [...]."""
        return tf.reduce_sum(tf.linalg.diag_part(self.rho), axis=[-2, -1])

    @property
    def variances(self) -> tf.Tensor:
        """The variance of each weight, [..., O, F]."""
        return tf.reduce_sum(tf.square(self.root), axis=-1)

    def deviations(self, epsilon: tf.Tensor) -> tf.Tensor:
        """Return L ε, [..., O, F], for standard normal draws ε [..., O, F]."""
        return tf.linalg.matvec(self.root, epsilon)

    def variance_along(self, x: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
        """Return the variance of Σᵢ xᵢ sᵢ wᵢ for each output's weights w, [..., B, O].

        Args:
            x: [..., B, F].
            scales: s, [..., F, O].
        """
        scaled = tf.linalg.matrix_transpose(scales)[..., tf.newaxis] * self.root
        return tf.reduce_sum(tf.square(tf.einsum("...bi,...oij->...boj", x, scaled)), axis=-1)

    def normal(self, layer: LastLayer, loc: tf.Tensor) -> LowRank:
        """Return the distribution of θ [D] from the layer's first entry on, fixed at `loc` after the layer."""
        root, (F, O) = np.asarray(self.root), layer[1:3]
        factor = np.zeros([O, F, loc.shape[-1]], np.float32)  # noise (o, j) by entries of θ
        for o in range(O):
            factor[o, :, o : F * O : O] = root[o].T
        return LowRank(loc, tf.zeros_like(loc), tf.constant(factor.reshape([O * F, -1])))


class Diagonal(NamedTuple):
    """Independent weights of standard deviations exp(ρ)."""

    rho: tf.Tensor  # [..., O, F]

    @classmethod
    def start(cls, lead: Sequence[int], layer: LastLayer, std: float) -> Diagonal:
        """Return independent entries of standard deviation `std`."""
        return cls(tf.fill([*lead, layer.columns, layer.rows], math.log(std)))

    @property
    def log_det(self) -> tf.Tensor:
        """Half the logarithm of the determinant of all covariances, [...]."""
        return tf.reduce_sum(self.rho, axis=[-2, -1])

    @property
    def variances(self) -> tf.Tensor:
        """The variance of each weight, [..., O, F]."""
        return tf.exp(2.0 * self.rho)

    def deviations(self, epsilon: tf.Tensor) -> tf.Tensor:
        """Return exp(ρ) ε, [..., O, F], for standard normal draws ε [..., O, F]."""
        return tf.exp(self.rho) * epsilon

    def variance_along(self, x: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
        """Return the variance of Σᵢ xᵢ sᵢ wᵢ as `Full.variance_along` does."""
        return tf.matmul(tf.square(x), tf.square(scales) * tf.linalg.matrix_transpose(self.variances))

    def normal(self, layer: LastLayer, loc: tf.Tensor) -> MeanField:
        """Return the distribution of θ as `Full.normal` does."""
        scale = layer.entries(tf.exp(self.rho))
        return MeanField(loc, tf.pad(scale, [[0, loc.shape[-1] - layer.size]]))
