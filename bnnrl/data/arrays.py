"""Rows held in memory: cast, divided into parts and standardized."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bnnrl.checks import as_array
from bnnrl.data import casting
from bnnrl.data.scaler import Scaler
from bnnrl.data.settings import Divided, DivideSettings
from bnnrl.data.source import PARTS, Rows, Source
from bnnrl.data.split import assign
from bnnrl.data.targets import encode


def divide(source: Source, parts: dict[str, tuple[Any, Any]], settings: DivideSettings) -> Divided:
    """Return the parts as arrays, with classes numbered and scalers fitted to the training part.

    Args:
        source: gives the names of features, targets and classes.
        parts: arrays (x, y) by part, "train" among them.
        settings: how they are divided.

    Raises:
        ValueError: as for `load`.
    """
    x_scaled = casting.scales_inputs(settings.standardize, max(as_array("x", parts["train"][0]).ndim, 2))
    targets = {part: y for part, (_, y) in parts.items()}
    y_scaled = casting.scales_targets(settings.standardize, classes=False)
    ys, class_names = encode(targets, settings.task, source.class_names, source.target_names, y_scaled)
    if settings.stratify and class_names is None:
        raise ValueError(
            "Invalid `stratify`: expected False for real targets, which have no classes. Received: stratify=True."
        )
    columns, given = source.columns, {part: x for part, (x, _) in parts.items()}
    rows = len(ys["train"])
    times = np.arange(rows) if isinstance(settings.times, str) else settings.times
    labels = ys["train"] if settings.stratify else None
    codes = assign(rows, settings.fractions, settings.seed, labels, settings.groups, times)
    chosen = {part: codes == code for code, part in enumerate(PARTS)}
    if columns is not None:
        columns = replace(columns.fitted(given["train"][chosen["train"]]), class_names=class_names)
        given = {part: columns.filled(x) for part, x in given.items()}
    xs = {part: casting.as_inputs(x, part, source.feature_names, x_scaled) for part, x in given.items()}
    _check_shapes(xs, ys)
    divided: dict[str, Rows] = {part: (x, ys[part]) for part, x in xs.items()}
    x, y = xs["train"], ys["train"]
    if settings.fractions:
        divided.update({part: (x[of_part], y[of_part]) for part, of_part in chosen.items() if of_part.any()})
        x, y = x[chosen["train"]], y[chosen["train"]]
    by_last_axis = lambda a: Scaler.fit(a.reshape(-1, a.shape[-1]))
    scalers = by_last_axis(x) if x_scaled else None, by_last_axis(y) if y_scaled and not class_names else None
    of_train = lambda values: None if values is None else np.asarray(values)[chosen["train"]]
    return Divided(divided, class_names, *scalers, columns, of_train(settings.groups), of_train(times))


def _check_shapes(xs: dict[str, np.ndarray], ys: dict[str, np.ndarray]) -> None:
    for part, x in xs.items():
        same = x.shape[1:] == xs["train"].shape[1:] and ys[part].shape[1:] == ys["train"].shape[1:]
        if len(x) != len(ys[part]) or not same:
            raise ValueError(
                f"Invalid `source`: expected as many targets as rows, and rows of the same shape in each part. "
                f"Received: x {x.shape} and y {ys[part].shape} in the {part} part, x {xs['train'].shape} and y "
                f"{ys['train'].shape} in the train part."
            )
