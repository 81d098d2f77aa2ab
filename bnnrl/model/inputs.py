"""Checks of inputs x and targets y: float32 arrays that fit the network and the likelihood, or an error."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from bnnrl.censoring import CensoredIndependent
from bnnrl.checks import as_array
from bnnrl.data import casting
from bnnrl.problem import align_targets

# An array [N, ...], or for a network of several inputs a list, tuple or dictionary of arrays.
Arrays = Any

_map: Any = tf.nest.map_structure


def inputs_of(model: keras.Model, x, wide: bool = False) -> Arrays:
    """Return x as float32 rows that fit the network, or as float64 rows that are still to be standardised if `wide`.

    Raises:
        ValueError: if x has no rows, another structure or shape than the network's inputs, or values that are not
            finite.
    """
    if len(getattr(model, "inputs", None) or [None]) > 1:
        return _several_inputs(model, x)
    x, expected = finite("x", x, wide), tf.TensorShape(getattr(model, "input_shape", None))
    if x.ndim == 1 and expected.rank == 2:
        x = x[:, np.newaxis]  # as Keras does
    if x.ndim == 0 or len(x) == 0 or not expected.is_compatible_with(x.shape):
        raise ValueError(
            f"Invalid `x`: expected at least one row, of the network's input shape {expected}. "
            f"Received: shape {x.shape}."
        )
    return x


def _several_inputs(model: keras.Model, x) -> Arrays:
    described = _map(lambda tensor: tuple(tensor.shape), model.input)
    try:
        tf.nest.assert_same_structure(model.input, x, check_types=False)
    except (TypeError, ValueError):
        raise ValueError(
            f"Invalid `x`: expected an array for each of the network's inputs, {described}. "
            f"Received: {type(x).__name__}."
        ) from None
    # In the caller's structure: Keras's own lists make compiled functions trace anew at each call.
    x = _map(lambda a, tensor: finite(f"x ({tensor.name})", a), x, model.input, check_types=False)
    shapes = [a.shape for a in tf.nest.flatten(x)]
    fits = all(tensor.shape == () or tf.TensorShape(tensor.shape).is_compatible_with(shape)
               for tensor, shape in zip(model.inputs, shapes, strict=True))  # fmt: skip
    if not fits or len({shape[0] for shape in shapes}) != 1 or not shapes[0][0]:
        raise ValueError(
            f"Invalid `x`: expected as many rows of each input, of shapes {described}. Received: {shapes}."
        )
    return x


def num_rows(x: Arrays) -> int:
    """Return N, the number of rows."""
    return int(tf.nest.flatten(x)[0].shape[0])


def take(x: Arrays, rows) -> Arrays:
    """Return some rows of each array, given as a slice or as indices."""
    return _map(lambda a: a[rows], x)


def finite(name: str, given, wide: bool = False) -> np.ndarray:
    """Return `given` as a float32 array; the same array, if it is one.

    Args:
        name: of the argument, for the error.
        given: numbers, in anything that NumPy makes an array of.
        wide: whether the array is float64 instead, so that numbers keep their digits until they are standardised.

    Raises:
        ValueError: if `given` is not an array of numbers, or not finite; the error names the first bad row.
    """
    array = as_array(name, given)
    if array.dtype.kind not in "biuf":
        text = " Apply layers for text, such as keras.layers.StringLookup, to the data before the network."
        raise ValueError(
            f"Invalid `{name}`: expected an array of numbers. Received: type {array.dtype}."
            f"{text if array.dtype.kind in 'USO' else ''}"
        )
    single = casting.as_float32(name, array, copy=False)
    return array.astype(np.float64) if wide else single


def check_logits(distribution: tfd.Distribution) -> None:
    """Raise ValueError if a network returns probabilities where the likelihood takes logits.

    Args:
        distribution: of the target of one row, for weights that are 0. Logits are then 0 too, while a softmax or a
            sigmoid makes all classes equally probable.
    """
    base = distribution.distribution if isinstance(distribution, tfd.Independent) else distribution
    if not isinstance(base, tfd.Categorical | tfd.Bernoulli):
        return
    logits = np.asarray(base.logits_parameter())
    classes = logits.shape[-1] if isinstance(base, tfd.Categorical) else 2
    if np.allclose(logits, 1 / classes, rtol=1e-5, atol=0):
        raise ValueError(
            f"Invalid network: expected one whose outputs are logits, for a {base.name} likelihood. Received: one that "
            "returns probabilities. Leave out the softmax or sigmoid at its end."
        )


def check_support(distribution: tfd.Distribution, y: np.ndarray) -> None:
    """Check that targets have the likelihood's shape, and for classes and counts that they are such.

    Args:
        distribution: of the target of one row.
        y: targets [N, ...].

    Raises:
        ValueError: if the shape is another, or a target lies outside the likelihood's support.
    """
    align_targets(distribution, tf.constant(y[:1]))
    if isinstance(distribution, CensoredIndependent):
        marks = y[..., y.shape[-1] // 2 :]
        bad = np.argwhere(~np.isin(marks, (-1, 0, 1)))
        if len(bad):
            raise ValueError(
                "Invalid `y`: expected marks of 0 for observed, 1 for right-censored or -1 for left-censored values in "
                f"the last {marks.shape[-1]} columns. Received: {marks[tuple(bad[0])]:g} in row {bad[0][0]}."
            )
        return
    base = distribution.distribution if isinstance(distribution, tfd.Independent) else distribution
    if isinstance(base, tfd.Categorical):
        highest = int(base.logits_parameter().shape[-1]) - 1
    elif isinstance(base, tfd.Bernoulli | tfd.Poisson | tfd.NegativeBinomial):
        highest = 1 if isinstance(base, tfd.Bernoulli) else np.inf
    else:
        return
    bad = np.argwhere((y < 0) | (y > highest) | (y != np.round(y)))
    if len(bad):
        raise ValueError(
            f"Invalid `y`: expected integers from 0 to {highest} for a {base.name} likelihood. "
            f"Received: {y[tuple(bad[0])]} in row {bad[0][0]}. Number the classes from 0, one network output each."
        )
