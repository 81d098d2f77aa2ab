"""Data in other forms of Keras than arrays: batches of Python, weights of rows, and a share for validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from bnnrl.checks import as_array, check_count, check_fraction
from bnnrl.data import Data
from bnnrl.model import inputs
from bnnrl.model.device_data import IN_MEMORY_BYTES

_ROWS_READ_AT_ONCE = 4096  # of a dataset of rows


class Given(NamedTuple):
    """Data as the caller gives them."""

    x: Any
    y: Any
    weight: Any = None  # of rows, [N]; None for 1


def gathered(x: Any, y: Any, sample_weight: Any, steps: int | None = None) -> Given:
    """Return data whose weights are apart, with batches of a PyDataset or of a generator joined.

    Args:
        x: as in `BayesianModel.fit`; also a triple (x, y, sample_weight), a tf.data.Dataset of such triples, or a
            keras.utils.PyDataset or a generator, of batches (x, y) or (x, y, sample_weight).
        y: targets, or None.
        sample_weight: weights of rows, or None.
        steps: how many batches to take of a generator, or of a dataset without an end; None for all.

    Raises:
        ValueError: if weights come twice, or batches are not as above, or too large for memory.
    """
    if isinstance(x, keras.utils.PyDataset | Iterator) or _is_weighted(x):
        if y is not None or sample_weight is not None:
            raise ValueError(
                f"Invalid `y` or `sample_weight`: expected None with a {type(x).__name__}, whose batches hold both. "
                "Received: arrays."
            )
        x = _joined(x, steps)
    if y is not None or not isinstance(x, tuple | list) or len(x) != 3:
        return Given(x, y, sample_weight)
    if sample_weight is not None:
        raise ValueError("Invalid `sample_weight`: expected None with a triple (x, y, sample_weight). Received: both.")
    return Given(*x)


def _is_weighted(x: Any) -> bool:
    """Return whether `x` is a tf.data.Dataset of triples (x, y, sample_weight)."""
    return isinstance(x, tf.data.Dataset) and isinstance(x.element_spec, tuple) and len(x.element_spec) == 3


def _batches(dataset: tf.data.Dataset, steps: int | None) -> Iterable[Any]:
    """Return the batches of a dataset of triples; rows, whose weights are single numbers, are batched first."""
    if dataset.element_spec[2].shape.rank == 0:
        dataset = dataset.batch(_ROWS_READ_AT_ONCE)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        if steps is None:
            raise ValueError(
                "Invalid dataset: expected finitely many triples (x, y, sample_weight), or `steps_per_epoch`. "
                f"Received: {dataset}."
            )
        dataset = dataset.take(check_count("steps_per_epoch", steps))
    return dataset.as_numpy_iterator()


def _joined(source: Any, steps: int | None) -> tuple[Any, ...]:
    """Return the batches of a PyDataset, of a generator or of a dataset of triples as one."""
    if isinstance(source, tf.data.Dataset):
        batches: Iterable[Any] = _batches(source, steps)
    elif isinstance(source, keras.utils.PyDataset):
        batches = (source[i] for i in range(source.num_batches or 0))
    else:
        batches = source if steps is None else islice(source, check_count("steps_per_epoch", steps))
    parts, size = [], 0
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3) or (parts and len(batch) != len(parts[0])):
            raise ValueError(
                "Invalid data: expected batches (x, y) or (x, y, sample_weight), all of the same form. Received: "
                f"{type(batch).__name__} as batch {len(parts)}."
            )
        parts.append(tf.nest.map_structure(np.asarray, tuple(batch)))
        size += sum(a.nbytes for a in tf.nest.flatten(parts[-1]))
        if size > IN_MEMORY_BYTES:
            raise ValueError(
                "Invalid data: expected batches of at most 2 GiB together. Received: more. Pass `steps_per_epoch` with "
                "a generator that does not end, or a tf.data.Dataset of pairs (x, y), which is streamed."
            )
    if not parts:
        raise ValueError("Invalid data: expected at least one batch. Received: none.")
    try:
        return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Invalid data: expected batches of rows of the same form, with the rows first. Received: others ({error})."
        ) from error


def row_weights(given: Given, class_weight: Mapping[Any, float] | None) -> np.ndarray | None:
    """Return the weight of each row, [N] float32, the product of those of rows and of their classes; None for 1.

    Raises:
        ValueError: if a weight is missing, negative or not finite, or if the data are not arrays.
    """
    if given.weight is None and class_weight is None:
        return None
    y = _targets(given)
    weight = np.ones(len(y), np.float32) if given.weight is None else _checked(given.weight, len(y))
    if class_weight is not None:
        weight = weight * _of_classes(y, class_weight)
    if not np.any(weight > 0):
        raise ValueError("Invalid `sample_weight`: expected a positive weight of at least one row. Received: none.")
    return weight


def _targets(given: Given) -> np.ndarray:
    source = given.x.train if isinstance(given.x, Data) else given.x
    y = source[1] if given.y is None and isinstance(source, tuple | list) and len(source) == 2 else given.y
    if y is None:
        raise ValueError(
            "Invalid `sample_weight` or `class_weight`: expected None with data that are not arrays. Received: weights "
            f"with a {type(source).__name__}. Pass arrays x and y, or a tf.data.Dataset of (x, y, sample_weight)."
        )
    return as_array("y", y)


def _checked(weight: Any, rows: int) -> np.ndarray:
    found = inputs.finite("sample_weight", weight)
    found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    if found.shape != (rows,) or np.any(found < 0):
        received = f"shape {found.shape}" if found.shape != (rows,) else f"{found.min():g} among them"
        raise ValueError(
            f"Invalid `sample_weight`: expected weights of at least 0, one for each of {rows} rows. Received: "
            f"{received}. For time steps that do not count, use a `keras.layers.Masking` layer."
        )
    return found


def _of_classes(y: np.ndarray, class_weight: Mapping[Any, float]) -> np.ndarray:
    """Return the weight of each row's class."""
    if not isinstance(class_weight, Mapping) or y.size != len(y):
        raise ValueError(
            "Invalid `class_weight`: expected a dictionary from classes to weights, and a class for each row. "
            f"Received: {type(class_weight).__name__} and targets of shape {y.shape}."
        )
    classes, index = np.unique(y.ravel(), return_inverse=True)
    missing = [c for c in classes.tolist() if c not in class_weight]
    if missing:
        raise ValueError(
            f"Invalid `class_weight`: expected a weight for each class. Received: none for {missing[:5]}, among the "
            f"keys {list(class_weight)[:10]}. Classes are numbered from 0."
        )
    return _checked([class_weight[c] for c in classes.tolist()], len(classes))[index.ravel()]


