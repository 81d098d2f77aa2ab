"""Policies: from features of an observation to an action in (−1, 1), as pure functions of one flat vector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from bnnrl.seeds import split


class Policy(Protocol):
    """A frozen dataclass of sizes with two pure functions; R policies go side by side."""

    def init(self, seed, n: int, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return `n` random policies [R, K], fitted in place and scale to observed features [N, F]."""
        ...

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return squashed actions [R, N, A] for parameters [R, K] and features [R, N, F]."""
        ...


@dataclass(frozen=True)
class RBF:
    """a = tanh( Σ_k w_k exp(−½ ‖(z − c_k) / ℓ‖²) ), a radial basis function network with one length-scale a feature.

    Source: the controller of Deisenroth & Rasmussen, "PILCO", ICML 2011, section 2.3, squashed by tanh.

    Args:
        num_centers: K, the number of basis functions.
        weight_scale: initial weights are uniform in ± this, inside the tanh.
        length_scale: initial length-scales, in standard deviations of the observed features.
    """

    num_centers: int = 50
    weight_scale: float = 2.0
    length_scale: float = 1.0

    def __post_init__(self):
        if self.num_centers < 1:
            raise ValueError(f"Invalid `num_centers`: expected an integer of at least 1. Received: {self.num_centers}")

    def init(self, seed, n: int, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        row_seed, weight_seed = split(seed)
        count, dim = features.shape
        std = tf.maximum(tf.math.reduce_std(features, axis=0), 1e-2)
        rows = tf.random.stateless_uniform([n, self.num_centers], row_seed, 0, count, tf.int32)
        centers = tf.gather(features, rows)
        log_scales = tf.tile(tf.math.log(self.length_scale * std)[tf.newaxis], [n, 1])
        weights = tf.random.stateless_uniform(
            [n, self.num_centers * num_actions], weight_seed, -self.weight_scale, self.weight_scale
        )
        return tf.concat([tf.reshape(centers, [n, -1]), log_scales, weights], axis=-1)

    def units(self, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return the natural size of each parameter, [K]."""
        dim = features.shape[-1]
        std = tf.maximum(tf.math.reduce_std(features, axis=0), 1e-2)
        return tf.concat([tf.tile(std, [self.num_centers]), tf.ones([dim + self.num_centers * num_actions])], axis=0)

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        n, dim = params.shape[0], features.shape[-1]
        k = self.num_centers
        centers, log_scales, weights = tf.split(params, [k * dim, dim, k * num_actions], axis=-1)
        inverse = tf.exp(-log_scales)[:, tf.newaxis]  # [R, 1, F]
        z = features * inverse
        c = tf.reshape(centers, [n, k, dim]) * inverse
        # ‖z − c‖² by the binomial formula: one matrix product instead of an [N, K, F] array.
        d2 = (
            tf.reduce_sum(tf.square(z), -1, keepdims=True)
            - 2 * tf.matmul(z, c, transpose_b=True)
            + tf.reduce_sum(tf.square(c), -1)[:, tf.newaxis]
        )
        return tf.tanh(tf.matmul(tf.exp(-0.5 * d2), tf.reshape(weights, [n, k, num_actions])))


@dataclass(frozen=True)
class MLP:
    """A fully connected network with tanh hidden layers and a tanh output, on standardised features.

    Args:
        hidden: widths of the hidden layers.
    """

    hidden: tuple[int, ...] = (50,)

    def init(self, seed, n: int, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        std = tf.maximum(tf.math.reduce_std(features, axis=0), 1e-2)
        mean = tf.reduce_mean(features, axis=0)
        sizes = [features.shape[-1], *self.hidden, num_actions]
        parts = []
        for i, layer_seed in enumerate(split(seed, len(sizes) - 1)):
            limit = math.sqrt(3.0 / sizes[i])
            kernel = tf.random.stateless_uniform([n, sizes[i], sizes[i + 1]], layer_seed, -limit, limit)
            bias = tf.zeros([n, sizes[i + 1]])
            if i == 0:  # the first layer standardises its inputs
                kernel /= std[:, tf.newaxis]
                bias = -tf.einsum("f,nfh->nh", mean, kernel)
            parts += [tf.reshape(kernel, [n, -1]), bias]
        return tf.concat(parts, axis=-1)

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        sizes = [features.shape[-1], *self.hidden, num_actions]
        lengths = [size for i, o in zip(sizes, sizes[1:], strict=False) for size in (i * o, o)]
        parts = iter(tf.split(params, lengths, axis=-1))
        h = features
        for i, o in zip(sizes, sizes[1:], strict=False):
            h = tf.tanh(tf.matmul(h, tf.reshape(next(parts), [-1, i, o])) + next(parts)[:, tf.newaxis])
        return h
