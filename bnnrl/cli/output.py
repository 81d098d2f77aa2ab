"""Output of figures to the terminal."""

from __future__ import annotations

import sys
from typing import Any


def show(figures: dict[str, Any]) -> None:
    """Print one line for each figure."""
    for name, value in figures.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


def warn(message: str) -> None:
    """Print a warning to standard error."""
    print(f"bnnrl: warning: {message}", file=sys.stderr)