def divided(given: Given, share: float) -> tuple[Given, Given]:
    """Return the first rows, and the last ones that are a `share` of all, as Keras divides them.

    Raises:
        ValueError: if a part would be empty, or the data are not arrays.
    """
    share = check_fraction("validation_split", share)
    if isinstance(given.x, Data | tf.data.Dataset):
        raise ValueError(
            f"Invalid `validation_split`: expected 0 with a {type(given.x).__name__}. Received: {share:g}. Pass "
            "`validation_data`, or `validation` to `bnnrl.data.load`."
        )
    x, y = given.x if given.y is None and isinstance(given.x, tuple | list) and len(given.x) == 2 else given[:2]
    x = tf.nest.map_structure(lambda a: as_array("x", a), x) if isinstance(x, tuple | list | dict) else as_array("x", x)
    y = as_array("y", y)
    first = int(len(y) * (1 - share))
    if not 0 < first < len(y):
        raise ValueError(
            f"Invalid `validation_split`: expected at least one row in each part. Received: {share:g} of {len(y)} rows."
        )
    weight = None if given.weight is None else as_array("sample_weight", given.weight)
    part = lambda rows: Given(inputs.take(x, rows), y[rows], None if weight is None else weight[rows])
    return part(slice(first)), part(slice(first, None))
