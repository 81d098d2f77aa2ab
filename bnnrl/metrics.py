"""Uncertainty and scores of a predictive, given the likelihood for S draws of the weights: batch [S, B, ...]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.problem import align_targets


class Uncertainty(NamedTuple):
    """Predictive uncertainty: total = aleatoric + epistemic."""

    total: np.ndarray
    aleatoric: np.ndarray  # of the data, given the weights
    epistemic: np.ndarray  # of the weights


def uncertainty(distribution: tfd.Distribution) -> Uncertainty:
    """Return entropies [B] or [B, K] in nats for classes, else variances [B, ...] in squared units of y."""
    probs = _probs(distribution)
    if probs is None:
        aleatoric = tf.reduce_mean(_moment(distribution, "variance"), axis=0).numpy()
        epistemic = tf.math.reduce_variance(mean(distribution), axis=0).numpy()
        return Uncertainty(aleatoric + epistemic, aleatoric, epistemic)
    entropy = lambda p: -tf.reduce_sum(tf.math.xlogy(p, p), axis=-1)
    aleatoric = tf.reduce_mean(entropy(probs), axis=0).numpy()
    epistemic = np.maximum(entropy(tf.reduce_mean(probs, axis=0)).numpy() - aleatoric, 0.0)  # rounding may fall below
    return Uncertainty(aleatoric + epistemic, aleatoric, epistemic)


def scores(distribution: tfd.Distribution, y: np.ndarray) -> dict[str, float]:
    """Return nll, and rmse or accuracy and brier, of the equal mixture of the draws on targets y [B, ...]."""
    draws = distribution.batch_shape[0]
    target = align_targets(distribution, tf.broadcast_to(y, [draws, *y.shape]))  # [S, B, ...]
    log_prob = distribution.log_prob(target)
    log_prob = tf.reduce_sum(log_prob, axis=list(range(2, log_prob.shape.rank)))  # [S, B]
    nll = {"nll": float(np.log(draws) - tf.reduce_mean(tf.reduce_logsumexp(log_prob, axis=0)))}
    probs, target = _probs(distribution), target[0]
    if probs is None:
        try:
            error = tf.cast(target, tf.float32) - tf.reduce_mean(mean(distribution), axis=0)
        except ValueError:
            return nll  # a likelihood without a mean
        return {**nll, "rmse": float(tf.sqrt(tf.reduce_mean(tf.square(error))))}
    probs, label = tf.reduce_mean(probs, axis=0), tf.cast(target, tf.int32)
    hit = tf.equal(tf.argmax(probs, axis=-1, output_type=tf.int32), label)
    brier = tf.reduce_sum(tf.square(probs - tf.one_hot(label, probs.shape[-1])), axis=-1)
    if not isinstance(distribution, tfd.Categorical):
        brier /= 2.0  # over two classes p − y stands twice
    return {
        **nll,
        "accuracy": float(tf.reduce_mean(tf.cast(hit, tf.float32))),
        "brier": float(tf.reduce_mean(brier)),
    }


def _probs(distribution: tfd.Distribution) -> tf.Tensor | None:
    """Return class probabilities, [S, B, C] or for Bernoulli [S, B, K, 2]; None for targets that are not classes."""
    base = distribution.distribution if isinstance(distribution, tfd.Independent) else distribution
    if isinstance(base, tfd.Categorical):
        return base.probs_parameter()
    if isinstance(base, tfd.Bernoulli):
        logits = base.logits_parameter()
        return tf.stack([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=-1)
    return None


def _moment(distribution: tfd.Distribution, name: str) -> tf.Tensor:
    try:
        return getattr(distribution, name)()
    except NotImplementedError as error:
        raise ValueError(
            f"Invalid likelihood: expected one with a {name}. Received: {distribution.name}, which has none. "
            "Use `predict_distribution`."
        ) from error


def mean(distribution: tfd.Distribution) -> tf.Tensor:
    """Return the mean of the targets, [S, B, ...]; the classes' probabilities for a categorical."""
    if isinstance(distribution, tfd.Categorical):
        return distribution.probs_parameter()
    return _moment(distribution, "mean")
