"""Data for supervised learning: rows from many sources, divided into parts, with scalers; and padding."""

from bnnrl.data.loading import Data, load
from bnnrl.data.scaler import Scaler, check_rows, pad_rows

__all__ = ["Data", "Scaler", "check_rows", "load", "pad_rows"]
