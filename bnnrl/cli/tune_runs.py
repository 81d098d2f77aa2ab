"""The runs of a study: their command lines, from settings that all share and settings that are tuned."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from bnnrl.checks import default_of
from bnnrl.cli import tune_space
from bnnrl.cli.fit import Fit
from bnnrl.cli.parsing import parse
from bnnrl.cli.train import Train

_COMMANDS: dict[str, type] = {"fit": Fit, "train": Train}


def base_arguments(command: str, target: str, method: str | None, config: str | Path | None) -> list[str]:
    """Return the command line of the runs of a study, without the settings that are tuned."""
    found = [command, target]
    if config is not None:
        found += ["--config", str(config)]
    return found + (["--method", method] if method is not None else [])


def options_of(command: str, arguments: list[str]) -> Any:
    """Return the command that a command line gives.

    Raises:
        ValueError: if it has an option that the command has not, or a value of the wrong type.
    """
    try:
        return parse({command: _COMMANDS[command]}, arguments, "")
    except SystemExit as stop:  # tyro has printed the fault
        raise ValueError(
            f"Invalid search space: expected options of `bnnrl {command}`. Received: {' '.join(arguments[2:])}."
        ) from stop


def check_space(settings: dict[str, Any], config: str | None) -> None:
    """Raise ValueError if a setting of the search space is none of the command, or a value is of the wrong type."""
    arguments = base_arguments(settings["command"], settings["target"], settings["method"], config)
    for name, entry in settings["space"].items():
        for value in entry.get("choices", [entry.get("low")]):
            options_of(settings["command"], arguments + tune_space.arguments({name: value}))


def settings_of(options: Any) -> dict[str, Any]:
    """Return the settings of a command that are not at their default values, as a file of settings has them."""
    found = {f.name: getattr(options, f.name) for f in fields(options) if getattr(options, f.name) != default_of(f)}
    for name in ("config", "seed"):
        found.pop(name, None)
    for group in ("method", "policy", "likelihood"):
        if entries := found.pop(f"{group}_fields", None):
            found[group] = {"name": getattr(options, group), **entries}
    return found
