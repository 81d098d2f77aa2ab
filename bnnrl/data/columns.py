"""What the columns of a table were taken for, and their encoding as numbers, which a model keeps for new rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrl.checks import nearest
from bnnrl.data import text_columns
from bnnrl.storage import config

if TYPE_CHECKING:
    import pandas as pd

MISSING = "missing"  # the category of missing entries
_SHOWN = 6  # categories in a description


@dataclass(frozen=True)
class Column:
    """A column of a table that is an input.

    Attributes:
        name: its name, as text.
        kind: "number"; "date", for days since 1970-01-01; or "categories", which are one-hot encoded.
        categories: those of a column of categories, as text, one feature each.
        decimal: the decimal mark of numbers that are text.
        day_first: whether the day is before the month in dates that are text, as in 31/12/2024.
        fill: what missing numbers become: the median of the training rows.
        missing: how many entries were missing in the rows that were read.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    decimal: str = "."
    day_first: bool = False
    fill: float | None = None
    missing: int = 0

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the column's features."""
        return tuple(f"{self.name}={c}" for c in self.categories) if self.kind == "categories" else (self.name,)

    def describe(self) -> str:
        """Return in a few words what the column was taken for."""
        if self.kind == "categories":
            return listed(self.categories, "categories")
        filled = f"; {self.missing} missing, filled with the training median {self.fill:.6g}" if self.missing else ""
        return ("number" if self.kind == "number" else "date, as days since 1970-01-01") + filled

    def encode(self, values: pd.Series) -> np.ndarray:
        """Return the features of a column, float64 [N, F]: NaN for missing numbers, and zeros for unknown categories.

        Raises:
            ValueError: if an entry is neither missing nor a number or a date, as the column's entries are.
        """
        if self.kind == "categories":
            codes = {category: i for i, category in enumerate(self.categories)}
            found = np.array([codes.get(text, -1) for text in as_categories(values)])
            return (found[:, np.newaxis] == np.arange(len(codes))).astype(np.float64)
        if self.kind == "date" and values.dtype.kind == "M":
            return text_columns.days(values)[:, np.newaxis]
        if self.kind == "date" or values.dtype.kind not in "biuf":
            return self._from_text(values)[:, np.newaxis]
        return values.to_numpy(np.float64, na_value=np.nan)[:, np.newaxis]

    def _from_text(self, values: pd.Series) -> np.ndarray:
        text = text_columns.stripped(values)
        numbers = (
            text_columns.days(text, self.day_first) if self.kind == "date" else text_columns.numbers(text, self.decimal)
        )
        bad = np.flatnonzero(np.isnan(numbers) & text.notna().to_numpy())
        if len(bad):
            raise ValueError(
                f"Invalid `source`: expected a {self.kind} in each row of column {self.name!r}, or nothing. Received: "
                f"{text.iloc[bad[0]]!r} in row {bad[0]}, the first of {len(bad)}."
            )
        return numbers

    def unknown(self, values: pd.Series) -> list[str]:
        """Return the categories that the column does not know."""
        known = set(self.categories)
        return sorted({text for text in as_categories(values) if text not in known}) if known else []


@dataclass(frozen=True)
class Columns:
    """The columns of a table: how rows become the inputs of a network, and what its targets are called.

    Attributes:
        inputs: the columns that are inputs, in the order of their features.
        targets: the names of the targets.
        class_names: the names of the classes; None for real targets.
        left_out: the names of other columns, each with the reason why the column is no input.
        rows_left_out: rows that were left out since their target was missing.
    """

    inputs: tuple[Column, ...]
    targets: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    rows_left_out: int = 0

    @classmethod
    def of_numbers(cls, names: Sequence[str]) -> Columns:
        """Return the columns of a table of numbers."""
        return cls(tuple(Column(str(name), "number") for name in names))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of all features."""
        return tuple(feature for column in self.inputs for feature in column.features)

    def describe(self) -> dict[str, str]:
        """Return what each column was taken for, by its name; targets come first."""
        target = "target, number" if self.class_names is None else "target, " + listed(self.class_names, "classes")
        told = dict.fromkeys(self.targets, target) | {c.name: c.describe() for c in self.inputs}
        return told | {name: f"left out: {reason}" for name, reason in self.left_out}

    def encode(self, frame: Any) -> np.ndarray:
        """Return the inputs of a table's rows, float64 [N, F], with columns found by name and missing numbers filled.

        Raises:
            ValueError: if a column is missing, or holds other entries than it should.
        """
        frame = frame.rename(columns=str)
        missing = [column.name for column in self.inputs if column.name not in frame.columns]
        if missing:
            raise ValueError(
                f"Invalid table: expected the columns {[column.name for column in self.inputs]}. Received: "
                f"{list(frame.columns)}, without {missing}.{nearest(missing[0], frame.columns)}"
            )
        return self.filled(np.concatenate([column.encode(frame[column.name]) for column in self.inputs], axis=1))

    def unknown(self, frame: Any) -> dict[str, list[str]]:
        """Return the categories in a table that the training rows did not have, by column."""
        frame = frame.rename(columns=str)
        found = {column.name: column.unknown(frame[column.name]) for column in self.inputs}
        return {name: categories for name, categories in found.items() if categories}

    def fitted(self, x: np.ndarray) -> Columns:
        """Return the columns with the medians of the training rows x [N, F] in place of missing numbers.

        Raises:
            ValueError: if no training row has a number in a column.
        """
        inputs, first = [], 0
        for column in self.inputs:
            if column.kind != "categories":
                present = x[:, first][~np.isnan(x[:, first])]
                if not len(present):
                    raise ValueError(
                        f"Invalid `source`: expected a value of column {column.name!r} in the train part. Received: "
                        "none. Leave the column out of `inputs`, or give the train part more rows."
                    )
                column = replace(column, fill=float(np.median(present)))
            inputs.append(column)
            first += len(column.features)
        return replace(self, inputs=tuple(inputs))

    def filled(self, x: np.ndarray) -> np.ndarray:
        """Return x [N, F] with the medians in place of missing numbers; NaN stays where no median is known."""
        fills = [np.nan if c.fill is None else c.fill for c in self.inputs for _ in c.features]
        return np.where(np.isnan(x), fills, x) if np.isnan(x).any() else x


config.register(Column, Columns)


def as_categories(values: pd.Series) -> list[str]:
    """Return each entry of a column as the text that names its category."""
    return [MISSING if text is None else text for text in text_columns.stripped(values.map(_plain))]


def _plain(value: Any) -> Any:
    """Return whole numbers as integers: beside a missing entry, pandas reads 1 as 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def listed(names: Sequence[str], what: str) -> str:
    """Return "3 classes: a, b, c", with the first few of many names."""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
