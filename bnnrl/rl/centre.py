"""What is subtracted from observation entries far from zero, which float32 would not resolve."""

from __future__ import annotations

import numpy as np

from bnnrl.rl.tasks import Task

_FAR = 1000.0  # standard deviations from zero, beyond which an entry is far from it
_LARGE = 1.0  # Smaller entries may be cosines near 1, which stay on their circle with the sines.


def centre_of(obs: np.ndarray, task: Task) -> tuple[float, ...]:
    """Return the constants to subtract from observations [N, O]: O numbers, or () if no entry is far from zero.

    They are the means of entries far from zero, rounded to the first digit of the standard deviation, and 0 for the
    other entries. Angles, and velocities that positions follow from, are left: their zero has a meaning.
    """
    obs = np.asarray(obs, np.float64)
    mean, std = obs.mean(axis=0), obs.std(axis=0)
    far = (np.abs(mean) > np.maximum(_FAR * std, _LARGE)) & (np.ptp(obs, axis=0) > 0)
    far[[*task.angles, *task.velocities.values()]] = False
    digit = 10.0 ** np.floor(np.log10(np.where(far, std, 1.0)))
    return tuple(np.where(far, np.round(mean / digit) * digit, 0.0).tolist()) if far.any() else ()
