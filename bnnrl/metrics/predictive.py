"""Uncertainty and scores of a predictive distribution: the equal mixture of the likelihoods of S posterior samples.

The argument `distribution` of all functions is the likelihood with batch shape [S, B, ...], for S draws of the weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.censoring import CensoredIndependent
from bnnrl.html_table import html_of_table
from bnnrl.metrics.calibration import bin_by_confidence
from bnnrl.metrics.regression import pair_distances, r2_of, varies
from bnnrl.problem import align_targets, masked
from bnnrl.seeds import as_seed

_DRAWS = 300  # least number of draws from the mixture for each target entry
_NO_DRAW_SCORES = {"crps": np.nan, "picp_95": np.nan, "width_95": np.nan}
_MAX_DRAWS = 2**22  # draws in total, which limits memory, and time to some tenths of a second


class Uncertainty(NamedTuple):
    """Predictive uncertainty: total = aleatoric + epistemic."""

    total: np.ndarray
    aleatoric: np.ndarray  # of the targets, given the weights
    epistemic: np.ndarray  # of the weights

    def _repr_html_(self) -> str:
        rows = [
            {
                "uncertainty": name,
                "mean": np.mean(a),
                "smallest": np.min(a),
                "median": np.median(a),
                "largest": np.max(a),
            }
            for name, a in zip(self._fields, self, strict=True)
        ]
        return html_of_table(rows, f"{len(self.total)} rows")


def uncertainty(distribution: tfd.Distribution) -> Uncertainty:
    """Return the uncertainty of a predictive distribution.

    For classes these are entropies in nats, [B] or [B, K]: total H[E p], aleatoric E H[p], and epistemic their
    difference, the mutual information of class and weights. For other targets they are variances in squared units of y,
    [B, ...]: aleatoric E Var[y], epistemic Var E[y], and total their sum. E and Var without brackets are over the
    posterior samples.

    Source: Depeweg et al., "Decomposition of Uncertainty in Bayesian Deep Learning", ICML 2018.
    """
    return block_uncertainty([distribution])


def block_uncertainty(blocks: Iterable[tfd.Distribution]) -> Uncertainty:
    """Return `uncertainty` of a distribution that is given in blocks of consecutive rows, [S, b, ...] each."""
    return Uncertainty(*map(np.concatenate, zip(*map(_uncertainty, blocks), strict=True)))


def _uncertainty(distribution: tfd.Distribution) -> Uncertainty:
    probs = probabilities(distribution)
    if probs is None:
        aleatoric = tf.reduce_mean(_moment(distribution, "variance"), axis=0).numpy()
        epistemic = tf.math.reduce_variance(mean(distribution), axis=0).numpy()
        return Uncertainty(aleatoric + epistemic, aleatoric, epistemic)
    entropy = lambda p: -tf.reduce_sum(tf.math.xlogy(p, p), axis=-1)
    aleatoric = tf.reduce_mean(entropy(probs), axis=0).numpy()
    epistemic = np.maximum(
        entropy(tf.reduce_mean(probs, axis=0)).numpy() - aleatoric, 0.0
    )  # rounding may make it negative
    return Uncertainty(aleatoric + epistemic, aleatoric, epistemic)


def scores(distribution: tfd.Distribution, y: np.ndarray) -> dict[str, float]:
    """Return scores of a predictive distribution on targets y [B, ...], by name.

    All targets:
        "nll": negative log-likelihood of a row, −(1 / B) Σ_b log p(y_b | x_b), in nats.
    Real and count targets:
        "rmse", "mae", "r2": errors of the predictive mean, see `rmse`, `mae` and `r2`. No "r2" if an entry of y is
            constant.
        "crps", "picp_95", "width_95": see `crps`, and `picp` and `interval_width` of the central 95 % interval. They
            are computed from at least 300 draws of the mixture for each target entry, with a fixed seed, and on
            evenly spaced rows if there are more than about 14 000 entries. They are missing if the distribution of a
            target entry cannot be sampled on its own.
    Classes:
        "accuracy", "brier": see `accuracy` and `brier`. For Bernoulli, the Brier score is (p − y)².
        "ece", "ace": expected calibration error with 15 bins of equal width, or of equal numbers of rows.

    Raises:
        ValueError: if the shape of y does not match that of the distribution.
    """
    return block_scores([(distribution, y)], lambda stride: distribution[:, ::stride])


class Counted(NamedTuple):
    """What counts in scores: rows by their weights, and time steps that are not masked."""

    weight: np.ndarray | None = None  # [B], of each row; None for 1
    mask: np.ndarray | None = None  # bool [B, T]; None if all time steps count

    def of_rows(self, rows: slice) -> Counted:
        """Return what counts of some rows."""
        return Counted(*(None if a is None else a[rows] for a in self))

    def entries(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return values [..., B, T, ...] of the time steps that count, as rows [..., n, ...], given the axis of B."""
        return values if self.mask is None else values[(*[slice(None)] * axis, self.mask)]

    @property
    def entry_weight(self) -> np.ndarray | None:
        """The weights of what `entries` returns, [n]."""
        if self.weight is None or self.mask is None:
            return self.weight
        return np.repeat(self.weight, self.mask.sum(axis=1))

    def average(self, values: np.ndarray) -> float:
        """Return the weighted mean of values [n, ...] of what `entries` returns."""
        of_rows = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
        return float(np.average(of_rows, weights=self.entry_weight))


