"""Particles through the learned simulator: a compiled loop over the horizon, with gradient."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Shapes: S draws of the model, R policies, Q particles of each draw and policy, O observation, A action, H horizon.
StepFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
PolicyFunction = Callable[[tf.Tensor], tf.Tensor]


def rollout_cost(
    step: StepFunction,
    policy: PolicyFunction,
    cost,
    start: tf.Tensor,
    noise: tf.Tensor,
    horizon: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return each particle's mean cost over the horizon, [S, P].

    The horizon is a while_loop: its body is a barrier, without which XLA fuses across time steps and recomputes.

    Args:
        step: (obs, action, noise) -> next_obs.
        policy: obs [S, P, O] -> action [S, P, A].
        cost: (obs, action, next_obs) -> [S, P].
        start: initial observations, [S, P, O].
        noise: standard normal draws, [H, S, P, O].
        horizon: how many of the H steps to take, int32 [], at least 1; all if None.
    """
    steps = int(noise.shape[0])
    horizon = tf.constant(steps) if horizon is None else horizon

    def body(t, obs, total):
        action = policy(obs)
        next_obs = step(obs, action, noise[t])
        return t + 1, next_obs, total + cost(obs, action, next_obs)

    _, _, total = tf.while_loop(
        lambda t, *_: t < horizon,
        body,
        (tf.constant(0), start, tf.zeros(start.shape[:-1], start.dtype)),
        maximum_iterations=steps,
    )
    return total / tf.cast(horizon, total.dtype)


def trajectories(
    step: StepFunction, policy: PolicyFunction, start: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the particles' observations [H + 1, S, P, O], start included, and actions [H, S, P, A]. No gradient."""
    horizon = int(noise.shape[0])

    def body(t, obs, seen, done):
        action = policy(obs)
        next_obs = step(obs, action, noise[t])
        return t + 1, next_obs, _put(seen, t + 1, next_obs), _put(done, t, action)

    first = policy(start)
    seen = tf.concat([start[tf.newaxis], tf.zeros([horizon, *start.shape], start.dtype)], axis=0)
    done = tf.zeros([horizon, *first.shape], first.dtype)
    _, _, seen, done = tf.while_loop(
        lambda t, *_: t < horizon, body, (tf.constant(0), start, seen, done), maximum_iterations=horizon
    )
    return seen, done


def _put(array: tf.Tensor, index: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(array, [[index]], value[tf.newaxis])
