"""Whether float32, in which models and policies compute, resolves how much observations vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bnnrl.rl.episodes import Episode

_STEPS = 100  # of a float32, by which an entry has to vary so that one hundredth of its variation is not lost
_LARGE = 100.0  # Smaller entries that vary so little do so by the rounding of their simulator.
REMEDY = (
    "Subtract a constant from the observations, such as by gymnasium.wrappers.TransformObservation: a float32 has "
    "seven digits."
)


class PrecisionWarning(UserWarning):
    """Observations vary by so little beside their size that float32 hardly resolves it."""


class Coarse(NamedTuple):
    """The entries that vary by a few steps of a float32 at most, and what to say of them."""

    entries: list[int]
    words: str


def coarse_entries(episodes: Sequence[Episode]) -> Coarse | None:
    """Return the large observation entries that vary by fewer than 100 steps of a float32; None if there are none.

    The spread is that before the observations were rounded, where the environment gives no other state.
    """
    obs = np.concatenate([e.obs for e in episodes])
    states = np.concatenate([e.states for e in episodes])
    exact, width = obs.astype(np.float64), states.shape[1]
    if np.array_equal(states.astype(np.float32), obs[:, :width]):
        exact[:, :width] = states
    spread, largest = exact.std(axis=0), np.abs(exact).max(axis=0)
    step = np.spacing(largest.astype(np.float32)).astype(np.float64)
    varies = (np.ptp(exact, axis=0) > 0) & (largest > _LARGE)
    entries = np.flatnonzero(varies & (spread < _STEPS * step)).tolist()
    if not entries:
        return None
    return Coarse(
        entries,
        f"entries {entries} vary by {spread[entries].min():.3g} about values of up to {largest[entries].max():.3g}, "
        f"which is less than {_STEPS} steps of a float32 there.",
    )
