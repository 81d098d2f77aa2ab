"""Settings as JSON: a dataclass, possibly nested, becomes its class name and its fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

_CLASSES: dict[str, type] = {}  # those that `decode` may build, by name
_FLOAT = "float"  # marks infinity and NaN, for which JSON has no numbers


def register(*classes: type) -> None:
    """Allow settings of these dataclasses to be encoded and decoded, by their class names."""
    _CLASSES.update((cls.__name__, cls) for cls in classes)


def encode(value: Any) -> Any:
    """Return settings as JSON-able data.

    Args:
        value: a number, a string, a truth value, None, a registered dataclass, or a tuple or list of these.

    Raises:
        ValueError: if `value` holds anything else, such as a class or a function: code is never saved.
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
        return {"class": _FLOAT, "value": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"Invalid setting: expected a number, a string, or one of bnnrl's own. Received: {value!r}.")


def encode_or_repr(value: Any, encode: Callable[[Any], Any] = encode) -> Any:
    """Return `encode(value)`, or `repr(value)` if the value cannot be encoded: for logs, which nothing decodes."""
    try:
        return encode(value)
    except ValueError:
        return repr(value)


def decode(data: Any) -> Any:
    """Return the settings that `encode` described; lists come back as tuples.

    Raises:
        ValueError: if the data name a class or a field that this version does not know.
    """
    if isinstance(data, list):
        return tuple(decode(v) for v in data)
    if not isinstance(data, dict):
        return data
    name = data.get("class")
    if name == _FLOAT and data.get("value") in ("inf", "-inf", "nan"):
        return float(data["value"])
    fields = {name: decode(value) for name, value in data.items() if name != "class"}
    if not isinstance(name, str) or name not in _CLASSES:
        raise ValueError(f"Invalid settings: expected one of {sorted(_CLASSES)}. Received: {name!r}.")
    try:
        return _CLASSES[name](**fields)
    except TypeError as error:
        known = [field.name for field in dataclasses.fields(_CLASSES[name]) if field.init]
        raise ValueError(
            f"Invalid settings of {name}: expected fields among {known}. Received: {list(fields)}. {error}"
        ) from error
