"""Data on the device: a fixed-capacity buffer and standardisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Scaler:
    """Standardisation z = (x − mean) / std, column by column."""

    mean: np.ndarray  # [F]
    std: np.ndarray  # [F]

    @classmethod
    def fit(cls, x: np.ndarray) -> Scaler:
        """Return the scaler of the rows of x [N, F]. A column that does not vary is only centred."""
        mean, std = x.mean(axis=0), x.std(axis=0)
        constant = std < 1e-6 * np.maximum(1.0, np.abs(mean))
        return cls(mean.astype(np.float32), np.where(constant, 1.0, std).astype(np.float32))

    def transform(self, x: np.ndarray) -> np.ndarray:
        return ((x - self.mean) / self.std).astype(np.float32)


def pad_rows(x: np.ndarray, capacity: int) -> tf.Tensor:
    """Return x [N, ...] with zero rows appended up to `capacity`, as a float32 tensor.

    A compiled function that takes the padded array and the count of rows does not retrace as data grow.
    """
    padded = np.zeros([capacity, *x.shape[1:]], np.float32)
    padded[: len(x)] = x
    return tf.constant(padded)
