"""Inference methods, by class or by lower-case name."""

from difflib import get_close_matches

from bnnrl.inference.adam import Adam
from bnnrl.inference.base import Info, Method
from bnnrl.inference.driver import Driver
from bnnrl.inference.ensemble import Ensemble
from bnnrl.inference.schedules import Schedule

REGISTRY: dict[str, type] = {"adam": Adam, "ensemble": Ensemble}

__all__ = ["REGISTRY", "Adam", "Driver", "Ensemble", "Info", "Method", "Schedule", "get"]


def get(method: str | Method, **hyper_parameters) -> Method:
    """Return an inference method from its name and hyper-parameters, or the instance itself.

    Raises:
        ValueError: for an unknown name (the nearest ones are listed).
    """
    if not isinstance(method, str):
        return method
    if method.lower() not in REGISTRY:
        near = get_close_matches(method.lower(), REGISTRY, n=3, cutoff=0.4)
        raise ValueError(
            f"Invalid `method`: expected one of {sorted(REGISTRY)}. Received: {method!r}."
            + (f" Did you mean {' or '.join(map(repr, near))}?" if near else "")
        )
    return REGISTRY[method.lower()](**hyper_parameters)
