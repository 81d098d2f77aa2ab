"""Whether float32, in which models and policies compute, resolves how much observations vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bnnrl.rl.centre import centre_of
from bnnrl.rl.episodes import Episode
from bnnrl.rl.tasks import Task

_STEPS = 100  # of a float32, by which an entry has to vary so that one hundredth of its variation is not lost
_LARGE = 100.0  # Smaller entries that vary so little do so by the rounding of their simulator.
REMEDY = (
    "Subtract a constant from the observations, such as by gymnasium.wrappers.TransformObservation: a float32 has "
    "seven digits. Agents do so with observations of type float64, but the functions of a task are given float32."
)


class PrecisionWarning(UserWarning):
    """Observations vary by so little beside their size that float32 hardly resolves it."""


class Coarse(NamedTuple):
    """The entries that vary by a few steps of a float32 at most, and what to say of them."""

    entries: list[int]
    words: str


def coarse_entries(episodes: Sequence[Episode], task: Task) -> Coarse | None:
    """Return the large observation entries that vary by fewer than 100 steps of a float32; None if there are none.

    Entries of type float64 count where a function of the task is given them as float32, or where an agent does not
    subtract a constant from them, see `LearnedEnv.centre`. The spread is that before observations were rounded, where
    the environment gives no other state.
    """
    states = np.concatenate([e.states for e in episodes])
    obs = np.concatenate([e.obs for e in episodes])[:, : states.shape[1]]
    is_rounded = np.array_equal(states.astype(np.float32), obs)
    exact = states if is_rounded else obs.astype(np.float64)
    spread, largest = exact.std(axis=0), np.abs(exact).max(axis=0)
    step = np.spacing(largest.astype(np.float32)).astype(np.float64)
    varies = (np.ptp(exact, axis=0) > 0) & (largest > _LARGE)
    coarse = varies & (spread < _STEPS * step)
    if obs.dtype == np.float64 and not (task.cost or task.termination or task.constraints):
        coarse &= np.array(centre_of(exact, task) or 0.0) == 0
    entries = np.flatnonzero(coarse).tolist()
    if not entries:
        return None
    return Coarse(
        entries,
        f"entries {entries} vary by {spread[entries].min():.3g} about values of up to {largest[entries].max():.3g}, "
        f"which is less than {_STEPS} steps of a float32 there.",
    )
