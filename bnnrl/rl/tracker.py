"""TrialTracker: the callback that logs an agent's trials to a tracker such as Weights & Biases."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from bnnrl import tracking
from bnnrl.rl import video
from bnnrl.rl.callbacks import PLAIN_SETTINGS, Agent, Callback, Trial
from bnnrl.storage import checkpoint, config
from bnnrl.tracking import Tracker, TrackingWarning

_PICTURES = ("curve", "rollouts")  # names of the PNG files that a run folder may hold
_RUN_ID, _LOGGED_FILMS = "wandb/bnnrl-id", "wandb/bnnrl-videos"  # files in the run folder


class TrialTracker(Callback):
    """Logs every figure of each trial of `PILCO.learn`, and the run folder's pictures and new films, to a tracker.

    In the list of callbacks, it belongs after `Run`, which draws the pictures.

    Args:
        tracker: the tracker, from `bnnrl.tracking.start`.
        folder: the run folder, whose file wandb/bnnrl-videos lists the films that have been logged. Without a folder,
            neither pictures nor films are logged.
    """

    def __init__(self, tracker: Tracker, folder: checkpoint.Folder | None = None):
        self.tracker = tracker
        self.folder = None if folder is None else Path(folder)

    @classmethod
    def start(
        cls,
        agent: Agent,
        folder: checkpoint.Folder | None = None,
        project: str = "bnnrl",
        group: str | None = None,
        tags: Iterable[str] = (),
    ) -> Self:
        """Start a tracked run named after the agent's method and seed, or continue the run of the same folder.

        Args:
            agent: the agent, whose settings become the run's configuration.
            folder: the run folder, whose file wandb/bnnrl-id holds the id of the tracked run.
            project: the project at Weights & Biases.
            group: the group of runs; None takes the environment's id.
            tags: labels of the run.

        Warns:
            TrackingWarning: as in `bnnrl.tracking.start`, or if the id cannot be written.
        """
        id_file = None if folder is None else Path(folder) / _RUN_ID
        tracker = tracking.start(
            project,
            _settings_of(agent),
            group=group or agent.task.env_id,
            name=f"{agent.dynamics.method_name}-{agent.seed}",
            run_id=id_file.read_text().strip() if id_file and id_file.is_file() else None,
            folder=folder,
            tags=tags,
        )
        if id_file and tracker.id:
            _write(id_file, tracker.id, "The run's id", "a resumed run will be a new one at Weights & Biases")
        return cls(tracker, folder)

    def on_trial_end(self, agent: Agent, trial: Trial) -> None:
        """Log the trial's figures, pictures and new films."""
        for name in _PICTURES if self.folder else ():
            path = Path(self.folder or "") / f"{name}.png"
            if path.exists():
                self.tracker.picture(name, path, trial.trial)
        if self.folder and self.tracker.id:
            self._log_films(self.folder, trial.trial)
        self.tracker.log(asdict(trial), trial.trial, last=True)

    def _log_films(self, folder: Path, step: int) -> None:
        logged_file = folder / _LOGGED_FILMS
        logged = logged_file.read_text().splitlines() if logged_file.is_file() else []
        new = sorted(path for path in video.films(folder) if path.name not in logged)
        for path in new:
            self.tracker.video(f"video/{path.stem}", path, step)
        if new:
            names = "\n".join([*logged, *(path.name for path in new)])
            _write(logged_file, names, "The names of logged films", "the films will be logged again")

    def on_error(self, agent: Agent, error: BaseException) -> None:
        """Add the error to the run's summary."""
        self.tracker.summary({"error": f"{type(error).__name__}: {error}"})


def _write(path: Path, text: str, what: str, consequence: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    except OSError as error:
        message = f"{what} could not be written ({error}): {consequence}."
        warnings.warn(message, TrackingWarning, stacklevel=3)


def _settings_of(agent: Agent) -> dict[str, Any]:
    return {
        "env": agent.task.env_id,
        "env_kwargs": {k: config.encode_or_repr(v) for k, v in agent.task.env_kwargs.items()},
        **{name: config.encode_or_repr(getattr(agent, name)) for name in ("dynamics", "policy", "search")},
        **{name: getattr(agent, name) for name in PLAIN_SETTINGS},
    }
