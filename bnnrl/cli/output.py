"""Output of figures to the terminal."""

from __future__ import annotations

from typing import Any


def show(figures: dict[str, Any]) -> None:
    """Print one line for each figure."""
    for name, value in figures.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
