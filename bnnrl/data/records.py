"""Rows (x, y) from a dataset whose elements are pairs or dictionaries of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from bnnrl.checks import nearest
from bnnrl.data.images import check_size, resize
from bnnrl.data.source import Source


def read(
    name: str,
    parts: dict[str, tf.data.Dataset],
    inputs=None,
    targets=None,
    image_size=None,
    features: Mapping[str, Any] | None = None,
) -> Source:
    """Return datasets of rows (x, y).

    Args:
        name: of the data.
        parts: datasets by part, of rows (x, y), ({feature: value}, y) or {feature: value}, not batched.
        inputs: the names of the features that are inputs: one is taken as it is, several make a vector. All others than
            the targets if None.
        targets: the names of the features that are targets, needed if rows are dictionaries.
        image_size: (height, width) to which inputs [H, W, C] are resized.
        features: TFDS's description of them: those that are class labels are one-hot encoded as inputs, and give
            the names of classes as targets.

    Raises:
        ValueError: if rows are none of these, or a name is not among the features.
    """
    spec: Any = parts["train"].element_spec
    for part, dataset in parts.items():
        if not isinstance(dataset, tf.data.Dataset) or dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(f"Invalid `source`: expected finite datasets. Received: {dataset} as the {part} part.")
    pairs = isinstance(spec, tuple) and len(spec) == 2 and not isinstance(spec[1], dict)
    if not pairs and not isinstance(spec, dict):
        raise ValueError(f"Invalid `source`: expected a dataset of rows (x, y) or of dictionaries. Received: {spec}.")
    if pairs and (targets is not None or (inputs is not None and not isinstance(spec[0], dict))):
        raise ValueError("Invalid `targets`: expected names only for rows that are dictionaries. Received rows (x, y).")
    of_inputs: Any = spec[0] if pairs else spec
    features = features or {}
    feature_names, target_names, label = None, None, None
    get_x = get_y = lambda value: value
    if isinstance(of_inputs, dict):
        if not pairs:
            if targets is None:
                raise ValueError(f"Invalid `targets`: expected features among {list(spec)}. Received: None.")
            target_names = _keys("targets", targets, spec)
            label = features.get(target_names[0]) if len(target_names) == 1 else None
            get_y, _ = _columns(target_names, spec, {})
        others = [key for key in of_inputs if key not in (target_names or ())]
        keys = _keys("inputs", others if inputs is None else inputs, of_inputs)
        if set(keys) & set(target_names or ()):
            raise ValueError(f"Invalid `inputs`: expected none of the targets {target_names}. Received: {keys}.")
        get_x, feature_names = _columns(keys, of_inputs, features)

    def to_row(*row):
        x, y = get_x(row[0]), get_y(row[-1])
        return (resize(x, size) if size and x.shape.rank == 3 else x), y

    size = None if image_size is None else check_size(image_size)
    rows = {part: dataset.map(to_row) for part, dataset in parts.items()}
    names = getattr(label, "names", None)
    return Source(name, rows, feature_names, target_names, tuple(names) if names else None)


def _keys(argument: str, names, spec) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in spec:
            raise ValueError(
                f"Invalid `{argument}`: expected features among {list(spec)}. Received: {name!r}.{nearest(name, spec)}"
            )
        if not isinstance(spec[name], tf.TensorSpec):
            raise ValueError(f"Invalid `{argument}`: expected features that are tensors. Received: {spec[name]}.")
    if not names:
        raise ValueError(f"Invalid `{argument}`: expected one feature at least, among {list(spec)}. Received: none.")
    return names


def _columns(keys: tuple[str, ...], spec, features: Mapping[str, Any]):
    """Return the function from a row to its features `keys`, and the names of the columns they make, or None."""
    one_hot = lambda key: spec[key].shape.rank == 0 and getattr(features.get(key), "names", None)
    if len(keys) == 1 and not one_hot(keys[0]):
        return lambda row: row[keys[0]], (keys if spec[keys[0]].shape.rank == 0 else None)
    names = []
    for key in keys:
        shape = spec[key].shape
        if spec[key].dtype == tf.string or shape.rank is None or shape.rank > 1 or None in shape.as_list():
            raise ValueError(
                f"Invalid `inputs`: expected one feature, or several that are numbers or vectors. Received: {key!r}, "
                f"{spec[key].dtype.name} of shape {shape}, among {list(keys)}. Choose the features by `inputs`."
            )
        if categories := one_hot(key):
            names += [f"{key}={category}" for category in categories]
        else:
            names += [key] if shape.rank == 0 else [f"{key}[{i}]" for i in range(shape[0])]

    depths = {key: len(one_hot(key) or ()) for key in keys}

    def join(row):
        number = lambda key: tf.reshape(tf.cast(row[key], tf.float32), [-1])
        return tf.concat([tf.one_hot(row[k], depths[k]) if depths[k] else number(k) for k in keys], axis=0)

    return join, tuple(names)
