"""Gradients of likelihood and prior apart, for variational methods that treat a normal prior exactly."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from bnnrl.priors import NormalPrior
from bnnrl.problem import Batch, Problem


def require_normal_prior(problem: Problem, method: Any) -> NormalPrior:
    """Return the mean and precision of the problem's prior.

    Raises:
        ValueError: if the prior is not normal.
    """
    found = problem.normal_prior
    if found is None:
        raise ValueError(
            f"Invalid `prior` for {type(method).__name__}: expected normal distributions, independent for each "
            "weight, as their precision is part of the update. Received: another prior. Use BBB or a sampler."
        )
    return found


def prior_grad(problem: Problem, theta: tf.Tensor) -> tf.Tensor:
    """Return −∇ log p(θ) / N at θ [..., D]."""
    flat = tf.reshape(theta, [-1, theta.shape[-1]])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(flat)
        log_prior = problem.log_prior(flat)
    return -tf.reshape(tape.gradient(log_prior, flat), theta.shape) / tf.cast(problem.num_data, tf.float32)


def likelihood_grad(problem: Problem, theta: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the log joint averaged over draws of θ, and the likelihood's gradient g = −∇ log p(data | θ) / N at each.

    Args:
        problem: the problem.
        theta: [S, D], or [S, M, D] for S draws of each of M members.
        batch: one batch, or one for each member; all draws of a member see the same batch.

    Returns:
        log_joint [...] in nats for the whole data set, and g [S, ..., D].
    """
    flat, batch = side_by_side(theta, batch)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(flat)
        log_likelihood = problem.scaled_log_likelihood(flat, batch)
    g = -tape.gradient(log_likelihood, flat) / tf.cast(problem.num_data, tf.float32)
    log_joint = tf.reduce_mean(tf.reshape(log_likelihood + problem.log_prior(flat), theta.shape[:-1]), axis=0)
    return log_joint, tf.reshape(g, theta.shape)


def side_by_side(theta: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, Batch]:
    """Return draws of θ along one axis, and the batch of each, as the methods of `Problem` take them.

    Args:
        theta: [S, D], or [S, M, D] for S draws of each of M members.
        batch: one batch, or one for each member.

    Returns:
        θ [D] of a single draw, or [S, D] or [S M, D] of several; and a batch with the same leading axis.
    """
    S, lead = theta.shape[0], theta.shape[:-1]
    # A single draw is passed as [D], not [1, D]: XLA cannot compile convolutions, for example, for a stack of θ.
    flat = tf.reshape(theta, [-1, theta.shape[-1]] if len(lead) * S > 1 else [-1])
    if S > 1:
        batch = _map(lambda a: tf.reshape(tf.broadcast_to(a, [S, *a.shape]), [-1, *a.shape[len(lead) - 1 :]]), batch)
    return flat, batch


_map: Any = tf.nest.map_structure
