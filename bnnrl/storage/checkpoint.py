"""Checkpoints: folders of JSON and arrays, written atomically. No code is stored in them, and none is run on reading.

folder/config.json          the format's name and version, checksums of both files' contents, and the configuration
folder/arrays.safetensors   the arrays, in the safetensors format: a JSON header and raw numbers
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from bnnrl.checks import as_array, check_mapping
from bnnrl.storage.arrays import Arrays
from bnnrl.storage.atomic import explained, flush

VERSION = 1
_CONFIG, _ARRAYS = "config.json", "arrays.safetensors"
_DTYPES = {
    np.dtype(name)
    for name in ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64")
    + ("uint8", "uint16", "uint32", "uint64")
}
# Siblings of a checkpoint while it is replaced. An interrupted write leaves them behind, and the next write removes
# them; the dot hides them from a plain listing.
_NEW, _OLD = ".{}.bnnrl-new", ".{}.bnnrl-old"
_OLD_STEP = re.compile(r"\.step_(\d+)\.bnnrl-old")
_STEP = re.compile(r"step_(\d+)")

Folder = str | os.PathLike[str]


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, not written by bnnrl, or written by a newer version of it."""


def write(folder: Folder, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a checkpoint to `folder`, or replace the one there.

    The new checkpoint is written and flushed to disk beside `folder` before it is renamed into place, and the old one
    is deleted last. Whenever the process dies, `read` finds the old checkpoint or the new one. Two processes must not
    write to the same folder at once.

    Args:
        folder: the checkpoint's folder; missing parents are made.
        config: data that JSON can represent; tuples become lists and NumPy scalars numbers.
        arrays: boolean, integer or float arrays by name; type and shape are kept.

    Raises:
        ValueError: if `folder` exists and is not a checkpoint, in which case it is left as it is, or if `config` or
            `arrays` hold something that cannot be saved.
        WriteError: if the operating system refuses to write; the old checkpoint can still be read.
    """
    path = _resolve(folder)
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        _check_ours(path)
    _commit(path, config, arrays)


def read(folder: Folder) -> tuple[dict[str, Any], Arrays]:
    """Return the configuration and the arrays that `write` wrote to `folder`.

    Raises:
        CheckpointError: if `folder` is missing, is not a checkpoint, is damaged, or was written by a newer version.
    """
    path = _resolve(folder)
    old = path.parent / _OLD.format(path.name)
    if not path.exists() and old.exists():
        path = old  # a write was interrupted between its two renames
    record = _read_record(path)
    data = _read_bytes(path / _ARRAYS)
    if hashlib.sha256(data).hexdigest() != record["sha256"]["arrays"]:
        raise _damaged(path / _ARRAYS, f"{len(data)} bytes that do not match the checksum in {_CONFIG}")
    try:
        arrays = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise _damaged(path / _ARRAYS, f"a file safetensors cannot read ({error})") from error
    return record["config"], arrays


def exists(folder: Folder) -> bool:
    """Return whether `folder` exists, as a checkpoint or as anything else."""
    return _resolve(folder).exists()


def write_step(
    run_folder: Folder, step: int, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], keep: int = 2
) -> None:
    """Write the checkpoint run_folder/checkpoints/step_N, then remove older ones.

    Args:
        run_folder: the run folder.
        step: N, which also orders the checkpoints.
        config: as in `write`.
        arrays: as in `write`.
        keep: how many checkpoints remain: this one, and the others of the highest N.

    Raises:
        ValueError: if `step` is negative, `keep` is below 1, or as in `write`.
        WriteError: as in `write`.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"Invalid arguments: expected step >= 0 and keep >= 1. Received: step={step}, keep={keep}")
    parent = _resolve(run_folder) / "checkpoints"
    path = parent / f"step_{int(step)}"
    # A damaged checkpoint may be replaced too, since its place and files show that bnnrl wrote it: a run that resumed
    # from the step before it writes it again.
    if path.is_dir() and not _only_own_files(path):
        _check_ours(path)
    _commit(path, config, arrays)
    _prune(parent, step, keep)


def prune(run_folder: Folder, keep: int = 2) -> None:
    """Remove what an interrupted `write_step` has left behind in a run folder.

    Nothing is removed if the newest checkpoint cannot be read.

    Args:
        run_folder: the run folder.
        keep: how many checkpoints remain.

    Raises:
        WriteError: as in `write`.
    """
    newest, parent = newest_step(run_folder), _resolve(run_folder) / "checkpoints"
    with suppress(CheckpointError):
        if newest is not None:
            read(parent / f"step_{newest}")
            _prune(parent, newest, keep)


def _prune(parent: Path, step: int, keep: int) -> None:
    """Remove all checkpoints but that of `step` and the others of the highest steps, and remains of writes."""
    with explained(parent):
        for other in sorted(_steps(parent) - {step}, reverse=True)[keep - 1 :]:
            old = parent / _OLD.format(f"step_{other}")
            if (parent / f"step_{other}").exists():
                _remove(old)
                os.rename(parent / f"step_{other}", old)  # partly deleted, it would look like a damaged checkpoint
            _remove(old)
        for remains in (*parent.glob(_NEW.format("step_*")), parent / _OLD.format(f"step_{step}")):
            _remove(remains)


def newest_step(run_folder: Folder) -> int | None:
    """Return the step of a run's newest checkpoint, readable or not; None if there is none."""
    return max(_steps(_resolve(run_folder) / "checkpoints"), default=None)


