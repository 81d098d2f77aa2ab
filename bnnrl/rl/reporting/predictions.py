"""Predictions of each trial as quantiles of the model's particles, saved in the run folder, and their coverage."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnnrl import metrics
from bnnrl.plots.control import quantiles
from bnnrl.rl.angles import unwrapped
from bnnrl.rl.callbacks import Prediction, Trial
from bnnrl.rl.episodes import Episode
from bnnrl.rl.pilco import PILCO
from bnnrl.storage import arrays
from bnnrl.storage.atomic import atomic_write, explained

# Probability of a predicted band in per cent -> indices of its lower and upper quantile in `LEVELS`.
BANDS = {50: (1, 3), 95: (0, 4)}
_MEDIAN = 2  # index in `LEVELS`
_FOLDER = "predictions"


class Quantiles(NamedTuple):
    """Quantiles of a trial's particles at the probabilities `LEVELS`; NaN or infinite where particles overflowed."""

    obs: np.ndarray  # [5, H + 1, O] quantiles of each observation entry
    costs: np.ndarray  # [5, H] quantiles of the cost of each step

    @classmethod
    def of(cls, prediction: Prediction) -> Quantiles:
        """Return the quantiles of a prediction's particles."""
        return cls(*(quantiles(a).astype(a.dtype) for a in (prediction.obs, prediction.costs)))


class TrialComparison(NamedTuple):
    """A trial, the prediction made before it, and its real episode."""

    trial: Trial
    predicted: Quantiles
    episode: Episode


def write(folder: str | os.PathLike[str], trial: int, prediction: Prediction) -> None:
    """Write the quantiles of a trial's prediction to the run folder, atomically."""
    path = _path(folder, trial)
    with explained(path):
        path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(arrays.to_bytes(Quantiles.of(prediction)._asdict()))


def compare(folder: str | os.PathLike[str], agent: PILCO) -> list[TrialComparison]:
    """Return the trials that have a prediction, each with its prediction and its real episode, oldest first.

    The first trial acts at random and has none. Trials whose quantiles are not in the folder, as in runs of early
    versions, are left out, except for the last trial, whose prediction the agent itself holds.

    Raises:
        ValueError: if a file of quantiles is damaged.
    """
    found = []
    for trial, episode in trial_episodes(agent):
        quantiles = _read(_path(folder, trial.trial))
        is_last = trial is agent.history[-1] and episode is agent.episodes[-1]
        if quantiles is None and is_last and agent.prediction is not None:
            quantiles = Quantiles.of(agent.prediction)
        if quantiles is not None and quantiles.obs.shape[-1] == agent.learned_env.memory.num_obs:
            found.append(TrialComparison(trial, quantiles, aligned(agent, episode, quantiles.obs[_MEDIAN, 0])))
    return found


def aligned(agent: PILCO, episode: Episode, start: np.ndarray) -> Episode:
    """Return an episode with the environment's own observations, as predictions have them.

    Wrapped angles have no jumps, and begin near `start` [O].
    """
    near, memory = {i: float(start[i]) for i in agent.learned_env.wrapped}, agent.learned_env.memory
    return replace(episode, obs=unwrapped(memory.newest(episode.obs), near)) if near or not memory.is_empty else episode


def trial_episodes(agent: PILCO) -> list[tuple[Trial, Episode]]:
    """Return each trial with its last real episode.

    An episode that a fault of the environment cut short belongs to the agent's data but to no trial, so episodes are
    matched to trials by the number of steps so far.
    """
    ends = np.cumsum([len(episode) for episode in agent.episodes])
    return [(trial, agent.episodes[int(np.searchsorted(ends, trial.steps))]) for trial in agent.history]


def coverage(compared: list[TrialComparison]) -> dict[int, np.ndarray]:
    """Return how often real observation entries fell inside the predicted bands, by steps ahead.

    Step 0 is left out, since its bands are those of the initial states observed so far, not of the model.

    Args:
        compared: at least one trial.

    Returns:
        For each band in `BANDS`, the share of entries inside over all trials, at steps 1, 2, …, [T].
    """
    steps = min(max(len(c.episode) for c in compared), max(c.predicted.costs.shape[1] for c in compared))
    shares = {}
    for per_cent in BANDS:
        inside: list[list[bool]] = [[] for _ in range(steps)]
        for comparison in compared:
            for step, hits in enumerate(_inside(comparison, per_cent)):
                inside[step].extend(hits)
        shares[per_cent] = np.array([np.mean(hits) for hits in inside])
    return shares


def coverage_of_trials(compared: list[TrialComparison], per_cent: int) -> metrics.Coverage:
    """Return the mean over trials of the share of real observation entries inside a band, with its confidence interval.

    The trials are the rows of the interval. The steps and entries of a trial count as shares of it, since a trajectory
    that has left a band stays outside for many steps.
    """
    return metrics.coverage([np.mean(_inside(comparison, per_cent)) for comparison in compared])


def coverage_of_quarters(compared: list[TrialComparison], per_cent: int) -> list[metrics.Coverage]:
    """Return the coverage of a band as `coverage_of_trials` does, in each quarter of the predicted horizon.

    Episodes that end before a quarter begins do not count in it; quarters that no episode reaches are left out.
    """
    quarters: list[list[float]] = [[] for _ in range(4)]
    for comparison in compared:
        inside, horizon = _inside(comparison, per_cent), comparison.predicted.costs.shape[1]
        for i, shares in enumerate(quarters):
            part = inside[round(i * horizon / 4) : round((i + 1) * horizon / 4)]
            shares.extend([float(part.mean())] if len(part) else [])
    return [metrics.coverage(shares) for shares in quarters if shares]


def cost_hits(trials: list[Trial]) -> tuple[int, int]:
    """Return in how many trials the real cost was in its predicted 90 % interval, and how many have an interval."""
    hits = [
        t.predicted_cost_low <= t.compared_cost <= t.predicted_cost_high
        for t in trials
        if t.predicted_cost_low is not None and t.predicted_cost_high is not None and t.compared_cost is not None
    ]
    return sum(hits), len(hits)


def _inside(comparison: TrialComparison, per_cent: int) -> np.ndarray:
    """Return whether each real observation entry was inside a band at steps 1, 2, …, bool [T, O]."""
    (low, high), (_, predicted, episode) = BANDS[per_cent], comparison
    last = min(len(episode), predicted.costs.shape[1]) + 1
    bands, real = predicted.obs[:, 1:last], episode.obs[1:last]
    return (bands[low] <= real) & (real <= bands[high])


def _path(folder: str | os.PathLike[str], trial: int) -> Path:
    return Path(folder) / _FOLDER / f"trial_{trial}.safetensors"


def _read(path: Path) -> Quantiles | None:
    if not path.is_file():
        return None
    try:
        return Quantiles(**arrays.from_bytes(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Invalid run folder: expected the file {path} as it was written. Received: a damaged file ({error}). "
            "Remove the file: the report then omits the trial's prediction."
        ) from error
