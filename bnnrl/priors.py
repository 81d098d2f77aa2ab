"""Priors over the weights: one TFP distribution for all, or a mapping from weight-path patterns to distributions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from copy import copy
from fnmatch import fnmatchcase
from typing import Any, Self

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.checks import nearest
from bnnrl.learned_prior import Learned, LearnedPrior, NormalPrior
from bnnrl.network import Network
from bnnrl.seeds import normal
from bnnrl.structure import NotShareable, is_fixed, structure

PriorLike = tfd.Distribution | Mapping[str, tfd.Distribution] | Learned | str

# Families whose parameters compiled functions take as tensors, and these parameters.
_PARAMETERS = {tfd.Normal: ("loc", "scale"), tfd.Laplace: ("loc", "scale"), tfd.StudentT: ("df", "loc", "scale")}


def get(prior: PriorLike) -> PriorLike:
    """Return the prior of a word, "learned" for `Learned()`; any other prior is returned itself.

    Raises:
        ValueError: if there is no prior of that word.
    """
    if not isinstance(prior, str):
        return prior
    if prior != "learned":
        raise ValueError(
            "Invalid `prior`: expected 'learned', a TFP distribution, or a mapping from weight-path patterns to "
            f"distributions. Received: {prior!r}.{nearest(prior, ('learned',))}"
        )
    return Learned()


def build(prior: PriorLike, network: Network) -> Prior | LearnedPrior:
    """Return the prior of a network's weights; arguments and errors as for `Prior`."""
    prior = get(prior)
    if isinstance(prior, Learned):
        return LearnedPrior(prior, network)
    return Prior(prior, network.paths, network.shapes)


def as_normal(grad: Callable[[tf.Tensor], tf.Tensor], num_params: int) -> NormalPrior | None:
    """Return the normal prior with independent entries whose log density has this gradient, or None if there is none.

    The gradient of a normal log density is λ (mean − θ). Its values at 0 and 1 give λ and the mean; a random third
    point tells whether it is linear and its entries independent.

    Args:
        grad: the function from θ [D] to ∇ log p(θ), [D].
        num_params: D.
    """
    zeros = tf.zeros([num_params])
    at_zero, at_one = grad(zeros).numpy(), grad(zeros + 1.0).numpy()
    precision = at_zero - at_one
    if not np.all(precision > 0):
        return None
    mean = at_zero / precision
    probe = 3.0 * normal([num_params], 0).numpy()
    error = np.abs(grad(tf.constant(probe)).numpy() - precision * (mean - probe))
    if np.any(error > 1e-4 * precision * (1 + np.abs(mean) + np.abs(probe))):  # beyond float32's rounding
        return None
    shared = lambda a: a[0] if np.all(a == a[0]) else a
    return NormalPrior(tf.constant(shared(mean)), tf.constant(shared(precision)))


