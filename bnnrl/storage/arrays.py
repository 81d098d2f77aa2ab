"""Groups of named arrays in one flat mapping: the array "mean" of group "scalers/inputs" is "scalers/inputs/mean"."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

Arrays = dict[str, np.ndarray]


def flatten(groups: Mapping[str, Mapping[str, np.ndarray]]) -> Arrays:
    """Return the arrays of all groups, named "group/name"; those of the group "" keep their names."""
    return {_prefix(group) + name: array for group, arrays in groups.items() for name, array in arrays.items()}


def select(arrays: Mapping[str, np.ndarray], group: str) -> Arrays:
    """Return the arrays of one group by the names they had before `flatten`.

    The result is empty if there is no such group. The group "" has no prefix that would mark its arrays: it is all.
    """
    prefix = _prefix(group)
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _prefix(group: str) -> str:
    return f"{group}/" if group else ""


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays in the safetensors format, with a checksum in the metadata."""
    return safetensors.numpy.save(dict(arrays), {"sha256": _checksum(arrays)})


def from_bytes(data: bytes) -> Arrays:
    """Return the arrays that `to_bytes` wrote, or that an earlier version wrote without a checksum.

    Raises:
        ValueError: if the data are damaged.
    """
    try:
        arrays = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if "__metadata__" in header and header["__metadata__"].get("sha256") != _checksum(arrays):
        raise ValueError("the arrays do not match their checksum")
    return arrays


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
