"""`Source`: what every reader of data returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bnnrl.data.columns import Columns

PARTS = ("train", "validation", "test")

# (x [N, ...], y [N, ...]), or a finite, re-iterable, unbatched dataset of rows (x [...], y [...]).
Rows = tuple[np.ndarray, np.ndarray] | tf.data.Dataset


class Source(NamedTuple):
    """Rows as read: classes are not numbered, the training part is not divided, and no scaler is fitted yet."""

    name: str
    parts: dict[str, Rows]  # "train", and "validation" and "test" where the source keeps them apart
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None  # where the source knows them, targets are indices into them
    columns: Columns | None = None  # of a table, whose missing numbers are NaN in x
    groups: np.ndarray | None = None  # of the training rows, [N], from a column of a table
    times: np.ndarray | None = None  # of the training rows, [N], from a column of a table
