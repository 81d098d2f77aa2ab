"""What an agent says of its trials: their figures, what its model expected of them, and to whom it says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bnnrl.rl.pilco import PILCO


@dataclass(frozen=True)
class Trial:
    """What one trial did."""

    trial: int
    steps: int  # real steps so far, evaluation excluded
    experience: float | None  # the same in seconds
    predicted_cost: float | None  # mean over steps and particles; None for the random trial
    real_cost: float  # mean over the trial's steps
    evaluation_cost: float  # mean over steps and evaluation episodes
    success_rate: float | None  # of the evaluation episodes; None where the task has no notion of it
    solved: bool
    fit_seconds: float
    search_seconds: float
    real_return: float | None = None  # sum of the trial's rewards, mean over its episodes
    evaluation_return: float | None = None  # the same over evaluation episodes


class Callback:
    """What `PILCO.learn` calls; override what you need."""

    def on_phase(self, agent: PILCO, trial: int, phase: str) -> None:
        """Called when a phase of a trial begins: "model", "policy", "episode" or "evaluation"."""

    def on_trial_end(self, agent: PILCO, trial: Trial) -> None:
        """Called after each trial."""

    def on_error(self, agent: PILCO, error: BaseException) -> None:
        """Called when learning stops on an error or an interruption; what was learned so far is in `agent`."""


@dataclass(frozen=True)
class Prediction:
    """What the model expected of a trial before it was run."""

    obs: np.ndarray  # [H + 1, P, O] particles
    costs: np.ndarray  # [H, P]
