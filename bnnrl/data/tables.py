"""Reader of tables: pandas DataFrames, and CSV and Parquet files."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrl import _moved
from bnnrl.checks import nearest
from bnnrl.data import text_columns
from bnnrl.data.columns import MISSING, Column, Columns, as_categories
from bnnrl.data.settings import ReadSettings
from bnnrl.data.source import Source
from bnnrl.data.table_files import SUFFIXES, pandas_module, read_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUFFIXES", "ColumnWarning", "is_frame", "read"]

_MAX_CATEGORIES = 1000  # a column with more categories holds identifiers or text
_FEW_CATEGORIES = 20  # of more, a column has to have two rows for each
_IDENTIFIER = re.compile(r"(?i)unnamed: 0|(?:.*[_ ])?(?:id|index|rowid)|row(?:_?number)?|no|number|nr")


class ColumnWarning(UserWarning):
    """Columns or rows of a table that are left out."""


def is_frame(source: Any) -> bool:
    """Return whether `source` is a DataFrame; pandas is not imported to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def read(tables: dict[str, Any], settings: ReadSettings) -> Source:
    """Return the columns of tables as arrays, encoded in the same way for all parts.

    Args:
        tables: for each part, a DataFrame or the path of a file with one of `SUFFIXES`.
        settings: `inputs` names the columns that are inputs, all but the targets and the groups if None, and `exclude`
            those that are not. `targets` names the columns that are targets, the last column if None. `groups` and
            `times` name the columns by which rows are divided.

    Returns:
        Inputs float64 [N, F], with NaN for missing numbers, and the source's `columns`.

    Raises:
        ValueError: if a column is missing, is one that cannot be an input and is named in `inputs`, or no input is
            left.
        ImportError: if pandas, or pyarrow for a Parquet file, is not installed.

    Warns:
        ColumnWarning: if columns or rows are left out.
    """
    name = "table" if is_frame(tables["train"]) else Path(tables["train"]).stem
    frames = {part: table if is_frame(table) else read_file(Path(table)) for part, table in tables.items()}
    train = frames["train"]
    targets = _columns("targets", settings.targets, train, [train.columns[-1]] if len(train.columns) else [])
    exclude = _columns("exclude", settings.exclude, train, [])
    groups = _divider("groups", settings.groups, train, targets)
    times = None if settings.times == "rows" else _divider("times", settings.times, train, targets)
    others = [c for c in train.columns if c not in targets and c != groups]
    inputs = [c for c in _columns("inputs", settings.inputs, train, others) if c not in exclude]
    if not inputs or set(inputs) & set(targets):
        raise ValueError(
            f"Invalid `inputs`: expected at least one column, and none of the targets {targets}. Received: {inputs}."
        )
    for part, frame in frames.items():
        _check(frame, [*inputs, *targets], part)
    frames, dropped = _with_targets(frames, targets)
    everything: Any = pandas_module().concat([f[[*inputs, *targets]] for f in frames.values()], ignore_index=True)
    columns = _infer(everything, inputs, settings.inputs is not None)
    columns = Columns(columns.inputs, tuple(map(str, targets)), None, columns.left_out, dropped)
    _warn(columns)
    if groups is not None and groups not in inputs:
        columns = replace(columns, left_out=(*columns.left_out, (str(groups), "the groups that rows are divided by")))
    x, y = columns.encode(everything), _targets(everything[targets], dropped > 0)
    if all(pandas_module().api.types.is_integer_dtype(everything[name]) for name in inputs):
        x = x.astype(np.int64)  # such as tokens, which are not standardised
    ends = np.cumsum([len(frame) for frame in frames.values()])[:-1]
    parts = dict(zip(frames, zip(np.split(x, ends), np.split(y, ends), strict=True), strict=True))
    found = Source(name, parts, columns.features, columns.targets, columns=columns)
    return found._replace(
        groups=None if groups is None else np.array(_text(frames["train"][groups]).tolist(), dtype=object),
        times=None if times is None else _times(str(times), frames["train"][times]),
    )


def _divider(argument: str, name: Any, frame: pd.DataFrame, targets: list) -> Any:
    """Return the name of the column that rows are divided by, or None.

    Raises:
        ValueError: if it is not the name of a column, or that of a target.
    """
    if name is None:
        return None
    if not isinstance(name, str | int) or name in targets:
        raise ValueError(
            f"Invalid `{argument}`: expected the name of a column that is no target. Received: {name!r:.90}."
        )
    return _columns(argument, name, frame, [])[0]


