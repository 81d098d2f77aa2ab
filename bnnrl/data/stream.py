"""Rows in tf.data.Datasets: read into memory, or divided and standardized while they stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.data import casting, split, targets
from bnnrl.data.scaler import Scaler, is_wide
from bnnrl.data.settings import Divided, DivideSettings
from bnnrl.data.source import PARTS, Source

_CHUNK = 1024  # rows that are read at a time
_COMPARED = 256  # rows of two passes that are compared, to find out whether the order is fixed


class Moments:
    """Mean and standard deviation of columns in one pass, in float64.

    Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, np.zeros(()), np.zeros(())
        self._rounded = np.zeros(())  # by how much float32 changes a value at most

    def update(self, x: np.ndarray) -> None:
        """Add rows [B, ..., F]."""
        x = x.reshape(-1, x.shape[-1]).astype(np.float64)
        self._rounded = np.maximum(self._rounded, np.abs(x - x.astype(np.float32)).max(axis=0))
        mean, total = x.mean(axis=0), self.count + len(x)
        shift = mean - self.mean
        self.squares = self.squares + ((x - mean) ** 2).sum(axis=0) + shift**2 * (self.count * len(x) / total)
        self.mean = self.mean + shift * (len(x) / total)
        self.count = total

    @property
    def are_wide(self) -> bool:
        """Whether float32 would round the rows too coarsely."""
        return bool(self.count and np.any(casting.is_too_coarse(self._rounded, self._std)))

    @property
    def _std(self) -> np.ndarray:
        return np.sqrt(self.squares / self.count)

    def scaler(self) -> Scaler:
        """Return the scaler of all rows added so far."""
        return Scaler.from_moments(self.mean, self._std, self.are_wide)


