"""TrialTracker: log an agent's trials to a tracker, such as Weights & Biases."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from bnnrl import tracking
from bnnrl.rl import video
from bnnrl.rl.callbacks import Callback, Trial
from bnnrl.rl.pilco import PILCO
from bnnrl.storage import checkpoint, config
from bnnrl.tracking import Tracker, TrackingWarning

_PICTURES = ("curve", "rollouts")  # what a run folder may have


class TrialTracker(Callback):
    """Logs `PILCO.learn` to a tracker: every figure of each trial, and the run folder's pictures. List it after `Run`.

    A film that has come into the folder's video/ since the last trial goes along with the trial, once.

    Args:
        tracker: from `bnnrl.tracking.start`.
        folder: the run folder, which keeps the names of films that were logged in wandb/bnnrl-videos; without one
            there are neither pictures nor films.
    """

    def __init__(self, tracker: Tracker, folder: checkpoint.Folder | None = None):
        self.tracker = tracker
        self.folder = None if folder is None else Path(folder)

    @classmethod
    def start(
        cls,
        agent: PILCO,
        folder: checkpoint.Folder | None = None,
        project: str = "bnnrl",
        group: str | None = None,
        tags: Iterable[str] = (),
    ) -> Self:
        """Begin a run for an agent, called by its method and seed, or go on with the one of the same folder.

        Args:
            agent: whose settings become the run's.
            folder: the run folder, which keeps the run's id in wandb/bnnrl-id.
            project: at Weights & Biases.
            group: the experiment; the environment's id if None.
            tags: labels.

        Warns:
            TrackingWarning: as in `bnnrl.tracking.start`, or if the id cannot be written.
        """
        kept = None if folder is None else Path(folder) / "wandb" / "bnnrl-id"
        tracker = tracking.start(
            project,
            _settings_of(agent),
            group=group or agent.task.env_id,
            name=f"{agent.dynamics.method_name}-{agent.seed}",
            run_id=kept.read_text().strip() if kept and kept.is_file() else None,
            folder=folder,
            tags=tags,
        )
        if kept and tracker.id:
            try:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(f"{tracker.id}\n")
            except OSError as error:
                told = f"The run's id could not be kept ({error}): resumed, it will be a new run at wandb."
                warnings.warn(told, TrackingWarning, stacklevel=2)
        return cls(tracker, folder)

    def on_trial_end(self, agent: PILCO, trial: Trial) -> None:
        for name in _PICTURES if self.folder else ():
            path = Path(self.folder or "") / f"{name}.png"
            if path.exists():
                self.tracker.picture(name, path, trial.trial)
        if self.folder and self.tracker.id:
            self._log_films(self.folder, trial.trial)
        self.tracker.log(asdict(trial), trial.trial, last=True)

    def _log_films(self, folder: Path, step: int) -> None:
        kept = folder / "wandb" / "bnnrl-videos"
        known = kept.read_text().splitlines() if kept.is_file() else []
        new = sorted(path for path in video.films(folder) if path.name not in known)
        for path in new:
            self.tracker.video(f"video/{path.stem}", path, step)
        if new:
            try:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text("".join(f"{name}\n" for name in [*known, *(path.name for path in new)]))
            except OSError as error:
                told = f"The names of films could not be kept ({error}): they will be logged again."
                warnings.warn(told, TrackingWarning, stacklevel=2)

    def on_error(self, agent: PILCO, error: BaseException) -> None:
        self.tracker.summary({"error": f"{type(error).__name__}: {error}"})


def _settings_of(agent: PILCO) -> dict[str, Any]:
    names = ("propagation", "particles", "horizon", "episodes_per_trial", "learn_reward", "seed")
    return {
        "env": agent.task.env_id,
        "env_kwargs": {k: config.encode_or_repr(v) for k, v in agent.task.env_kwargs.items()},
        **{name: config.encode_or_repr(getattr(agent, name)) for name in ("dynamics", "policy", "search")},
        **{name: getattr(agent, name) for name in names},
    }
