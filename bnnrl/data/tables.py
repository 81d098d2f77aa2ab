"""Reader of tables: pandas DataFrames, and CSV and Parquet files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrl.checks import nearest
from bnnrl.data.settings import ReadSettings
from bnnrl.data.source import Source

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": r"\s+", ".dat": r"\s+"}
SUFFIXES = (*SEPARATORS, ".parquet", ".pq")
_MAX_CATEGORIES = 1000  # a column with more categories holds identifiers or text


def is_frame(source: Any) -> bool:
    """Return whether `source` is a DataFrame; pandas is not imported to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def read(tables: dict[str, Any], settings: ReadSettings) -> Source:
    """Return the columns of tables as arrays, encoded in the same way for all parts.

    Args:
        tables: for each part, a DataFrame or the path of a file with one of `SUFFIXES`.
        settings: `inputs` names the columns that are inputs, all but the targets if None. `targets` names the columns
            that are targets, the last column if None.

    Raises:
        ValueError: if a column or a value is missing, or a column holds no numbers, strings, booleans or categories.
        ImportError: if pandas, or pyarrow for a Parquet file, is not installed.
    """
    name = "table" if is_frame(tables["train"]) else Path(tables["train"]).stem
    frames = {part: table if is_frame(table) else _read_file(Path(table)) for part, table in tables.items()}
    targets = _columns("targets", settings.targets, frames["train"], [frames["train"].columns[-1]])
    others = [c for c in frames["train"].columns if c not in targets]
    inputs = _columns("inputs", settings.inputs, frames["train"], others)
    if not inputs or set(inputs) & set(targets):
        raise ValueError(
            f"Invalid `inputs`: expected at least one column, and none of the targets {targets}. Received: {inputs}."
        )
    for part, frame in frames.items():
        _check(frame, [*inputs, *targets], part)
    everything: Any = _pandas().concat([frame[[*inputs, *targets]] for frame in frames.values()], ignore_index=True)
    encoded = _encode(everything[inputs])
    x, y = _numbers(encoded), _targets(everything[targets])
    ends = np.cumsum([len(frame) for frame in frames.values()])[:-1]
    parts = dict(zip(frames, zip(np.split(x, ends), np.split(y, ends), strict=True), strict=True))
    return Source(name, parts, tuple(map(str, encoded.columns)), tuple(map(str, targets)))


def _pandas():
    """Return the module pandas, or raise ImportError."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("Reading a table needs pandas: pip install 'bnnrl[data]'.") from error
    return pandas


def _read_file(path: Path) -> pd.DataFrame:
    """Return the table in a file; columns of a file without a header are numbered."""
    pandas = _pandas()
    if not path.is_file():
        raise ValueError(f"Invalid `source`: expected an existing file. Received: {os.fspath(path)!r}.")
    if path.suffix.lower() not in SEPARATORS:
        try:
            return pandas.read_parquet(path)
        except ImportError as error:
            raise ImportError("Reading a Parquet file needs pyarrow: pip install 'bnnrl[data]'.") from error
        except Exception as error:  # pyarrow raises many kinds for a file that is damaged
            raise _unreadable(path, "a Parquet file", error) from error
    separator = SEPARATORS[path.suffix.lower()]
    try:
        # A first line of numbers is a row; as a header, pandas would take it for the names of the columns.
        first = pandas.read_csv(path, sep=separator, header=None, nrows=1)
        headless = all(kind.kind in "iuf" for kind in first.dtypes)
        return pandas.read_csv(path, sep=separator, header=None if headless else "infer")
    except pandas.errors.EmptyDataError as error:
        raise ValueError(f"Invalid `source`: expected at least one row. Received: {os.fspath(path)!r}.") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, "a table in UTF-8", error) from error
    except (ValueError, OverflowError) as error:  # the kinds of `pandas.errors.ParserError` among them
        raise _unreadable(path, "a table", error) from error


def _unreadable(path: Path, expected: str, error: Exception) -> ValueError:
    return ValueError(f"Invalid `source`: expected {expected}. Received: {os.fspath(path)!r}. {error}")


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
    """Raise ValueError unless the frame has rows, distinct columns, `columns` among them, and no missing values."""
    if not frame.columns.is_unique or not set(columns) <= set(frame.columns):
        raise ValueError(
            f"Invalid `source`: expected distinct columns, {columns} among them. Received: {list(frame.columns)} in "
            f"the {part} part."
        )
    if not len(frame):
        raise ValueError(f"Invalid `source`: expected at least one row. Received: none in the {part} part.")
    missing = np.argwhere(frame[columns].isna().to_numpy())
    if len(missing):
        row, column = missing[0]
        raise ValueError(
            f"Invalid `source`: expected no missing values. Received: {len(missing)} in the {part} part, the first in "
            f"row {row}, column {columns[column]!r}. Drop such rows (`dropna`) or fill them in (`fillna`)."
        )


def _encode(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with categorical columns one-hot encoded as "column=category", in the order of the columns."""
    pandas = _pandas()
    is_ = pandas.api.types
    frame = frame.infer_objects()
    categories = {}
    for name, column in frame.items():
        if is_.is_numeric_dtype(column) and not is_.is_bool_dtype(column) and not is_.is_complex_dtype(column):
            continue
        strings = is_.is_string_dtype(column) or isinstance(column.dtype, pandas.CategoricalDtype)
        if not strings and not is_.is_bool_dtype(column):
            raise ValueError(
                f"Invalid `source`: expected columns of numbers, strings, booleans or categories. Received: column "
                f"{name!r} of type {column.dtype}. Convert it to numbers, or leave it out of `inputs`."
            )
        # A declared categorical type keeps its order of categories, and a column for those without rows.
        categories[name] = column.astype("category")
        if len(categories[name].cat.categories) > _MAX_CATEGORIES:
            raise ValueError(
                f"Invalid `source`: expected at most {_MAX_CATEGORIES} categories in a column. Received: "
                f"{len(categories[name].cat.categories)} in column {name!r}. Leave it out of `inputs`."
            )
    blocks = [
        pandas.get_dummies(categories[name], prefix=str(name), prefix_sep="=", dtype=np.float32)
        if name in categories
        else frame[[name]]
        for name in frame.columns
    ]
    return pandas.concat(blocks, axis=1)


def _numbers(frame: pd.DataFrame) -> np.ndarray:
    """Return all columns as [N, F]: int64 if all are integers, else float64."""
    integers = all(_pandas().api.types.is_integer_dtype(kind) for kind in frame.dtypes)
    return frame.to_numpy(np.int64 if integers else np.float64)


def _targets(frame: pd.DataFrame) -> np.ndarray:
    """Return a single column as [N], and several columns of numbers as [N, K]."""
    # A list turns every column type, including categories and nullable integers, into plain Python values.
    columns = [np.array(frame[name].tolist()) for name in frame.columns]
    if len(columns) == 1:
        return columns[0]
    for name, column in zip(frame.columns, columns, strict=True):
        if column.dtype.kind not in "biuf":
            raise ValueError(
                f"Invalid `targets`: expected one column of classes, or columns of numbers. Received: "
                f"{list(frame.columns)}, with {name!r} of type {column.dtype}."
            )
    return np.stack(columns, axis=1)
