"""An agent's environment as JSON: by its id, its arguments and its wrappers, as far as these can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from bnnrl.rl.tasks import Task
from bnnrl.rl.tasks.env_source import load_wrapper
from bnnrl.storage import config

_ARRAY = "array"  # marks an array among keyword arguments, by the name of the saved array


class _NotSavable(Exception):
    """Something of the environment is code or an object, and cannot be saved."""


def describe(task: Task) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the JSON-able description of a task's environment, and the arrays among its arguments.

    An environment that cannot be made again is described by its name alone.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        env_kwargs, wrappers = _arguments(task)
        described = {
            "env_kwargs": _encode(env_kwargs, arrays),
            "wrappers": [[name, _encode(kwargs, arrays)] for name, kwargs in wrappers],
            "reset_options": _encode(task.reset_options, arrays),
        }
    except _NotSavable:
        return {"env": task.env_id, "env_kwargs": None}, {}
    return {"env": task.env_id, **described}, arrays


def arguments(described: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Return the arguments of PILCO that make a described environment, or None if it cannot be made again."""
    if described["env_kwargs"] is None:
        return None
    wrappers = [
        partial(load_wrapper(name), **_decode(kwargs, arrays)) if kwargs else name
        for name, kwargs in described.get("wrappers", ())
    ]
    return {
        "env": described["env"],
        "env_kwargs": _decode(described["env_kwargs"], arrays),
        "wrappers": wrappers,
        "reset_options": _decode(described.get("reset_options"), arrays),
    }


def _arguments(task: Task) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Return the keyword arguments of gymnasium.make and the wrappers, each by its name and keyword arguments."""
    wrappers = [_named(wrapper) for wrapper in task.wrappers]
    if task.source is None:
        return dict(task.env_kwargs), wrappers
    spec = task.source.spec if isinstance(task.source, gymnasium.Env) else task.source
    registered = gymnasium.registry.get(task.env_id)
    # Only what Gymnasium has registered is made again: an entry point in a file could be any function.
    if not isinstance(spec, EnvSpec) or registered is None or spec.entry_point != registered.entry_point:
        raise _NotSavable
    around = [(wrapper.entry_point, wrapper.kwargs) for wrapper in spec.additional_wrappers]
    if any(kwargs is None for _, kwargs in around):
        raise _NotSavable
    kwargs = spec.kwargs | dict(task.env_kwargs)
    if spec.max_episode_steps != registered.max_episode_steps:
        kwargs["max_episode_steps"] = -1 if spec.max_episode_steps is None else spec.max_episode_steps
    return kwargs, [*((name, dict(kwargs or {})) for name, kwargs in around), *wrappers]


def _named(wrapper: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(wrapper, str):
        return wrapper, {}
    cls, kwargs = (wrapper.func, wrapper.keywords) if isinstance(wrapper, partial) else (wrapper, {})
    if not (isinstance(cls, type) and issubclass(cls, gymnasium.Wrapper)) or getattr(wrapper, "args", ()):
        raise _NotSavable
    name = f"{cls.__module__}:{cls.__name__}"
    try:
        load_wrapper(name)
    except ValueError as error:  # a class inside a function
        raise _NotSavable from error
    return name, dict(kwargs)


def _encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        name = f"environment/{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _NotSavable
        return {key: _encode(entry, arrays) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(entry, arrays) for entry in value]
    try:
        return config.encode(value)
    except ValueError as error:
        raise _NotSavable from error


def _decode(data: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(data, list):
        return [_decode(entry, arrays) for entry in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {_ARRAY}:
        return arrays[data[_ARRAY]]
    if "class" in data:
        return config.decode(data)
    return {key: _decode(entry, arrays) for key, entry in data.items()}
