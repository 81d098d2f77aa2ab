"""Data for supervised learning: `load` reads, divides and standardizes rows from many kinds of source."""

from bnnrl.data.columns import Column, Columns, listed
from bnnrl.data.loading import Data, load
from bnnrl.data.scaler import Scaler, check_rows, pad_rows, round_up_rows
from bnnrl.data.tables import ColumnWarning

__all__ = [
    "Column",
    "ColumnWarning",
    "Columns",
    "Data",
    "Scaler",
    "check_rows",
    "listed",
    "load",
    "pad_rows",
    "round_up_rows",
]
