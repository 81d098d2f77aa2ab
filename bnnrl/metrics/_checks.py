"""Checks of what the metrics are given."""

from __future__ import annotations

import numpy as np

from bnnrl.data import check_rows

SUM_TOLERANCE = 1e-3  # of a softmax in float16


def check_targets(name: str, values) -> np.ndarray:
    """Return `values` [N, ...] as float64.

    Raises:
        ValueError: if there are no rows, or one holds no finite number.
    """
    return check_rows(name, values).astype(np.float64)


def check_like(y: np.ndarray, name: str, values) -> np.ndarray:
    """Return `values` as float64 in the shape of `y` [N, ...], with a last axis of size 1 added or dropped.

    Raises:
        ValueError: if they have another shape, as broadcasting would score every row against every other; no rows; or
            a value that is not finite.
    """
    array = check_targets(name, values)
    short, long = sorted((y.shape, array.shape), key=len)
    if short != long and (*short, 1) != long:
        raise ValueError(
            f"Invalid `{name}`: expected shape {y.shape}, that of the targets. Received: shape {array.shape}."
        )
    return array.reshape(y.shape)


def check_samples(y: np.ndarray | None, samples, least: int, purpose: str) -> np.ndarray:
    """Return predictive samples [S, N, ...] as float64, each draw in the shape of `y` where that is given.

    Raises:
        ValueError: if there are fewer than `least` draws for the `purpose`, their shape is another, or a value is not
            finite.
    """
    samples = np.asarray(samples)
    if samples.ndim < 2 or len(samples) < least:
        raise ValueError(
            f"Invalid `samples`: expected shape [S, N, ...] with at least {least} draws S for {purpose}. "
            f"Received: shape {samples.shape}. Draw more."
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
        ValueError: as `check_like`, or if one is not positive.
    """
    std = check_like(y, "std", std)
    bad = np.argwhere(std <= 0)
    if len(bad):
        raise ValueError(
            f"Invalid `std`: expected positive standard deviations. Received: {std[tuple(bad[0])]} in row {bad[0][0]}. "
            "Of a logarithm take the exponential first."
        )
    return std


def check_levels(name: str, values) -> np.ndarray:
    """Return levels [L] as float64, or raise ValueError unless each lies between 0 and 1."""
    levels = np.atleast_1d(check_targets(name, np.atleast_1d(values)))
    if levels.ndim > 1 or not np.all((levels > 0) & (levels < 1)):
        raise ValueError(
            f"Invalid `{name}`: expected numbers between 0 and 1. Received: {values!r}. Write 95 % as 0.95."
        )
    return levels


def check_probs(probs) -> np.ndarray:
    """Return class probabilities as float64 [N, C]; Bernoulli's P(y = 1) [N] become the two columns of y = 0 and 1.

    Raises:
        ValueError: if they have another shape or no rows, are not finite, are logits (below 0 or above 1), or do not
            add up to 1 in a row.
    """
    probs = check_targets("probs", probs)
    if probs.ndim > 2 or (probs.ndim == 2 and probs.shape[1] < 2):
        raise ValueError(
            "Invalid `probs`: expected probabilities [N, C] of C >= 2 classes, or [N] of y = 1. "
            f"Received: shape {probs.shape}. Of a single column pass `probs[:, 0]`."
        )
    bad = np.argwhere((probs < 0) | (probs > 1 + 1e-6))  # a float32 mean of probabilities may exceed 1 by rounding
    if len(bad):
        raise ValueError(
            f"Invalid `probs`: expected probabilities, in [0, 1]. Received: {probs[tuple(bad[0])]} in row {bad[0][0]}. "
            "If these are logits, apply the softmax first (to [N] the sigmoid)."
        )
    probs = np.minimum(probs, 1.0)
    if probs.ndim == 1:
        return np.stack([1 - probs, probs], axis=1)
    off = np.flatnonzero(np.abs(probs.sum(axis=1) - 1) > SUM_TOLERANCE)
    if len(off):
        raise ValueError(
            f"Invalid `probs`: expected rows that add up to 1. Received: a sum of {probs[off[0]].sum():.4g} in row "
            f"{off[0]}. If these are logits, apply the softmax first; score independent yes-or-no classes column by "
            "column."
        )
    return probs


def check_labels(labels, shape: tuple[int, ...]) -> np.ndarray:
    """Return labels [N] as integers, for outputs of `shape` (N, C).

    Raises:
        ValueError: if they have another shape, or are not integers from 0 to C − 1.
    """
    labels = check_rows("labels", labels)
    if labels.shape not in (shape[:1], (shape[0], 1)):
        raise ValueError(
            f"Invalid `labels`: expected shape ({shape[0]},), one class index for each row of probabilities. "
            f"Received: shape {labels.shape}. Of one-hot labels take `argmax(axis=1)`."
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
    """Return labels [N] as integers and probabilities as float64 [N, C].

    Raises:
        ValueError: as `check_probs` and `check_labels`.
    """
    probs = check_probs(probs)
    return check_labels(labels, probs.shape), probs
