"""Training data on the device: all rows at once, or one piece of a stream at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bnnrl.checks import check_count
from bnnrl.data import pad_rows, round_up_rows
from bnnrl.model.inputs import Arrays, num_rows
from bnnrl.problem import Batch

IN_MEMORY_BYTES = 2**31  # a tf.data.Dataset that takes more as float32 is streamed
SHARD_BYTES = 2**27  # of a streamed data set, held on the device at a time
SHARD_ROWS = 2**18  # at most, since the rows of a shard are shuffled by sorting as many random numbers
_ROWS_READ_AT_ONCE = 1024  # from a dataset of single rows

_map: Any = tf.nest.map_structure


class Stream:
    """A finite tf.data.Dataset of pairs (x, y), of rows or of batches, read in pieces.

    Args:
        dataset: the dataset; each pass reads it again.
        model: the network, whose input shape tells rows from batches.

    Attributes:
        row_bytes: the size of one row as float32.

    Raises:
        ValueError: if `dataset` is infinite, does not hold pairs, or has no rows.
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
        self._dataset, self._batched = dataset, batched

    def pieces(self, rows: int) -> Iterator[tuple[Arrays, np.ndarray]]:
        """Yield (x, y) of `rows` rows each, the last piece perhaps of fewer."""
        return self._in_batches(rows).prefetch(1).as_numpy_iterator()

    def read(self, whatever_size: bool = False) -> tuple[Arrays, np.ndarray] | None:
        """Return all rows (x, y), or None if they take more than IN_MEMORY_BYTES and not `whatever_size`."""
        parts, size = [], 0
        for part in (self._dataset if self._batched else self._in_batches(_ROWS_READ_AT_ONCE)).as_numpy_iterator():
            parts.append(part)
            size += num_rows(part) * self.row_bytes
            if size > IN_MEMORY_BYTES and not whatever_size:
                return None
        return _map(lambda *arrays: np.concatenate(arrays), *parts)

    def _in_batches(self, rows: int) -> tf.data.Dataset:
        """Return the dataset in batches of `rows` rows, the last one perhaps of fewer."""
        return self._dataset.rebatch(rows) if self._batched else self._dataset.batch(rows)


class Shards:
    """Training data in the pieces that go to the device: one of all rows, or those of a stream.

    Args:
        prepare: turns a piece's (x, y) into float32 arrays that fit the model, in standard units. Without a stream
            `prepare` is called with None and returns all rows, (x, y) or (x, y, weight).
        batch_size: rows in a minibatch, or None for all.
        stream: where the pieces come from; None if there is one.
        pad: whether all rows may be padded, so that one compiled loop serves data of nearly the same number of rows.
        steps: the steps of an epoch, without a stream; None for as many as there are whole minibatches.

    Attributes:
        streams: whether there is a stream.
        first: x of the first piece.
        num_data: N, the rows of all pieces.
        batch_size: rows in a minibatch, at most N; None for all.
        steps: the steps of an epoch: each piece has as many as it has whole minibatches, and at least one.

    Raises:
        ValueError: if a row does not fit the model, or a stream is to be one batch.
    """

    def __init__(
        self,
        prepare: Callable,
        batch_size: int | None,
        stream: Stream | None = None,
        pad: bool = True,
        steps: int | None = None,
    ):
        self._stream = stream
        batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        if stream is None:
            rows = prepare(None)
            counts, pad = [len(rows[1])], pad and sum(a.nbytes for a in tf.nest.flatten(rows)) <= SHARD_BYTES
            capacity = round_up_rows(counts[0]) if pad else counts[0]
            self._whole = _map(lambda a: pad_rows(a, capacity), tuple(rows))
            self.first = _map(lambda a: np.asarray(a)[: counts[0]], self._whole[0])  # shares the tensors' memory
        else:
            if batch_size is None:
                raise ValueError(
                    "Invalid `batch_size`: expected a number for a dataset too large for memory. Received: None, for "
                    "all rows at every step."
                )
            self._prepare = prepare
            self._rows = max(batch_size, min(SHARD_ROWS, SHARD_BYTES // stream.row_bytes))
            counts, self.first = self._count_rows(stream)
            self._capacity = max(counts)
        self.streams, self.num_data = stream is not None, sum(counts)
        self.batch_size = None if batch_size is None else min(batch_size, self.num_data)
        self._steps = [max(1, n // self.batch_size) if self.batch_size else 1 for n in counts]
        if steps is not None:
            if stream is not None:
                raise ValueError(
                    "Invalid `steps_per_epoch`: expected None for a dataset too large for memory, of which an epoch is "
                    f"a pass. Received: steps_per_epoch={steps}."
                )
            self._steps = [check_count("steps_per_epoch", steps)]
        self.steps = sum(self._steps)

    def _count_rows(self, stream: Stream) -> tuple[list[int], Arrays]:
        """Return each piece's number of rows, and x of the first; every row is checked before training starts."""
        counts, first = [], None
        for x, y in map(self._prepare, stream.pieces(self._rows)):
            counts.append(len(y))
            first = x if first is None else first
        return counts, first

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        """Yield for each piece its (x, y), the number of rows before padding, and its steps in an epoch."""
        if self._stream is None:
            yield self._whole, self.num_data, self.steps
            return
        for part, steps in zip(self._stream.pieces(self._rows), self._steps, strict=True):
            x, y = self._prepare(part)
            # All pieces have the same size, so that the driver compiles once.
            yield _map(lambda a: pad_rows(a, self._capacity), (x, y)), len(y), steps

    def batches(self, rows: int) -> Iterator[Batch]:
        """Yield all rows once as (x, y, weight), `rows` of them each, the weight being 0 for padding."""
        for arrays, count, _ in self:
            for first in range(0, count, rows):
                last = min(first + rows, count)
                x, y, *given = _map(lambda a: pad_rows(np.asarray(a)[first:last], rows), arrays)  # noqa: B023
                real = tf.cast(tf.range(rows) < last - first, tf.float32)
                yield x, y, given[0] * real if given else real
