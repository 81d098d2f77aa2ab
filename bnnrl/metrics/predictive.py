"""Uncertainty and scores of a predictive, given the likelihood for S draws of the weights: batch [S, B, ...]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.metrics.calibration import bin_by_confidence
from bnnrl.metrics.regression import pair_distances, r2_of, varies
from bnnrl.problem import align_targets
from bnnrl.seeds import as_seed

_DRAWS = 300  # of the mixture, at least, for each target entry
_MAX_DRAWS = 2**22  # in all; bounds memory, and time to some tenths of a second


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
    """Return scores of the equal mixture of the draws, batch [S, B, ...], on targets y [B, ...].

    "nll": −mean log p(y | x), in nats for each row. Real or count targets, in units of y where not said otherwise:
        "rmse", "mae", "r2": of the predictive mean; R² has no unit, and is left out where an entry does not vary.
        "crps", "picp_95", "width_95": see `crps` and `interval`; the share of targets within the central 95 % interval
            has no unit. They are found by at least 300 draws of the mixture, with a seed of their own, on rows evenly
            spaced where there are more than some 14 000 target entries. Only where a target entry is a number with a
            distribution of its own, that can be sampled.
    Classes:
        "accuracy", "brier": for Bernoulli the Brier score is (p − y)², in [0, 1], else in [0, 2].
        "ece", "ace": expected calibration error, with 15 bins of equal width or of equally many rows.

    Raises:
        ValueError: if the shape of y does not fit the distribution's.
    """
    draws = distribution.batch_shape[0]
    target = align_targets(distribution, tf.broadcast_to(y, [draws, *y.shape]))  # [S, B, ...]
    log_prob = distribution.log_prob(target)
    log_prob = tf.reduce_sum(log_prob, axis=list(range(2, log_prob.shape.rank)))  # [S, B]
    nll = {"nll": float(np.log(draws) - tf.reduce_mean(tf.reduce_logsumexp(log_prob, axis=0)))}
    probs, target = _probs(distribution), target[0]
    if probs is None:
        try:
            expected = tf.reduce_mean(mean(distribution), axis=0)
        except ValueError:
            return nll  # a likelihood without a mean
        return {**nll, **_point_scores(tf.cast(target, tf.float32), expected), **_draw_scores(distribution, target)}
    probs, label = tf.reduce_mean(probs, axis=0), tf.cast(target, tf.int32)
    hit = tf.equal(tf.argmax(probs, axis=-1, output_type=tf.int32), label)
    brier = tf.reduce_sum(tf.square(probs - tf.one_hot(label, probs.shape[-1])), axis=-1)
    if not isinstance(distribution, tfd.Categorical):
        brier /= 2.0  # over two classes p − y stands twice
    found, confidence = hit.numpy().ravel(), tf.reduce_max(probs, axis=-1).numpy().ravel()
    return {
        **nll,
        "accuracy": float(tf.reduce_mean(tf.cast(hit, tf.float32))),
        "brier": float(tf.reduce_mean(brier)),
        "ece": bin_by_confidence(found, confidence).error,
        "ace": bin_by_confidence(found, confidence, adaptive=True).error,
    }


def _point_scores(target: tf.Tensor, expected: tf.Tensor) -> dict[str, float]:
    """Return the scores of the predictive mean `expected` [B, ...]."""
    error = target - expected
    found = {
        "rmse": float(tf.sqrt(tf.reduce_mean(tf.square(error)))),
        "mae": float(np.mean(np.abs(error.numpy()), dtype=np.float64)),
    }
    y = target.numpy().astype(np.float64)
    return {**found, "r2": r2_of(y, expected.numpy().astype(np.float64))} if varies(y) else found


def _draw_scores(distribution: tfd.Distribution, target: tf.Tensor) -> dict[str, float]:
    """Return the scores by draws of the mixture; none if it cannot be sampled, or not entry by entry.

    Each of the S components gives k draws to each target entry, which is steadier than choosing components by chance.
    """
    base = distribution
    while isinstance(base, tfd.Independent):
        base = base.distribution
    if base.event_shape.rank != 0:
        return {}
    components, rows = distribution.batch_shape[:2]
    k = max(2, -(-_DRAWS // components))
    row_draws = k * components * (tf.size(target).numpy() // rows)
    if row_draws > 8 * _MAX_DRAWS:
        return {}  # one row alone would take too much memory
    stride = -(-rows * row_draws // _MAX_DRAWS)
    try:
        thinned = distribution[:, ::stride] if stride > 1 else distribution  # to slice takes as long as 300 000 draws
        drawn = thinned.sample(k, seed=as_seed(0)).numpy()  # [k, S, b, ...]
    except (NotImplementedError, TypeError):  # TFP cannot sample some, and cannot take rows of some others
        return {}
    with np.errstate(invalid="ignore"):  # draws may be infinite where a fit has diverged: so are the scores
        errors = drawn.astype(np.float64) - target[::stride].numpy()  # about y, where rounding matters least
        ordered = np.sort(errors.reshape(k * components, *errors.shape[2:]), axis=0)
        low, high = _ends(ordered, 0.95)
        return {
            "crps": float(np.mean(_mixture_crps(errors, ordered))),
            "picp_95": float(np.mean((low <= 0) & (high >= 0))),
            "width_95": float(np.mean(high - low)),
        }


def _mixture_crps(errors: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return the CRPS of each target entry, [b, ...], without bias, from k draws less y of each of S components.

    The mean distance of two independent draws of the mixture is made up of S² distances, of each component to each.
    For two components it is the mean over k² pairs of draws, within one over the k (k − 1) pairs of different draws.

    Args:
        errors: [k, S, b, ...].
        ordered: the same in order, [k S, b, ...].
    """
    k, components = errors.shape[:2]
    within = np.sum(pair_distances(errors), axis=0)
    across = pair_distances(ordered) - within
    distance = (across / k**2 + within / (k * (k - 1))) / components**2
    return np.mean(np.abs(ordered), axis=0) - distance / 2


def _ends(ordered: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the central interval of draws in order [S, ...], as `interval` does of draws in any."""
    place = (len(ordered) + 1) * (1 - level) / 2 - 1
    index = int(place)
    between = lambda a, b: a + (place - index) * (b - a)
    return between(ordered[index], ordered[index + 1]), between(ordered[-1 - index], ordered[-2 - index])


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
