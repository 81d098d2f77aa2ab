"""Priors over the weights: one TFP distribution for all, or a mapping from weight-path patterns to distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import tensorflow as tf
from tensorflow_probability import distributions as tfd

PriorLike = tfd.Distribution | Mapping[str, tfd.Distribution]


class Prior:
    """log p(w) = Σ_i log p_i(w_i), where weight i has the distribution of the first pattern its path matches.

    Args:
        prior: a TFP distribution, whose shape broadcasts against each weight's, or a mapping from patterns such as
            "*/kernel" to distributions, tried in order.
        paths: the Keras path of each weight.
        shapes: the shape of each weight.

    Raises:
        ValueError: if `prior` is neither, a path matches no pattern, or a distribution does not fit a weight.
    """

    def __init__(self, prior: PriorLike, paths: Sequence[str], shapes: Sequence[tuple[int, ...]]):
        if isinstance(prior, tfd.Distribution):
            self._distributions: list[tfd.Distribution] = [prior] * len(paths)
        elif isinstance(prior, Mapping) and all(isinstance(d, tfd.Distribution) for d in prior.values()):
            self._distributions = [_matching(prior, path) for path in paths]
        else:
            raise ValueError(
                "Invalid `prior`: expected a TFP distribution, or a mapping from weight-path patterns to "
                f"distributions. Received: {prior!r}"
            )
        for distribution, path, shape in zip(self._distributions, paths, shapes, strict=True):
            _check_fits(distribution, path, shape)
        self._scalar = isinstance(prior, tfd.Distribution) and _rank(prior) == 0

    def log_prob(self, theta: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the log density, in nats, [...], of weights [..., *shape], given also flat as `theta` [..., D]."""
        if self._scalar:
            return tf.reduce_sum(self._distributions[0].log_prob(theta), axis=-1)
        lead = theta.shape.rank - 1
        return tf.add_n(
            [
                tf.reduce_sum(tf.reshape(d.log_prob(w), [*theta.shape[:-1], -1]), axis=-1)
                if lead
                else tf.reduce_sum(d.log_prob(w))
                for d, w in zip(self._distributions, weights, strict=True)
            ]
        )


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
    full = distribution.batch_shape.concatenate(distribution.event_shape)
    try:
        fits = tf.broadcast_static_shape(full, tf.TensorShape(shape)) == tf.TensorShape(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"Invalid `prior` for {path!r}: expected a distribution whose shape broadcasts to {shape}. "
            f"Received: {distribution.name} of shape {full}."
        )
