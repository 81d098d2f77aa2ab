"""The Jacobian of a network's outputs in its weights, for each row of inputs."""

from __future__ import annotations

from typing import Any

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
    """Return the same for a chain of Dense layers, from the layers' inputs and the outputs' gradients in their sums.

    The derivative of an output in a kernel is the outer product of the layer's input and of the gradient in the sums
    that enter the layer's activation.
    """
    remaining = iter(network.unflatten(weights))
    row = lambda b: b[..., tf.newaxis, :]
    inputs, shifts, x = [], [], tf.cast(x, tf.float32)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        for activation, use_bias in network.dense_layers:
            inputs.append(x)
            sums = tf.matmul(x, next(remaining))
            sums = sums + row(next(remaining)) if use_bias else sums
            shifts.append(tf.zeros_like(sums))  # its gradient is that in the sums
            tape.watch(shifts[-1])
            x = activation(sums + shifts[-1])
        by_target = tf.unstack(x, axis=-1)
    rows = []
    for target in by_target:
        pieces: list[tf.Tensor] = []
        for (_, use_bias), before, grad in zip(
            network.dense_layers, inputs, tape.gradient(target, shifts), strict=True
        ):
            outer = before[..., :, tf.newaxis] * grad[..., tf.newaxis, :]
            pieces.append(tf.reshape(outer, [*grad.shape[:-1], before.shape[-1] * grad.shape[-1]]))
            pieces += [grad] if use_bias else []
        rows.append(tf.concat(pieces, axis=-1))
    return x, tf.stack(rows, axis=-2)


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
