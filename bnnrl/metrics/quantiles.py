"""Normal scores and quantiles of a predictive distribution, the equal mixture of the likelihoods of S draws.

The normal score of a target y is Φ⁻¹(F(y)), with the predictive distribution function F and that of N(0, 1), Φ. Normal
scores, unlike F(y) itself, tell how far in a tail a target lies. The argument `distribution` has batch shape
[S, B, ...].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.metrics.predictive import of_entry
from bnnrl.problem import align_targets
from bnnrl.seeds import as_seed

_LOWEST_COUNT = -0.9999  # TFP's distribution function of counts is continuous, and 0 at -1
_FIRST_DRAWS = 16  # of each component
_MAX_DOUBLINGS, _HALVINGS = 60, 28  # of the interval in which a quantile is searched; float32 has 24 bits
_FARTHEST = 35.0  # normal score; float32 holds the logarithm of the probability beyond it, −617


def normal_scores(distribution: tfd.Distribution, y: np.ndarray) -> np.ndarray:
    """Return the normal scores of targets y [B, ...] under the mixture, float64 in the shape of the distribution.

    Raises:
        ValueError: if the distribution of a target entry has no distribution function, or the shape of y is another.
    """
    from scipy.special import ndtri_exp

    target = align_targets(distribution, tf.broadcast_to(y, [distribution.batch_shape[0], *y.shape]))
    below, above = (_log_tail(_real_entry(distribution), target[0].numpy(), upper) for upper in (False, True))
    scores = np.where(below < above, ndtri_exp(below), -ndtri_exp(above))
    return np.clip(scores, -_FARTHEST, _FARTHEST)


def quantiles(distribution: tfd.Distribution, scores: np.ndarray) -> np.ndarray:
    """Return the quantiles of the mixture at the levels Φ(scores), [B, ...] in the shape of the distribution.

    For counts it is the smallest count whose distribution function is at least the level.

    Args:
        distribution: the distribution.
        scores: normal scores, of a shape that broadcasts to that of a target entry, [...].

    Raises:
        ValueError: if the distribution of a target entry has no distribution function.
    """
    from scipy.special import log_ndtr

    entry = _real_entry(distribution)
    drawn = entry.sample(_FIRST_DRAWS, seed=as_seed(0)).numpy()  # [n, S, B, ...], to begin the search with
    scores = np.broadcast_to(scores, drawn.shape[2:])
    lower = scores < 0
    smaller_tail = log_ndtr(-np.abs(scores))
    least = _LOWEST_COUNT if isinstance(entry, tfd.Poisson | tfd.NegativeBinomial) else -np.inf

    def is_below(y: np.ndarray) -> np.ndarray:
        """Return whether the quantile is above y, [B, ...]; by the smaller tail, which is the more accurate one."""
        y, found = np.maximum(y, least), np.zeros(y.shape, bool)
        if lower.any():
            found |= lower & (_log_tail(entry, y, upper=False) < smaller_tail)
        if not lower.all():
            found |= ~lower & (_log_tail(entry, y, upper=True) > smaller_tail)
        return found

    low, high = _bracket(is_below, drawn.min(axis=(0, 1)), drawn.max(axis=(0, 1)))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        higher = is_below(middle)
        low, high = np.where(higher, middle, low), np.where(higher, high, middle)
    return np.maximum(0, np.ceil(high - 1e-3)) if isinstance(entry, tfd.Poisson | tfd.NegativeBinomial) else high


def is_discrete(distribution: tfd.Distribution) -> bool:
    """Return whether targets are counts or classes."""
    return isinstance(of_entry(distribution), tfd.Poisson | tfd.NegativeBinomial | tfd.Categorical | tfd.Bernoulli)


def _bracket(
    is_below: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ends [B, ...] between which the quantile is, from a first guess that is widened.

    An end that lies beyond the numbers of float32, or below the smallest count, is infinite.
    """
    low, high = low.astype(np.float64), high.astype(np.float64)
    width = high - low + 1e-3 * (1 + np.abs(low))
    too_high, too_low = ~is_below(low), is_below(high)
    for _ in range(_MAX_DOUBLINGS):
        if not np.any(too_high | too_low):
            return low, high
        low, high, width = np.where(too_high, low - width, low), np.where(too_low, high + width, high), 2 * width
        too_high, too_low = ~is_below(low), is_below(high)
    found = np.where(too_high, -np.inf, np.where(too_low, np.inf, high))
    return np.where(too_high | too_low, found, low), found


def _log_tail(entry: tfd.Distribution, y: np.ndarray, upper: bool) -> np.ndarray:
    """Return log(1 − F(y)) of the mixture if `upper`, else log F(y), in float64, for y [B, ...]."""
    from scipy.special import log_ndtr, logsumexp

    if type(entry) is tfd.Normal:  # SciPy takes a tenth of the time of TensorFlow's operations
        z = (y - entry.loc.numpy()) / entry.scale.numpy()
        each = log_ndtr(-z if upper else z)
    else:
        at = tf.broadcast_to(tf.constant(y, entry.dtype), entry.batch_shape)
        each = np.asarray(_log_tail_of_draws(entry, at, upper), np.float64)
    return each[0] if len(each) == 1 else logsumexp(each, axis=0) - np.log(len(each))


def _log_tail_of_draws(entry: tfd.Distribution, y: tf.Tensor, upper: bool) -> tf.Tensor:
    try:
        return entry.log_survival_function(y) if upper else entry.log_cdf(y)
    except NotImplementedError as error:
        raise ValueError(
            f"Invalid likelihood: expected one with a cumulative distribution function. Received: {entry.name}, "
            "which has none. Calibrate by method 'absolute' or 'normalized', which need none."
        ) from error


def _real_entry(distribution: tfd.Distribution) -> tfd.Distribution:
    """Return the distribution of the target's single entries, or raise ValueError if there is none."""
    entry = of_entry(distribution)
    if isinstance(entry, tfd.Categorical | tfd.Bernoulli):
        raise ValueError(
            f"Invalid likelihood: expected one of numbers, which have quantiles. Received: {entry.name}, of classes. "
            "Use `predict_set`."
        )
    if entry.event_shape.rank != 0:
        raise ValueError(
            f"Invalid likelihood: expected one whose target entries are independent. Received: {distribution.name}, "
            "a joint distribution of several entries, which has no quantiles."
        )
    return entry
