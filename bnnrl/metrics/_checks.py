"""Checks of the arguments of metrics."""

from __future__ import annotations

import numpy as np

from bnnrl.checks import as_array
from bnnrl.data import check_rows

SUM_TOLERANCE = 1e-3  # largest error of the sum of a softmax in float16


def check_targets(name: str, values) -> np.ndarray:
    """Return `values` [N, ...] as float64, or raise ValueError unless there are rows and all values are finite."""
    return check_rows(name, values).astype(np.float64)


def check_like(y: np.ndarray, name: str, values) -> np.ndarray:
    """Return `values` as float64 in the shape of `y` [N, ...]; a last axis of size 1 is added or dropped.

    Raises:
        ValueError: if there are no rows, a value is not finite, or the shape is another, because broadcasting would
            compare every row with every other.
    """
    array = check_targets(name, values)
    short, long = sorted((y.shape, array.shape), key=len)
    if short != long and (*short, 1) != long:
        raise ValueError(
            f"Invalid `{name}`: expected shape {y.shape}, that of the targets. Received: shape {array.shape}."
        )
    return array.reshape(y.shape)


def check_samples(y: np.ndarray | None, samples, least: int, purpose: str) -> np.ndarray:
    """Return predictive samples [S, N, ...] as float64, each in the shape of `y` [N, ...] unless that is None.

    Args:
        y: targets, or None.
        samples: predictive samples.
        least: the smallest number of samples.
        purpose: what that many samples are needed for, for the error message.

    Raises:
        ValueError: if there are fewer than `least` samples, their shape is another, or a value is not finite.
    """
    samples = as_array("samples", samples)
    if samples.ndim < 2 or len(samples) < least:
        raise ValueError(
            f"Invalid `samples`: expected shape [S, N, ...] with at least {least} draws S for {purpose}. "
            f"Received: shape {samples.shape}. Use more draws."
        )
    check_rows("samples", np.moveaxis(samples, 1, 0))
    samples = samples.astype(np.float64)
    if y is None or samples.shape[1:] == y.shape:
        return samples
    if samples.shape[1:] not in ((*y.shape, 1), y.shape[:-1] if y.shape[-1] == 1 else y.shape):
        raise ValueError(
            f"Invalid `samples`: expected shape [S, *{y.shape}], draws S first, then the targets' shape. "
            f"Received: shape {samples.shape}."
        )
    return samples.reshape(len(samples), *y.shape)


def check_std(y: np.ndarray, std) -> np.ndarray:
    """Return predictive standard deviations as float64 in the shape of `y`.

    Raises:
        ValueError: as `check_like`, and if one is not positive.
    """
    std = check_like(y, "std", std)
    bad = np.argwhere(std < np.finfo(np.float32).tiny)
    if len(bad):
        raise ValueError(
            f"Invalid `std`: expected positive standard deviations. Received: {std[tuple(bad[0])]} in row {bad[0][0]}. "
            "If these are logarithms, apply the exponential first."
        )
    return std


def check_levels(name: str, values) -> np.ndarray:
    """Return levels as float64 [L], or raise ValueError unless each is between 0 and 1."""
    levels = check_targets(name, np.atleast_1d(as_array(name, values)))
    if levels.ndim > 1 or not np.all((levels > 0) & (levels < 1)):
        raise ValueError(
            f"Invalid `{name}`: expected numbers between 0 and 1. Received: {values!r}. Write 95 % as 0.95."
        )
    return levels


def check_probs(probs, name: str = "probs") -> np.ndarray:
    """Return class probabilities as float64 [N, C]; probabilities [N] of y = 1 become columns for y = 0 and y = 1.

    Raises:
        ValueError: if there are no rows, the shape is another, a value is not finite or not in [0, 1], as logits may
            be, or a row does not add up to 1.
    """
    probs = check_targets(name, probs)
    if probs.ndim > 2 or (probs.ndim == 2 and probs.shape[1] < 2):
        raise ValueError(
            f"Invalid `{name}`: expected probabilities [N, C] of C >= 2 classes, or [N] of y = 1. "
            f"Received: shape {probs.shape}. For a single column, pass `{name}[:, 0]`."
        )
    bad = np.argwhere((probs < 0) | (probs > 1 + 1e-6))  # a float32 mean of probabilities may exceed 1 by rounding
    if len(bad):
        raise ValueError(
            f"Invalid `{name}`: expected probabilities in [0, 1]. Received: {probs[tuple(bad[0])]} in row {bad[0][0]}. "
            "If these are logits, apply the softmax first, or the sigmoid for shape [N]."
        )
    probs = np.minimum(probs, 1.0)
    if probs.ndim == 1:
        return np.stack([1 - probs, probs], axis=1)
    off = np.flatnonzero(np.abs(probs.sum(axis=1) - 1) > SUM_TOLERANCE)
    if len(off):
        raise ValueError(
            f"Invalid `{name}`: expected rows that add up to 1. Received: a sum of {probs[off[0]].sum():.4g} in row "
            f"{off[0]}. If these are logits, apply the softmax first. If the columns are independent binary classes, "
            "score them one by one."
        )
    return probs


def check_labels(labels, shape: tuple[int, ...]) -> np.ndarray:
    """Return labels as integers [N], for outputs of `shape` (N, C).

    Raises:
        ValueError: if the shape is another, or a label is not an integer from 0 to C − 1.
    """
    labels = check_rows("labels", labels)
    if labels.shape not in (shape[:1], (shape[0], 1)):
        raise ValueError(
            f"Invalid `labels`: expected shape ({shape[0]},), one class index for each row of probabilities. "
            f"Received: shape {labels.shape}. For one-hot labels, pass `labels.argmax(axis=1)`."
        )
    labels = labels.reshape(-1)
    bad = np.flatnonzero((labels < 0) | (labels >= shape[1]) | (labels != np.round(labels)))
    if len(bad):
        raise ValueError(
            f"Invalid `labels`: expected integers from 0 to {shape[1] - 1}. Received: {labels[bad[0]]} in row "
            f"{bad[0]}. Number the classes from 0."
        )
    return labels.astype(np.int64)


def check_classes(labels, probs) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as integers [N] and class probabilities as float64 [N, C].

    Raises:
        ValueError: as `check_probs` and `check_labels`.
    """
    probs = check_probs(probs)
    return check_labels(labels, probs.shape), probs
