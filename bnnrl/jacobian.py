"""The Jacobian of a network's outputs in its weights, for each row of inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from bnnrl.network import Network


def outputs_and_jacobian(network: Network, weights: tf.Tensor, x) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the outputs [..., N, T] of a network and their Jacobian in its weights, [..., N, T, W].

    Both can be differentiated once more, in the weights.

    Args:
        network: a network of one output tensor, with or without batch normalisation, in inference mode.
        weights: [W] or [M, W].
        x: inputs, [N, ...] or [M, N, ...].
    """
    if network.is_dense_chain:
        return _of_dense_chain(network, weights, x)
    return _of_any(network, weights, x)


def _of_dense_chain(network: Network, weights: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    outputs, factors = outputs_and_factors(network, weights, x)
    return outputs, tf.concat([factor.matrix() for factor in factors], axis=-1)


class Factor(NamedTuple):
    """The Jacobian of N rows of T outputs in one weight of a Dense layer: a kernel [I, O] or a bias [O].

    The derivative of an output in a kernel is the outer product of the layer's input and of the output's gradient in
    the sums that enter the layer's activation; in a bias it is this gradient.
    """

    inputs: tf.Tensor | None  # [..., N, I]; None for a bias
    grads: tf.Tensor  # [..., N, T, O]

    @property
    def size(self) -> int:
        """W, the number of entries of the weight."""
        return self.grads.shape[-1] * (1 if self.inputs is None else self.inputs.shape[-1])

    def scaled(self, by_row: tf.Tensor, real: tf.Tensor) -> Factor:
        """Return the Jacobian in u for weights w = s u, in float64.

        Args:
            by_row: s, [..., I] for a kernel whose rows have one scale each; [..., O] for a bias.
            real: [..., N] bool; the Jacobian of all other rows is set to 0.
        """
        grads = tf.where(real[..., tf.newaxis, tf.newaxis], tf.cast(self.grads, tf.float64), 0.0)
        s = tf.cast(by_row, tf.float64)[..., tf.newaxis, :]
        if self.inputs is None:
            return Factor(None, grads * s[..., tf.newaxis, :])
        return Factor(tf.cast(self.inputs, tf.float64) * s, grads)

    def matrix(self) -> tf.Tensor:
        """Return the Jacobian, [..., N, T, W] with W = I O or O."""
        if self.inputs is None:
            return self.grads
        outer = self.inputs[..., tf.newaxis, :, tf.newaxis] * self.grads[..., tf.newaxis, :]
        return tf.reshape(outer, [*outer.shape[:-2], outer.shape[-2] * outer.shape[-1]])

    def gram(self) -> tf.Tensor:
        """Return J Jᵀ, [..., N T, N T], without computing J."""
        *lead, N, T, O = self.grads.shape
        grads = tf.reshape(self.grads, [*lead, N * T, O])
        of_grads = tf.matmul(grads, grads, transpose_b=True)
        if self.inputs is None:
            return of_grads
        of_inputs = tf.matmul(self.inputs, self.inputs, transpose_b=True)
        return of_grads * tf.repeat(tf.repeat(of_inputs, T, axis=-1), T, axis=-2)

    def times(self, u: tf.Tensor) -> tf.Tensor:
        """Return J u, [..., N, T], for u [..., W]."""
        if self.inputs is None:
            return tf.linalg.matvec(self.grads, u[..., tf.newaxis, :])
        kernel = tf.reshape(u, [*u.shape[:-1], self.inputs.shape[-1], self.grads.shape[-1]])
        return tf.linalg.matvec(self.grads, tf.matmul(self.inputs, kernel))

    def transposed_times(self, v: tf.Tensor) -> tf.Tensor:
        """Return Jᵀ v, [..., W], for v [..., N, T]."""
        grads = tf.reduce_sum(self.grads * v[..., tf.newaxis], axis=-2)  # [..., N, O]
        if self.inputs is None:
            return tf.reduce_sum(grads, axis=-2)
        kernel = tf.matmul(self.inputs, grads, transpose_a=True)
        return tf.reshape(kernel, [*kernel.shape[:-2], kernel.shape[-2] * kernel.shape[-1]])


def outputs_and_factors(network: Network, weights: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, list[Factor]]:
    """Return the outputs [..., N, T] of a chain of Dense layers, and the Jacobian in each of its weights.

    Args:
        network: a network with `is_dense_chain`.
        weights: [W] or [M, W].
        x: inputs, [N, I] or [M, N, I].
    """
    unflattened, x = network.unflatten(weights), tf.cast(x, tf.float32)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        x, inputs, shifts = shifted_dense(network.dense_layers, unflattened, x, tape)
        by_target = tf.unstack(x, axis=-1)
    by_layer = zip(*(tape.gradient(target, shifts) for target in by_target), strict=True)
    factors: list[Factor] = []
    for (_, use_bias), before, grads in zip(network.dense_layers, inputs, by_layer, strict=True):
        stacked = tf.stack(grads, axis=-2)
        factors += [Factor(before, stacked), *([Factor(None, stacked)] if use_bias else [])]
    return x, factors


def shifted_dense(
    layers: Sequence[tuple[Callable, bool]], weights: Sequence[tf.Tensor], x: tf.Tensor, tape: tf.GradientTape
) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
    """Return the outputs of a chain of Dense layers, each layer's inputs, and zeros that are added to its sums.

    The tape watches the zeros: the gradient in them is the gradient in the sums that enter the layer's activation.

    Args:
        layers: (activation, use_bias) of each layer.
        weights: the kernels and biases, [..., *shape] each.
        x: inputs, [..., N, F].
        tape: records the chain.
    """
    remaining, inputs, shifts = iter(weights), [], []
    for activation, use_bias in layers:
        inputs.append(x)
        sums = tf.matmul(x, next(remaining))
        sums = sums + next(remaining)[..., tf.newaxis, :] if use_bias else sums
        shifts.append(tf.zeros_like(sums))
        tape.watch(shifts[-1])
        x = activation(sums + shifts[-1])
    return x, inputs, shifts


def _of_any(network: Network, weights: tf.Tensor, x) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the same for any network: a copy of the weights for each row, whose gradients one backward pass gives."""
    *lead, W = weights.shape
    rows = tf.nest.flatten(x)[0].shape[len(lead)]
    own = tf.reshape(tf.repeat(weights[..., tf.newaxis, :], rows, axis=-2), [-1, W])
    each = lambda a: tf.reshape(a, [-1, 1, *a.shape[len(lead) + 1 :]])
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(own)
        outputs = network(own, _map(each, x))[:, 0]
        by_target = tf.unstack(outputs, axis=-1)
    columns = [tape.gradient(target, own) for target in by_target]
    T = len(columns)
    return tf.reshape(outputs, [*lead, rows, T]), tf.reshape(tf.stack(columns, axis=1), [*lead, rows, T, W])


_map: Any = tf.nest.map_structure
