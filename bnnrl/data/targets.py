"""Conversion of targets: to classes numbered from 0, or to real numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnrl.checks import as_array, nearest
from bnnrl.data import casting

TASKS = ("classification", "regression")
# Integers with more distinct values than _MAX_CLASSES and fewer rows per value than _MIN_ROWS_PER_CLASS may be counts
# or rounded real numbers, so `task` has to say what they are.
_MAX_CLASSES, _MIN_ROWS_PER_CLASS = 30, 10
_MAX_GAPPY = 10  # likewise, of more integers none between the lowest and the highest may be missing


def check_task(task: str | None) -> None:
    """Raise ValueError unless `task` is one of `TASKS` or None."""
    if task is not None and not (isinstance(task, str) and task in TASKS):
        raise ValueError(
            f"Invalid `task`: expected one of {list(TASKS)} or None, to infer it from the targets. "
            f"Received: {task!r}.{nearest(str(task), TASKS)}"
        )


def is_classes(task: str | None, dtype: np.dtype) -> bool:
    """Return whether targets are classes: by `task`, or if it is None, whether their type is not real."""
    return task == "classification" if task else dtype.kind != "f"


def encode(
    parts: dict[str, np.ndarray],
    task: str | None,
    class_names: tuple[str, ...] | None = None,
    columns: Sequence[str] | None = None,
    scaled: bool = False,
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Return the targets of each part as numbers, and the names of the classes.

    Args:
        parts: targets [N, ...] by part.
        task: "classification", "regression", or None to infer it from the targets' type.
        class_names: names of the classes if targets are indices into them; None to number the classes here.
        columns: names of the targets, for error messages.
        scaled: whether real targets are going to be standardized.

    Returns:
        The targets by part: classes as int32 [N, ...], numbered in sorted order over all parts, or real targets as
        float32 [N, K], if they are `scaled` as `casting.as_standardizable` returns them. Classes [N, 1] become [N],
        real targets [N] become [N, 1].
        The names of the classes, None for real targets.

    Raises:
        ValueError: if a target is missing or does not fit the task.
    """
    parts = {part: _plain(y, part) for part, y in parts.items()}
    if not is_classes(task, np.result_type(*parts.values())):
        return {part: _real(y, part, columns, scaled) for part, y in parts.items()}, None
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
    """Return the names of sorted, distinct `classes` that `rows` rows have.

    Raises:
        ValueError: if there is only one class, or if `task` is None and the integers may not be classes.
    """
    if len(classes) < 2:
        raise ValueError(f"Invalid targets: expected at least two classes. Received: only {classes.tolist()}.")
    if task is None and classes.dtype.kind in "iu" and _may_be_numbers(classes, rows):
        raise ValueError(
            f"Invalid targets: expected at least {_MIN_ROWS_PER_CLASS} rows of each class, and no gaps between more "
            f"than {_MAX_GAPPY} classes. Received: {len(classes)} different integers from {classes[0]} to "
            f"{classes[-1]} in {rows} rows. Pass `task='regression'` or `task='classification'` (`bnnrl fit --task "
            "regression`; `--likelihood poisson` for counts)."
        )
    return tuple(str(c) for c in classes)


def _may_be_numbers(classes: np.ndarray, rows: int) -> bool:
    """Return whether sorted, distinct integers may be counts or rounded real numbers instead of classes."""
    many = len(classes) > max(_MAX_CLASSES, rows / _MIN_ROWS_PER_CLASS)
    return many or (len(classes) > _MAX_GAPPY and int(classes[-1]) - int(classes[0]) >= len(classes))


def check_indices(y: np.ndarray, class_names: tuple[str, ...], part: str, first_row: int = 0) -> None:
    """Raise ValueError unless all entries of `y` are indices into `class_names`; its row 0 is row `first_row`."""
    bad = np.argwhere((y < 0) | (y >= len(class_names)))
    if len(bad):
        raise ValueError(
            f"Invalid targets: expected classes from 0 to {len(class_names) - 1}. Received: {y[tuple(bad[0])]} in row "
            f"{first_row + bad[0][0]} of the {part} part. Leave out parts without labels with `split`."
        )


def _plain(y, part: str) -> np.ndarray:
    """Return targets as an array of numbers or strings, or raise ValueError."""
    y = as_array("y", y)
    if y.ndim == 0 or y.size == 0:
        raise ValueError(f"Invalid targets: expected at least one row. Received: shape {y.shape} as the {part} part.")
    if y.dtype.kind == "O":  # strings from TensorFlow or pandas, or mixed types
        texts = [_text(v, part) if isinstance(v, bytes) else v for v in y.ravel()]
        bad = next((i for i, v in enumerate(texts) if not isinstance(v, str)), None)
        if bad is not None:
            raise ValueError(
                f"Invalid targets: expected numbers or strings. Received: {texts[bad]!r} in row "
                f"{bad * len(y) // y.size} of the {part} part."
            )
        return np.array(texts).reshape(y.shape)
    if y.dtype.kind == "S":
        return np.array([_text(v, part) for v in y.ravel().tolist()]).reshape(y.shape)
    if y.dtype.kind not in "biufU":
        raise ValueError(f"Invalid targets: expected numbers or strings. Received: type {y.dtype}.")
    return y


def _text(value: bytes, part: str) -> str:
    """Return bytes as text, or raise ValueError unless they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Invalid targets: expected text in UTF-8. Received: {value!r} in the {part} part ({error.reason})."
        ) from error


def _real(y: np.ndarray, part: str, columns: Sequence[str] | None, scaled: bool) -> np.ndarray:
    """Return real targets [N, K], or raise ValueError."""
    if y.dtype.kind == "U":
        raise ValueError(
            f"Invalid targets: expected numbers for regression. Received: {y.flat[0]!r} in the {part} part. "
            "For strings, which are classes, pass `task='classification'`."
        )
    as_numbers = casting.as_standardizable if scaled else casting.as_float32
    return as_numbers("y", y[:, np.newaxis] if y.ndim == 1 else y, part, columns)


def _whole(y: np.ndarray, part: str) -> np.ndarray:
    """Return targets as they are, real numbers as integers, or raise ValueError if one is not whole."""
    if y.dtype.kind != "f":
        return y
    bad = np.argwhere(y != np.round(y))  # NaN is unequal to itself
    if len(bad):
        raise ValueError(
            f"Invalid targets: expected whole numbers or strings as classes. Received: {y[tuple(bad[0])]} in row "
            f"{bad[0][0]} of the {part} part."
        )
    return y.astype(np.int64)
