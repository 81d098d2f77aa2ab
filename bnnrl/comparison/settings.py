"""Settings of a comparison: of a new one, of an earlier one that is resumed, and the command line of each run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from bnnrl.checks import changed, check_count, default_of
from bnnrl.storage import run_folder

_EXECUTION = ("engine", "jobs", "retries")  # options that change how runs are carried out, but not their results
_NOT_SHARED = ("method", "folder", "resume", "config")  # options of `bnnrl train` that are no settings of all runs
_EXTENDABLE = ("methods", "seeds", "trials", "baseline_steps")  # settings that a later call may extend

BASELINE_STEPS = 20_000  # real steps of a baseline
_MORE = {"trials": 1, "baseline_steps": BASELINE_STEPS}  # settings that may increase, and those of earlier versions


def check_options(command: Any) -> None:
    """Raise ValueError unless the counts among the options of `bnnrl compare` are valid."""
    for option, value in (
        ("seeds", command.seeds),
        ("jobs", command.jobs),
        ("trials", command.trials),
        ("baseline_steps", command.baseline_steps),
    ):
        if value is not None:
            check_count(option, value)
    if isinstance(command.retries, bool) or command.retries < 0:
        raise ValueError(
            f"Invalid `retries`: expected an integer of at least 0. Received: retries={command.retries!r}."
        )


def of_new(command: Any, train: type) -> dict[str, Any]:
    """Return the settings of a new comparison.

    Args:
        command: the options of `bnnrl compare`.
        train: the dataclass with the options of `bnnrl train`.

    Raises:
        ValueError: if the environment or the methods are missing.
    """
    methods = list(dict.fromkeys(name.strip() for name in (command.methods or "").split(",") if name.strip()))
    if command.env is None or not methods:
        raise ValueError(
            "Invalid arguments: expected the id of an environment and --methods, such as --methods swag,bbb,hmc, or "
            f"--resume FOLDER. Received: env={command.env!r}, methods={command.methods!r}."
        )
    shared = [field.name for field in dataclasses.fields(train) if field.name not in _NOT_SHARED]
    settings = {name: getattr(command, name) for name in shared}
    settings |= {"methods": methods, "seeds": command.seeds, "trials": 8 if command.trials is None else command.trials}
    settings["baseline_steps"] = command.baseline_steps or BASELINE_STEPS
    return json.loads(json.dumps(settings))  # with the types that config.json gives back, such as lists for tuples


def of_resumed(command: Any) -> dict[str, Any]:
    """Return the settings of the comparison in the folder `command.resume`, with more trials and steps if asked for.

    Raises:
        ValueError: if the folder holds no comparison, or other options are given.
    """
    if given := changed(command, ("resume", *_MORE, *_EXECUTION)):
        raise ValueError(
            f"Invalid arguments: expected only --{', --'.join((*_MORE, *_EXECUTION)).replace('_', '-')} beside "
            f"--resume, which continues with the settings of the comparison. Received: {', '.join(given)}."
        )
    settings = run_folder.COMPARISON.read_config(command.resume)["settings"]
    more = {name: max(settings.get(name, least), getattr(command, name) or 0) for name, least in _MORE.items()}
    return {**settings, **more}


def open_folder(folder: str | None, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a comparison, new or existing, and its settings.

    Args:
        folder: a new folder, the folder of an earlier comparison, or None for runs/<env>/comparison/<seed>-<time>.
        settings: the settings asked for. Those of an earlier comparison may differ in methods, seeds, trials and
            steps of baselines, and are extended by the given ones.

    Raises:
        ValueError: if the folder holds something else, or a comparison with other settings.
    """
    if folder is None or not run_folder.COMPARISON.matches(folder):
        default = f"{settings['env'].rpartition(':')[2]}/comparison"
        return run_folder.COMPARISON.create(folder, default, settings), settings
    config = run_folder.COMPARISON.read_config(folder)
    earlier = config["settings"]
    names = [name for name in settings if name not in _EXTENDABLE]
    if other := [name for name in names if settings[name] != earlier.get(name, settings[name])]:
        differences = ", ".join(f"{name}={settings[name]!r} instead of {earlier[name]!r}" for name in other)
        raise ValueError(
            f"Invalid run folder: expected a new one, or a comparison that differs in methods, seeds, trials or "
            f"steps of baselines only. Received: {folder}, and {differences}. Name another folder."
        )
    extended = {name: max(earlier.get(name, 0), settings[name]) for name in ("seeds", *_MORE)}
    extended["methods"] = list(dict.fromkeys([*earlier["methods"], *settings["methods"]]))
    settings = {**settings, **extended}
    run_folder.COMPARISON.write_config(Path(folder), settings, config["versions"])
    return Path(folder), settings


def train_arguments(train: type, options: dict[str, Any], command: str = "train") -> tuple[str, ...]:
    """Return the command line of `bnnrl train` with these options, without those that equal their default.

    Args:
        train: the dataclass with the command's options.
        options: values of options by name; those that the command does not have are ignored.
        command: the name of the command, if it is another one.
    """
    found = [command]
    for field in dataclasses.fields(train):
        default = default_of(field)
        value = options.get(field.name, default)
        value = tuple(value) if isinstance(value, list) else value  # as JSON returns it
        if field.name == "env" and value is not None:
            found.append(str(value))
        elif isinstance(value, dict):
            found += _group_arguments(field.name.removesuffix("_fields"), value)
        elif value != default:
            name = field.name.replace("_", "-")
            if isinstance(value, bool):
                found.append(f"--{name}" if value else f"--no-{name}")
            else:
                found += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return tuple(found)


def _group_arguments(group: str, values: dict[str, Any]) -> list[str]:
    """Return options such as --dynamics.hidden 64 64 for the settings of a group."""
    found = []
    for name, value in values.items():
        option = f"{group}.{name}"
        if isinstance(value, dict) and "class" not in value:
            found += _group_arguments(option, value)
        else:
            words = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            found += [f"--{option.replace('_', '-')}", *map(str, words)]
    return found
