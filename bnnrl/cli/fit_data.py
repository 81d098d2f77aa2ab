"""The data of a run of `bnnrl fit`, and what the shell and the report say about them."""

from __future__ import annotations

import warnings
from typing import Any

from bnnrl import data, likelihoods

# Settings that `bnnrl.data.load` takes, by the names of its arguments.
_LOADED = {
    **{name: name for name in ("targets", "inputs", "exclude", "test", "validation", "task", "data_dir")},
    "groups": "split_by",
    "times": "split_in_time",
}

_UNSCALED = ("poisson", "negativebinomial", "bernoulli")  # likelihoods of targets that `load` would standardise


def load_data(settings: dict[str, Any]) -> data.Data:
    """Return the run's data, divided in the same way at each call."""
    given = {name: settings[option] for name, option in _LOADED.items() if settings.get(option) is not None}
    if (settings["likelihood"] or "").lower().replace("_", "") in _UNSCALED:
        given |= {"task": "regression", "standardize": "inputs"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", data.ColumnWarning)  # `described` tells the same
        return data.load(settings["dataset"], seed=settings["seed"], **given)


def described(rows: data.Data, likelihood: likelihoods.Likelihood) -> dict[str, str]:
    """Return the rows of each part, the features, the task and the likelihood, and what each column was taken for."""
    parts = {"training": rows.train, "validation": rows.validation, "test": rows.test}
    counted = ", ".join(f"{count_rows(part)} {name}" for name, part in parts.items() if part is not None)
    task = f"{task_of(rows, likelihood)}; likelihood {type(likelihood).__name__.lower()}"
    counted += f"; {rows.division}" if rows.division else ""
    lines = {"rows": counted, "features": _features(rows), "task": task}
    if rows.columns is not None and rows.columns.targets:
        lines |= rows.columns.describe()
        if rows.columns.rows_left_out:
            lines["rows"] += f"; {rows.columns.rows_left_out} left out, without a target"
    return lines


def as_lines(told: dict[str, str]) -> str:
    """Return a line for each entry of `described`."""
    width = min(30, max(map(len, told)))
    return "\n".join(f"{name:<{width}}  {what}" for name, what in told.items())


def task_of(rows: data.Data, likelihood: likelihoods.Likelihood) -> str:
    """Return what is predicted: classes with their names, counts, binary targets, or real numbers."""
    if rows.class_names is not None:
        return f"classification, {data.listed(rows.class_names, 'classes')}"
    if isinstance(likelihood, likelihoods.Poisson | likelihoods.NegativeBinomial):
        return "counts"
    return "binary targets" if isinstance(likelihood, likelihoods.Bernoulli) else "regression"


def target_name(rows: data.Data, settings: dict[str, Any]) -> str:
    """Return the name of the first target, or "target" if the data do not name it."""
    named = rows.columns.targets if rows.columns is not None else settings.get("targets")
    return named[0] if named else "target"


def count_rows(part: Any) -> int:
    """Return the number of rows of a part of the data."""
    return len(part[0]) if isinstance(part, tuple) else int(part.cardinality())


def _features(rows: data.Data) -> str:
    """Return the shape of a row of inputs in words."""
    shape = rows.train[0].shape[1:] if isinstance(rows.train, tuple) else rows.train.element_spec[0].shape
    counted = " x ".join(map(str, shape)) or "1"
    columns = 0 if rows.columns is None else len(rows.columns.inputs)
    return f"{counted}, of {columns} columns" if columns and str(columns) != counted else counted