def fits(parts: dict[str, tf.data.Dataset], max_bytes: float) -> bool:
    """Return whether all rows together, at 4 bytes a number, take at most `max_bytes`.

    Datasets whose rows have no fixed shape count as empty.
    """
    room = max_bytes
    for dataset in parts.values():
        shapes = [spec.shape for spec in tf.nest.flatten(dataset.element_spec)]
        if not all(shape.is_fully_defined() for shape in shapes):
            continue
        row = 4 * sum(shape.num_elements() or 0 for shape in shapes)
        # A dataset of unknown length is counted, but only as far as its rows fit.
        count = int(dataset.cardinality())
        if count < 0:
            count = sum(1 for _ in dataset.take(int(room // max(row, 1)) + 1))
        room -= count * row
        if room < 0:
            return False
    return True


def into_memory(dataset: tf.data.Dataset, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows of a part as arrays (x [N, ...], y [N, ...]).

    Raises:
        ValueError: if there are no rows, or rows of different shapes.
    """
    try:
        chunks: Any = list(dataset.batch(_CHUNK).as_numpy_iterator())
    except tf.errors.InvalidArgumentError as error:
        raise _unequal(dataset.element_spec) from error
    if not chunks:
        raise ValueError(f"Invalid `source`: expected at least one row. Received: none in the {part} part.")
    return np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])


def divide(source: Source, parts: dict[str, Any], settings: DivideSettings) -> Divided:
    """Return the parts as datasets, with classes numbered and scalers fitted to the training part.

    Args:
        source: gives the names of features, targets and classes.
        parts: unbatched datasets of rows (x, y) by part, "train" among them.
        settings: how they are divided. A row's number in the training dataset decides its part.

    Raises:
        ValueError: as for `load`.
    """
    form = _Form.of(parts["train"].element_spec, settings.task, settings.standardize)
    if settings.fractions:
        parts = _cut(parts, settings.fractions, settings.seed)
    parts = {part: dataset.map(form.cast) for part, dataset in parts.items()}
    class_names = source.class_names if form.classes else None
    if class_names and not form.x_scaled and form.x_kind != "real":  # a pass over the rows would find nothing new
        return Divided({part: dataset.map(_int32) for part, dataset in parts.items()}, class_names, None, None)
    survey = _Survey(form, source)
    parts = {part: survey.take(part, dataset) for part, dataset in parts.items()}
    parts = {part: dataset.map(survey.cast) for part, dataset in parts.items()}
    if form.classes and not class_names:
        class_names = targets.names_of(survey.labels, sum(int(d.cardinality()) for d in parts.values()), settings.task)
        known = tf.constant(survey.labels)
        number = lambda x, y: (x, tf.reshape(tf.searchsorted(known, tf.reshape(y, [-1])), tf.shape(y)))
        parts = {part: dataset.map(number) for part, dataset in parts.items()}
    elif form.classes:
        parts = {part: dataset.map(_int32) for part, dataset in parts.items()}
    x_scaler = survey.x_moments.scaler() if form.x_scaled else None
    return Divided(parts, class_names, x_scaler, survey.y_moments.scaler() if form.y_scaled else None)


class _Form(NamedTuple):
    """How a row is cast, and what is standardized."""

    x_kind: str  # "image", "integer" or "real"
    x_scaled: bool
    y_scaled: bool
    classes: bool

    @classmethod
    def of(cls, spec, task: str | None, standardize: str | bool) -> _Form:
        """Return the form of rows with the element spec `spec`, or raise ValueError."""
        x, y = spec
        classes = targets.is_classes(task, np.dtype(y.dtype.as_numpy_dtype))
        if tf.string in (x.dtype, y.dtype) or (classes and y.dtype.is_floating):
            raise ValueError(
                f"Invalid `source`: expected numbers, and classes as integers, in a stream. Received: x of type "
                f"{x.dtype.name}, y of type {y.dtype.name}. Number the classes, or pass `stream=False`."
            )
        if not x.shape.is_fully_defined() or not y.shape.is_fully_defined():
            raise _unequal(spec)
        scaled = casting.scales_inputs(standardize, 1 + max(x.shape.rank, 1))
        if casting.is_image(np.dtype(x.dtype.as_numpy_dtype), 1 + x.shape.rank):
            kind = "image"
        else:
            kind = "integer" if x.dtype.is_integer and not scaled else "real"
        return cls(kind, scaled, casting.scales_targets(standardize, classes), classes)

    def cast(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a row with the types and shapes that `Data` documents."""
        if self.x_kind != "integer":
            x = tf.cast(x, self.real_type(x, self.x_scaled)) / (255.0 if self.x_kind == "image" else 1.0)
        x = x[tf.newaxis] if x.shape.rank == 0 else x
        if self.classes:
            return x, tf.cast(y[0] if y.shape == (1,) else y, tf.int64)
        return x, tf.cast(y[tf.newaxis] if y.shape.rank == 0 else y, self.real_type(y, self.y_scaled))

    @staticmethod
    def real_type(values: tf.Tensor, scaled: bool) -> tf.DType:
        """Return the type of real numbers: integers and float64 keep their digits until they are standardized."""
        return tf.float64 if scaled and is_wide(np.dtype(values.dtype.as_numpy_dtype)) else tf.float32


class _Survey:
    """One pass over each part: counts and checks rows, and collects the classes and the training part's moments."""

    def __init__(self, form: _Form, source: Source) -> None:
        self.form, self.source = form, source
        self.labels = np.zeros(0, np.int64)
        self.x_moments, self.y_moments = Moments(), Moments()

    def take(self, part: str, dataset: Any) -> tf.data.Dataset:
        """Return the part with its number of rows as its cardinality."""
        form, source, count = self.form, self.source, 0
        for x, y in dataset.batch(_CHUNK).as_numpy_iterator():
            if form.x_kind != "integer":
                casting.as_float32("x", x, part, source.feature_names, count)
            if not form.classes:
                casting.as_float32("y", y, part, source.target_names, count)
            elif source.class_names:
                targets.check_indices(y, source.class_names, part, count)
            else:
                self.labels = np.union1d(self.labels, y)
            if part == "train" and form.x_scaled:
                self.x_moments.update(x)
            if part == "train" and form.y_scaled:
                self.y_moments.update(y)
            count += len(x)
        if not count:
            raise ValueError(f"Invalid `source`: expected at least one row. Received: none in the {part} part.")
        return dataset.apply(tf.data.experimental.assert_cardinality(count))

    def cast(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return a row as float32, where that suffices."""
        return _narrow(x, self.x_moments), _narrow(y, self.y_moments)


def _narrow(values: tf.Tensor, moments: Moments) -> tf.Tensor:
    """Return float64 values as float32 unless that would round them too coarsely."""
    return tf.cast(values, tf.float32) if values.dtype == tf.float64 and not moments.are_wide else values


def _int32(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a row with its class as int32."""
    return x, tf.cast(y, tf.int32)


def _cut(parts: dict[str, tf.data.Dataset], fractions: dict[str, float], seed) -> dict[str, tf.data.Dataset]:
    """Return the parts with the training part divided by row number. This takes one byte of memory for each row."""
    whole = _repeatable(parts["train"])
    count = int(whole.cardinality())
    count = sum(1 for _ in whole) if count < 0 else count
    codes = split.assign(count, fractions, seed)
    table = tf.constant(codes)

    def pick(code: int) -> tf.data.Dataset:
        numbered = whole.enumerate().filter(lambda i, _: tf.equal(table[i], code)).map(lambda _, row: row)
        return numbered.apply(tf.data.experimental.assert_cardinality(int((codes == code).sum())))

    return {
        part: pick(code) if part == "train" or part in fractions else parts[part]
        for code, part in enumerate(PARTS)
        if part in parts or part in fractions
    }


def _repeatable(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return the dataset, or raise ValueError if two passes differ, as rows would then change parts between passes."""
    options = tf.data.Options()
    options.deterministic = True
    dataset = dataset.with_options(options)
    head = dataset.take(_COMPARED)
    for one, other in zip(head.as_numpy_iterator(), head.as_numpy_iterator(), strict=True):
        for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            if not np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"):
                raise ValueError(
                    "Invalid `source`: expected the same rows in the same order at each pass, to be divided. Received: "
                    "a dataset whose order changes. Use `shuffle(..., reshuffle_each_iteration=False)`, or pass "
                    "the parts yourself as `test` and `validation`."
                )
    return dataset


def _unequal(spec) -> ValueError:
    """Return the error for rows of different or unknown shapes."""
    return ValueError(
        f"Invalid `source`: expected rows of one known shape. Received: {spec}. Resize images by "
        "`image_size`, set shapes by `tf.ensure_shape`, or undo batches by `dataset.unbatch()`."
    )
