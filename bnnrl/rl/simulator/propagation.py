"""Propagation of particles: how a rollout's particles carry uncertainty from step to step."""

from __future__ import annotations

import tensorflow as tf

from bnnrl.rl.simulator.rollout import StepFunction

# Shapes: S draws of the models, R policies, Q particles of each draw and policy, O observation.
_JITTER = 1e-6  # added to the diagonal of a correlation matrix, so that its Cholesky factor exists

# ts_inf: a particle keeps its draw of the models for the whole rollout (TS∞ of Chua et al., NeurIPS 2018).
# ts1: particles are dealt to draws anew at each step (TS1 of Chua et al.).
# moment_matching: after each step, particles are drawn anew from the Gaussian with their mean and covariance (Gal,
#     McAllister & Rasmussen 2016, algorithm 1).
# mean: particles move by the mean prediction over all draws, without noise (E of Chua et al.).
PROPAGATIONS = ("ts_inf", "ts1", "moment_matching", "mean")


def noise_columns(name: str, num_obs: int) -> int:
    """Return the number of columns of noise that a step of propagation `name` takes, for O observation entries."""
    return num_obs + {"ts1": 1, "moment_matching": num_obs}.get(name, 0)


def propagate(name: str, step: StepFunction, num_policies: int) -> StepFunction:
    """Return the step function of a propagation, for particles [S, R Q, O].

    Particles of different policies never mix.

    Args:
        name: one of PROPAGATIONS.
        step: the step function of particles that keep their draws.
        num_policies: R. Propagation "mean" needs particles that are the same for each draw.
    """
    if name == "ts1":
        return _ts1(step, num_policies)
    if name == "moment_matching":
        return _moment_matching(step, num_policies)
    if name == "mean":
        return _mean(step)
    return step


def _ts1(step: StepFunction, num_policies: int) -> StepFunction:
    def next_obs(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        s, p = obs.shape[:2]
        # One permutation for all policies: their noise is the same, too, so that their costs are comparable.
        keys = tf.reshape(noise[:, : p // num_policies, -1], [-1])
        order = tf.argsort(keys)
        deal = lambda a, order: _by_draw(tf.gather(_by_policy(a, num_policies), order, axis=1), s)
        moved = step(deal(obs, order), deal(action, order), noise[..., :-1])
        return deal(moved, tf.math.invert_permutation(order))

    return next_obs


def _moment_matching(step: StepFunction, num_policies: int) -> StepFunction:
    def next_obs(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        size = obs.shape[-1]
        moved = _by_policy(step(obs, action, noise[..., :size]), num_policies)  # [R, S Q, O]
        mean = tf.reduce_mean(moved, axis=1, keepdims=True)
        centred = moved - mean
        deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=1, keepdims=True) + 1e-12)
        z = centred / deviation
        correlation = tf.matmul(z, z, transpose_a=True) / z.shape[1] + _JITTER * tf.eye(size, dtype=z.dtype)
        fresh = tf.matmul(_by_policy(noise[..., size:], num_policies), _cholesky(correlation), transpose_b=True)
        return _by_draw(mean + deviation * fresh, obs.shape[0])

    return next_obs


def _mean(step: StepFunction) -> StepFunction:
    def next_obs(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        moved = step(obs, action, tf.zeros_like(noise))
        return tf.broadcast_to(tf.reduce_mean(moved, axis=0, keepdims=True), moved.shape)

    return next_obs


def _by_policy(a: tf.Tensor, num_policies: int) -> tf.Tensor:
    """Return particles [S, R Q, D] grouped by policy, [R, S Q, D]."""
    s, p, d = a.shape
    split = tf.reshape(a, [s, num_policies, p // num_policies, d])
    return tf.reshape(tf.transpose(split, [1, 0, 2, 3]), [num_policies, -1, d])


def _by_draw(a: tf.Tensor, num_draws: int) -> tf.Tensor:
    """Return particles [R, S Q, D] grouped by draw, [S, R Q, D]."""
    r, n, d = a.shape
    split = tf.reshape(a, [r, num_draws, n // num_draws, d])
    return tf.reshape(tf.transpose(split, [1, 0, 2, 3]), [num_draws, -1, d])


def _cholesky(a: tf.Tensor) -> tf.Tensor:
    """Return the lower Cholesky factors of small matrices [R, O, O], computed entry by entry, which XLA can fuse."""
    size, rows = a.shape[-1], []
    for i, entries in enumerate(tf.unstack(a, axis=-2)):
        row = []
        for j, rest in enumerate(tf.unstack(entries, axis=-1)[: i + 1]):
            if j:
                rest -= tf.add_n([row[k] * (row[k] if i == j else rows[j][k]) for k in range(j)])
            row.append(tf.sqrt(tf.maximum(rest, _JITTER)) if i == j else rest / rows[j][j])
        rows.append(row)
    zero = tf.zeros_like(rows[0][0])
    return tf.stack([tf.stack(row + [zero] * (size - len(row)), axis=-1) for row in rows], axis=-2)
