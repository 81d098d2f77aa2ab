"""Data for supervised learning: `load` reads, divides and standardizes rows from many kinds of source."""

from bnnrl.data.loading import Data, load
from bnnrl.data.scaler import Scaler, check_rows, pad_rows, round_up_rows

__all__ = ["Data", "Scaler", "check_rows", "load", "pad_rows", "round_up_rows"]
