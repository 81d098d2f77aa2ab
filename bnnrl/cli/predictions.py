"""The table that `bnnrl predict` writes: predictions of a model for the rows of another table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bnnrl import likelihoods
from bnnrl.data import table_files
from bnnrl.model.bayesian_model import BayesianModel
from bnnrl.storage import run_folder

Table = dict[str, Any]  # a value for each row, by column


def read(model: Any, path: Path) -> Any:
    """Return the table in a file as a pandas DataFrame, with categories as text.

    Raises:
        ValueError: if the model was not fitted to a table, or the file cannot be read.
    """
    if not isinstance(model, BayesianModel) or model.columns is None:
        raise ValueError(
            "Invalid model: expected one that was fitted to a table, such as by `bnnrl fit rows.csv`. Received: "
            f"{'one that was fitted to other data' if isinstance(model, BayesianModel) else 'an agent'}. In Python, "
            "`bnnrl.load(FOLDER).predict(x)` predicts rows of arrays; fits of bnnrl 0.2 or older did not keep the "
            "names of columns, and have to be fitted again."
        )
    if path.suffix.lower() not in table_files.SUFFIXES:
        raise ValueError(f"Invalid file: expected one of {list(table_files.SUFFIXES)}. Received: {str(path)!r}.")
    return table_files.read_file(path, [c.name for c in model.columns.inputs if c.kind == "categories"])


def table(model: BayesianModel, frame: Any, level: float, samples: int, seed: int) -> Table:
    """Return the predictions for each row of a table, by the names of their columns.

    Args:
        model: the model.
        frame: the rows, from `read`.
        level: the probability with which an interval is to hold the target.
        samples: number of posterior samples.
        seed: of the posterior samples.
    """
    columns: Any = model.columns
    x = columns.encode(frame)
    how: dict[str, Any] = {"num_samples": samples, "seed": seed}
    mean = model.predict(x, **how)
    if columns.class_names is not None:
        return _classes(mean, (columns.targets or ("class",))[0], np.array(columns.class_names))
    names = columns.targets or tuple(f"y{i}" for i in range(mean.shape[-1]))
    if isinstance(model.likelihood, likelihoods.Censored):
        names = names[: len(names) // 2]  # the others are the names of marks
    if isinstance(model.likelihood, likelihoods.Bernoulli):
        return {f"{name}_probability": mean[:, i] for i, name in enumerate(names)}
    low, high = (end.reshape(mean.shape) for end in model.interval(x, level, **how))
    std = np.sqrt(model.uncertainty(x, **how).total).reshape(mean.shape)
    found = {"mean": mean, "std": std, "low": low, "high": high}
    mean_of = {name: mean.reshape(len(mean), -1) for name, mean in found.items()}
    return {f"{name}_{what}": values[:, i] for i, name in enumerate(names) for what, values in mean_of.items()}


def _classes(probabilities: np.ndarray, target: str, names: np.ndarray) -> Table:
    each = {f"P({name})": probabilities[:, i] for i, name in enumerate(names)}
    return {target: names[probabilities.argmax(axis=1)], **each}


def write(path: Path, predictions: Table) -> None:
    """Write predictions as a CSV file, atomically, with the numbers of the rows, from 0, in the first column."""
    count = len(next(iter(predictions.values())))
    columns = {"row": np.arange(count), **predictions}
    rows = [{name: values[i] for name, values in columns.items()} for i in range(count)]
    run_folder.write_table(path, list(columns), rows)
