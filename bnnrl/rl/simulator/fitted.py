"""What the regression models of the simulator have in common: a posterior with the scalers of its data, as arrays."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from bnnrl.data import Scaler
from bnnrl.storage.arrays import flatten, select

MAX_FULL_BATCH = 512  # rows of a data buffer; on a larger one, a step on all rows would take long
_FIRST_CAPACITY = 256  # rows of a buffer that would be larger, until data outgrow it
_CLOSE = 64  # a close capacity is a multiple of this


def first_capacity(capacity: int) -> int:
    """Return the rows of the data buffer with which a model begins whose time grows with all rows of the buffer.

    The capacity is chosen for the longest episodes. Where these are long, real ones may end much earlier, and a step
    on a buffer of thousands of rows takes as long with a hundred rows of data as with thousands.
    """
    return capacity if capacity <= MAX_FULL_BATCH else _FIRST_CAPACITY


def close_capacity(rows: int) -> int:
    """Return the rows of the data buffer of a model whose time grows with the cube of all rows of the buffer.

    Gauss-Newton learning takes 4, 9 and 34 s with buffers of 64, 128 and 256 rows, four targets, and 3 s more where the
    number of rows is new, since XLA does not compile it.
    """
    return max(_CLOSE, -(-rows // _CLOSE) * _CLOSE)


class Scalers(NamedTuple):
    """The scalers of a regression's inputs and targets."""

    inputs: Scaler
    targets: Scaler

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Return the scalers in the arrays of `to_arrays`."""
        return cls(*(Scaler(**select(arrays, f"scalers/{name}")) for name in cls._fields))


class _Saveable(Protocol):
    """A posterior that can be written to arrays."""

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]: ...


def to_arrays(
    posterior: _Saveable | None, scalers: Scalers | None
) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
    """Return a posterior's JSON-able description and the arrays of posterior and scalers; (None, {}) before a fit."""
    if posterior is None or scalers is None:
        return None, {}
    described, values = posterior.to_arrays()
    of_scalers = {f"scalers/{name}": vars(scaler) for name, scaler in scalers._asdict().items()}
    return described, flatten({"posterior": values, **of_scalers})


def not_fitted() -> ValueError:
    """Return the error of a model that is sampled before its first fit."""
    return ValueError("Invalid model: expected a fitted one. Received: one without a posterior. Call fit first.")
