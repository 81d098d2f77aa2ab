"""What a run leaves behind: its folder, tables, pictures and report.html."""

from bnnrl import _moved

__getattr__ = _moved.lookup(__name__)
