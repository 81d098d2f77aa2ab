"""Files of tables: CSV with any usual separator and encoding, text with blanks between columns, and Parquet."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnnrl.data import text_columns

if TYPE_CHECKING:
    import pandas as pd

_TEXT = (".csv", ".tsv", ".txt", ".dat")
SUFFIXES = (*_TEXT, ".parquet", ".pq")
_SEPARATORS = ",;\t|"
_ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")  # the last one can read anything


def pandas_module():
    """Return the module pandas.

    Raises:
        ImportError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("Reading a table needs pandas: pip install 'bnnrl[data]'.") from error
    return pandas


def read_file(path: Path, as_text: Sequence[str] = ()) -> pd.DataFrame:
    """Return the table in a file; columns of a file without a header are numbered.

    Args:
        path: a file with one of `SUFFIXES`.
        as_text: names of columns that are read as text, though they may hold numbers.

    Raises:
        ValueError: if there is no such file, or it holds no table.
        ImportError: if pandas, or pyarrow for a Parquet file, is not installed.
    """
    pandas = pandas_module()
    if not path.is_file():
        raise ValueError(f"Invalid `source`: expected an existing file. Received: {os.fspath(path)!r}.")
    if path.suffix.lower() not in _TEXT:
        try:
            return pandas.read_parquet(path)
        except ImportError as error:
            raise ImportError("Reading a Parquet file needs pyarrow: pip install 'bnnrl[data]'.") from error
        except Exception as error:  # pyarrow raises many kinds for a file that is damaged
            raise _unreadable(path, "a Parquet file", error) from error
    try:
        return _read_text(path, as_text)
    except pandas.errors.EmptyDataError as error:
        raise ValueError(f"Invalid `source`: expected at least one row. Received: {os.fspath(path)!r}.") from error
    except (ValueError, OverflowError, csv.Error) as error:  # the kinds of `pandas.errors.ParserError` among them
        raise _unreadable(path, "a table", error) from error


def _read_text(path: Path, as_text: Sequence[str]) -> pd.DataFrame:
    encoding = _encoding(path)
    with open(path, encoding=encoding, newline="") as file:
        first = next((line for line in file if line.strip()), "")
    how = {"sep": _separator(path, first), "encoding": encoding, "skipinitialspace": True, "low_memory": False}
    pandas = pandas_module()
    top = pandas.read_csv(path, header=None, nrows=1, **how)
    # A first line of numbers is a row; as a header, pandas would take it for the names of the columns.
    headless = all(
        kind.kind in "iuf" or text_columns.decimal_mark(top[name].map(str)) for name, kind in top.dtypes.items()
    )
    return pandas.read_csv(path, header=None if headless else "infer", dtype=dict.fromkeys(as_text, str), **how)


def _encoding(path: Path) -> str:
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in content:
        raise ValueError("It holds bytes of 0, which text does not.")
    return next(name for name in _ENCODINGS if _decodes(content, name))


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _separator(path: Path, line: str) -> str:
    """Return the separator of which the first line has most; without any, a comma, or blanks in .txt and .dat."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    counts = {sep: len(next(csv.reader([line], delimiter=sep), [])) for sep in _SEPARATORS}
    best = max(counts, key=lambda sep: counts[sep])
    if counts[best] > 1:
        return best
    return "," if path.suffix.lower() == ".csv" else r"\s+"


def _unreadable(path: Path, expected: str, error: Exception) -> ValueError:
    return ValueError(f"Invalid `source`: expected {expected}. Received: {os.fspath(path)!r}. {error}")
