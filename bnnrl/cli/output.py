"""Output of figures to the terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bnnrl.checks import nearest


def show(figures: dict[str, Any]) -> None:
    """Print one line for each figure."""
    for name, value in figures.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


def check_file(path: str) -> None:
    """Raise ValueError, before the slow import of TensorFlow, if `path` is written like a file and there is none."""
    file = Path(path)
    if file.exists() or not (file.suffix or os.sep in path):
        return
    folder = file.parent
    known = [str(folder / entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
    where = "" if folder.is_dir() else f" There is no folder {str(folder)!r} either."
    raise ValueError(f"Invalid file: expected an existing one. Received: {path!r}.{nearest(path, known)}{where}")


def warn(message: str) -> None:
    """Print a warning to standard error."""
    print(f"bnnrl: warning: {message}", file=sys.stderr)