class _RowScores(NamedTuple):
    """What the scores need of b rows."""

    target: tf.Tensor  # [b, ...], in the type of the distribution
    log_sum: tf.Tensor  # [b] log of the sum over draws of the density
    expected: tf.Tensor | None  # probabilities of classes, or the predictive mean, [b, ...]; None if only "nll" counts


def block_scores(
    blocks: Iterable[tuple[tfd.Distribution, np.ndarray]],
    thinned: Callable[[int], tfd.Distribution],
    counted: Counted = Counted(),  # noqa: B008 (immutable)
) -> dict[str, float]:
    """Return `scores` of a distribution given in blocks of rows, of which the first and one other are in memory.

    Args:
        blocks: the distributions [S, b, ...] and the targets [b, ...] of consecutive rows.
        thinned: returns the distribution of every n-th of all rows, for an n of at least 1.
        counted: the weights of rows, by which all scores are weighted means, and the mask of time steps.

    Raises:
        ValueError: if the shape of targets does not match that of their distribution.
    """
    blocks = iter(blocks)
    first_block = next(blocks)
    distribution, found, row = first_block[0], [], 0
    for block in itertools.chain([first_block], blocks):
        found.append(_row_scores(*block, counted.of_rows(slice(row, row + len(block[1]))).mask))
        row += len(block[1])
    target, log_sum = (tf.concat([getattr(part, name) for part in found], axis=0) for name in ("target", "log_sum"))
    expected = None if found[0].expected is None else tf.concat([part.expected for part in found], axis=0)
    nll = {"nll": float(np.log(distribution.batch_shape[0]) - np.average(log_sum, weights=counted.weight))}
    if expected is None:
        return nll
    if not isinstance(of_entry(distribution), tfd.Categorical | tfd.Bernoulli):
        # A slice takes as long as 300 000 draws.
        thin = lambda stride: thinned(stride) if stride > 1 or len(found) > 1 else distribution
        # TFP's sampler of the Poisson distribution never ends if a rate is NaN.
        lacks_mean = np.isnan(expected).any()
        of_draws = _NO_DRAW_SCORES if lacks_mean else _draw_scores(distribution, thin, target, counted)
        return {**nll, **_point_scores(target.numpy().astype(np.float32), expected.numpy(), counted), **of_draws}
    label = tf.cast(target, tf.int32)
    hit = tf.equal(tf.argmax(expected, axis=-1, output_type=tf.int32), label)
    brier = tf.reduce_sum(tf.square(expected - tf.one_hot(label, expected.shape[-1])), axis=-1)
    if not isinstance(distribution, tfd.Categorical):
        brier /= 2.0  # the sum over two classes counts (p − y)² twice
    hit, brier = counted.entries(hit.numpy()), counted.entries(brier.numpy())
    correct, confidence = hit.ravel(), counted.entries(tf.reduce_max(expected, axis=-1).numpy()).ravel()
    weight = counted.entry_weight
    weight = None if weight is None else np.repeat(weight, hit.size // len(hit))
    return {
        **nll,
        "accuracy": counted.average(hit),
        "brier": counted.average(brier),
        "ece": bin_by_confidence(correct, confidence, weight=weight).error,
        "ace": bin_by_confidence(correct, confidence, adaptive=True, weight=weight).error,
    }


def _row_scores(distribution: tfd.Distribution, y: np.ndarray, mask: np.ndarray | None) -> _RowScores:
    target, log_sum = _log_sum(distribution, y, mask)
    probs = probabilities(distribution)
    if isinstance(distribution, CensoredIndependent):
        return _RowScores(target, log_sum, None)  # the errors of censored rows are not known
    try:
        expected = tf.reduce_mean(mean(distribution) if probs is None else probs, axis=0)
    except ValueError:  # the likelihood has no mean
        expected = None
    return _RowScores(target, log_sum, expected)


def _log_sum(
    distribution: tfd.Distribution, y: np.ndarray, mask: np.ndarray | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the targets [b, ...] in the type of the distribution, and the log of the sum over draws of p(y), [b]."""
    draws = distribution.batch_shape[0]
    target = align_targets(distribution, tf.broadcast_to(y, [draws, *y.shape]))  # [S, b, ...]
    log_prob = distribution.log_prob(target)
    log_prob = masked(log_prob, None if mask is None else tf.cast(mask, log_prob.dtype)[tf.newaxis])
    log_prob = tf.reduce_sum(log_prob, axis=list(range(2, log_prob.shape.rank)))  # [S, b]
    return target[0], tf.reduce_logsumexp(log_prob, axis=0)


def nll_sum(distribution: tfd.Distribution, y: np.ndarray) -> float:
    """Return the negative log-likelihood −Σ_b log p(y_b | x_b) of the rows in nats."""
    log_sum = _log_sum(distribution, y)[1].numpy().astype(np.float64)
    return float(len(y) * np.log(distribution.batch_shape[0]) - np.sum(log_sum))


def _point_scores(target: np.ndarray, expected: np.ndarray, counted: Counted) -> dict[str, float]:
    """Return the errors of the predictive mean `expected` [B, ...]."""
    y, mean = (counted.entries(a).astype(np.float64) for a in (target, expected))
    error = y - mean
    found = {"rmse": float(np.sqrt(counted.average(error**2))), "mae": counted.average(np.abs(error))}
    return {**found, "r2": r2_of(y, mean, counted.entry_weight)} if varies(y) else found


def _draw_scores(
    distribution: tfd.Distribution,
    thinned: Callable[[int], tfd.Distribution],
    target: tf.Tensor,
    counted: Counted,
) -> dict[str, float]:
    """Return the scores from draws of the mixture, or none if the distribution of an entry cannot be sampled.

    Each of the S components gives k draws of each target entry. This has less variance than random components.

    Args:
        distribution: the distribution of some or all rows, whose kind and number of components count.
        thinned: returns the distribution of every n-th of all rows, for an n of at least 1.
        target: targets of all rows, [B, ...].
        counted: the weights of rows and the mask of time steps.
    """
    base = distribution
    while isinstance(base, tfd.Independent):
        base = base.distribution
    if base.event_shape.rank != 0:
        return {}
    components, rows = distribution.batch_shape[0], target.shape[0]
    k = max(2, -(-_DRAWS // components))
    row_draws = k * components * (tf.size(target).numpy() // rows)
    if row_draws > 8 * _MAX_DRAWS:
        return {}  # the draws of a single row would take too much memory
    stride = -(-rows * row_draws // _MAX_DRAWS)
    try:
        drawn = thinned(stride).sample(k, seed=as_seed(0)).numpy()  # [k, S, b, ...]
    except (NotImplementedError, TypeError):  # TFP cannot sample or slice some distributions
        return {}
    with np.errstate(invalid="ignore"):  # after a diverged fit, draws and scores are infinite
        errors = drawn.astype(np.float64) - target[::stride].numpy()  # centred at y, which keeps rounding errors small
        counted = counted.of_rows(slice(None, None, stride))
        errors = counted.entries(errors, axis=2)
        ordered = np.sort(errors.reshape(k * components, *errors.shape[2:]), axis=0)
        low, high = _ends(ordered, 0.95)
        return {
            "crps": counted.average(_mixture_crps(errors, ordered)),
            "picp_95": counted.average((low <= 0) & (high >= 0)),
            "width_95": counted.average(high - low),
        }


def _mixture_crps(errors: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return an unbiased estimate of the CRPS of each target entry, [b, ...].

    CRPS = E|X − y| − ½ E|X − X'| as in `crps`. For the mixture, E|X − X'| is the mean of the S² expected distances
    between its components. The distance between two different components is estimated by the mean over all k² pairs of
    draws; that within one component by the mean over its k (k − 1) pairs of different draws.

    Args:
        errors: k draws of each of the S components, minus y, [k, S, b, ...].
        ordered: the same values of all components in increasing order, [k S, b, ...].
    """
    k, components = errors.shape[:2]
    within = np.sum(pair_distances(errors), axis=0)
    across = pair_distances(ordered) - within
    distance = (across / k**2 + within / (k * (k - 1))) / components**2
    return np.mean(np.abs(ordered), axis=0) - distance / 2


def _ends(ordered: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the central interval as `interval` does, for draws [S, ...] in increasing order."""
    place = (len(ordered) + 1) * (1 - level) / 2 - 1
    index = int(place)
    between = lambda a, b: a + (place - index) * (b - a)
    return between(ordered[index], ordered[index + 1]), between(ordered[-1 - index], ordered[-2 - index])


def of_entry(distribution: tfd.Distribution) -> tfd.Distribution:
    """Return the distribution of single target entries, without the axes that `tfd.Independent` gathers."""
    while isinstance(distribution, tfd.Independent):
        distribution = distribution.distribution
    return distribution


def probabilities(distribution: tfd.Distribution) -> tf.Tensor | None:
    """Return class probabilities [S, B, C], or [S, B, K, 2] for Bernoulli; None for targets that are not classes."""
    base = of_entry(distribution)
    if isinstance(base, tfd.Categorical):
        return base.probs_parameter()
    if isinstance(base, tfd.Bernoulli):
        logits = base.logits_parameter()
        return tf.stack([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=-1)
    return None


def _moment(distribution: tfd.Distribution, name: str) -> tf.Tensor:
    """Return the "mean" or the "variance", or raise ValueError if the distribution has none."""
    try:
        return getattr(distribution, name)()
    except NotImplementedError as error:
        raise ValueError(
            f"Invalid likelihood: expected one with a {name}. Received: {distribution.name}, which has none. "
            "Use `predict_distribution`."
        ) from error


def mean(distribution: tfd.Distribution) -> tf.Tensor:
    """Return the mean of the targets, [S, B, ...], or the class probabilities of a categorical, [S, B, C]."""
    if isinstance(distribution, tfd.Categorical):
        return distribution.probs_parameter()
    return _moment(distribution, "mean")
