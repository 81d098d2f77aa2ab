"""Targets: classes numbered from 0, or real numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnrl.checks import nearest
from bnnrl.data import values

TASKS = ("classification", "regression")
# Integers of more values than these, and fewer rows for each, may as well be counts or rounded reals.
_MANY_CLASSES, _ROWS_A_CLASS = 30, 10


def check_task(task: str | None) -> None:
    if task is not None and task not in TASKS:
        raise ValueError(
            f"Invalid `task`: expected one of {list(TASKS)} or None, to judge by the targets' type. "
            f"Received: {task!r}.{nearest(str(task), TASKS)}"
        )


def is_classes(task: str | None, dtype: np.dtype) -> bool:
    """Return whether targets of this type are classes: unless `task` says otherwise, all but real numbers are."""
    return task == "classification" if task else dtype.kind != "f"


def encode(
    parts: dict[str, np.ndarray],
    task: str | None,
    class_names: tuple[str, ...] | None = None,
    columns: Sequence[str] | None = None,
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Return the targets of each part and the classes' names, None for real targets.

    Args:
        parts: targets [N, ...] by part.
        task: "classification", "regression", or None to judge by type.
        class_names: where known, the targets are indices into them.
        columns: names of the targets.

    Returns:
        Classes as int32 [N, ...], numbered in sorted order over all parts; real targets as float32 [N, K]. For both a
        last axis of size 1 is the same as none.

    Raises:
        ValueError: if a target is missing or does not fit the task.
    """
    parts = {part: _plain(y, part) for part, y in parts.items()}
    if not is_classes(task, np.result_type(*parts.values())):
        return {part: _real(y, part, columns) for part, y in parts.items()}, None
    parts = {part: _whole(y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, part) for part, y in parts.items()}
    if class_names is not None:
        for part, y in parts.items():
            check_indices(y, class_names, part)
        return {part: y.astype(np.int32) for part, y in parts.items()}, class_names
    everything = np.concatenate([y.ravel() for y in parts.values()])
    classes = np.unique(everything)
    names = names_of(classes, sum(len(y) for y in parts.values()), task)
    return {part: np.searchsorted(classes, y).astype(np.int32) for part, y in parts.items()}, names


def names_of(classes: np.ndarray, rows: int, task: str | None) -> tuple[str, ...]:
    """Return the names of sorted, distinct `classes` of so many rows.

    Raises:
        ValueError: if there is but one, or if `task` is None and integers have too many values to be surely classes.
    """
    if len(classes) < 2:
        raise ValueError(f"Invalid targets: expected two classes at least. Received: only {classes.tolist()}.")
    if task is None and classes.dtype.kind in "iu" and len(classes) > max(_MANY_CLASSES, rows / _ROWS_A_CLASS):
        raise ValueError(
            f"Invalid targets: expected integers to be classes, some rows of each. Received: {len(classes)} different "
            f"integers in {rows} rows. Say which they are: `task='regression'` or `task='classification'`."
        )
    return tuple(str(c) for c in classes)


def check_indices(y: np.ndarray, class_names: tuple[str, ...], part: str, first: int = 0) -> None:
    """Raise ValueError unless `y`, of rows from number `first` on, are indices into `class_names`."""
    bad = np.argwhere((y < 0) | (y >= len(class_names)))
    if len(bad):
        raise ValueError(
            f"Invalid targets: expected classes from 0 to {len(class_names) - 1}. Received: {y[tuple(bad[0])]} in row "
            f"{first + bad[0][0]} of the {part} part. Leave out a part without labels by `split`."
        )


def _plain(y, part: str) -> np.ndarray:
    """Return targets as numbers or strings."""
    y = np.asarray(y)
    if y.ndim == 0 or y.size == 0:
        raise ValueError(f"Invalid targets: expected at least one row. Received: shape {y.shape} as the {part} part.")
    if y.dtype.kind == "O":  # strings of TensorFlow, of pandas, or a mixture
        texts = [v.decode() if isinstance(v, bytes) else v for v in y.ravel()]
        bad = next((i for i, v in enumerate(texts) if not isinstance(v, str)), None)
        if bad is not None:
            raise ValueError(
                f"Invalid targets: expected numbers or strings. Received: {texts[bad]!r} in row "
                f"{bad * len(y) // y.size} of the {part} part."
            )
        return np.array(texts).reshape(y.shape)
    if y.dtype.kind == "S":
        return np.char.decode(y)
    if y.dtype.kind not in "biufU":
        raise ValueError(f"Invalid targets: expected numbers or strings. Received: type {y.dtype}.")
    return y


def _real(y: np.ndarray, part: str, columns: Sequence[str] | None) -> np.ndarray:
    if y.dtype.kind == "U":
        raise ValueError(
            f"Invalid targets: expected numbers for regression. Received: {y.flat[0]!r} in the {part} part. "
            "Strings are classes: `task='classification'`."
        )
    return values.finite("y", y[:, np.newaxis] if y.ndim == 1 else y, part, columns)


def _whole(y: np.ndarray, part: str) -> np.ndarray:
    """Return real numbers that are whole as integers."""
    if y.dtype.kind != "f":
        return y
    bad = np.argwhere(y != np.round(y))  # NaN is unequal to itself
    if len(bad):
        raise ValueError(
            f"Invalid targets: expected whole numbers or strings as classes. Received: {y[tuple(bad[0])]} in row "
            f"{bad[0][0]} of the {part} part."
        )
    return y.astype(np.int64)
