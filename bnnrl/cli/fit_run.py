"""`bnnrl fit`: from a data set to a fitted network, its scores, pictures and a report, in one folder."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bnnrl import callbacks, data, diagnostics, inference, likelihoods, metrics, plots, report, tracking
from bnnrl.checks import check_count
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.seeds import host_seed
from bnnrl.storage import checkpoint, run_folder
from bnnrl.storage.load import load

_DATA = ("targets", "test", "validation", "task", "data_dir")  # settings that `bnnrl.data.load` takes
_SHOWN_ROWS, _FOLLOWED_ROWS = 5000, 4  # in a picture; along chains


class Recorder(keras.callbacks.Callback):
    """Writes metrics.csv after each epoch."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder, self.rows = folder, []

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.rows.append({"epoch": epoch + 1, **(logs or {})})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        run_folder.write_table(self.folder / "metrics.csv", columns, self.rows)


def load_data(settings: dict[str, Any]) -> data.Data:
    """Return the run's data, the same rows in the same parts each time."""
    given = {name: settings[name] for name in _DATA if settings[name] is not None}
    counts = settings["likelihood"] in ("poisson", "bernoulli")
    if counts:
        given |= {"task": "regression", "standardize": "inputs"}
    return data.load(settings["dataset"], seed=settings["seed"], **given)


def make_model(settings: dict[str, Any], rows: data.Data) -> BayesianModel:
    """Return the model that the settings name, for these data.

    Raises:
        ValueError: if the likelihood does not fit the targets, or a hyper-parameter is not one of the method's.
    """
    classes = rows.num_classes
    name = settings["likelihood"] or ("categorical" if classes else "gaussian")
    if (name == "categorical") != bool(classes):
        raise ValueError(
            f"Invalid `likelihood`: expected {'categorical' if classes else 'another'} for targets that are "
            f"{'classes' if classes else 'numbers'}. Received: {name!r}. Set --task to read them otherwise."
        )
    heteroscedastic = name == "heteroscedastic"
    likelihood = likelihoods.Gaussian("heteroscedastic") if heteroscedastic else likelihoods.get(name)
    x, y = next(iter(rows.train.batch(1))) if not isinstance(rows.train, tuple) else (a[:1] for a in rows.train)
    outputs = classes or int(np.prod(y.shape[1:])) * (2 if heteroscedastic else 1)
    keras.utils.set_random_seed(host_seed(settings["seed"], 0))
    if settings["network"]:
        network: Any = keras.saving.load_model(settings["network"], compile=False, safe_mode=True)
    else:
        network = make_network(tuple(x.shape[1:]), tuple(settings["hidden"]), settings["activation"], outputs)
    given = hyper_parameters(settings["hyper"])
    return BayesianModel(network, likelihood, method=inference.get(settings["method"], **given))


def make_network(shape: tuple[int, ...], hidden: tuple[int, ...], activation: str, outputs: int) -> keras.Model:
    """Return dense layers for rows [F], and two convolutions before them for images [H, W, C]."""
    layers: list[Any] = [keras.Input(shape)]
    if len(shape) == 3:
        for filters in (16, 32):
            layers.append(keras.layers.Conv2D(filters, 3, padding="same", activation=activation))
            layers.append(keras.layers.MaxPooling2D(padding="same"))
    if len(shape) > 1:
        layers.append(keras.layers.Flatten())
    layers += [keras.layers.Dense(width, activation) for width in hidden]
    return keras.Sequential([*layers, keras.layers.Dense(outputs)])


