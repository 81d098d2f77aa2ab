"""Callbacks: the best posterior on disk, and runs at Weights & Biases. Keras's own work in `BayesianModel.fit` too."""

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

_HIGHER_IS_BETTER = ("acc", "accuracy", "auc", "auroc", "r2")  # endings of the scores of which "auto" wants more


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
        if steps < model.method.min_steps:
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


def _describe(model: Any) -> dict[str, Any]:
    """Return what a BayesianModel is made of, JSON-able; what has no JSON of its own in Python's words."""
    return {
        "method": config.encode_or_repr(model.method),
        "likelihood": config.encode_or_repr(model.likelihood, likelihoods.to_config),
        "prior": serialization.prior_to_config(model.prior) or repr(model.prior),
        "network": model.keras_model.name,
        "layers": [type(layer).__name__ for layer in model.keras_model.layers],
        "parameters": sum(math.prod(variable.shape) for variable in model.keras_model.trainable_variables),
    }


__getattr__ = _moved.lookup(__name__)
