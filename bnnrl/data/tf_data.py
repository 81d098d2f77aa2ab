"""Reader of tf.data.Datasets whose elements are pairs (x, y) or dictionaries of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from bnnrl.checks import nearest
from bnnrl.data.images import check_size, resize
from bnnrl.data.settings import ReadSettings
from bnnrl.data.source import Source


def read(
    name: str,
    parts: dict[str, tf.data.Dataset],
    settings: ReadSettings,
    features: Mapping[str, Any] | None = None,
) -> Source:
    """Return datasets of rows (x, y).

    Args:
        name: the name of the data.
        parts: unbatched datasets by part, of rows (x, y), ({feature: value}, y) or {feature: value}.
        settings: `inputs` names the features that are inputs, all but the targets if None; a single one is taken as it
            is, several are concatenated to a vector. `targets` names the features that are targets, and is required if
            rows are dictionaries. Inputs [H, W, C] are resized to `image_size`.
        features: TFDS's description of the features. Class labels are one-hot encoded as inputs; as targets, they give
            the names of the classes.

    Raises:
        ValueError: if rows have another structure, or a name is not among the features.
    """
    spec: Any = parts["train"].element_spec
    for part, dataset in parts.items():
        if not isinstance(dataset, tf.data.Dataset) or dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(f"Invalid `source`: expected finite datasets. Received: {dataset} as the {part} part.")
    columns = _choose(spec, settings.inputs, settings.targets, features or {})
    size = None if settings.image_size is None else check_size(settings.image_size)

    def to_row(*row):
        x, y = columns.get_x(row[0]), columns.get_y(row[-1])
        return (resize(x, size) if size and x.shape.rank == 3 else x), y

    rows = {part: dataset.map(to_row) for part, dataset in parts.items()}
    return Source(name, rows, columns.feature_names, columns.target_names, columns.class_names)


class _Columns(NamedTuple):
    """How inputs and targets are taken from an element's first and last entry, and what their columns are called."""

    get_x: Any
    get_y: Any
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None


def _choose(spec, inputs, targets, features: Mapping[str, Any]) -> _Columns:
    """Return the columns that `inputs` and `targets` choose from elements of this `spec`."""
    identity = lambda value: value
    pairs = isinstance(spec, tuple) and len(spec) == 2 and not isinstance(spec[1], dict)
    if not pairs and not isinstance(spec, dict):
        raise ValueError(f"Invalid `source`: expected a dataset of rows (x, y) or of dictionaries. Received: {spec}.")
    if pairs:
        if targets is not None or (inputs is not None and not isinstance(spec[0], dict)):
            raise ValueError(
                "Invalid `targets`: expected names only for rows that are dictionaries. Received rows (x, y)."
            )
        if not isinstance(spec[0], dict):
            return _Columns(identity, identity)
        keys = _keys("inputs", spec[0] if inputs is None else inputs, spec[0])
        get_x, feature_names = _join(keys, spec[0], features)
        return _Columns(get_x, identity, feature_names)
    if targets is None:
        raise ValueError(f"Invalid `targets`: expected features among {list(spec)}. Received: None.")
    target_keys = _keys("targets", targets, spec)
    get_y, _ = _join(target_keys, spec, {})
    keys = _keys("inputs", [key for key in spec if key not in target_keys] if inputs is None else inputs, spec)
    if set(keys) & set(target_keys):
        raise ValueError(f"Invalid `inputs`: expected none of the targets {target_keys}. Received: {keys}.")
    get_x, feature_names = _join(keys, spec, features)
    class_names = getattr(features.get(target_keys[0]), "names", None) if len(target_keys) == 1 else None
    return _Columns(get_x, get_y, feature_names, target_keys, tuple(class_names) if class_names else None)


def _keys(argument: str, names, spec) -> tuple[str, ...]:
    """Return the features that `names` lists, as a tuple, or raise ValueError."""
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in spec:
            raise ValueError(
                f"Invalid `{argument}`: expected features among {list(spec)}. Received: {name!r}.{nearest(name, spec)}"
            )
        if not isinstance(spec[name], tf.TensorSpec):
            raise ValueError(f"Invalid `{argument}`: expected features that are tensors. Received: {spec[name]}.")
    if not names:
        raise ValueError(f"Invalid `{argument}`: expected at least one feature among {list(spec)}. Received: none.")
    return names


def _join(keys: tuple[str, ...], spec, features: Mapping[str, Any]):
    """Return the function that joins the features `keys` of a row, and the names of the resulting columns or None."""
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