class Prior:
    """log p(w) = Σ_i log p_i(w_i) over weight tensors w_i.

    Args:
        prior: a TFP distribution for all weights, or a mapping from patterns of `fnmatch` such as "*/kernel" to
            distributions; each weight gets the distribution of the first pattern that its path matches. A
            distribution's shape must broadcast to that of the weight.
        paths: the Keras path of each weight.
        shapes: the shape of each weight.

    Raises:
        ValueError: if `prior` is of another type, a path matches no pattern, a pattern matches no path, or a
            distribution does not fit a weight.
    """

    def __init__(self, prior: PriorLike, paths: Sequence[str], shapes: Sequence[tuple[int, ...]]):
        self._distributions: list[Any] = _distribution_of_each(prior, paths)
        for distribution, path, shape in zip(self._distributions, paths, shapes, strict=True):
            _check_fits(distribution, path, shape)
        self._scalar = isinstance(prior, tfd.Distribution) and _rank(prior) == 0
        self._shapes = list(shapes)

    num_params = 0  # the prior has no unknowns of its own

    @property
    def has_simple_form(self) -> bool:
        """Whether every weight's distribution is a Normal, Laplace or StudentT."""
        return all(type(d) in _PARAMETERS for d in self._distributions)

    @property
    def structure(self) -> Hashable:
        """The key of what shapes a compiled log density, without the parameters of simple forms.

        Raises:
            NotShareable: if a distribution cannot be compared.
        """
        distinct = self._distinct()
        position = {id(d): i for i, d in enumerate(distinct)}
        of_each = tuple(position[id(d)] for d in self._distributions)
        parts = (_simple_structure(d) if self.has_simple_form else _structure(d) for d in distinct)
        return self._scalar, of_each, tuple(parts)

    def numbers(self) -> list[tf.Tensor]:
        """Return the parameters of simple forms as tensors; none for other forms."""
        if not self.has_simple_form:
            return []
        return [tf.cast(d.parameters[name], tf.float32) for d in self._distinct() for name in _PARAMETERS[type(d)]]

    def with_numbers(self, tensors: Iterator[tf.Tensor]) -> Self:
        """Return a copy with the next of the tensors as parameters, in the order of `numbers`."""
        if not self.has_simple_form:
            return self
        new = {id(d): d.copy(**{name: next(tensors) for name in _PARAMETERS[type(d)]}) for d in self._distinct()}
        other = copy(self)
        other._distributions = [new[id(d)] for d in self._distributions]
        return other

    def _distinct(self) -> list[tfd.Distribution]:
        """Return the distributions, each object once, in the order of the weights."""
        return list({id(d): d for d in self._distributions}.values())

    def as_normal(self) -> NormalPrior | None:
        """Return the mean and precision if every weight's distribution is a Normal, else None."""
        if not all(type(d) is tfd.Normal for d in self._distributions):
            return None
        if self._scalar:
            return _normal_prior(self._distributions[0])
        each = [_normal_prior(d) for d in self._distributions]
        spread = lambda a, shape: tf.reshape(tf.broadcast_to(a, shape), [-1])
        flat = lambda arrays: tf.concat([spread(a, s) for a, s in zip(arrays, self._shapes, strict=True)], axis=0)
        return NormalPrior(flat([p.mean for p in each]), flat([p.precision for p in each]))

    def log_prob(self, theta: tf.Tensor, weights: Sequence[tf.Tensor], dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Return the log density of the weights in nats, [...].

        Args:
            theta: the weights as one flat tensor, [..., D].
            weights: the same weights, [..., *shape] each.
            dtype: the type in which their log densities are summed.
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
        """Return the standard deviation of each weight, of its shape; 1 where it is not finite or not known."""
        return [_stddev(d, shape) for d, shape in zip(self._distributions, shapes, strict=True)]


def _normal_prior(distribution: tfd.Distribution) -> NormalPrior:
    loc, scale = (tf.convert_to_tensor(distribution.parameters[name], tf.float32) for name in ("loc", "scale"))
    return NormalPrior(loc, 1.0 / tf.square(scale))


def _simple_structure(distribution: tfd.Distribution) -> Hashable:
    """Return the key of a distribution whose parameters are passed as tensors."""
    names = _PARAMETERS[type(distribution)]
    others = {name: value for name, value in distribution.parameters.items() if name not in names}
    shapes = tuple(_shape_of_constant(distribution.parameters[name]) for name in names)
    return type(distribution), structure(others), shapes


def _shape_of_constant(value: Any) -> tuple[int, ...]:
    """Return the shape of a number or an array; a tf.Variable may change, and is refused."""
    if isinstance(value, tf.Variable) or (tf.is_tensor(value) and not hasattr(value, "numpy")):
        raise NotShareable(f"{value!r}")
    return tuple(np.shape(value))


def _structure(value: Any) -> Hashable:
    """Return the key of a distribution by the values of its parameters, among which may be other distributions."""
    if isinstance(value, tfd.Distribution) and is_fixed(type(value)):
        return type(value), tuple((name, _structure(item)) for name, item in value.parameters.items())
    if isinstance(value, tuple | list):
        return tuple(_structure(item) for item in value)
    return structure(value)


def _stddev(distribution: tfd.Distribution, shape: tuple[int, ...]) -> tf.Tensor:
    try:
        stddev = distribution.stddev()
    except NotImplementedError:
        stddev = tf.ones([])
    return tf.broadcast_to(tf.where(tf.math.is_finite(stddev) & (stddev > 0), stddev, 1.0), shape)


def _distribution_of_each(prior: PriorLike, paths: Sequence[str]) -> list[tfd.Distribution]:
    if isinstance(prior, tfd.Distribution):
        return [prior] * len(paths)
    if not isinstance(prior, Mapping) or not all(isinstance(d, tfd.Distribution) for d in prior.values()):
        raise ValueError(
            "Invalid `prior`: expected a TFP distribution, or a mapping from weight-path patterns to "
            f"distributions. Received: {prior!r}"
        )
    distributions = [_first_match(prior, path) for path in paths]
    for pattern in prior:
        if not any(fnmatchcase(path, pattern) for path in paths):
            raise ValueError(
                f"Invalid `prior`: expected patterns that match a weight. Received: {pattern!r}, which matches "
                f"none of {list(paths)}."
            )
    return distributions


def _first_match(prior: Mapping[str, tfd.Distribution], path: str) -> tfd.Distribution:
    for pattern, distribution in prior.items():
        if fnmatchcase(path, pattern):
            return distribution
    raise ValueError(
        f"Invalid `prior`: expected a pattern for every weight. Received none that matches {path!r} among "
        f"{list(prior)}. Add one, or a last '*' for all remaining weights."
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
    # An event is one draw of several dependent entries: it may not be broadcast.
    event = distribution.event_shape.rank
    if not fits or (event and distribution.event_shape != shape[len(shape) - event :]):
        raise ValueError(
            f"Invalid `prior` for {path!r}: expected a distribution whose shape broadcasts to {shape}. "
            f"Received: {distribution.name} of shape {full}."
        )
