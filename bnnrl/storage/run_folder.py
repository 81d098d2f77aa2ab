"""Run folders: one run, one command, one folder, whose config.json makes the run again."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bnnrl.storage.atomic import atomic_write

_PACKAGES = ("bnnrl", "tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy")


def create(
    folder: str | os.PathLike[str] | None,
    default: str,
    kind: str,
    settings: dict[str, Any],
    hint: str,
    inside: str = "checkpoints",
) -> Path:
    """Make a new run folder with its config.json.

    Args:
        folder: where, or None for runs/<default>/<seed>-<time>.
        default: of what the run is, such as "digits/swag".
        kind: of the run.
        settings: what makes the run again.
        hint: what to do where the folder is an earlier run of the same kind, with "{}" for it.
        inside: a folder to make in it, "." for none.

    Raises:
        ValueError: if the folder exists and is not empty, or cannot be made.
    """
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / default / f"{settings['seed']}-{now}" if folder is None else Path(folder)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        remedy = hint.format(path) if kind_of(path) == kind else "name another folder"
        raise ValueError(
            f"Invalid run folder: expected a new or an empty one. Received: {path}, which exists. "
            f"It is left as it is; {remedy}."
        )
    try:
        (path / inside).mkdir(parents=True, exist_ok=True)
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        write_config(path, kind, settings, {"python": platform.python_version(), **versions})
    except OSError as error:
        raise ValueError(
            f"Invalid run folder: expected one that can be written. Received: {path} ({error.strerror})."
        ) from error
    return path


def read_config(folder: str | os.PathLike[str], kind: str, command: str) -> dict[str, Any]:
    """Return what config.json holds: "settings" and "versions".

    Raises:
        ValueError: if the folder is no run of that kind, made by `command`.
    """
    path = Path(folder)
    if kind_of(path) != kind:
        found = "no such folder" if not path.exists() else "no config.json of a bnnrl run of that kind in it"
        raise ValueError(
            f"Invalid run folder: expected the folder of a run made by `{command}`. Received: {path} ({found})."
        )
    return json.loads((path / "config.json").read_text())


def write_config(folder: Path, kind: str, settings: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Write config.json."""
    described = {"format": "bnnrl", "kind": kind, "settings": settings, "versions": versions}
    write_text(folder / "config.json", json.dumps(described, indent=2) + "\n")


def kind_of(folder: str | os.PathLike[str]) -> str | None:
    """Return the kind of run a folder is of, or None if it is none."""
    try:
        described = json.loads((Path(folder) / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return described.get("kind") if isinstance(described, dict) and described.get("format") == "bnnrl" else None


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; what a row does not have is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file: truth values, numbers and text, and None for what is empty."""
    with open(path, newline="") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str | None) -> Any:
    if not text:
        return None
    if text in ("True", "False"):
        return text == "True"
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if text.isdigit() else number


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text)
