"""Run folders of `bnnrl train`: checkpoints, metrics, pictures, predictions, the report, and a live table."""

from bnnrl import _moved

__getattr__ = _moved.lookup(__name__)
