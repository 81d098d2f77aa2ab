"""From what a caller gives as data to float32 arrays that fit the model, in standard units."""

from __future__ import annotations

from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from bnnrl import data, likelihoods
from bnnrl.checks import as_array
from bnnrl.data import tables
from bnnrl.model import inputs
from bnnrl.model.device_data import Shards, Stream
from bnnrl.problem import Problem

_MASKED_ROWS = 1024  # whose mask is computed at a time
_UNSCALED = (
    *(likelihoods.Categorical, likelihoods.Bernoulli, likelihoods.Poisson, likelihoods.NegativeBinomial),
    *(likelihoods.Ordinal, likelihoods.Censored),
)


class DataAdapter:
    """Turns a caller's data into float32 arrays that fit the network and the likelihood, and standardises them.

    Args:
        keras_model: the network.
        problem: the same network with its likelihood.

    Attributes:
        x_scaler: the standardisation of the inputs; None if they are used as given.
        y_scaler: the standardisation of the targets; None if they are used as given.
        columns: what the columns of the table were taken for that the model was fitted to; None for other data.
    """

    def __init__(self, keras_model: keras.Model, problem: Problem):
        self._keras_model, self._problem = keras_model, problem
        self.x_scaler: data.Scaler | None = None
        self.y_scaler: data.Scaler | None = None
        self.columns: data.Columns | None = None

    def set_scalers(self, x_scaler: data.Scaler | None, y_scaler: data.Scaler | None) -> None:
        """Set both scalers.

        Raises:
            ValueError: if the targets are classes, counts or values with marks, and `y_scaler` is not None.
        """
        likelihood = self._problem.likelihood
        if y_scaler is not None and isinstance(likelihood, _UNSCALED):
            raise ValueError(
                f"Invalid `y_scaler`: expected none for a {type(likelihood).__name__} likelihood, whose targets "
                "are counts, classes or values with marks. Received: one. Load the data with task='classification' or "
                "standardize='inputs'."
            )
        self.x_scaler, self.y_scaler = x_scaler, y_scaler

    def inputs(self, x) -> inputs.Arrays:
        """Return x as float32 rows that fit the network, in standard units.

        A table is encoded as the one that the model was fitted to.

        Raises:
            ValueError: if x does not fit the network or is not finite, or is a table without the columns.
        """
        return self._standardised(self._own_units(x))

    def _own_units(self, x) -> inputs.Arrays:
        if self.columns is not None and tables.is_frame(x):
            x = self.columns.encode(x)
        return inputs.inputs_of(self._keras_model, x, _is_wide(self.x_scaler))

    def _standardised(self, x: inputs.Arrays) -> inputs.Arrays:
        return x if self.x_scaler is None else self.x_scaler.transform(x)

    def rows(self, x, y=None) -> tuple[inputs.Arrays, np.ndarray]:
        """Return inputs in standard units and targets in their own, of the same arguments as `own_rows`.

        Raises:
            ValueError: as in `own_rows`.
        """
        x, y = self.own_rows(x, y)
        return self._standardised(x), y.astype(np.float32, copy=False)

    def own_rows(self, x, y=None) -> tuple[inputs.Arrays, np.ndarray]:
        """Return inputs and targets in their own units, float64 where their scaler is.

        Args:
            x: inputs [N, ...], or a pair (x, y), or a finite tf.data.Dataset of pairs.
            y: targets [N, ...]; None if they come with `x`.

        Raises:
            ValueError: if the rows do not fit each other, the network or the likelihood, or are not finite.
        """
        if isinstance(x, tf.data.Dataset) and y is None:
            x, y = cast(Any, Stream(x, self._keras_model).read(whatever_size=True))
        elif y is None and isinstance(x, tuple | list) and len(x) == 2:
            x, y = x
        if y is None:
            raise ValueError(
                "Invalid data: expected x and y, a pair (x, y), or a tf.data.Dataset of pairs. "
                f"Received: {type(x).__name__} and no targets."
            )
        x = self._own_units(x)
        y = inputs.finite("y", self._filled(x, as_array("y", y)), _is_wide(self.y_scaler))
        if y.ndim == 0 or inputs.num_rows(x) != len(y):
            raise ValueError(
                f"Invalid data: expected as many targets as rows. Received: {inputs.num_rows(x)} rows of x, y of shape "
                f"{y.shape}."
            )
        theta, first = tf.zeros([self._problem.num_params]), inputs.take(x, slice(1))
        as_tensor = lambda a: tf.constant(a, tf.float32)
        distribution = self._problem.distribution(theta, tf.nest.map_structure(as_tensor, first))
        inputs.check_logits(distribution)
        inputs.check_support(distribution, y)
        return x, y

    def mask(self, x: inputs.Arrays) -> np.ndarray | None:
        """Return which time steps of the outputs count for rows in standard units, bool [N, T]; None if all do."""
        network = self._problem.network
        if not network.may_mask:
            return None
        each = [inputs.take(x, slice(i, i + _MASKED_ROWS)) for i in range(0, inputs.num_rows(x), _MASKED_ROWS)]
        found: Any = [network.output_mask(tf.nest.map_structure(tf.constant, chunk)) for chunk in each]
        return None if found[0] is None else np.concatenate(found) > 0

    def _filled(self, x: inputs.Arrays, y: np.ndarray) -> np.ndarray:
        """Return targets with those of masked time steps replaced by one that counts: they may be NaN."""
        mask = self.mask(self._standardised(x)) if y.ndim > 1 and inputs.num_rows(x) == len(y) else None
        if mask is None or mask.shape != y.shape[:2] or not mask.any():
            return y
        return np.where(mask.reshape(*mask.shape, *[1] * (y.ndim - 2)), y, y[mask][0])

    def shards(
        self, x, y, batch_size: int | None, weight: np.ndarray | None = None, steps: int | None = None
    ) -> Shards:
        """Return training data, inputs and targets in standard units.

        All rows are one shard, unless x is a tf.data.Dataset too large for memory, which is streamed in pieces.

        Args:
            x: as in `rows`.
            y: as in `rows`.
            batch_size: rows in a minibatch, or None for all of them.
            weight: of each row, [N], of which rows of weight 0 are left out; None for 1. Not for a tf.data.Dataset.
            steps: the steps of an epoch; None for a pass over the rows.

        Raises:
            ValueError: as in `rows`, or if a stream is to be one batch.
        """
        if y is None and isinstance(x, tf.data.Dataset):
            stream = Stream(x, self._keras_model)
            x = stream.read()
            if x is None:
                return Shards(lambda part: self._standard_rows(part, None), batch_size, stream, steps=steps)
        # Batch normalisation over all rows at once would take padding for data.
        pad = batch_size is not None or not self._problem.network.has_statistics
        prepare = lambda _: _with_weight(*self._standard_rows(x, y), weight)
        return Shards(prepare, batch_size, pad=pad, steps=steps)

    def _standard_rows(self, x, y) -> tuple[inputs.Arrays, np.ndarray]:
        x, y = self.own_rows(x, y)
        return self._standardised(x), y if self.y_scaler is None else self.y_scaler.transform(y)


def _with_weight(x: inputs.Arrays, y: np.ndarray, weight: np.ndarray | None) -> tuple[Any, ...]:
    """Return the rows of positive weight with their weights; all rows if there are no weights."""
    if weight is None:
        return x, y
    kept = weight > 0
    return inputs.take(x, kept), y[kept], weight[kept]


def _is_wide(scaler: data.Scaler | None) -> bool:
    return scaler is not None and scaler.is_wide
