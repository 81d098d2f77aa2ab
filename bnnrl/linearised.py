"""The first-order expansion of a network in its weights, f(x; θ*) + J(x) δ, as a network of the parameters (θ*, δ).

Laplace's approximation belongs to this linear model: its posterior is that of the weights of a generalised linear
model, and draws of it that are put into the network itself leave the region in which the expansion holds (Immer,
Korzepa & Bauer, "Improving predictions of Bayesian neural nets via local linearization", AISTATS 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from bnnrl.learned_prior import LearnedPrior
from bnnrl.network import Network, map_one_by_one, matmul
from bnnrl.posterior import Linearised, Mixture, Posterior, Product
from bnnrl.problem import Problem


class LinearisedNetwork(Network):
    """The expansion of a network: a vector of its parameters holds the weights w [W] and their deviations δ [W]."""

    def __init__(self, network: Network):
        super().__init__(network.model)
        self.shapes, self.sizes, self.num_params = self.shapes * 2, self.sizes * 2, 2 * self.num_params

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled call."""
        return LinearisedNetwork, super().structure

    def _dense_outputs(self, weights: list[tf.Tensor], x: tf.Tensor, stacked: bool) -> tf.Tensor:
        """Return the outputs of a chain of Dense layers and their derivative along δ, by the rule of products."""
        count = len(self.shapes) // 2
        points, deviations = iter(weights[:count]), iter(weights[count : 2 * count])
        transposes = [*weights[2 * count :], *[None] * 2 * len(self._dense_chain or [])]  # none for a single θ
        layers, change = len(self._dense_chain or []), None
        product = matmul if stacked else lambda x, kernel, _: tf.matmul(x, kernel)
        bias = lambda b: b[:, tf.newaxis] if stacked else b
        for i, (activation, use_bias) in enumerate(self._dense_chain or []):
            kernel, transpose = next(points), transposes[i]
            moved = product(x, next(deviations), transposes[layers + i])
            change = moved if change is None else moved + product(change, kernel, transpose)
            x = product(x, kernel, transpose)
            if use_bias:
                x, change = x + bias(next(points)), change + bias(next(deviations))
            x, change = along(activation, x, change)
        return x + change

    def _map_draws(self, one: Callable, args):
        """Return one(args) for each draw; one by one for recurrent layers, whose derivatives cannot be vectorised."""
        if not any(isinstance(layer, keras.layers.RNN) for layer in self.model._flatten_layers()):
            return super()._map_draws(one, args)
        return map_one_by_one(one, args)

    def _stateless_call(self, weights: list[tf.Tensor], x, training: bool, seeds, statistics):
        """Return the outputs and their derivative along δ, by two backward passes.

        v ↦ vᵀ J is linear, and its derivative along δ is J δ. Unlike forward differentiation, this covers loops.
        """
        count, zero = len(self.shapes) // 2, tf.UnconnectedGradients.ZERO
        points, deviations = weights[:count], weights[count : 2 * count]
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(points)
                outputs, after = super()._stateless_call(points, x, training, seeds, statistics)
            v = tf.nest.map_structure(tf.zeros_like, outputs)
            outer.watch(v)
            products = inner.gradient(outputs, points, output_gradients=v, unconnected_gradients=zero)
        changes = outer.gradient(products, v, output_gradients=deviations, unconnected_gradients=zero)
        return tf.nest.map_structure(tf.add, outputs, changes), after


def along(function: Callable[[tf.Tensor], tf.Tensor], at: tf.Tensor, change: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return function(at) and its derivative along `change`."""
    with tf.autodiff.ForwardAccumulator(at, change) as derivative:
        value = function(at)
    return value, derivative.jvp(value, unconnected_gradients=tf.UnconnectedGradients.ZERO)


class LinearisedProblem(Problem):
    """A problem with the expansion of its network: θ [2D] holds the point θ* [D] of the expansion and a deviation [D].

    It serves predictions; it has no prior and no log joint.

    Args:
        problem: the problem whose network is expanded.
    """

    def __init__(self, problem: Problem):
        self.__dict__.update(problem.__dict__)
        self.network, self._base = LinearisedNetwork(problem.network), problem

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled function of (θ*, δ) and data."""
        return LinearisedProblem, self._base.structure

    @property
    def num_params(self) -> int:
        """2D, for a point of the expansion and a deviation from it."""
        return 2 * self._base.num_params

    def split(self, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the weights and their deviations [..., 2W], and the likelihood's own parameters.

        Raises:
            ValueError: if the shape of θ is not [2D] or [S, 2D].
        """
        point, deviation = tf.split(theta, 2, axis=-1)
        with tf.autodiff.ForwardAccumulator(point, deviation) as derivative:
            weights, likelihood_params = self._base.split(point)
        zero = tf.UnconnectedGradients.ZERO
        moved, moved_params = (derivative.jvp(a, unconnected_gradients=zero) for a in (weights, likelihood_params))
        return tf.concat([weights, moved], axis=-1), likelihood_params + moved_params

    def split_around(self, point: tf.Tensor, deviations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the weights [W], their deviations [S, W − K], and the likelihood's own parameters [S, L].

        Args:
            point: θ*, [D].
            deviations: θ − θ* of all entries but the first K, which do not deviate, [S, D − K].
        """
        weights, likelihood_params = self._base.split(point)
        own, _, log_scales = self._base.parts(point)
        fixed = point.shape[0] - deviations.shape[1]
        sizes = [own.shape[0] - fixed, likelihood_params.shape[0], log_scales.shape[0]]
        moved, moved_params, moved_scales = tf.split(deviations, sizes, axis=-1)
        if isinstance(self.prior, LearnedPrior):  # w = m + s b u, s = exp(log s)
            by_weight = tf.gather(moved_scales, self.prior.group_of_each[fixed:], axis=-1)
            moved = self._base.weight_scales(point)[fixed:] * (moved + own[fixed:] * by_weight)
        return weights, moved, likelihood_params + moved_params


@dataclass(frozen=True)
class _Expanded:
    """Draws (θ*, θ − θ*) of a posterior over θ, [n, 2D], for a `LinearisedProblem`."""

    source: Posterior

    @property
    def num_distinct(self) -> int | None:
        return self.source.num_distinct

    def sample(self, n: int, seed) -> tf.Tensor:
        theta = self.source.sample(n, seed)
        point = tf.broadcast_to(self.source.point, theta.shape) if isinstance(self.source, Linearised) else theta
        return tf.concat([point, theta - point], axis=-1)

    mean: Any = None
    to_arrays: Any = None


def expanded(source: Posterior) -> Posterior:
    """Return the posterior of (θ*, δ) [2D] for a `LinearisedProblem`.

    A posterior that is not linearised, such as a point before the end of the training, gets δ = 0 at its own draws. A
    product of linearised posteriors is one of separate networks; another product is that of the parts of one θ.
    """
    if isinstance(source, Mixture) or (isinstance(source, Product) and is_linearised(source)):
        return type(source)(tuple(map(expanded, source.components)))
    return _Expanded(source)


def is_linearised(source: Posterior) -> bool:
    """Return whether a posterior is linearised, or all its components are."""
    if isinstance(source, Mixture | Product):
        return all(map(is_linearised, source.components))
    return isinstance(source, Linearised)
