"""How particles carry uncertainty from step to step."""

from __future__ import annotations

import tensorflow as tf

from bnnrl.rl.simulator.rollout import StepFunction

_JITTER = 1e-6  # on the diagonal of a correlation matrix, for its Cholesky factor

# ts_inf: a particle keeps its draw of the model (TS∞ of Chua et al., NeurIPS 2018).
# ts1: particles and draws are dealt anew at each step (TS1, ibid.).
# moment_matching: after each step, particles are drawn anew from the Gaussian of their mean and covariance (Gal,
#     McAllister & Rasmussen 2016, algorithm 1).
# mean: the mean prediction over all draws, without noise (E, Chua et al.).
PROPAGATIONS = ("ts_inf", "ts1", "moment_matching", "mean")


def noise_columns(name: str, num_obs: int) -> int:
    """Return how many columns of noise a step of the propagation takes, for O observation entries."""
    return num_obs + {"ts1": 1, "moment_matching": num_obs}.get(name, 0)


def propagate(name: str, step: StepFunction, num_policies: int) -> StepFunction:
    """Return the step of a propagation, for particles [S, R Q, O] of S draws and R policies.

    Args:
        name: one of PROPAGATIONS.
        step: of particles that keep their draws.
        num_policies: R. Policies never mix; "mean" needs particles that are the same for each draw.
    """
    if name == "ts1":
        return _dealt_anew(step, num_policies)
    if name == "moment_matching":
        return _matched(step, num_policies)
    if name == "mean":
        return _averaged(step)
    return step


def _dealt_anew(step: StepFunction, num_policies: int) -> StepFunction:
    def next_obs(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        s, p = obs.shape[:2]
        # The same deal for each policy, as its noise is the same.
        lots = tf.reshape(noise[:, : p // num_policies, -1], [-1])
        order = tf.argsort(lots)
        deal = lambda a, order: _by_draw(tf.gather(_by_policy(a, num_policies), order, axis=1), s)
        moved = step(deal(obs, order), deal(action, order), noise[..., :-1])
        return deal(moved, tf.math.invert_permutation(order))

    return next_obs


def _matched(step: StepFunction, num_policies: int) -> StepFunction:
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


def _averaged(step: StepFunction) -> StepFunction:
    def next_obs(obs: tf.Tensor, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        moved = step(obs, action, tf.zeros_like(noise))
        return tf.broadcast_to(tf.reduce_mean(moved, axis=0, keepdims=True), moved.shape)

    return next_obs


def _by_policy(a: tf.Tensor, num_policies: int) -> tf.Tensor:
    """Return [S, R Q, D] as [R, S Q, D]."""
    s, p, d = a.shape
    split = tf.reshape(a, [s, num_policies, p // num_policies, d])
    return tf.reshape(tf.transpose(split, [1, 0, 2, 3]), [num_policies, -1, d])


def _by_draw(a: tf.Tensor, num_draws: int) -> tf.Tensor:
    """Return [R, S Q, D] as [S, R Q, D]."""
    r, n, d = a.shape
    split = tf.reshape(a, [r, num_draws, n // num_draws, d])
    return tf.reshape(tf.transpose(split, [1, 0, 2, 3]), [num_draws, -1, d])


def _cholesky(a: tf.Tensor) -> tf.Tensor:
    """Return the lower Cholesky factors of small matrices [R, O, O], entry by entry, as XLA fuses it."""
    size, rows = a.shape[-1], []
    for i in range(size):
        row = []
        for j in range(i + 1):
            known = sum((row[k] * (row[k] if i == j else rows[j][k]) for k in range(j)), tf.zeros_like(a[:, 0, 0]))
            rest = a[:, i, j] - known
            row.append(tf.sqrt(tf.maximum(rest, _JITTER)) if i == j else rest / rows[j][j])
        rows.append(row)
    zero = tf.zeros_like(a[:, 0, 0])
    return tf.stack([tf.stack(row + [zero] * (size - len(row)), axis=-1) for row in rows], axis=-2)
