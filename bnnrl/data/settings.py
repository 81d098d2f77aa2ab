"""The arguments of `load` in two groups: how a source is read, and how its rows are divided."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bnnrl.data.columns import Columns
from bnnrl.data.scaler import Scaler
from bnnrl.data.source import Rows


@dataclass(frozen=True)
class ReadSettings:
    """How a source is read. Each field is the argument of `load` with the same name."""

    targets: Any = None
    inputs: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None
    split: str | Mapping[str, str] | None = None
    data_dir: str | os.PathLike[str] | None = None
    image_size: tuple[int, int] | None = None
    color_mode: str | None = None
    seed: Any = 0
    groups: Any = None
    times: Any = None


@dataclass(frozen=True, eq=False)
class DivideSettings:
    """How the training rows are divided, and how all rows become numbers.

    Each field but `fractions`, `groups` and `times` is the argument of `load` with the same name.
    """

    fractions: dict[str, float]  # shares of the training rows that become "validation" and "test", in (0, 1)
    seed: Any = 0
    stratify: bool = False
    task: str | None = None
    standardize: str | bool = "auto"
    groups: Any = None  # of the training rows, [N]; None if rows are divided one by one
    times: Any = None  # of the training rows, [N], or "rows" for their order; None if they are divided at random


class Divided(NamedTuple):
    """Rows as `Data` holds them, with what was learned from them."""

    parts: dict[str, Rows]
    class_names: tuple[str, ...] | None  # None for real targets
    x_scaler: Scaler | None  # None where inputs are not standardized
    y_scaler: Scaler | None  # None where targets are not standardized
    columns: Columns | None = None  # of a table
    groups: np.ndarray | None = None  # of the rows of the training part, [n]
    times: np.ndarray | None = None  # of the rows of the training part, [n]
