"""A run of `bnnrl fit`: from settings to data, a model, a fit and a run folder."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorflow_probability import distributions as tfd

from bnnrl import callbacks, data, inference, likelihoods, tracking
from bnnrl.checks import check_count, check_counts
from bnnrl.cli import building, interrupt, output
from bnnrl.cli.fit_data import as_lines, count_rows, described, load_data
from bnnrl.cli.fit_report import FitReport, chain_figures, write_diverged
from bnnrl.cli.old_settings import migrated
from bnnrl.model import calibration, cross_conformal
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.model.cross_validation import cross_validate
from bnnrl.model.folds import splits
from bnnrl.network import check_activation
from bnnrl.seeds import host_seed
from bnnrl.storage import checkpoint, config, lock, run_folder
from bnnrl.storage.load import load

_CROSS = "cv+"  # the calibration by cross-validation
_LEVEL = 0.95  # of intervals and sets that the calibration rows have to suffice for


class Recorder(keras.callbacks.Callback):
    """Writes metrics.csv after each epoch.

    Attributes:
        rows: the logs of each epoch so far.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.rows: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Add the epoch's logs, and the prior's share of the loss at the end of the epoch."""
        model: Any = self.model
        self.rows.append({"epoch": epoch + 1, **(logs or {}), "prior_loss": model.prior_loss})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        run_folder.write_table(self.folder / "metrics.csv", columns, self.rows)


def make_model(settings: dict[str, Any], rows: data.Data) -> BayesianModel:
    """Return the model that the settings describe, not fitted.

    Raises:
        ValueError: if the likelihood does not fit the targets, or a hyper-parameter is not one of the method's.
    """
    classes = rows.num_classes
    name = settings["likelihood"] or ("categorical" if classes else "gaussian")
    if (name in ("categorical", "ordinal")) != bool(classes):
        raise ValueError(
            f"Invalid `likelihood`: expected {'categorical' if classes else 'another'} for targets that are "
            f"{'classes' if classes else 'numbers'}. Received: {name!r}. Set --task to read them otherwise."
        )
    found = _ordinal(rows) if name == "ordinal" else likelihoods.get(name)
    likelihood = building.replaced(found, settings["likelihood_fields"])
    if isinstance(likelihood, likelihoods.Censored):
        raise ValueError(
            "Invalid `likelihood`: expected one for targets that are all observed. Received: 'censored'. Fit the model "
            "in Python, by bnnrl.likelihoods.Censored()."
        )
    heteroscedastic = isinstance(likelihood, likelihoods.Gaussian) and likelihood.scale == "heteroscedastic"
    x, y = next(iter(rows.train.batch(1))) if not isinstance(rows.train, tuple) else (a[:1] for a in rows.train)
    outputs = (
        1
        if isinstance(likelihood, likelihoods.Ordinal)
        else classes or int(np.prod(y.shape[1:])) * (2 if heteroscedastic else 1)
    )
    keras.utils.set_random_seed(host_seed(settings["seed"], 0))
    if settings["network"]:
        network: Any = keras.saving.load_model(settings["network"], compile=False, safe_mode=True)
    else:
        network = make_network(tuple(x.shape[1:]), tuple(settings["hidden"]), settings["activation"], outputs)
    prior = settings["prior"] or ("learned" if isinstance(likelihood, likelihoods.Gaussian) else "normal")
    return BayesianModel(
        network,
        likelihood,
        "learned" if prior == "learned" else tfd.Normal(0.0, 1.0),
        settings["method"],
        building.hyper_parameters(settings["method"], settings["method_fields"]),
    )


def _ordinal(rows: data.Data) -> likelihoods.Ordinal:
    """Return the ordinal likelihood of the data's classes.

    Raises:
        ValueError: if the classes are not numbers, as names have no order but that of the alphabet.
    """
    names = rows.class_names or ()
    if not all(name.lstrip("-").replace(".", "", 1).isdigit() for name in names):
        raise ValueError(
            "Invalid `likelihood`: expected classes that are numbers, whose order is known, for an ordinal likelihood. "
            f"Received: {data.listed(names, 'classes')}. Number them in the file."
        )
    return likelihoods.Ordinal(len(names))


def make_network(shape: tuple[int, ...], hidden: tuple[int, ...], activation: str, outputs: int) -> keras.Model:
    """Return a network of dense layers, with two convolutions before them for images.

    Args:
        shape: of a row, [F] or [H, W, C].
        hidden: widths of the dense hidden layers.
        activation: of every hidden layer.
        outputs: width of the last layer.

    Raises:
        ValueError: if a width is not positive, or Keras has no such activation.
    """
    check_counts("hidden", hidden)
    check_activation("activation", activation)
    layers: list[Any] = [keras.Input(shape)]
    if len(shape) == 3:
        for filters in (16, 32):
            layers.append(keras.layers.Conv2D(filters, 3, padding="same", activation=activation))
            layers.append(keras.layers.MaxPooling2D(padding="same"))
    if len(shape) > 1:
        layers.append(keras.layers.Flatten())
    layers += [keras.layers.Dense(width, activation) for width in hidden]
    return keras.Sequential([*layers, keras.layers.Dense(outputs)])


def run(settings: dict[str, Any], folder: str | None) -> tuple[Path, dict[str, float]]:
    """Fit a model in a new run folder, and return the folder and the scores of `FitReport.scores`.

    A terminal shows a progress bar, and a file or a pipe a line for each epoch.

    Args:
        settings: the options of `bnnrl fit`.
        folder: the run folder; None for runs/<dataset>/<method>/<seed>-<time>.

    Raises:
        ValueError: if the settings or the data are invalid, or the folder exists. Also if the fit diverges: the folder
            then has a report that says so.
    """
    check_count("epochs", settings["epochs"])
    with _noted_warnings() as noted:
        rows = load_data(settings)
        model = make_model(settings, rows)
        _check_calibration(settings, rows, model.likelihood)
        if settings["cross_validate"] is not None:
            splits(count_rows(rows.train), settings["cross_validate"], settings["seed"], None, rows.groups, rows.times)
        print(as_lines(described(rows, model.likelihood)), flush=True)
        path = run_folder.FIT.create(folder, f"{rows.name}/{settings['method']}", settings)
        recorder = Recorder(path)
        interrupt.configure(lambda: _advice(path))
        with lock.hold(path, output.warn), _tracker(settings, rows.name, path) as tracker:
            _fit(model, rows, settings, recorder, tracker, noted)
            if settings["cross_validate"]:
                _cross_validate(model, settings, rows, path)
            report = FitReport(path, settings, rows, model, recorder.rows)
            scores, pictures = report.write()
            for message in report.problems(scores):
                output.warn(message)
            if settings["calibrate"]:
                # A conformal calibration widens intervals; "picp_95" is that of the distribution, which stays the same.
                output.show({f"calibrated {level}": words for level, words in report.coverage.items()})
            tracker.summary(scores)
            for name in pictures:
                tracker.picture(Path(name).stem, path / name, len(recorder.rows) - 1)
    return path, scores


def _fit(
    model: BayesianModel,
    rows: data.Data,
    settings: dict[str, Any],
    recorder: Recorder,
    tracker: tracking.Tracker,
    noted: list[str],
) -> None:
    """Fit and calibrate the model, and write it and config.json to the run folder."""
    path, history = recorder.folder, recorder.rows
    try:
        model.fit(
            rows,
            batch_size=None if model.method.full_batch_only else settings["batch_size"],
            epochs=settings["epochs"],
            callbacks=[recorder, callbacks.WandbCallback(tracker, artifact=path.name)],
            seed=settings["seed"],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except ValueError:
        if not history:  # the folder is empty, and would be in the way of the next attempt
            shutil.rmtree(path)
        raise
    except inference.Diverged as error:
        found = {"step": error.step, "epoch": len(history) + 1, "message": str(error)}
        _write_config(path, settings, model, noted, diverged=found)
        write_diverged(path, settings, rows, model.likelihood, history)
        raise ValueError(f"{error} Report: {path / 'report.html'}") from error
    # The model first: should the disk be full, nothing else takes long to make again.
    checkpoint.write_step(path, len(history), *model.to_saved())
    _write_config(path, settings, model, noted, chains=chain_figures(model, rows))
    if settings["calibrate"]:
        _calibrate(model, settings, rows, path)
        checkpoint.write_step(path, len(history), *model.to_saved())


def _write_config(path: Path, settings: dict[str, Any], model: BayesianModel, noted: list[str], **found: Any) -> None:
    method = config.encode_or_repr(model.method)
    versions = run_folder.current_versions()
    run_folder.FIT.write_config(path, settings, versions, method=method, warnings=noted, **found)


@contextmanager
def _noted_warnings() -> Iterator[list[str]]:
    """Note the text of the warnings that bnnrl gives during the block, which are shown as they come all the same."""
    noted: list[str] = []
    with warnings.catch_warnings():
        show_warning = warnings.showwarning

        def note(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if category.__module__.partition(".")[0] == "bnnrl" and str(message) not in noted:
                noted.append(str(message))
            show_warning(message, category, *place, **more)

        warnings.showwarning = note
        yield noted


def _check_calibration(settings: dict[str, Any], rows: data.Data, likelihood: likelihoods.Likelihood) -> None:
    """Raise ValueError, before the fit, if the model cannot be calibrated as the settings say."""
    if settings["calibrate"] == _CROSS:
        cross_conformal.divided(settings["folds"], count_rows(rows.train), _LEVEL, seed=0)
    elif settings["calibrate"] is not None:
        if rows.validation is None:
            raise ValueError(
                "Invalid `--calibrate`: expected validation data. Received: none. Add --validation 0.2, or take "
                "--calibrate cv+, which needs none."
            )
        classes = isinstance(likelihood, likelihoods.Categorical | likelihoods.Ordinal | likelihoods.Bernoulli)
        counts = isinstance(likelihood, likelihoods.Poisson | likelihoods.NegativeBinomial)
        method = calibration.method_for(settings["calibrate"], classes, counts)
        calibration.check_rows(method, count_rows(rows.validation), _LEVEL)


def _calibrate(model: BayesianModel, settings: dict[str, Any], rows: data.Data, path: Path) -> None:
    if settings["calibrate"] == _CROSS:
        with _fits_of_folds("Calibration by CV+", settings["folds"], path):
            model.cross_calibrate(rows, folds=settings["folds"], **_how_of_folds(model, settings))
    else:
        how = {"num_samples": settings["samples"], "seed": settings["seed"]}
        model.calibrate(rows, method=settings["calibrate"], level=_LEVEL, **how)


def _cross_validate(model: BayesianModel, settings: dict[str, Any], rows: data.Data, path: Path) -> None:
    """Cross-validate the model on the training rows, print the scores, and write them to folds.csv."""
    folds = settings["cross_validate"]
    with _fits_of_folds("Cross-validation", folds, path):
        found = cross_validate(model, rows, folds=folds, **_how_of_folds(model, settings))
    table = found.table()
    run_folder.write_table(path / "folds.csv", list(table[0]), table)
    print(found, flush=True)


def _how_of_folds(model: BayesianModel, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that `cross_calibrate` and `cross_validate` share."""
    size = None if model.method.full_batch_only else settings["batch_size"]
    how = {"batch_size": size, "epochs": settings["epochs"], "level": _LEVEL}
    return {**how, "num_samples": settings["samples"], "seed": settings["seed"]}


