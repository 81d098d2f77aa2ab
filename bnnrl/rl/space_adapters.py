"""Environments with composite spaces as environments of vectors, by Gymnasium's own wrappers."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TransformAction

_MAX_ENTRIES = 1000  # of a flattened observation; more, as of an image, are no input for these models
_MAX_COMBINATIONS = 256  # of the values of a MultiDiscrete action, each of which becomes one value of a Discrete one


def to_vectors(env: gymnasium.Env) -> gymnasium.Env:
    """Return the environment with vectors as observations, and vectors or single values as actions.

    Observations of Dict, Tuple, Discrete, MultiDiscrete, MultiBinary, and of a Box with several axes are flattened by
    gymnasium.wrappers.FlattenObservation. MultiDiscrete and MultiBinary actions become a Discrete one, with one value
    for each combination, and Dict and Tuple actions of Boxes become one Box, by gymnasium.wrappers.TransformAction. An
    environment whose spaces are of another kind, or too large, is returned as it is.
    """
    observations = env.observation_space
    is_flat = _is_vector(observations) or not observations.is_np_flattenable
    if not is_flat and spaces.flatdim(observations) <= _MAX_ENTRIES:
        env = FlattenObservation(env)
    return _with_simple_actions(env)


def _with_simple_actions(env: gymnasium.Env) -> gymnasium.Env:
    space = env.action_space
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        is_binary = isinstance(space, spaces.MultiBinary)
        counts = np.full(space.shape, 2) if is_binary else space.nvec
        start = np.zeros(space.shape, int) if is_binary else space.start
        if np.prod(counts, dtype=np.float64) <= _MAX_COMBINATIONS:
            values = partial(_combination, counts, start, space.dtype)
            return TransformAction(env, values, spaces.Discrete(int(np.prod(counts))))
    elif not _is_vector(space) and _is_of_boxes(space):
        return TransformAction(env, partial(spaces.unflatten, space), spaces.flatten_space(space))
    return env


def _combination(counts: np.ndarray, start: np.ndarray, dtype: Any, value: int) -> np.ndarray:
    """Return the values of a MultiDiscrete action with so many values for each entry, given their number."""
    entries = np.unravel_index(int(value), counts.ravel())
    return (np.reshape(entries, counts.shape) + start).astype(dtype)


def _is_vector(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 1


def _is_of_boxes(space: spaces.Space) -> bool:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return len(space.spaces) > 0 and all(_is_of_boxes(part) for part in parts)
    return isinstance(space, spaces.Box)
