"""Policies: from features of an observation to an action in (−1, 1), as pure functions of one flat vector."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from bnnrl.checks import check_count, check_positive
from bnnrl.rl.simulator.features import Features
from bnnrl.seeds import fold_in, split, uniform
from bnnrl.storage import config


class Policy(Protocol):
    """A frozen dataclass of sizes with pure functions; R policies go side by side."""

    def num_params(self, num_features: int, num_actions: int) -> int:
        """Return K, the number of parameters."""
        ...

    def init(self, seed, n: int, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return `n` random policies [n, K], given features [N, F] from all over where they may have to act."""
        ...

    def units(self, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return the natural size of each parameter, [K]: a step of one unit is as bold in any of them."""
        ...

    def apply_dropout(self, params: tf.Tensor, rate: float, seed, num_features: int, num_actions: int) -> tf.Tensor:
        """Return parameters [R, K] with hidden units left out at random, and the others' weights scaled to make up."""
        ...

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return squashed actions [R, N, A] for parameters [R, K] and features [R, N, F]."""
        ...


@dataclass(frozen=True)
class RBF:
    """a = tanh( Σ_k w_k exp(−½ ‖(z − c_k) / ℓ‖²) ), a radial basis function network with one length-scale a feature.

    Source: the controller of Deisenroth & Rasmussen, "PILCO", ICML 2011, section 2.3, squashed by tanh.

    Args:
        num_centers: the number of basis functions.
        weight_scale: initial weights are uniform in ± this, inside the tanh.
        length_scale: initial length-scales, in standard deviations of the covered features.

    Raises:
        ValueError: for a number out of its range.
    """

    num_centers: int = 100
    weight_scale: float = 2.0
    length_scale: float = 0.7

    def __post_init__(self):
        check_count("num_centers", self.num_centers)
        check_positive("weight_scale", self.weight_scale)
        check_positive("length_scale", self.length_scale)

    def _sizes(self, num_features: int, num_actions: int) -> list[int]:
        return [self.num_centers * num_features, num_features, self.num_centers * num_actions]

    def num_params(self, num_features: int, num_actions: int) -> int:
        return sum(self._sizes(num_features, num_actions))

    def init(self, seed, n: int, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        row_seed, weight_seed = split(seed)
        rows = uniform([n, self.num_centers], row_seed, 0, reference_features.shape[0], tf.int32)
        centers = tf.reshape(tf.gather(reference_features, rows), [n, -1])
        log_scales = tf.tile(tf.math.log(self.length_scale * _spread(reference_features))[tf.newaxis], [n, 1])
        limit = self.weight_scale
        weights = uniform([n, self.num_centers * num_actions], weight_seed, -limit, limit)
        return tf.concat([centers, log_scales, weights], axis=-1)

    def units(self, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        _, *others = self._sizes(reference_features.shape[-1], num_actions)
        return tf.concat([tf.tile(_spread(reference_features), [self.num_centers]), tf.ones([sum(others)])], axis=0)

    def apply_dropout(self, params: tf.Tensor, rate: float, seed, num_features: int, num_actions: int) -> tf.Tensor:
        *others, weights = tf.split(params, self._sizes(num_features, num_actions), axis=-1)
        kept = _kept([params.shape[0], self.num_centers, 1], rate, seed)
        weights *= tf.reshape(tf.tile(kept, [1, 1, num_actions]), weights.shape)
        return tf.concat([*others, weights], axis=-1)

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        n, dim, k = params.shape[0], features.shape[-1], self.num_centers
        centers, log_scales, weights = tf.split(params, self._sizes(dim, num_actions), axis=-1)
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
        weight_scale: initial kernels are uniform with a standard deviation of this / √inputs.

    Raises:
        ValueError: for a number out of its range.
    """

    hidden: tuple[int, ...] = (50,)
    weight_scale: float = 1.0

    def __post_init__(self):
        for width in self.hidden:
            check_count("hidden", width)
        check_positive("weight_scale", self.weight_scale)

    def _layers(self, num_features: int, num_actions: int) -> list[tuple[int, int]]:
        return list(itertools.pairwise([num_features, *self.hidden, num_actions]))

    def num_params(self, num_features: int, num_actions: int) -> int:
        return sum(i * o + o for i, o in self._layers(num_features, num_actions))

    def init(self, seed, n: int, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        layers = self._layers(reference_features.shape[-1], num_actions)
        parts = []
        for j, ((i, o), layer_seed) in enumerate(zip(layers, split(seed, len(layers)), strict=True)):
            limit = self.weight_scale * math.sqrt(3.0 / i)
            kernel = uniform([n, i, o], layer_seed, -limit, limit)
            bias = tf.zeros([n, o])
            if j == 0:  # the first layer standardises its inputs
                kernel /= _spread(reference_features)[:, tf.newaxis]
                bias = -tf.einsum("f,nfh->nh", tf.reduce_mean(reference_features, axis=0), kernel)
            parts += [tf.reshape(kernel, [n, -1]), bias]
        return tf.concat(parts, axis=-1)

    def units(self, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        width = self._layers(reference_features.shape[-1], num_actions)[0][1]
        first = tf.repeat(1.0 / _spread(reference_features), width)
        return tf.concat(
            [first, tf.ones([self.num_params(reference_features.shape[-1], num_actions) - first.shape[0]])], axis=0
        )

    def apply_dropout(self, params: tf.Tensor, rate: float, seed, num_features: int, num_actions: int) -> tf.Tensor:
        layers = self._layers(num_features, num_actions)
        parts = tf.split(params, [size for i, o in layers for size in (i * o, o)], axis=-1)
        for j, (i, o) in enumerate(layers[1:], 1):  # a unit's outgoing weights are the rows of the next kernel
            kept = _kept([params.shape[0], i, 1], rate, fold_in(seed, j))
            parts[2 * j] *= tf.reshape(tf.tile(kept, [1, 1, o]), [-1, i * o])
        return tf.concat(parts, axis=-1)

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        layers = self._layers(features.shape[-1], num_actions)
        parts = iter(tf.split(params, [size for i, o in layers for size in (i * o, o)], axis=-1))
        h = features
        for i, o in layers:
            h = tf.tanh(tf.matmul(h, tf.reshape(next(parts), [-1, i, o])) + next(parts)[:, tf.newaxis])
        return h


def _spread(reference_features: tf.Tensor) -> tf.Tensor:
    """Return the standard deviation of each feature, [F], or 1 for one that does not vary."""
    std = tf.math.reduce_std(reference_features, axis=0)
    return tf.where(std < 1e-6, tf.ones_like(std), std)


def _kept(shape, rate: float, seed) -> tf.Tensor:
    """Return 0 with probability `rate`, else 1 / (1 − rate)."""
    return tf.cast(uniform(shape, seed) >= rate, tf.float32) / (1.0 - rate)


@dataclass(frozen=True)
class Linear:
    """a = tanh(W z + b), on standardised features.

    Args:
        weight_scale: initial weights are uniform with a standard deviation of this / √features.

    Raises:
        ValueError: for a number out of its range.
    """

    weight_scale: float = 1.0

    def __post_init__(self):
        check_positive("weight_scale", self.weight_scale)

    @property
    def _network(self) -> MLP:
        return MLP((), self.weight_scale)

    def num_params(self, num_features: int, num_actions: int) -> int:
        return self._network.num_params(num_features, num_actions)

    def init(self, seed, n: int, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        return self._network.init(seed, n, reference_features, num_actions)

    def units(self, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        return self._network.units(reference_features, num_actions)

    def apply_dropout(self, params: tf.Tensor, rate: float, seed, num_features: int, num_actions: int) -> tf.Tensor:
        return params

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        return self._network(params, features, num_actions)


config.register(RBF, MLP, Linear)


_CONFIDENCE = 4.0  # the largest logit of a relaxed discrete action


@dataclass(frozen=True)
class Controller:
    """A policy between observations and the environment's actions.

    Args:
        policy: the policy.
        features: from observations to what the policy sees.
        low: lower bounds of the action, [A].
        high: upper bounds, [A].
        discrete: whether an action is one of A, as a one-hot vector.
    """

    policy: Policy
    features: Features
    low: tf.Tensor
    high: tf.Tensor
    discrete: bool = False

    @property
    def num_actions(self) -> int:
        return self.low.shape[0]

    @property
    def num_params(self) -> int:
        return self.policy.num_params(self.features.size, self.num_actions)

    def init(self, seed, n: int, reference_features: tf.Tensor) -> tf.Tensor:
        return self.policy.init(seed, n, reference_features, self.num_actions)

    def units(self, reference_features: tf.Tensor) -> tf.Tensor:
        return self.policy.units(reference_features, self.num_actions)

    def apply_dropout(self, params: tf.Tensor, rate: float, seed) -> tf.Tensor:
        """Return parameters [R, K] with some of the policies' units left out, others scaled up by 1 / (1 − rate)."""
        return self.policy.apply_dropout(params, rate, seed, self.features.size, self.num_actions)

    def __call__(self, params: tf.Tensor, obs: tf.Tensor) -> tf.Tensor:
        """Return actions [R, N, A] for parameters [R, K] and observations [R, N, O]; relaxed ones if discrete."""
        squashed = self.policy(params, self.features(obs), self.num_actions)
        if self.discrete:
            return tf.nn.softmax(_CONFIDENCE * squashed, axis=-1)
        return self.low + 0.5 * (squashed + 1.0) * (self.high - self.low)

    def executed(self, params: tf.Tensor, obs: tf.Tensor) -> tf.Tensor:
        """Return what an environment does when the policy acts, as `__call__`; one-hot vectors if discrete."""
        action = self(params, obs)
        return tf.one_hot(tf.argmax(action, axis=-1), self.num_actions) if self.discrete else action
