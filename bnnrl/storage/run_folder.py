"""Run folders: one run, one command, one folder, whose config.json holds the settings that repeat the run."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bnnrl.storage.atomic import atomic_write

_PACKAGES = ("bnnrl", "tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy")

Folder = str | os.PathLike[str]


@dataclass(frozen=True)
class RunKind:
    """A kind of run, and how its folders are made, recognised and described.

    Args:
        name: the kind's name in config.json.
        command: the command that makes such runs.
        resumable: whether the command's option --resume continues a run.
        subfolder: a folder to make inside a new run folder; None for none.
    """

    name: str
    command: str
    resumable: bool
    subfolder: str | None = "checkpoints"

    def create(self, folder: Folder | None, default: str, settings: Mapping[str, Any]) -> Path:
        """Make a new run folder with its config.json, and return its path.

        Args:
            folder: where, or None for runs/<default>/<seed>-<time>.
            default: the run's place under runs/, such as "digits/swag".
            settings: what repeats the run; must hold "seed" if `folder` is None.

        Raises:
            ValueError: if the folder exists and is not empty, or cannot be made.
        """
        now = datetime.now().strftime("%Y%m%d-%H%M%S")
        path = Path("runs") / default / f"{settings['seed']}-{now}" if folder is None else Path(folder)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            resume = self.resumable and self.matches(path)
            remedy = f"go on with it by --resume {path}" if resume else "name another folder"
            raise ValueError(
                f"Invalid run folder: expected a new or an empty one. Received: {path}, which exists. "
                f"It is left as it is; {remedy}."
            )
        try:
            (path / self.subfolder if self.subfolder else path).mkdir(parents=True, exist_ok=True)
            versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
            self.write_config(path, settings, {"python": platform.python_version(), **versions})
        except OSError as error:
            raise ValueError(
                f"Invalid run folder: expected one that can be written. Received: {path} ({error.strerror})."
            ) from error
        return path

    def matches(self, folder: Folder) -> bool:
        """Return whether `folder` holds a run of this kind."""
        try:
            config = json.loads((Path(folder) / "config.json").read_text())
        except (OSError, ValueError):
            return False
        return isinstance(config, dict) and config.get("format") == "bnnrl" and config.get("kind") == self.name

    def read_config(self, folder: Folder) -> dict[str, Any]:
        """Return what config.json holds: "settings" and "versions".

        Raises:
            ValueError: if the folder holds no run of this kind.
        """
        check_kind(folder, self)
        return json.loads((Path(folder) / "config.json").read_text())

    def write_config(self, folder: Path, settings: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """Write config.json: the settings that repeat the run, and the versions of Python and packages."""
        config = {"format": "bnnrl", "kind": self.name, "settings": settings, "versions": versions}
        _write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


TRAIN = RunKind("run", "bnnrl train", resumable=True)
FIT = RunKind("fit", "bnnrl fit", resumable=False)
COMPARISON = RunKind("comparison", "bnnrl compare", resumable=True, subfolder=None)


def check_kind(folder: Folder, *kinds: RunKind) -> None:
    """Raise ValueError unless `folder` holds a run of one of the `kinds`."""
    if not any(kind.matches(folder) for kind in kinds):
        found = "no config.json of a bnnrl run of that kind in it" if Path(folder).exists() else "no such folder"
        commands = " or ".join(f"`{kind.command}`" for kind in kinds)
        raise ValueError(
            f"Invalid run folder: expected the folder of a run made by {commands}. Received: {folder} ({found})."
        )


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a CSV file, atomically; a column that a row lacks is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write_text(path, text.getvalue())


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file, their values as truth values, numbers or text, and None for an empty one."""
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


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(text)
