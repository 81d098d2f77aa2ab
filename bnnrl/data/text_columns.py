"""Numbers and dates that a table holds as text, such as "$1,234.50", "1.234,5" or "2024-03-01", and missing marks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# In lower case; pandas itself takes most of them for missing when it reads a file.
MISSING_MARKS = ("", "?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")

_SYMBOLS = r"[\s$€£¥₹%]"
_EXPONENT = r"(?:[eE][-+]?\d+)?"
_NUMBERS = {  # by decimal mark, with the other mark between thousands
    ".": rf"[-+]?(?:(?:\d+|\d{{1,3}}(?:,\d{{3}})+)(?:\.\d*)?|\.\d+){_EXPONENT}",
    ",": rf"[-+]?(?:(?:\d+|\d{{1,3}}(?:\.\d{{3}})+)(?:,\d*)?|,\d+){_EXPONENT}",
}
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = rf"\d{{4}}[-/]\d{{1,2}}|.*\d{{1,4}}[-/.]\d{{1,2}}[-/.]\d{{1,4}}.*|.*(?:{_MONTHS}).*\d{{4}}.*"


def stripped(text: pd.Series) -> pd.Series:
    """Return text without blanks around it, and None for missing entries and `MISSING_MARKS`."""
    values = [None if _is_null(value) else str(value).strip() for value in text]
    found = [None if value is None or value.lower() in MISSING_MARKS else value for value in values]
    return type(text)(found, index=text.index, dtype=object)


def _is_null(value) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or str(value) in ("<NA>", "NaT")


def decimal_mark(text: pd.Series) -> str | None:
    """Return the decimal mark of text that holds nothing but numbers, and None for other text."""
    plain = _without_symbols(text.dropna())
    return next((mark for mark, pattern in _NUMBERS.items() if plain.str.fullmatch(pattern).all()), None)


def numbers(text: pd.Series, decimal: str) -> np.ndarray:
    """Return the numbers that text from `stripped` holds, float64 [N]: NaN where an entry is missing or no number."""
    plain = _without_symbols(text)
    plain = plain.where(plain.str.fullmatch(_NUMBERS[decimal]).fillna(False).astype(bool), None)
    plain = plain.str.replace("." if decimal == "," else ",", "", regex=False).str.replace(",", ".", regex=False)
    return plain.astype("float64").to_numpy()


def _without_symbols(text: pd.Series) -> pd.Series:
    plain = text.astype("object").str.replace(_SYMBOLS, "", regex=True)
    return plain.str.replace(r"^\((.*)\)$", r"-\1", regex=True)  # in accounts, negative amounts are in parentheses


def days(values: pd.Series, day_first: bool = False) -> np.ndarray:
    """Return dates, or text from `stripped`, as days since 1970-01-01, float64 [N]: NaN where an entry is no date."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the format of dates is not the same in each row
        dates = pandas.to_datetime(values, errors="coerce", utc=True, dayfirst=day_first)
    since = (dates - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)
    return since.to_numpy(np.float64)


def day_first(text: pd.Series) -> bool | None:
    """Return whether the day comes first in text that holds nothing but dates, and None for other text."""
    present = text.dropna()
    if not present.str.lower().str.fullmatch(_DATE).all():
        return None
    return next((first for first in (False, True) if not np.isnan(days(present, first)).any()), None)
