"""Settings as JSON: dataclasses by their class name, nested ones too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

_CLASSES: dict[str, type] = {}
_FLOAT = "float"  # an infinite one, or none at all


def register(*classes: type) -> None:
    """Make dataclasses known, by their names."""
    _CLASSES.update((cls.__name__, cls) for cls in classes)


def encode(value: Any) -> Any:
    """Return `value` as JSON-able data.

    Raises:
        ValueError: for an object of a class that is not one of bnnrl's settings: code is never saved.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if _CLASSES.get(name) is not type(value):
            raise ValueError(
                f"Invalid setting: expected one of bnnrl's own, {sorted(_CLASSES)}, to be saved. Received: {value!r}."
            )
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": name, **fields}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"class": _FLOAT, "value": repr(value)}  # which JSON has no numbers for
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"Invalid setting: expected a number, a string, or one of bnnrl's own. Received: {value!r}.")


def encode_or_repr(value: Any, encode: Callable[[Any], Any] = encode) -> Any:
    """Return `encode(value)`, or the value's `repr` where it cannot be encoded: for logs, which are not read back."""
    try:
        return encode(value)
    except ValueError:
        return repr(value)


def decode(data: Any) -> Any:
    """Return the settings that `encode` described.

    Raises:
        ValueError: for a class or a field this version does not know.
    """
    if isinstance(data, list):
        return tuple(decode(v) for v in data)
    if not isinstance(data, dict):
        return data
    if data.get("class") == _FLOAT:
        return float(data["value"])
    fields = {name: decode(value) for name, value in data.items() if name != "class"}
    if data.get("class") not in _CLASSES:
        raise ValueError(f"Invalid settings: expected one of {sorted(_CLASSES)}. Received: {data.get('class')!r}.")
    try:
        return _CLASSES[data["class"]](**fields)
    except TypeError as error:
        raise ValueError(f"Invalid settings of {data['class']}: {error}.") from error
