"""Priors over the weights: one TFP distribution for all, or a mapping from weight-path patterns to distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

PriorLike = tfd.Distribution | Mapping[str, tfd.Distribution]


class NormalPrior(NamedTuple):
    """θ ~ N(mean, 1/λ), independently for each entry; scalars where all entries share them."""

    mean: tf.Tensor  # [] or [D]
    precision: tf.Tensor  # [] or [D], λ


class Prior:
    """log p(w) = Σ_i log p_i(w_i), where weight i has the distribution of the first pattern its path matches.

    Args:
        prior: a TFP distribution, whose shape broadcasts against each weight's, or a mapping from patterns such as
            "*/kernel" to distributions, tried in order.
        paths: the Keras path of each weight.
        shapes: the shape of each weight.

    Raises:
        ValueError: if `prior` is neither, a path matches no pattern or a pattern no path, or a distribution does not
            fit a weight.
    """

    def __init__(self, prior: PriorLike, paths: Sequence[str], shapes: Sequence[tuple[int, ...]]):
        if isinstance(prior, tfd.Distribution):
            self._distributions: list[Any] = [prior] * len(paths)
        elif isinstance(prior, Mapping) and all(isinstance(d, tfd.Distribution) for d in prior.values()):
            self._distributions = [_matching(prior, path) for path in paths]
            for pattern in prior:
                if not any(fnmatchcase(path, pattern) for path in paths):
                    raise ValueError(
                        f"Invalid `prior`: expected patterns that match a weight. Received: {pattern!r}, which matches "
                        f"none of {list(paths)}."
                    )
        else:
            raise ValueError(
                "Invalid `prior`: expected a TFP distribution, or a mapping from weight-path patterns to "
                f"distributions. Received: {prior!r}"
            )
        for distribution, path, shape in zip(self._distributions, paths, shapes, strict=True):
            _check_fits(distribution, path, shape)
        self._scalar = isinstance(prior, tfd.Distribution) and _rank(prior) == 0

    def log_prob(self, theta: tf.Tensor, weights: Sequence[tf.Tensor], dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return the log density, in nats, [...], of weights [..., *shape], given also flat as `theta` [..., D].

        Weights' terms are summed in `dtype`.
        """
        if self._scalar:
            return tf.reduce_sum(tf.cast(self._distributions[0].log_prob(theta), dtype), axis=-1)
        lead = theta.shape[:-1]
        each = [
            tf.reduce_sum(tf.reshape(tf.cast(d.log_prob(w), dtype), [*lead, -1]), axis=-1)
            for d, w in zip(self._distributions, weights, strict=True)
        ]
        return tf.add_n(each)

    def stddev(self, shapes: Sequence[tuple[int, ...]]) -> list[tf.Tensor]:
        """Return the standard deviation of each weight; 1 where the distribution has none."""
        return [_stddev(d, shape) for d, shape in zip(self._distributions, shapes, strict=True)]


def _stddev(distribution: tfd.Distribution, shape: tuple[int, ...]) -> tf.Tensor:
    try:
        stddev = distribution.stddev()
    except NotImplementedError:
        stddev = tf.ones([])
    return tf.broadcast_to(tf.where(tf.math.is_finite(stddev) & (stddev > 0), stddev, 1.0), shape)


def _matching(prior: Mapping[str, tfd.Distribution], path: str) -> tfd.Distribution:
    for pattern, distribution in prior.items():
        if fnmatchcase(path, pattern):
            return distribution
    raise ValueError(
        f"Invalid `prior`: expected a pattern for every weight. Received none that matches {path!r} among "
        f"{list(prior)}. Add one, or a last '*' for all the rest."
    )


def _rank(distribution: tfd.Distribution) -> int | None:
    return distribution.batch_shape.concatenate(distribution.event_shape).rank


def _check_fits(distribution: tfd.Distribution, path: str, shape: tuple[int, ...]) -> None:
    if distribution.dtype != tf.float32:
        raise ValueError(
            f"Invalid `prior` for {path!r}: expected a distribution of type float32. Received: {distribution.name} of "
            f"type {distribution.dtype}. Give its parameters as Python numbers or float32 arrays."
        )
    full = distribution.batch_shape.concatenate(distribution.event_shape)
    try:
        fits = tf.broadcast_static_shape(full, tf.TensorShape(shape)) == tf.TensorShape(shape)
    except ValueError:
        fits = False
    event = distribution.event_shape.rank  # an event is one draw: it fits only whole
    if not fits or (event and distribution.event_shape != shape[len(shape) - event :]):
        raise ValueError(
            f"Invalid `prior` for {path!r}: expected a distribution whose shape broadcasts to {shape}. "
            f"Received: {distribution.name} of shape {full}."
        )