def _times(name: str, values: pd.Series) -> np.ndarray:
    """Return the entries of a column of numbers or dates as numbers, float64 [N]: NaN where they are missing.

    Raises:
        ValueError: if the column holds something else.
    """
    column = infer(name, values, named=True)
    if isinstance(column, str) or column.kind == "categories":
        raise ValueError(
            f"Invalid `times`: expected a column of numbers or dates. Received: {name!r}, "
            f"{column if isinstance(column, str) else column.describe()}. Write dates as 2024-12-31."
        )
    return column.encode(values)[:, 0]


def _columns(argument: str, names, frame: pd.DataFrame, default: Sequence) -> list:
    """Return the columns that `names` lists, or `default` if it is None."""
    if names is None:
        return list(default)
    names = list(names) if isinstance(names, list | tuple) else [names]
    if not names:
        raise ValueError(
            f"Invalid `{argument}`: expected at least one of the columns {list(frame.columns)}. Received: none."
        )
    for name in names:
        if not isinstance(name, str | int) or name not in frame.columns:
            near = nearest(str(name), map(str, frame.columns))
            raise ValueError(
                f"Invalid `{argument}`: expected columns among {list(frame.columns)}. Received: {name!r}.{near}"
            )
    return names


def _check(frame: pd.DataFrame, columns: list, part: str) -> None:
    """Raise ValueError unless the frame has rows and distinct columns, `columns` among them."""
    if not frame.columns.is_unique or not set(columns) <= set(frame.columns):
        raise ValueError(
            f"Invalid `source`: expected distinct columns, {columns} among them. Received: {list(frame.columns)} in "
            f"the {part} part."
        )
    if not len(frame):
        raise ValueError(f"Invalid `source`: expected at least one row. Received: none in the {part} part.")


def _with_targets(frames: dict[str, Any], targets: list) -> tuple[dict[str, Any], int]:
    """Return the frames without rows whose target is missing, and the number of these rows."""
    missing = {part: _missing(frame[targets]) for part, frame in frames.items()}
    for part, rows in missing.items():
        if rows.all():
            raise ValueError(f"Invalid `targets`: expected values of {targets}. Received: none in the {part} part.")
    kept = {part: frame[~missing[part]].infer_objects() for part, frame in frames.items()}
    return kept, int(sum(rows.sum() for rows in missing.values()))


def _missing(frame: Any) -> np.ndarray:
    """Return which rows have a missing entry, bool [N]."""
    return np.any(
        [_text(frame[name]).isna() if _is_text(frame[name]) else frame[name].isna() for name in frame], axis=0
    )


def _infer(frame: Any, names: list, named: bool) -> Columns:
    """Return what the columns were taken for; `named` says that the user chose them, so that none is left out."""
    found = {name: infer(str(name), frame[name], named) for name in names}
    left_out = {str(name): column for name, column in found.items() if isinstance(column, str)}
    if named and left_out:
        name, reason = next(iter(left_out.items()))
        raise ValueError(
            f"Invalid `inputs`: expected columns of numbers, dates or categories. Received: {name!r}, {reason}. Leave "
            "it out of `inputs`, or turn it into numbers or a few categories."
        )
    inputs = tuple(column for column in found.values() if isinstance(column, Column))
    if not inputs:
        raise ValueError(
            f"Invalid `inputs`: expected at least one column of numbers, dates or categories. Received: {left_out}."
        )
    return Columns(inputs, left_out=tuple(left_out.items()))


