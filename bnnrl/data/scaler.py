"""Standardisation, and rows padded to a fixed capacity."""

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
        """Return the scaler of the rows of x [N, F].

        A column that does not vary, or by less than 1e-6 in its own units or its mean's, is only centred: its spread
        may be noise of the last digit, which must not be blown up.

        Raises:
            ValueError: if x has no rows, or a value that is not finite.
        """
        x = check_rows("x", x)
        # In float64: the mean of many float32 values, or of values far from zero, loses digits.
        return cls.from_moments(x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64))

    @classmethod
    def from_moments(cls, mean: np.ndarray, std: np.ndarray) -> Scaler:
        """Return the scaler of columns of this mean and standard deviation, each [F] in float64, as `fit` does."""
        constant = std < 1e-6 * np.maximum(1.0, np.abs(mean))
        return cls(mean.astype(np.float32), np.where(constant, 1.0, std).astype(np.float32))

    def transform(self, x: np.ndarray) -> np.ndarray:
        return ((x - self.mean) / self.std).astype(np.float32)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Return x = mean + std z, float32, for z [..., F]."""
        return (self.mean + self.std * z).astype(np.float32)


def pad_rows(x: np.ndarray, capacity: int) -> tf.Tensor:
    """Return x [N, ...] with zero rows appended up to `capacity`, as a float32 tensor.

    A compiled function that takes the padded array and the count of rows does not retrace as data grow.

    Raises:
        ValueError: if x has no rows, more rows than `capacity`, or a value that is not finite.
    """
    x = check_rows("x", x)
    if len(x) > capacity:
        raise ValueError(f"Invalid `capacity`: expected room for {len(x)} rows at least. Received: {capacity}")
    padded = np.zeros([capacity, *x.shape[1:]], np.float32)
    padded[: len(x)] = x
    return tf.constant(padded)


def check_rows(name: str, x) -> np.ndarray:
    """Return x as an array, if it has rows and every value is finite.

    Raises:
        ValueError: if not.
    """
    x = np.asarray(x)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"Invalid `{name}`: expected at least one row. Received: shape {x.shape}")
    if not np.issubdtype(x.dtype, np.number) and x.dtype != bool:
        raise ValueError(f"Invalid `{name}`: expected numbers. Received: an array of type {x.dtype}")
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"Invalid `{name}`: expected finite values. Received NaN or infinity in {len(bad)} of {len(x)} rows, the "
            f"first of them row {bad[0]}. Drop these rows or fill them in."
        )
    return x