def read_latest(run_folder: Folder, warn: Callable[[str], None]) -> tuple[int, dict[str, Any], Arrays] | None:
    """Return (step, config, arrays) of the newest readable checkpoint of a run; None if there is no checkpoint.

    Args:
        run_folder: the run folder.
        warn: called with a message for each newer checkpoint that is damaged.

    Raises:
        CheckpointError: if there are checkpoints and none can be read.
    """
    parent = _resolve(run_folder) / "checkpoints"
    steps = _steps(parent)
    errors: dict[int, CheckpointError] = {}
    for step in sorted(steps, reverse=True):
        try:
            config, arrays = read(parent / f"step_{step}")
        except CheckpointError as error:
            errors[step] = error
            continue
        for damaged, error in errors.items():
            warn(f"Skipped checkpoint step_{damaged}, using step_{step} instead. {error}")
        return step, config, arrays
    if not steps:
        return None
    reasons = "\n".join(f"  step_{step}: {error}" for step, error in errors.items())
    raise CheckpointError(
        f"Invalid run folder: expected at least one readable checkpoint in {parent}. Received: {len(steps)}, all "
        f"unreadable. Restore them from a copy, or start the run again in another folder.\n{reasons}"
    )


def _resolve(folder: Folder) -> Path:
    return Path(os.path.realpath(folder))


def _commit(path: Path, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a checkpoint to `path`, replacing whatever is there."""
    new, old = path.parent / _NEW.format(path.name), path.parent / _OLD.format(path.name)
    plain, data = _plain(check_mapping("config", config), "config"), safetensors.numpy.save(_checked(arrays))
    sha256 = {"config": _config_sha256(plain), "arrays": hashlib.sha256(data).hexdigest()}
    record = {"format": "bnnrl", "version": VERSION, "sha256": sha256, "config": plain}
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(new)
            new.mkdir()
            _write_flushed(new / _ARRAYS, data)
            _write_flushed(new / _CONFIG, json.dumps(record, indent=1).encode())
            flush(new)
            if path.exists():
                _remove(old)
                os.rename(path, old)
            os.rename(new, path)
            flush(path.parent)
            _remove(old)
    except OSError:
        with suppress(OSError):
            _remove(new)  # a full disk gets its space back
        raise


def _check_ours(path: Path) -> None:
    """Raise ValueError unless `path` is a checkpoint that may be replaced: readable, with no other files in it."""
    try:
        _read_record(path)
        ours = _only_own_files(path)
    except CheckpointError:
        ours = False
    if not ours:
        raise ValueError(
            f"Invalid `folder`: expected a new folder, or a bnnrl checkpoint to replace. Received: {path}, which "
            f"exists and holds something else. It was left alone: choose another folder, or remove it yourself."
        )


def _only_own_files(path: Path) -> bool:
    return all(entry.name in (_CONFIG, _ARRAYS) for entry in path.iterdir())


def _read_record(path: Path) -> dict[str, Any]:
    """Return the contents of config.json after checking the format, its version and the checksum."""
    if not path.exists():
        raise CheckpointError(f"Invalid `folder`: expected a bnnrl checkpoint. Received: {path}, which does not exist.")
    if not (path / _CONFIG).is_file():
        raise CheckpointError(
            f"Invalid `folder`: expected a bnnrl checkpoint with a {_CONFIG}. Received: {path}, which has none. "
            "Give the folder that was saved to."
        )
    try:
        record = json.loads(_read_bytes(path / _CONFIG))
    except (ValueError, RecursionError) as error:
        raise _damaged(path / _CONFIG, f"text that is not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != "bnnrl":
        raise CheckpointError(
            f'Invalid `folder`: expected a bnnrl checkpoint, marked "format": "bnnrl" in {_CONFIG}. '
            f"Received: {path}, which has no such mark. Give the folder that was saved to."
        )
    version = record.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(
            f"Invalid version: expected at most {VERSION}. Received: {version} in {path}. "
            "It was written by a newer bnnrl: upgrade to read it."
        )
    sha256, config = record.get("sha256"), record.get("config")
    if version != VERSION or not isinstance(sha256, dict) or not isinstance(config, dict) or "arrays" not in sha256:
        raise _damaged(path / _CONFIG, "a file with entries missing")
    if sha256.get("config") != _config_sha256(config):
        raise _damaged(path / _CONFIG, "a configuration that does not match its checksum")
    return record


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"an error ({error.strerror})") from error


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"Invalid checkpoint: expected {path} as it was written. Received: {what}. The file is damaged, cut short or "
        "changed by hand: restore it from a copy, or save again."
    )


def _steps(parent: Path) -> set[int]:
    """Return the steps of the checkpoints in `parent`, including those that an interrupted write moved aside."""
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    matches = [_STEP.fullmatch(name) or _OLD_STEP.fullmatch(name) for name in names]
    return {int(match[1]) for match in matches if match}


def _plain(value: Any, where: str) -> Any:
    """Return `value` in JSON's own types; `where` is its place in the configuration, for the error."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(entry, f"{where}[{key!r}]") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(
        f"Invalid {where}: expected what JSON can represent: text, finite numbers, booleans, None, lists, and mappings "
        f"with text keys. Received: {value!r} of type {type(value).__name__}. Arrays belong in `arrays`."
    )


def _config_sha256(config: Any) -> str:
    return hashlib.sha256(json.dumps(config).encode()).hexdigest()


def _checked(arrays: Mapping[str, np.ndarray]) -> Arrays:
    check_mapping("arrays", arrays)
    checked = {name: np.asarray(as_array("arrays", array), order="C") for name, array in arrays.items()}
    for name, array in checked.items():
        if name == "__metadata__" or array.dtype not in _DTYPES:
            raise ValueError(
                "Invalid `arrays`: expected text names other than '__metadata__', and native boolean, integer or float "
                f"arrays. Received: {name!r} of type {array.dtype}. Convert it with `astype` first."
            )
    return checked


def _write_flushed(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    flush(path)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