def infer(name: str, values: pd.Series, named: bool = False) -> Column | str:
    """Return what a column is taken for, or the reason why it cannot be an input.

    Args:
        name: of the column.
        values: its entries.
        named: whether the user named it as an input: numbers are then never taken for identifiers.

    Raises:
        ValueError: if the entries are of a type that is neither numbers, dates, text, booleans nor categories.
    """
    pandas = pandas_module()
    is_, missing = pandas.api.types, int(values.isna().sum())
    if missing == len(values):
        return "no entry in any row"
    if is_.is_datetime64_any_dtype(values):
        return Column(name, "date", missing=missing)
    if _is_number(values):
        identifies = is_.is_integer_dtype(values) and values.is_unique and len(values) > _FEW_CATEGORIES
        if identifies and _IDENTIFIER.fullmatch(name) and not named:
            return "a number that differs in each row and is named like an identifier"
        return Column(name, "number", missing=missing)
    if isinstance(values.dtype, pandas.CategoricalDtype):
        # A declared categorical type keeps its order of categories, and a feature for those without rows.
        categories = [str(category) for category in values.cat.categories]
        return Column(name, "categories", (*categories, MISSING) if missing else tuple(categories), missing=missing)
    if not _is_text(values) and not is_.is_bool_dtype(values):
        raise ValueError(
            f"Invalid `source`: expected columns of numbers, dates, strings, booleans or categories. Received: column "
            f"{name!r} of type {values.dtype}. Convert it to numbers, or leave it out by `exclude`."
        )
    return _infer_text(name, values)


def _infer_text(name: str, values: pd.Series) -> Column | str:
    text = _text(values)
    missing = int(text.isna().sum())
    if missing == len(text):
        return "no entry in any row"
    if decimal := text_columns.decimal_mark(text):
        return Column(name, "number", decimal=decimal, missing=missing)
    day_first = text_columns.day_first(text)
    if day_first is not None:
        return Column(name, "date", day_first=day_first, missing=missing)
    categories = sorted(set(as_categories(values)))
    if len(categories) > _MAX_CATEGORIES or _is_near_unique(len(categories), len(text)):
        return f"text of {len(categories)} different values in {len(text)} rows, such as {text.dropna().iloc[0]!r}"
    return Column(name, "categories", tuple(categories), missing=missing)


def _is_near_unique(distinct: int, rows: int) -> bool:
    return distinct > max(_FEW_CATEGORIES, rows / 2)


def _is_number(values: pd.Series) -> bool:
    is_ = pandas_module().api.types
    return is_.is_numeric_dtype(values) and not is_.is_bool_dtype(values) and not is_.is_complex_dtype(values)


def _is_text(values: pd.Series) -> bool:
    """Return whether a column holds text, or booleans beside missing entries."""
    is_ = pandas_module().api.types
    return is_.is_string_dtype(values) or (
        is_.is_object_dtype(values) and all(isinstance(v, str | bool | float | None) for v in values)
    )


def _text(values: pd.Series) -> pd.Series:
    return text_columns.stripped(values)


def _targets(frame: Any, had_missing: bool) -> np.ndarray:
    """Return a single column as [N], and several columns of numbers as [N, K]."""
    columns = [_target(str(name), frame[name], had_missing) for name in frame.columns]
    if len(columns) == 1:
        return columns[0]
    for name, column in zip(frame.columns, columns, strict=True):
        if column.dtype.kind not in "biuf":
            raise ValueError(
                f"Invalid `targets`: expected one column of classes, or columns of numbers. Received: "
                f"{list(frame.columns)}, with {name!r} of type {column.dtype}."
            )
    return np.stack(columns, axis=1)


def _target(name: str, values: pd.Series, had_missing: bool) -> np.ndarray:
    """Return a column, whose missing entries are gone, as numbers, booleans or strings, [N]."""
    if _is_number(values) or isinstance(values.dtype, pandas_module().CategoricalDtype):
        found = np.array(values.tolist())  # a list turns nullable integers into plain ones
        # Beside missing entries pandas reads integers as floats.
        whole = had_missing and found.dtype.kind == "f" and np.array_equal(found, np.round(found))
        return found.astype(np.int64) if whole else found
    if pandas_module().api.types.is_bool_dtype(values):
        return np.array(values.tolist())
    column = infer(name, values, named=True)
    if isinstance(column, str):
        raise ValueError(
            f"Invalid `targets`: expected numbers or classes. Received: {name!r}, {column}. Name another column."
        )
    return np.array(_text(values).tolist()) if column.kind == "categories" else column.encode(values)[:, 0]


def _warn(columns: Columns) -> None:
    told = [f"the column {name!r}: {reason}" for name, reason in columns.left_out]
    if columns.rows_left_out:
        told.append(f"{columns.rows_left_out} rows without a target")
    if told:
        warnings.warn(f"Left out are {'; '.join(told)}. `inputs` names columns.", ColumnWarning, stacklevel=5)


__getattr__ = _moved.lookup(__name__)
