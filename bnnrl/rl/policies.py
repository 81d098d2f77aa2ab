"""Policies: functions from features of an observation to an action in (−1, 1), with one flat parameter vector each."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Protocol

import tensorflow as tf

from bnnrl.checks import check_count, check_counts, check_fields, check_positive
from bnnrl.rl.simulator.features import Features
from bnnrl.seeds import fold_in, split, uniform
from bnnrl.storage import config

# Shapes: R policies of K parameters, N observations of each policy, O observation, F features, A action.


class Policy(Protocol):
    """A policy's form: a frozen dataclass of sizes, with pure functions that handle R policies side by side."""

    def num_params(self, num_features: int, num_actions: int) -> int:
        """Return K, the number of parameters."""
        ...

    def init(self, seed, n: int, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return the parameters of random policies, [n, K].

        Args:
            seed: a seed pair.
            n: number of policies.
            reference_features: features [N, F] of states in which a policy may have to act.
            num_actions: A.
        """
        ...

    def parameter_scales(self, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return the scale of each parameter, [K]. A step of one scale changes the policy about equally for each."""
        ...

    def apply_dropout(self, params: tf.Tensor, rate: float, seed, num_features: int, num_actions: int) -> tf.Tensor:
        """Return parameters [R, K] without random hidden units, other units' weights multiplied by 1 / (1 − rate)."""
        ...

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return actions in (−1, 1), [R, N, A], for parameters [R, K] and features [R, N, F]."""
        ...


_FAR = 100.0  # length-scales from zero, whose square leaves three digits of a float32 for distances


@dataclass(frozen=True)
class RBF:
    """A radial basis function network, a = tanh( Σ_k w_k exp(−½ ‖(z − c_k) / ℓ‖²) ), with a length-scale per feature.

    Source: the controller of Deisenroth & Rasmussen, "PILCO", ICML 2011, section 2.3, with tanh as squashing function.

    Args:
        num_centers: number of basis functions.
        weight_scale: bound b of the initial weights, which are uniform in (−b, b).
        length_scale: initial length-scales, in standard deviations of the reference features.

    Raises:
        ValueError: if a number is out of its range.
    """

    num_centers: int = 100
    weight_scale: float = 2.0
    length_scale: float = 0.7

    def __post_init__(self):
        check_fields(self, num_centers=check_count, weight_scale=check_positive, length_scale=check_positive)

    def _sizes(self, num_features: int, num_actions: int) -> list[int]:
        return [self.num_centers * num_features, num_features, self.num_centers * num_actions]

    def num_params(self, num_features: int, num_actions: int) -> int:
        """Return K: centres, length-scales and weights."""
        return sum(self._sizes(num_features, num_actions))

    def init(self, seed, n: int, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return n random policies [n, K], with centres among the reference features."""
        row_seed, weight_seed = split(seed)
        rows = uniform([n, self.num_centers], row_seed, 0, reference_features.shape[0], tf.int32)
        centers = tf.reshape(tf.gather(reference_features, rows), [n, -1])
        log_scales = tf.tile(tf.math.log(self.length_scale * _spread(reference_features))[tf.newaxis], [n, 1])
        limit = self.weight_scale
        weights = uniform([n, self.num_centers * num_actions], weight_seed, -limit, limit)
        return tf.concat([centers, log_scales, weights], axis=-1)

    def parameter_scales(self, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return the scales [K]: standard deviations of the features for centres, 1 for other parameters."""
        _, *others = self._sizes(reference_features.shape[-1], num_actions)
        return tf.concat([tf.tile(_spread(reference_features), [self.num_centers]), tf.ones([sum(others)])], axis=0)

    def apply_dropout(self, params: tf.Tensor, rate: float, seed, num_features: int, num_actions: int) -> tf.Tensor:
        """Return parameters [R, K] without the weights of random basis functions."""
        *others, weights = tf.split(params, self._sizes(num_features, num_actions), axis=-1)
        mask = _dropout_mask([params.shape[0], self.num_centers, 1], rate, seed)
        weights *= tf.reshape(tf.tile(mask, [1, 1, num_actions]), weights.shape)
        return tf.concat([*others, weights], axis=-1)

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return actions in (−1, 1), [R, N, A], for parameters [R, K] and features [R, N, F]."""
        n, dim, k = params.shape[0], features.shape[-1], self.num_centers
        centers, log_scales, weights = tf.split(params, self._sizes(dim, num_actions), axis=-1)
        inverse = tf.exp(-log_scales)[:, tf.newaxis]  # [R, 1, F]
        centers = tf.reshape(centers, [n, k, dim])
        far = self._far_mean(centers, inverse)
        z = (features - far) * inverse
        c = (centers - far) * inverse
        # ‖z − c‖² by the binomial formula: one matrix product instead of an [N, K, F] array.
        d2 = (
            tf.reduce_sum(tf.square(z), -1, keepdims=True)
            - 2 * tf.matmul(z, c, transpose_b=True)
            + tf.reduce_sum(tf.square(c), -1)[:, tf.newaxis]
        )
        return tf.tanh(tf.matmul(tf.exp(-0.5 * d2), tf.reshape(weights, [n, k, num_actions])))

    @staticmethod
    def _far_mean(centers: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
        """Return the mean centre [R, 1, F] of features that lie many length-scales from zero, and 0 for the others.

        Without it the squares of such features would cancel, in float32, to nothing. The distance does not depend on
        it, so it has no gradient.
        """
        mean = tf.reduce_mean(centers, axis=1, keepdims=True)
        return tf.stop_gradient(tf.where(tf.abs(mean) * inverse > _FAR, mean, tf.zeros_like(mean)))


@dataclass(frozen=True)
class MLP:
    """A fully connected network with tanh hidden layers and a tanh output.

    The first layer is initialised so that it standardises the reference features.

    Args:
        hidden: widths of the hidden layers.
        weight_scale: s; initial weights are uniform with a standard deviation of s / √(inputs of the layer).

    Raises:
        ValueError: if a number is out of its range.
    """

    hidden: tuple[int, ...] = (50,)
    weight_scale: float = 1.0

    def __post_init__(self):
        check_fields(self, hidden=check_counts, weight_scale=check_positive)

    def _layers(self, num_features: int, num_actions: int) -> list[tuple[int, int]]:
        return list(itertools.pairwise([num_features, *self.hidden, num_actions]))

    def _split(self, params: tf.Tensor, num_features: int, num_actions: int) -> list[tf.Tensor]:
        """Return the kernel and the bias of each layer in turn, flat, from parameters [R, K]."""
        layers = self._layers(num_features, num_actions)
        return tf.split(params, [size for i, o in layers for size in (i * o, o)], axis=-1)

    def num_params(self, num_features: int, num_actions: int) -> int:
        """Return K: the kernels and biases of all layers."""
        return sum(i * o + o for i, o in self._layers(num_features, num_actions))

    def init(self, seed, n: int, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return n random policies [n, K], whose first layers standardise the reference features."""
        layers = self._layers(reference_features.shape[-1], num_actions)
        parts = []
        for j, ((i, o), layer_seed) in enumerate(zip(layers, split(seed, len(layers)), strict=True)):
            limit = self.weight_scale * math.sqrt(3.0 / i)
            kernel = uniform([n, i, o], layer_seed, -limit, limit)
            bias = tf.zeros([n, o])
            if j == 0:
                kernel /= _spread(reference_features)[:, tf.newaxis]
                bias = -tf.einsum("f,nfh->nh", tf.reduce_mean(reference_features, axis=0), kernel)
            parts += [tf.reshape(kernel, [n, -1]), bias]
        return tf.concat(parts, axis=-1)

    def parameter_scales(self, reference_features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return the scales [K]: 1 / standard deviation of the feature for the first kernel, 1 for the others."""
        num_features = reference_features.shape[-1]
        width = self._layers(num_features, num_actions)[0][1]
        first = tf.repeat(1.0 / _spread(reference_features), width)
        return tf.concat([first, tf.ones([self.num_params(num_features, num_actions) - first.shape[0]])], axis=0)

    def apply_dropout(self, params: tf.Tensor, rate: float, seed, num_features: int, num_actions: int) -> tf.Tensor:
        """Return parameters [R, K] without the outgoing weights of random hidden units."""
        layers, parts = self._layers(num_features, num_actions), self._split(params, num_features, num_actions)
        for j, (i, o) in enumerate(layers[1:], 1):  # a unit's outgoing weights are the rows of the next kernel
            mask = _dropout_mask([params.shape[0], i, 1], rate, fold_in(seed, j))
            parts[2 * j] *= tf.reshape(tf.tile(mask, [1, 1, o]), [-1, i * o])
        return tf.concat(parts, axis=-1)

    def __call__(self, params: tf.Tensor, features: tf.Tensor, num_actions: int) -> tf.Tensor:
        """Return actions in (−1, 1), [R, N, A], for parameters [R, K] and features [R, N, F]."""
        parts, h = iter(self._split(params, features.shape[-1], num_actions)), features
        for i, o in self._layers(features.shape[-1], num_actions):
            h = tf.tanh(tf.matmul(h, tf.reshape(next(parts), [-1, i, o])) + next(parts)[:, tf.newaxis])
        return h


@dataclass(frozen=True)
class Linear(MLP):
    """A linear policy with tanh as squashing function, a = tanh(W z + b): a network without hidden layers.

    Args:
        weight_scale: s; initial weights of standardised features are uniform with a standard deviation of s / √F.

    Raises:
        ValueError: if a number is out of its range.
    """

    hidden: tuple[int, ...] = field(default=(), init=False, repr=False)


config.register(RBF, MLP, Linear)


_MAX_LOGIT = 4.0  # of a relaxed discrete action: the policy's outputs in (−1, 1) times this


@dataclass(frozen=True)
class Controller:
    """Maps observations to the environment's actions: features, policy, and the bounds of the action space.

    Args:
        policy: the policy.
        features: maps observations to the features that the policy sees.
        low: lower bounds of the action, [A].
        high: upper bounds of the action, [A].
        discrete: whether the action is one of A values, represented by a one-hot vector.
    """

    policy: Policy
    features: Features
    low: tf.Tensor
    high: tf.Tensor
    discrete: bool = False

    @property
    def num_actions(self) -> int:
        """A, the number of entries of an action."""
        return self.low.shape[0]

    @property
    def num_params(self) -> int:
        """K, the number of the policy's parameters."""
        return self.policy.num_params(self.features.size, self.num_actions)

    def init(self, seed, n: int, reference_features: tf.Tensor) -> tf.Tensor:
        """Return the parameters of random policies, [n, K]; arguments as in `Policy.init`."""
        return self.policy.init(seed, n, reference_features, self.num_actions)

    def parameter_scales(self, reference_features: tf.Tensor) -> tf.Tensor:
        """Return the scale of each parameter, [K]."""
        return self.policy.parameter_scales(reference_features, self.num_actions)

    def apply_dropout(self, params: tf.Tensor, rate: float, seed) -> tf.Tensor:
        """Return parameters [R, K] without random hidden units, other units' weights multiplied by 1 / (1 − rate)."""
        return self.policy.apply_dropout(params, rate, seed, self.features.size, self.num_actions)

    def __call__(self, params: tf.Tensor, obs: tf.Tensor) -> tf.Tensor:
        """Return differentiable actions [R, N, A] for parameters [R, K] and observations [R, N, O].

        A discrete action is relaxed: a vector of positive weights that sum to 1.
        """
        squashed = self.policy(params, self.features(obs), self.num_actions)
        if self.discrete:
            return tf.nn.softmax(_MAX_LOGIT * squashed, axis=-1)
        return self.low + 0.5 * (squashed + 1.0) * (self.high - self.low)

    def executed(self, params: tf.Tensor, obs: tf.Tensor) -> tf.Tensor:
        """Return the actions that an environment executes, [R, N, A]: one-hot vectors if the action is discrete."""
        action = self(params, obs)
        return tf.one_hot(tf.argmax(action, axis=-1), self.num_actions) if self.discrete else action


def _spread(reference_features: tf.Tensor) -> tf.Tensor:
    """Return the standard deviation of each feature, [F], or 1 for a feature that varies by no more than rounding."""
    std = tf.math.reduce_std(reference_features, axis=0)
    largest = tf.reduce_max(tf.abs(reference_features), axis=0)
    return tf.where(std <= 1e-6 * largest, tf.ones_like(std), std)


def _dropout_mask(shape, rate: float, seed) -> tf.Tensor:
    """Return a random mask: 0 with probability `rate`, else 1 / (1 − rate)."""
    return tf.cast(uniform(shape, seed) >= rate, tf.float32) / (1.0 - rate)