def hyper_parameters(given: tuple[str, ...]) -> dict[str, Any]:
    """Return {"rank": 10} from ("rank=10",).

    Raises:
        ValueError: if one is not of the form name=value.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ValueError(f"Invalid `--set`: expected name=value, such as rank=10. Received: {text!r}.")
        try:
            found[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            found[name] = value
    return found


def run(settings: dict[str, Any], folder: str | None, verbose: int | str = "auto") -> tuple[Path, dict[str, float]]:
    """Fit, and return the run folder and the scores on the test part (the training part where there is none).

    Raises:
        ValueError: for bad settings, data, or a folder that exists.
    """
    check_count("epochs", settings["epochs"])
    rows = load_data(settings)
    model = make_model(settings, rows)
    path = run_folder.FIT.create(folder, f"{rows.name}/{settings['method']}", settings)
    whole = getattr(model.method, "full_batch_only", False)
    batch_size = None if whole else settings["batch_size"]
    recorder, tracker = Recorder(path), tracking.Tracker()
    if settings["track"]:
        name = f"{settings['method']}-{settings['seed']}"
        tracker = tracking.start("bnnrl", settings, group=rows.name, name=name, folder=path)
    with tracker:
        try:
            model.fit(
                rows,
                batch_size=batch_size,
                epochs=settings["epochs"],
                callbacks=[recorder, callbacks.WandbCallback(tracker, artifact=path.name)],
                seed=settings["seed"],
                verbose=verbose,
            )
        except ValueError:
            if not recorder.rows:  # refused at the door: the folder says nothing, and would be in the way
                shutil.rmtree(path)
            raise
        checkpoint.write_step(path, len(recorder.rows), *model.to_saved())
        scores, pictures = show(path, model, rows, settings, recorder.rows)
        tracker.summary(scores)
        for name in pictures:
            tracker.picture(Path(name).stem, path / name, len(recorder.rows) - 1)
    return path, scores


def rebuild(folder: str | Path) -> Path:
    """Write the scores, pictures and report of an earlier fit anew, and return the report's path.

    Raises:
        ValueError: if the folder is no fit's, or its data are no longer where they were.
    """
    settings = run_folder.FIT.read_config(folder)["settings"]
    rows = run_folder.read_table(Path(folder) / "metrics.csv")
    history = [{name: value for name, value in row.items() if value is not None} for row in rows]
    show(Path(folder), load(folder), load_data(settings), settings, history)
    return Path(folder) / "report.html"


def show(path: Path, model: BayesianModel, rows: data.Data, settings: dict[str, Any], history: list[dict[str, Any]]):
    """Write scores.csv, the pictures and report.html; return the scores, and words for each picture by its name."""
    scores = evaluate(model, rows, settings)
    run_folder.write_table(path / "scores.csv", list(scores), [scores])
    pictures = draw(path, model, rows, settings, history)
    write_report(path, settings, scores, pictures, model)
    return scores, pictures


def evaluate(model: BayesianModel, rows: data.Data, settings: dict[str, Any], seed: int = 0) -> dict[str, float]:
    """Return the scores on the test part, or on the training part where there is none."""
    return model.evaluate(rows.train if rows.test is None else rows.test, num_samples=settings["samples"], seed=seed)


def draw(path: Path, model: BayesianModel, rows: data.Data, settings: dict[str, Any], history) -> dict[str, str]:
    """Draw the run's pictures and return a description of each file."""
    title = f"{rows.name}, {settings['method']}, seed {settings['seed']}"
    series = lambda key: [row.get(key, np.nan) for row in history]
    validated = any("val_loss" in row for row in history)
    plots.loss_curve(path / "loss.png", series("loss"), series("val_loss") if validated else None, title)
    pictures = {"loss.png": "Loss by epoch."}
    part = rows.train if rows.test is None else rows.test
    x, y = part if isinstance(part, tuple) else next(part.batch(_SHOWN_ROWS).as_numpy_iterator())
    x, y = x[:_SHOWN_ROWS], np.asarray(y[:_SHOWN_ROWS])
    mean = model.predict(x, settings["samples"])
    if rows.class_names:
        names, labels = list(rows.class_names), y.astype(int)
        curve = metrics.reliability_curve(labels, mean)
        plots.reliability(path / "reliability.png", *curve, curve.error, title)
        plots.confusion(path / "confusion.png", metrics.confusion_matrix(labels, mean), title, names)
        plots.roc(path / "roc.png", labels, mean, title, names)
        pictures |= {
            "reliability.png": "How often the predicted class is right, by the probability given to it.",
            "confusion.png": "Rows of each class by the class predicted.",
            "roc.png": "Each class against the rest.",
        }
    elif isinstance(model.likelihood, likelihoods.Gaussian):
        std = np.sqrt(model.uncertainty(x, settings["samples"]).total)
        plots.predicted_vs_true(path / "predicted.png", y[:, 0], mean[:, 0], std[:, 0], title)
        curve = metrics.quantile_calibration_gaussian(y, mean, std)
        plots.calibration_curve(path / "calibration.png", *curve, title)
        pictures |= {
            "predicted.png": "Predicted against true targets, with two standard deviations.",
            "calibration.png": "Share of targets below each predictive quantile.",
        }
    if diagnostics.are_chains(model.posterior):
        chains = model.chains(x[:_FOLLOWED_ROWS])  # [C, T, B, ...]
        chains = chains.reshape(*chains.shape[:3], -1)[..., 0]
        names = [f"row {row}" for row in range(chains.shape[2])]
        plots.trace(path / "trace.png", chains, title, names)
        plots.autocorrelation(path / "autocorrelation.png", chains, title, names)
        pictures |= {
            "trace.png": "The network's first output at the first rows along the chains; chains that mix look alike.",
            "autocorrelation.png": "How long the chains remember.",
        }
    return pictures


def write_report(path: Path, settings: dict, scores: dict, pictures: dict[str, str], model: BayesianModel) -> None:
    """Write report.html."""
    described = run_folder.FIT.read_config(path)
    sections: list[Any] = [report.Heading("Scores"), report.Table(scores)]
    sections.append(report.Text(f"{model.keras_model.count_params()} parameters, {settings['samples']} draws."))
    sections.append(report.Heading("Pictures"))
    sections += [report.Picture(path / name, words, words) for name, words in pictures.items()]
    sections += [report.Heading("Settings and versions"), report.Json(described)]
    report.write(path / "report.html", f"{settings['dataset']}: {settings['method']}", sections)
