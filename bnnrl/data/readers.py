"""Choice of the reader for a source: arrays, .npz files, tables, folders, datasets and names."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bnnrl.data import images, scikit_learn, tables, tf_data, tfds
from bnnrl.data.settings import ReadSettings
from bnnrl.data.source import PARTS, Source


def read(given: dict[str, Any], settings: ReadSettings) -> Source:
    """Return the rows of all given sources.

    Args:
        given: a source for each part that is given, "train" among them, all of the same kind.
        settings: how they are read.

    Raises:
        ValueError: if a source is of no known kind, or parts are of different kinds.
    """
    if settings.targets is not None and _kind(given["train"], settings) == "array":
        given = {**given, "train": (given["train"], settings.targets)}
        settings = replace(settings, targets=None)
    kinds = {part: _kind(source, settings) for part, source in given.items()}
    kind = kinds["train"]
    if set(kinds.values()) != {kind}:
        raise ValueError(f"Invalid `source`: expected parts of the same kind. Received: {kinds}.")
    if kind in ("example", "TFDS name") and len(given) > 1:
        raise ValueError(f"Invalid `test`: expected fractions for data known by name. Received: {given}. Use `split`.")
    if kind == "table":
        return tables.read(given, settings)
    if kind == "dataset":
        return tf_data.read("dataset", given, settings)
    if kind == "TFDS name":
        return tfds.read(given["train"], settings)
    if settings.inputs is not None or settings.targets is not None or settings.exclude is not None:
        raise ValueError(
            f"Invalid `targets`: expected names, and `inputs`, only where columns or features have names, and "
            f"`exclude` only for tables. Received: inputs={settings.inputs!r}, targets={settings.targets!r}, "
            f"exclude={settings.exclude!r} with a source of kind {kind}."
        )
    return _read_unnamed(kind, given, settings)


def _read_unnamed(kind: str, given: dict[str, Any], settings: ReadSettings) -> Source:
    """Return the rows of sources in which `inputs` and `targets` cannot be chosen by name."""
    train = given["train"]
    if kind == "folder":
        return images.read(given, settings)
    if kind == "example":
        return scikit_learn.read(train)
    if kind == "pair":
        return Source("arrays", given)
    if kind == "npz file":
        files = {part: _read_npz(Path(path)) for part, path in given.items()}
        return Source(Path(train).stem, {**files["train"], **{part: file["train"] for part, file in files.items()}})
    raise ValueError(
        "Invalid `source`: expected (x, y), x with `targets`, a DataFrame, a tf.data.Dataset, the path of a file "
        f"{(*tables.SUFFIXES, '.npz')} or an image folder, or a name. Received: {type(train).__name__}. "
        "For arrays give the targets."
    )


def _kind(source, settings: ReadSettings) -> str:
    if isinstance(source, tuple) and len(source) == 2:
        return "pair"
    if isinstance(source, tf.data.Dataset):
        return "dataset"
    if tables.is_frame(source):
        return "table"
    if not isinstance(source, str | os.PathLike):
        return "array"
    path = Path(source)
    if path.suffix.lower() in tables.SUFFIXES:
        return "table"
    if path.suffix.lower() == ".npz":
        return "npz file"
    if isinstance(source, str) and settings.data_dir is not None:
        return "TFDS name"
    if isinstance(source, str) and source in scikit_learn.EXAMPLES:
        return "example"
    if path.is_dir():
        return "folder"
    if isinstance(source, str):
        return "TFDS name"
    raise ValueError(f"Invalid `source`: expected an existing file or folder. Received: {os.fspath(source)!r}.")


def _read_npz(path: Path) -> dict[str, Any]:
    """Return the parts of a file with arrays x and y, or x_train, y_train and the same for other parts."""
    if not path.is_file():
        raise ValueError(f"Invalid `source`: expected an existing file. Received: {os.fspath(path)!r}.")
    try:
        return _arrays_of(path)
    except (OSError, EOFError, KeyError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        if str(error).startswith("Invalid"):
            raise
        raise ValueError(
            f"Invalid `source`: expected an .npz file of arrays. Received: {os.fspath(path)!r}, which cannot be read "
            f"({error})."
        ) from error


def _arrays_of(path: Path) -> dict[str, Any]:
    """Return the parts of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        if "x" in file and "y" in file:
            return {"train": (file["x"], file["y"])}
        if "x_train" not in file or "y_train" not in file:
            raise ValueError(
                f"Invalid `source`: expected arrays x and y, or x_train and y_train, in {os.fspath(path)!r}. "
                f"Received: {sorted(file)}."
            )
        return {part: (file[f"x_{part}"], file[f"y_{part}"]) for part in PARTS if f"x_{part}" in file}
