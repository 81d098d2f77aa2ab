"""Standardization of columns, and arrays of rows that are checked and padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from bnnrl.checks import all_finite, as_array


@dataclass(frozen=True)
class Scaler:
    """Standardization z = (x − mean) / std of each column.

    Both are float64 if the rows that the scaler was fitted to were wider than float32, such as time stamps.
    """

    mean: np.ndarray  # [F]
    std: np.ndarray  # [F]

    @classmethod
    def fit(cls, x: np.ndarray) -> Scaler:
        """Return the scaler of the rows of x [N, F].

        A column whose standard deviation is below 1e-6 of its mean's magnitude is only centred, or below 1e-12 of it if
        x is wider than float32: such a spread may be rounding noise, which division by `std` would amplify.

        Raises:
            ValueError: if x has no rows, or a value that is not finite.
        """
        x = check_rows("x", x)
        # In float64, because the float32 mean of many values, or of values far from zero, loses digits.
        return cls.from_moments(x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64), is_wide(x.dtype))

    @classmethod
    def from_moments(cls, mean: np.ndarray, std: np.ndarray, wide: bool = False) -> Scaler:
        """Return the scaler of columns with this mean and standard deviation, each float64 [F].

        Args:
            mean: the mean of each column.
            std: the standard deviation of each column.
            wide: whether the rows are wider than float32.
        """
        constant = std <= (1e-12 if wide else 1e-6) * np.abs(mean)
        dtype = np.float64 if wide else np.float32
        return cls(mean.astype(dtype), np.where(constant, 1.0, std).astype(dtype))

    @property
    def is_wide(self) -> bool:
        """Whether rows have to be standardised in float64, before they become float32."""
        return self.mean.dtype == np.float64

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return z = (x − mean) / std, float32, for x [..., F]."""
        return ((x - self.mean) / self.std).astype(np.float32)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Return x = mean + std z, float32, for z [..., F]."""
        return (self.mean + self.std * z).astype(np.float32)


def is_wide(dtype: np.dtype) -> bool:
    """Return whether a type of real numbers or integers has more digits than float32."""
    return dtype.itemsize > (4 if dtype.kind == "f" else 2)


def round_up_rows(count: int, sizes: int = 16) -> int:
    """Return the least capacity of at least `count` rows, among so many sizes between two powers of two.

    Data of nearly the same number of rows, such as the folds of a cross-validation, are padded to one capacity, so that
    one compiled function takes them all. At most 1 / `sizes` of the rows are added.
    """
    step = max(1, 2 ** max(0, (count - 1).bit_length() - 1) // sizes)
    return -(-count // step) * step


def pad_rows(x: np.ndarray, capacity: int) -> tf.Tensor:
    """Return x [N, ...] as a float32 tensor [capacity, ...], with zero rows appended.

    A compiled function that takes the padded tensor and the number of rows is not retraced when the data grow.

    Raises:
        ValueError: if x has no rows, more rows than `capacity`, or a value that is not finite.
    """
    x = check_rows("x", x)
    if len(x) > capacity:
        raise ValueError(f"Invalid `capacity`: expected at least {len(x)}, the number of rows. Received: {capacity}.")
    if len(x) == capacity:
        return tf.constant(x, tf.float32)
    padded = np.zeros([capacity, *x.shape[1:]], np.float32)
    padded[: len(x)] = x
    return tf.constant(padded)


def check_rows(name: str, x) -> np.ndarray:
    """Return x as an array, or raise ValueError unless it has rows of real numbers that float32 can hold."""
    x = as_array(name, x)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"Invalid `{name}`: expected at least one row. Received: shape {x.shape}.")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"Invalid `{name}`: expected numbers. Received: an array of type {x.dtype}.")
    for fits, expected, found in (
        (np.isfinite, "finite values", "NaN or infinity"),
        (all_finite, "numbers that float32 can hold", "larger ones"),
    ):
        bad = np.flatnonzero(~fits(x).reshape(len(x), -1).all(axis=1))
        if len(bad):
            raise ValueError(
                f"Invalid `{name}`: expected {expected}. Received: {found} in {len(bad)} of {len(x)} rows, the first "
                f"of them row {bad[0]}. Drop these rows or fill them in."
            )
    return x
