"""Objects from the settings of a run: the dynamics model, the inference method, the policy and the likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import bnnrl
from bnnrl.checks import nearest
from bnnrl.inference import REGISTRY, Method, get
from bnnrl.storage import config

_POLICIES = {"rbf": bnnrl.policies.RBF, "mlp": bnnrl.policies.MLP, "linear": bnnrl.policies.Linear}
_PLANNERS = {"cem": bnnrl.planners.CEM, "icem": bnnrl.planners.ICEM}
_REWARD_MODEL_SIZE = 5


def replaced(settings: Any, fields: Mapping[str, Any]) -> Any:
    """Return a dataclass with other values of some fields, given as JSON-able data.

    Raises:
        ValueError: if a value is out of its range.
    """
    return dataclasses.replace(settings, **_values(settings, fields)) if fields else settings


def dynamics(method: str, method_fields: Mapping[str, Any], fields: Mapping[str, Any]):
    """Return the settings of a dynamics model.

    Args:
        method: the name of the inference method, or "gp".
        method_fields: fields of the method that replace those of its preset.
        fields: other fields of `bnnrl.Dynamics`.

    Raises:
        ValueError: if there is no such method, it has no such field, or a value is out of its range.
    """
    found = replaced(bnnrl.Dynamics(method=method), fields)
    if not method_fields:
        return found
    if found.is_gaussian_process:
        raise ValueError(
            f"Invalid `method.{next(iter(method_fields))}`: expected no settings of the method 'gp', whose settings "
            f"are dynamics.midpoint and dynamics.max_rows. Received: {dict(method_fields)}."
        )
    preset = found.resolve_method()
    built = _with_fields(preset, method, method_fields)
    if built == preset:
        return found
    return dataclasses.replace(found, method=built, steps=found.num_steps, batch_size=found.rows)


def _with_fields(built: Any, name: str, fields: Mapping[str, Any]) -> Method:
    """Return a method with other fields of the method called `name`, which wrappers may hold."""
    cls = REGISTRY[name.lower()]
    if type(built) is not cls and built.inner is not None:
        return dataclasses.replace(built, method=_with_fields(built.inner, name, fields))
    return replaced(built, fields)


def hyper_parameters(method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters that `bnnrl.BayesianModel` takes for a named method.

    Fields within another setting, such as those of an optimizer, replace those of the class's default value.

    Raises:
        ValueError: if there is no such method or no such field.
    """
    return _values(get(method), fields)


def policy(name: str, fields: Mapping[str, Any], horizon: int | None):
    """Return a policy or a planner by name, a planner with the horizon if it has none of its own among the fields."""
    if name in _POLICIES:
        return replaced(_POLICIES[name](), fields)
    return replaced(_PLANNERS[name](), {**({} if horizon is None else {"horizon": horizon}), **fields})


def reward_model(fields: Mapping[str, Any]):
    """Return the settings of the models of reward and termination; None, for the default ones, without fields."""
    given = dict(fields)
    if not given:
        return None
    start = bnnrl.Dynamics(size=_REWARD_MODEL_SIZE)
    if "method" in given:
        start = bnnrl.Dynamics(method=given.pop("method"), size=_REWARD_MODEL_SIZE)
    return replaced(start, given)


def _values(settings: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of fields that JSON-able data describe, or raise ValueError for one that is no field."""
    known = [field.name for field in dataclasses.fields(settings) if field.init]
    for name in fields:
        if name not in known:
            cls = type(settings).__name__
            what = f"one of the settings of {cls}, {known}" if known else f"no settings of {cls}, which has none"
            raise ValueError(f"Invalid `{name}`: expected {what}. Received: {name!r}.{nearest(name, known)}")
    return {name: _value(getattr(settings, name), data) for name, data in fields.items()}


def _value(current: Any, data: Any) -> Any:
    if isinstance(data, Mapping) and "class" not in data:
        return replaced(current, data)
    return config.decode(data)
