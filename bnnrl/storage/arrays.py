"""Groups of named arrays in one flat mapping: the array "mean" of group "scalers/inputs" is "scalers/inputs/mean"."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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
