"""Search spaces of `bnnrl tune`: which settings are tried, and between which values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bnnrl.checks import nearest
from bnnrl.cli.output import check_file

Space = dict[str, dict[str, Any]]  # for each option its "choices", or "low" and "high" with "log" or "step"

_KEYS = ("choices", "low", "high", "log", "step")
_OF_FIT: Space = {
    "hidden": {"choices": [[32], [64], [50, 50], [128, 128]]},
    "epochs": {"low": 30, "high": 300, "log": True},
    "batch_size": {"choices": [16, 32, 64, 128]},
}
_OF_TRAIN: Space = {
    "dynamics.hidden": {"choices": [[32, 32], [64, 64], [128, 128]]},
    "dynamics.prior_std": {"low": 0.3, "high": 3.0, "log": True},
    "search.optimism": {"low": 0.0, "high": 2.0},
    "search.effort": {"low": 0.0, "high": 0.3},
}
_OF_PROCESS: Space = {
    "dynamics.max_rows": {"choices": [300, 1000]},
    "search.optimism": {"low": 0.0, "high": 2.0},
    "search.effort": {"low": 0.0, "high": 0.3},
}
_TEMPERATURE = {"low": 1e-2, "high": 1.0, "log": True}
# Fields of each method that do not follow from the length of the run. Learning rates and step sizes do.
_OF_METHOD: dict[str, Space] = {
    "sgd": {"momentum": {"low": 0.5, "high": 0.99}},
    "adam": {"beta_1": {"low": 0.8, "high": 0.99}},
    "ensemble": {"size": {"choices": [3, 5, 10]}},
    "dropout": {"rate": {"low": 0.005, "high": 0.3, "log": True}},
    "swag": {"rank": {"choices": [5, 10, 20]}, "scale": {"low": 0.1, "high": 2.0, "log": True}},
    "laplace": {"structure": {"choices": ["last_layer", "diagonal", "kronecker"]}},
    "gauss_newton": {"rate": {"low": 0.05, "high": 0.5, "log": True}},
    "vbll": {"std_init": {"low": 0.1, "high": 3.0, "log": True}, "draws": {"choices": [1, 2, 4]}},
    "bbb": {
        "std_init": {"low": 1e-3, "high": 0.1, "log": True},
        "temperature": _TEMPERATURE,
    },
    "vadam": {"temperature": {"low": 1e-3, "high": 1.0, "log": True}},
    "bsam": {"rho": {"low": 1e-3, "high": 0.3, "log": True}, "temperature": _TEMPERATURE},
    "ivon": {
        "hess_init": {"low": 0.01, "high": 10.0, "log": True},
        "temperature": _TEMPERATURE,
    },
    "svgd": {"size": {"choices": [5, 10, 20]}},
    "sgld": {"max_draws": {"choices": [20, 50, 100]}},
    "psgld": {"alpha": {"low": 0.9, "high": 0.999}, "damping": {"low": 1e-6, "high": 1e-2, "log": True}},
    "csgld": {"exploration": {"low": 0.2, "high": 0.9}},
    "sghmc": {"friction": {"low": 0.01, "high": 0.5, "log": True}},
    "hmc": {"jitter": {"low": 0.0, "high": 0.5}, "target_accept": {"low": 0.6, "high": 0.95}},
    "nuts": {"target_accept": {"low": 0.6, "high": 0.95}},
    "mclmc": {"trajectory": {"low": 0.3, "high": 10.0, "log": True}},
}


def default(command: str, method: str) -> Space:
    """Return the space of a command and a method where none is given: sizes, priors, and fields of the method."""
    if method == "gp":
        return _OF_PROCESS
    of_method = {f"method.{name}": entry for name, entry in _OF_METHOD.get(method, {}).items()}
    return {**(_OF_FIT if command == "fit" else _OF_TRAIN), **of_method}


def read(path: str) -> Space:
    """Return the space in a YAML file.

    Raises:
        ValueError: if the file holds no space.
    """
    check_file(path)
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"Invalid `--space`: expected a YAML file. Received: {path} ({error}).") from error
    if not isinstance(found, dict) or not found:
        raise ValueError(
            "Invalid `--space`: expected a mapping such as `method.rank: {choices: [5, 20]}`. "
            f"Received: {path}, which holds {type(found).__name__}."
        )
    return {str(name): _checked(str(name), entry, path) for name, entry in found.items()}


def _checked(name: str, entry: Any, path: str) -> dict[str, Any]:
    """Return an entry of a space with numbers for text such as 1e-3, or raise ValueError."""
    fault = f"Invalid `{name}` in {path}: "
    if not isinstance(entry, Mapping):
        raise ValueError(f"{fault}expected {{choices: [...]}} or {{low: ..., high: ...}}. Received: {entry!r}.")
    for key in entry:
        if key not in _KEYS:
            raise ValueError(f"{fault}expected keys among {list(_KEYS)}. Received: {key!r}.{nearest(str(key), _KEYS)}")
    if "choices" in entry:
        if not isinstance(entry["choices"], list) or not entry["choices"] or len(entry) > 1:
            raise ValueError(f"{fault}expected a list of choices and no other key. Received: {dict(entry)}.")
        return dict(entry)
    found = {key: _number(value) for key, value in entry.items()}
    low, high = found.get("low"), found.get("high")
    is_range = isinstance(low, int | float) and isinstance(high, int | float) and low < high
    if not is_range or (found.get("log") and (low or 0) <= 0) or (found.get("log") and "step" in found):
        raise ValueError(f"{fault}expected low < high, above 0 and without step for log. Received: {dict(entry)}.")
    return found


def _number(value: Any) -> Any:
    """Return the number that text such as 1e-3 means, which YAML takes for text; other values as they are."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """Return a value for each setting of a space, which the sampler of an Optuna trial chooses."""
    return {name: _suggest(trial, name, entry) for name, entry in space.items()}


def _suggest(trial: Any, name: str, entry: Mapping[str, Any]) -> Any:
    if "choices" in entry:  # as JSON, since Optuna stores numbers and text only
        return json.loads(trial.suggest_categorical(name, [json.dumps(choice) for choice in entry["choices"]]))
    low, high, log, step = entry["low"], entry["high"], bool(entry.get("log")), entry.get("step")
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, step=step or 1, log=log)
    return trial.suggest_float(name, low, high, step=step, log=log)


def values_of(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the values of a finished trial's parameters."""
    return {name: json.loads(value) if "choices" in space[name] else value for name, value in params.items()}


def arguments(values: Mapping[str, Any]) -> list[str]:
    """Return the options of a command line that give settings their values."""
    found: list[str] = []
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool) and "." not in name:  # a flag of the command
            found.append(option if value else f"--no-{option[2:]}")
        else:
            words = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            found += [option, *map(str, words)]
    return found
