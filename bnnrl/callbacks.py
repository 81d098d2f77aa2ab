"""Callbacks of `BayesianModel.fit`: checkpoints and tracking by Weights & Biases.

Keras's own callbacks work in `BayesianModel.fit` as well, except those that set the learning rate.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import keras

from bnnrl import _moved, likelihoods
from bnnrl.model import serialization
from bnnrl.storage import checkpoint, config
from bnnrl.tracking import Tracker, TrackingWarning

_HIGHER_IS_BETTER = ("acc", "accuracy", "auc", "auroc", "r2")  # endings of score names that mode "auto" maximises


class Checkpoint(keras.callbacks.Callback):
    """Saves the model to a folder during `BayesianModel.fit`, atomically; load it with `bnnrl.load`.

    During the burn-in of a sampler there is no posterior yet, and nothing is saved. A score of NaN is never the best.

    Args:
        folder: the folder, as in `BayesianModel.save`. A checkpoint of an earlier fit in it is replaced.
        monitor: the name of a value in the epoch's logs.
        save_best_only: whether to save only when the monitored value improves, instead of after each epoch.
        mode: "min" or "max", whether lower or higher values are better; "auto" is "max" for accuracies, areas under
            curves and R², and "min" for all others.

    Attributes:
        best: the best value so far; None before the first.

    Raises:
        ValueError: for another mode; in `fit`, if the epoch's logs do not hold the monitored value.
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
        """Forget the best value of an earlier fit."""
        self.best = None

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Save the model if it has a posterior and the monitored value improved."""
        model: Any = self.model
        steps = (epoch + 1) * (self.params or {})["steps"]
        if steps < model.method.min_steps:
            return
        if not self.save_best_only or self._improves(logs or {}):
            model.save(self.folder)

    def _improves(self, logs: dict[str, float]) -> bool:
        if self.monitor not in logs:
            raise ValueError(
                f"Invalid `monitor`: expected one of {sorted(logs)}. Received: monitor={self.monitor!r}. Pass "
                "validation data to `fit` for names that begin with val_, or monitor 'loss'."
            )
        value = float(logs[self.monitor])
        sign = 1.0 if self.mode == "min" else -1.0
        if math.isnan(value) or (self.best is not None and sign * value >= sign * self.best):
            return False
        self.best = value
        return True


class WandbCallback(keras.callbacks.Callback):
    """Logs `BayesianModel.fit` to Weights & Biases: the model's settings, and the logs of each epoch.

    The run stays open after the fit, for calls such as `tracker.summary(model.evaluate(x, y))`. A second fit continues
    the step count of the first.

    Args:
        tracker: a tracker from `bnnrl.tracking.start`.
        artifact: the name under which the posterior is uploaded at the end of the fit; None for no upload. List this
            callback after those that change the posterior at the end, as EarlyStopping with `restore_best_weights`.
    """

    def __init__(self, tracker: Tracker, artifact: str | None = None):
        super().__init__()
        self.tracker, self.artifact = tracker, artifact
        self._first_step = 0

    def on_train_begin(self, logs=None) -> None:
        """Log the settings of the model and of the fit."""
        self._first_step = self.tracker.next_step
        self.tracker.configure(_describe(self.model) | {"fit": self.params})

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Log the epoch's losses and scores."""
        self.tracker.log(logs or {}, self._first_step + epoch)

    def on_train_end(self, logs=None) -> None:
        """Upload the posterior if `artifact` is given; warn if that fails."""
        if self.artifact is None or self.tracker.id is None:
            return
        model: Any = self.model
        try:
            with tempfile.TemporaryDirectory() as parent:
                folder = Path(parent) / "posterior"
                model.save(folder)
                self.tracker.artifact(self.artifact, folder, "posterior")
        except (ValueError, OSError) as error:  # there is no posterior, it cannot be saved, or the disk is full
            warnings.warn(f"The posterior is not uploaded. {error}", TrackingWarning, stacklevel=2)


def _describe(model: Any) -> dict[str, Any]:
    """Return the settings of a BayesianModel, JSON-able; the `repr` of an object that has no JSON form."""
    return {
        "method": config.encode_or_repr(model.method),
        "likelihood": config.encode_or_repr(model.likelihood, likelihoods.to_config),
        "prior": serialization.prior_to_config(model.prior) or repr(model.prior),
        "network": model.keras_model.name,
        "layers": [type(layer).__name__ for layer in model.keras_model.layers],
        "parameters": sum(math.prod(variable.shape) for variable in model.keras_model.trainable_variables),
    }


__getattr__ = _moved.lookup(__name__)
