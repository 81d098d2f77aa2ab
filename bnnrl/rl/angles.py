"""Arithmetic of angles."""

from __future__ import annotations

import numpy as np


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """Return angles in radians, [...], shifted by multiples of 2π into (−π, π]."""
    return np.pi - np.mod(np.pi - angle, 2 * np.pi)
