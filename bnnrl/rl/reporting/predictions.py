"""What the model expected of each trial, as quantiles of its particles, and how often reality fell inside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from bnnrl.plots.control import LEVELS
from bnnrl.rl.callbacks import Prediction, Trial
from bnnrl.rl.episodes import Episode
from bnnrl.rl.pilco import PILCO
from bnnrl.storage.atomic import atomic_write

BANDS = {50: (1, 3), 95: (0, 4)}  # per cent inside, and the rows of the band's lower and upper end
_FOLDER = "predictions"


class Summary(NamedTuple):
    """Quantiles of a trial's particles at `LEVELS`; NaN or infinite where particles left what a float can hold."""

    obs: np.ndarray  # [5, H + 1, O] float32, of each observation entry
    costs: np.ndarray  # [5, H] float32

    @classmethod
    def of(cls, prediction: Prediction) -> Summary:
        """Return the quantiles of a prediction."""
        with np.errstate(invalid="ignore"):  # between two infinite particles lies NaN
            quantiles = (np.percentile(a, LEVELS, axis=1) for a in (prediction.obs, prediction.costs))
            return cls(*(q.astype(np.float32) for q in quantiles))


class Compared(NamedTuple):
    """A trial beside what was expected of it."""

    trial: Trial
    predicted: Summary
    episode: Episode


def write(folder: str | os.PathLike[str], trial: int, prediction: Prediction) -> None:
    """Write the summary of a trial's prediction to the run folder, whole or not at all."""
    path = _path(folder, trial)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(safetensors.numpy.save(Summary.of(prediction)._asdict()))


def compare(folder: str | os.PathLike[str], agent: PILCO) -> list[Compared]:
    """Return each trial that was planned beside what was expected of it, oldest first.

    Left out are trials whose summary the folder does not have, as those of runs by earlier versions, save the last one,
    whose prediction the agent itself holds.

    Raises:
        ValueError: if a summary is damaged.
    """
    found = []
    for trial, episode in trial_episodes(agent):
        summary = _read(_path(folder, trial.trial))
        is_last = trial is agent.history[-1] and episode is agent.episodes[-1]
        if summary is None and is_last and agent.prediction is not None:
            summary = Summary.of(agent.prediction)
        if summary is not None and summary.obs.shape[-1] == episode.obs.shape[-1]:
            found.append(Compared(trial, summary, episode))
    return found


def trial_episodes(agent: PILCO) -> list[tuple[Trial, Episode]]:
    """Return each trial with its real episode.

    An episode that a fault of the environment cut short is among the agent's, but of no trial: steps tell them apart.
    """
    ends = np.cumsum([len(episode) for episode in agent.episodes])
    return [(trial, agent.episodes[int(np.searchsorted(ends, trial.steps))]) for trial in agent.history]


def coverage(compared: list[Compared]) -> dict[int, np.ndarray]:
    """Return the share of real observation entries inside each of `BANDS`, over trials, at steps 1, 2, … [T].

    Step 0 is left out: there the bands are of the initial states observed so far, and not of the model.

    Args:
        compared: at least one trial.
    """
    steps = min(max(len(c.episode) for c in compared), max(c.predicted.costs.shape[1] for c in compared))
    shares = {}
    for per_cent, (low, high) in BANDS.items():
        inside: list[list[bool]] = [[] for _ in range(steps)]
        for _, predicted, episode in compared:
            last = min(len(episode), predicted.costs.shape[1]) + 1
            bands, real = predicted.obs[:, 1:last], episode.obs[1:last]
            for step, hits in enumerate((bands[low] <= real) & (real <= bands[high])):
                inside[step].extend(hits)
        shares[per_cent] = np.array([np.mean(hits) for hits in inside])
    return shares


def _path(folder: str | os.PathLike[str], trial: int) -> Path:
    return Path(folder) / _FOLDER / f"trial_{trial}.safetensors"


def _read(path: Path) -> Summary | None:
    if not path.is_file():
        return None
    try:
        return Summary(**safetensors.numpy.load(path.read_bytes()))
    except (safetensors.SafetensorError, TypeError) as error:
        raise ValueError(
            f"Invalid run folder: expected {path} as it was written. Received: a damaged file ({error}). "
            "Remove it: the report then leaves that trial's prediction out."
        ) from error