@contextmanager
def _fits_of_folds(what: str, folds: int, path: Path) -> Iterator[None]:
    """Say what the fits of the block are for, and raise ValueError if one of them diverges."""
    print(f"{what}: {folds} fits, each to all training rows but those of a fold.", flush=True)
    try:
        yield
    except inference.Diverged as error:
        raise ValueError(
            f"A fit of the {what[0].lower()}{what[1:]} diverged. {error} The model of all rows is kept. Write its "
            f"report: bnnrl report {path}"
        ) from error


def _advice(path: Path) -> str:
    if checkpoint.newest_step(path) is not None:
        return f"The fitted model is kept. Write its report: bnnrl report {path}"
    return f"A fit cannot be resumed: remove {path}, and start again."


def rebuild(folder: str | Path, settings: dict[str, Any] | None = None) -> Path:
    """Write the scores, pictures and report of an earlier fit again, and return the report's path.

    Args:
        folder: the run folder.
        settings: the options of that fit; those in its config.json if None.

    Raises:
        ValueError: if the folder holds no fit, or its data are no longer where they were.
    """
    if settings is None:
        settings = migrated(run_folder.FIT.read_config(folder)["settings"])
    path, rows = Path(folder), load_data(settings)
    metrics = run_folder.read_table(path / "metrics.csv") if (path / "metrics.csv").exists() else []
    history = [{name: value for name, value in row.items() if value is not None} for row in metrics]
    if "diverged" in run_folder.FIT.read_config(path):
        write_diverged(path, settings, rows, make_model(settings, rows).likelihood, history)
    else:
        FitReport(path, settings, rows, load(path), history).write()
    return path / "report.html"


def _tracker(settings: dict[str, Any], dataset: str, path: Path) -> tracking.Tracker:
    if not settings["track"]:
        return tracking.Tracker()
    name = f"{settings['method']}-{settings['seed']}"
    return tracking.start("bnnrl", settings, group=dataset, name=name, folder=path)
