"""From whatever holds data to a `Source`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bnnrl.data import examples, images, prepared, records, tables
from bnnrl.data.source import Source


def read(given: dict[str, Any], targets, inputs, split, data_dir, image_size, color_mode, seed) -> Source:
    """Return the data of sources of one kind, one for each part that is given, "train" among them; see `load`.

    Raises:
        ValueError: if a source is of no known kind, or parts are of different kinds.
    """
    if targets is not None and _kind(given["train"], data_dir) == "array":
        given = {**given, "train": (given["train"], targets)}
        targets = None
    kinds = {part: _kind(source, data_dir) for part, source in given.items()}
    kind = kinds["train"]
    if set(kinds.values()) != {kind}:
        raise ValueError(f"Invalid `source`: expected parts of the same kind. Received: {kinds}.")
    if kind in ("example", "TFDS name") and len(given) > 1:
        raise ValueError(f"Invalid `test`: expected fractions for data known by name. Received: {given}. Use `split`.")
    if kind == "table":
        return tables.read(given, inputs, targets)
    if kind == "dataset":
        return records.read("dataset", given, inputs, targets, image_size)
    name = given["train"]
    if kind == "TFDS name":
        return prepared.read(
            name, data_dir=data_dir, split=split, inputs=inputs, targets=targets, image_size=image_size
        )
    if inputs is not None or targets is not None:
        raise ValueError(
            f"Invalid `targets`: expected names, and `inputs`, only where columns or features have names. Received: "
            f"inputs={inputs!r}, targets={targets!r} with a source of kind {kind}."
        )
    if kind == "folder":
        return images.read(given, image_size, color_mode, seed)
    if kind == "example":
        return examples.read(name)
    if kind == "pair":
        return Source("arrays", given)
    if kind == "npz file":
        files = {part: _read_npz(Path(path)) for part, path in given.items()}
        return Source(Path(name).stem, {**files["train"], **{part: file["train"] for part, file in files.items()}})
    raise ValueError(
        "Invalid `source`: expected (x, y), x with `targets`, a DataFrame, a tf.data.Dataset, the path of a file "
        f"{(*tables.SUFFIXES, '.npz')} or an image folder, or a name. Received: {type(name).__name__}. "
        "For arrays give the targets."
    )


def _kind(source, data_dir) -> str:
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
    if isinstance(source, str) and data_dir is not None:
        return "TFDS name"
    if isinstance(source, str) and source in examples.EXAMPLES:
        return "example"
    if path.is_dir():
        return "folder"
    if isinstance(source, str):
        return "TFDS name"
    raise ValueError(f"Invalid `source`: expected an existing file or folder. Received: {os.fspath(source)!r}.")


def _read_npz(path: Path) -> dict[str, Any]:
    """Return the parts of a file of arrays x and y, or x_train, y_train and the same for other parts."""
    if not path.is_file():
        raise ValueError(f"Invalid `source`: expected an existing file. Received: {os.fspath(path)!r}.")
    with np.load(path, allow_pickle=False) as file:
        if "x" in file and "y" in file:
            return {"train": (file["x"], file["y"])}
        if "x_train" not in file or "y_train" not in file:
            raise ValueError(
                f"Invalid `source`: expected arrays x and y, or x_train and y_train, in {os.fspath(path)!r}. "
                f"Received: {sorted(file)}."
            )
        parts = ("train", "validation", "test")
        return {part: (file[f"x_{part}"], file[f"y_{part}"]) for part in parts if f"x_{part}" in file}
