"""Callbacks: the best posterior on disk, and runs at Weights & Biases. Keras's own work in `BayesianModel.fit` too."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import keras

from bnnrl import checkpoint, likelihoods, saving, settings, tracking
from bnnrl.rl import video
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.trials import Callback as TrialCallback
from bnnrl.rl.trials import Trial
from bnnrl.tracking import Tracker, TrackingWarning

_HIGHER_IS_BETTER = ("acc", "accuracy", "auc", "auroc", "r2")  # endings of the scores of which "auto" wants more
_PICTURES = ("curve", "rollouts")  # what a run folder may have


class Checkpoint(keras.callbacks.Callback):
    """Saves the model to one folder during `BayesianModel.fit`, whole or not at all; read it with `bnnrl.load`.

    In a burn-in there is no posterior: it waits for the first. A score that is not a number is never the best.

    Args:
        folder: as in `BayesianModel.save`; what an earlier fit saved there is replaced.
        monitor: a name among the epoch's logs.
        save_best_only: save when the monitored figure improves; otherwise after each epoch.
        mode: whether lower or higher is better; "auto" is "max" for accuracies, areas under curves and R², else "min".

    Attributes:
        best: the best figure so far, None before the first.

    Raises:
        ValueError: for another mode; in `fit`, if the epoch's logs lack what is monitored.
    """

    def __init__(
        self,
        folder: checkpoint.Folder,
        monitor: str = "val_loss",
        save_best_only: bool = True,
        mode: Literal["auto", "min", "max"] = "auto",
    ):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"Invalid `mode`: expected 'auto', 'min' or 'max'. Received: mode={mode!r}.")
        self.folder, self.monitor, self.save_best_only = folder, monitor, save_best_only
        self.mode = mode
        if mode == "auto":
            self.mode = "max" if monitor.endswith(_HIGHER_IS_BETTER) else "min"
        self.best: float | None = None

    def on_train_begin(self, logs=None) -> None:
        self.best = None

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        model: Any = self.model
        steps = (epoch + 1) * (self.params or {})["steps"]
        if steps < getattr(model.method, "min_steps", 0):
            return
        if not self.save_best_only or self._improves(logs or {}):
            model.save(self.folder)

    def _improves(self, logs: dict[str, float]) -> bool:
        if self.monitor not in logs:
            raise ValueError(
                f"Invalid `monitor`: expected one of {sorted(logs)}. Received: monitor={self.monitor!r}. Give `fit` "
                "validation data for a name with val_, or monitor 'loss'."
            )
        value = float(logs[self.monitor])
        sign = 1.0 if self.mode == "min" else -1.0
        if math.isnan(value) or (self.best is not None and sign * value >= sign * self.best):
            return False
        self.best = value
        return True


class WandbCallback(keras.callbacks.Callback):
    """Logs `BayesianModel.fit` to a tracker: what the model is made of, and each epoch's logs.

    It leaves the run open for what comes after, such as `tracker.summary(model.evaluate(x, y))`. A second fit goes on
    with the steps where the first ended.

    Args:
        tracker: from `bnnrl.tracking.start`.
        artifact: name under which the posterior is uploaded at the end; not uploaded if None. List the callback after
            one that changes the posterior at the end, as EarlyStopping does with `restore_best_weights`.
    """

    def __init__(self, tracker: Tracker, artifact: str | None = None):
        super().__init__()
        self.tracker, self.artifact = tracker, artifact
        self._first = 0

    def on_train_begin(self, logs=None) -> None:
        self._first = self.tracker.next_step
        self.tracker.configure(_describe(self.model) | {"fit": self.params})

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.tracker.log(logs or {}, self._first + epoch)

    def on_train_end(self, logs=None) -> None:
        if self.artifact is None or self.tracker.id is None:
            return
        model: Any = self.model
        try:
            with tempfile.TemporaryDirectory() as parent:
                folder = Path(parent) / "posterior"
                model.save(folder)
                self.tracker.artifact(self.artifact, folder, "posterior")
        except (ValueError, OSError) as error:  # no posterior yet, one that cannot be saved, or a full disk
            warnings.warn(f"The posterior is not uploaded. {error}", TrackingWarning, stacklevel=2)


class TrialTracker(TrialCallback):
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


def _describe(model: Any) -> dict[str, Any]:
    """Return what a BayesianModel is made of, JSON-able; what has no JSON of its own in Python's words."""
    return {
        "method": _or_words(settings.encode, model.method),
        "likelihood": _or_words(likelihoods.to_config, model.likelihood),
        "prior": saving.prior_to_config(model.prior) or repr(model.prior),
        "network": model.keras_model.name,
        "layers": [type(layer).__name__ for layer in model.keras_model.layers],
        "parameters": sum(math.prod(variable.shape) for variable in model.keras_model.trainable_variables),
    }


def _settings_of(agent: PILCO) -> dict[str, Any]:
    names = ("propagation", "particles", "horizon", "episodes_per_trial", "learn_reward", "seed")
    return {
        "env": agent.task.env_id,
        "env_kwargs": {k: _or_words(settings.encode, v) for k, v in agent.task.env_kwargs.items()},
        **{name: _or_words(settings.encode, getattr(agent, name)) for name in ("dynamics", "policy", "search")},
        **{name: getattr(agent, name) for name in names},
    }


def _or_words(encode: Callable[[Any], Any], value: Any) -> Any:
    try:
        return encode(value)
    except ValueError:
        return repr(value)
