"""Run folders: one run, one command, one folder, whose config.json holds the settings that repeat the run."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import itertools
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bnnrl.storage import lock
from bnnrl.storage.atomic import WriteError, atomic_write, explained

VERSION = 2  # of the format of run folders; version 1 had no groups of settings, such as "dynamics"
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
            WriteError: if the disk is full.
        """
        try:
            path = _make_default(default, settings["seed"]) if folder is None else Path(folder)
            self._check_new(path)
            with explained(path):
                path.mkdir(parents=True, exist_ok=True)
            with lock.hold(path, warn=lambda _: None):
                self._check_new(path)  # another process may have come first
                with explained(path):
                    (path / self.subfolder if self.subfolder else path).mkdir(exist_ok=True)
                self.write_config(path, settings, current_versions())
        except WriteError as error:
            if error.disk_full:
                raise
            raise ValueError(f"Invalid run folder: expected one that can be written. Received: {error}") from error
        return path

    def _check_new(self, path: Path) -> None:
        """Raise ValueError unless `path` is missing, empty, or a run that died while it made its folder."""
        if not path.exists() or (path.is_dir() and all(map(self._is_remains, path.iterdir()))):
            return
        resume = self.resumable and self.matches(path)
        remedy = f"go on with it by --resume {path}" if resume else "name another folder"
        raise ValueError(
            f"Invalid run folder: expected a new or an empty one. Received: {path}, which exists. "
            f"It is left as it is; {remedy}."
        )

    def _is_remains(self, path: Path) -> bool:
        if path.name == self.subfolder:
            return path.is_dir() and not any(path.iterdir())
        return path.name in (lock.NAME, ".config.json.new")

    def matches(self, folder: Folder) -> bool:
        """Return whether `folder` holds a run of this kind."""
        try:
            config = json.loads((Path(folder) / "config.json").read_text())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(config, dict) and config.get("format") == "bnnrl" and config.get("kind") == self.name

    def read_config(self, folder: Folder) -> dict[str, Any]:
        """Return what config.json holds: "settings" and "versions".

        Raises:
            ValueError: if the folder holds no run of this kind, a damaged config.json, or a run of a newer version.
        """
        check_kind(folder, self)
        path = Path(folder) / "config.json"
        config = json.loads(path.read_text())
        version, checksum = config.get("version"), config.get("sha256")
        if isinstance(version, int) and version > VERSION:
            raise ValueError(
                f"Invalid version: expected at most {VERSION}. Received: {version} in {path}. The run was begun by a "
                "newer bnnrl: upgrade to go on with it."
            )
        # bnnrl 0.2.0 and earlier wrote neither.
        if (version is not None or checksum is not None) and checksum != _checksum(config):
            raise ValueError(
                f"Invalid run folder: expected {path} as it was written. Received: content that does not match its "
                'checksum. Restore the file from a copy or, if you changed it on purpose, remove its lines "version" '
                'and "sha256".'
            )
        if not all(isinstance(config.get(name), dict) for name in ("settings", "versions")):
            raise ValueError(
                f"Invalid run folder: expected a config.json with settings and versions. Received: {path} with the "
                f"entries {sorted(config)}. Restore the file from a copy."
            )
        return config

    def write_config(
        self, folder: Path, settings: Mapping[str, Any], versions: Mapping[str, str], **found: Any
    ) -> None:
        """Write config.json: the settings that repeat the run, and the versions of Python and packages.

        Args:
            folder: the run folder.
            settings: what repeats the run.
            versions: of Python and of packages.
            **found: JSON-able entries about what the run made of its settings.

        Raises:
            WriteError: if the operating system refuses to write.
        """
        config = {"format": "bnnrl", "version": VERSION, "kind": self.name, "settings": settings, "versions": versions}
        config |= found
        _write_text(folder / "config.json", json.dumps({**config, "sha256": _checksum(config)}, indent=2) + "\n")


TRAIN = RunKind("run", "bnnrl train", resumable=True)
FIT = RunKind("fit", "bnnrl fit", resumable=False)
BASELINE = RunKind("baseline", "bnnrl baseline", resumable=True, subfolder=None)
STUDY = RunKind("study", "bnnrl tune", resumable=True, subfolder=None)
COMPARISON = RunKind("comparison", "bnnrl compare", resumable=True, subfolder=None)


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which results depend."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}


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
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Invalid run folder: expected a table. Received: {path}, which is none ({error}).") from error
    return [{name: _value(text) for name, text in row.items() if name is not None} for row in rows]


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


def _make_default(place: str, seed: int) -> Path:
    """Make and return a new folder runs/<place>/<seed>-<time>, with a number behind it if that one exists.

    It exists if another run began in the same second, or if the clock was set back.
    """
    path = Path("runs") / place / f"{seed}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    names = (f"{path.name}-{number}" if number > 1 else path.name for number in itertools.count(1))
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            numbered = path.with_name(next(names))
            with suppress(FileExistsError):
                numbered.mkdir()
                return numbered


def _checksum(config: Mapping[str, Any]) -> str:
    """Return the checksum of what config.json holds besides its checksum."""
    content = {name: value for name, value in config.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(text)
