"""Draws of a linearised posterior around its point, and the outputs of the linearised network for all of them.

In f(x; θ*) + J(x) (θ − θ*) only the deviation θ − θ* differs from draw to draw. What depends on θ* alone, the network's
layers and the derivatives of its activations, is evaluated once for each row instead of once for each row and draw.
Laplace's approximation of the last layer leaves a single product for each draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from bnnrl.linearised import along
from bnnrl.network import Network, last_dense, last_layer, map_one_by_one
from bnnrl.posterior import Kronecker, Linearised, MeanField, Point, Product, pieces

# A map over draws takes the products of a hidden layer for one draw at a time beyond this number of rows times draws.
_BATCHED = 2**13


class AroundPoint(NamedTuple):
    """Draws of θ around the point of an expansion, whose first K entries are those of the point."""

    point: tf.Tensor  # θ*, [D]
    deviations: tf.Tensor  # θ − θ* without the first K entries, [S, D − K]


@dataclass(frozen=True)
class _Deviations:
    """The deviations of a linearised posterior from its point, without those of the fixed first entries."""

    posterior: Linearised
    num_fixed: int

    num_distinct = None

    def sample(self, n: int, seed) -> tf.Tensor:
        source: Any = self.posterior.source
        moving = source.sample_part(1, n, seed) if self.num_fixed else source.sample(n, seed)
        return moving - self.posterior.point[self.num_fixed :]

    mean: Any = None
    to_arrays: Any = None


def draws_around(posterior: Linearised, n: int, seed, size: int) -> Iterator[AroundPoint]:
    """Yield `n` draws, those of `posterior.pieces` with the same arguments."""
    for deviations in pieces(_Deviations(posterior, num_fixed(posterior)), n, seed, size):
        yield AroundPoint(posterior.point, deviations)


def directions(posterior: Linearised, size: int) -> Iterator[AroundPoint]:
    """Yield the rows of F with Fᵀ F the covariance of a linearised posterior, at most `size` at a time.

    They are deviations from the point like draws, but not random: the variance of an output of the linearised network
    is the sum of squares of its derivatives along them.
    """
    own = cast(Product, posterior.source).components[-1] if num_fixed(posterior) else posterior.source
    for rows in _rows_of_factor(own, size):
        yield AroundPoint(posterior.point, rows)


def _rows_of_factor(source: Any, size: int) -> Iterator[tf.Tensor]:
    if isinstance(source, Kronecker):
        first = 0
        for left, scale, right in zip(source.lefts, source.scales, source.rights, strict=True):
            count = int(np.prod(scale.shape))
            for basis in _pieces_of_identity(count, size):
                block = left @ (scale * tf.reshape(basis, [-1, *scale.shape])) @ tf.transpose(right)
                flat = tf.reshape(block, [-1, count])
                yield tf.pad(flat, [[0, 0], [first, len(source.loc) - first - count]])
            first += count
    elif isinstance(source, MeanField):
        yield from (source.scale * basis for basis in _pieces_of_identity(len(source.loc), size))
    else:
        yield from (source.factor[first : first + size] for first in range(0, len(source.factor), size))


def _pieces_of_identity(count: int, size: int) -> Iterator[tf.Tensor]:
    """Yield the rows of the identity matrix [count, count], at most `size` at a time."""
    for first in range(0, count, size):
        yield tf.one_hot(tf.range(first, min(first + size, count)), count)


def num_fixed(posterior: Linearised) -> int:
    """Return the number of first entries of θ that all draws share with the point of the expansion."""
    match posterior.source:
        case Product(components=(Point(theta=theta), _)) if np.array_equal(theta, posterior.point[: theta.shape[0]]):
            return theta.shape[0]
    return 0


def can_share(network: Network, offset: int) -> bool:
    """Return whether `outputs_around` covers a network of which the first `offset` weights do not deviate."""
    if network.is_dense_chain:
        _, use_bias = network.dense_layers[-1]
        return offset in (0, sum(network.sizes[: -1 - use_bias]))
    return offset > 0 and last_dense(network, offset) is not None


def outputs_around(
    network: Network, weights: tf.Tensor, changes: tf.Tensor, x: Any, statistics: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Return f(x; w) + J(x) δ for draws of δ, [S, B, T].

    Args:
        network: a network of which `can_share` is true.
        weights: w, [W].
        changes: δ of the last weights, [S, W − offset]; all other weights have δ = 0.
        x: inputs, [B, ...].
        statistics: as in `Network.forward`.
    """
    offset, own = network.num_params - changes.shape[-1], network.unflatten(weights)
    layers = network.dense_layers
    if offset:
        x, layers, own = last_layer(network, own, x, offset, statistics)
    outputs, hidden = _forward(layers, own, tf.cast(x, tf.float32))
    shapes, sizes = network.shapes[-len(own) :], network.sizes[-len(own) :]
    parts = tf.split(changes, sizes, axis=-1)
    deviations = [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes, strict=True)]
    moved = partial(_moved, outputs, hidden)
    if len(layers) > 1 and changes.shape[0] * outputs.shape[0] > _BATCHED:
        return map_one_by_one(moved, deviations)
    return moved(deviations)


class _Layer(NamedTuple):
    """A Dense layer at the point: inputs [B, F], kernel [F, O], sums [B, O], activation, and whether it has a bias."""

    inputs: tf.Tensor
    kernel: tf.Tensor
    sums: tf.Tensor
    activation: Any
    use_bias: bool


def _forward(layers, weights: Sequence[tf.Tensor], x: tf.Tensor) -> tuple[tf.Tensor, list[_Layer]]:
    """Return the outputs [B, T] of Dense layers, and the layers at the point."""
    remaining, found = iter(weights), []
    for activation, use_bias in layers:
        kernel = next(remaining)
        sums = tf.matmul(x, kernel)
        sums = sums + next(remaining) if use_bias else sums
        found.append(_Layer(x, kernel, sums, activation, use_bias))
        x = activation(sums)
    return x, found


def _moved(outputs: tf.Tensor, layers: Sequence[_Layer], deviations: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the outputs and their derivative along the deviations [..., *shape] of the weights, [..., B, T]."""
    remaining, change = iter(deviations), None
    for layer in layers:
        direct = tf.matmul(layer.inputs, next(remaining))
        change = direct if change is None else direct + tf.matmul(change, layer.kernel)
        change = change + next(remaining)[..., tf.newaxis, :] if layer.use_bias else change
        change = along(layer.activation, tf.broadcast_to(layer.sums, change.shape), change)[1]
    return outputs + change
