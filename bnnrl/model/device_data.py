"""Training data on the device: all at once, or a stream in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.data import pad_rows
from bnnrl.model.inputs import Arrays, num_rows

IN_MEMORY_BYTES = 2**31  # a data set of more is streamed
SHARD_BYTES = 2**27  # of a streamed one is on the device at a time

_map: Any = tf.nest.map_structure


class Stream:
    """A finite tf.data.Dataset of (x, y), rows or batches of them, read in pieces.

    Args:
        dataset: the dataset; it is read anew for each pass.
        model: the network, by whose input shape rows are told from batches.

    Raises:
        ValueError: if it is no finite dataset of pairs, or has no rows.
    """

    def __init__(self, dataset: tf.data.Dataset, model: keras.Model):
        spec = dataset.element_spec
        if not isinstance(spec, tuple) or len(spec) != 2 or dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(f"Invalid dataset: expected finitely many pairs (x, y). Received: {dataset}")
        example = next(dataset.take(1).as_numpy_iterator(), None)
        if example is None:
            raise ValueError("Invalid dataset: expected at least one row. Received: an empty one.")
        parts = [np.asarray(a) for a in tf.nest.flatten(example)]
        inputs = getattr(model, "inputs", None)
        rank = tf.TensorShape(inputs[0].shape if inputs else None).rank
        batched = rank is None or parts[0].ndim != rank - 1
        self.row_bytes = sum(a.size * 4 for a in parts) // (len(parts[0]) if batched else 1)
        self._batches = dataset if batched else dataset.batch(1024)
        self._rows = dataset.unbatch() if batched else dataset

    def pieces(self, rows: int) -> Iterator[tuple[Arrays, np.ndarray]]:
        """Yield (x, y) of `rows` rows each, the last of those left over."""
        return self._rows.batch(rows).prefetch(1).as_numpy_iterator()

    def read(self, whatever_size: bool = False) -> tuple[Arrays, np.ndarray] | None:
        """Return all rows, or None if they take more than IN_MEMORY_BYTES as float32."""
        parts, size = [], 0
        for part in self._batches.as_numpy_iterator():
            parts.append(part)
            size += num_rows(part) * self.row_bytes
            if size > IN_MEMORY_BYTES and not whatever_size:
                return None
        return _map(lambda *arrays: np.concatenate(arrays), *parts)


class Shards:
    """Training data on the device: all at once, or a stream of equal pieces and a rest.

    Args:
        prepare: from a piece's (x, y) to arrays that fit, in standard units.
        batch_size: rows in a minibatch, or None for all.
        stream: where the pieces come from; None if `prepare` holds all there is.
    """

    def __init__(self, prepare: Callable, batch_size: int | None, stream: Stream | None = None):
        self._prepare, self._stream = prepare, stream
        batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        if stream is None:
            x, y = prepare(None)
            counts, self.first = [len(y)], x
            self._whole = _map(tf.constant, (x, y))
        else:
            if batch_size is None:
                raise ValueError(
                    "Invalid `batch_size`: expected a number for a dataset too large for memory. Received: None, for "
                    "all rows at every step."
                )
            self._rows = max(batch_size, SHARD_BYTES // stream.row_bytes)
            # Every row is checked before the start.
            counts, self.first = [], None
            for x, y in map(prepare, stream.pieces(self._rows)):
                counts.append(len(y))
                self.first = x if self.first is None else self.first
        self.streams, self.num_data = stream is not None, sum(counts)
        self.batch_size = None if batch_size is None else min(batch_size, self.num_data)
        self._steps = [max(1, n // self.batch_size) if self.batch_size else 1 for n in counts]
        self.steps = sum(self._steps)

    def __iter__(self):
        """Yield arrays, how many of their rows count, and the steps of an epoch over them."""
        if self._stream is None:
            yield self._whole, self.num_data, self.steps
            return
        for part, steps in zip(self._stream.pieces(self._rows), self._steps, strict=True):
            x, y = self._prepare(part)
            padded = _map(lambda a: pad_rows(a, self._rows), (x, y))
            yield padded, len(y), steps
