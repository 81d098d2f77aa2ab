"""What every reader of data returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

PARTS = ("train", "validation", "test")

# (x [N, ...], y [N, ...]), or a finite, re-iterable dataset of rows (x [...], y [...]), not batched.
Rows = tuple[np.ndarray, np.ndarray] | tf.data.Dataset


class Source(NamedTuple):
    """Rows as read, before targets are numbered, parts cut off and scalers fitted."""

    name: str
    parts: dict[str, Rows]  # "train", and those of the other parts that the source itself tells apart
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None  # where the source knows them; targets then count them from 0
