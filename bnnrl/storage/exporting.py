"""What exports of policies and of models share: suffixes, arrays as text, Keras and TensorFlow Lite files."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnrl.checks import check_path, nearest

SUFFIXES = (".py", ".keras", ".tflite")


def check_suffix(path: str | os.PathLike[str]) -> Path:
    """Return a path, or raise ValueError unless its suffix names a format of exports."""
    path = check_path("path", path)
    if path.suffix not in SUFFIXES:
        near = nearest(path.suffix, SUFFIXES)
        raise ValueError(f"Invalid `path`: expected a file that ends in one of {SUFFIXES}. Received: {path}.{near}")
    return path


def encoded(arrays: Mapping[str, np.ndarray]) -> str:
    """Return arrays as text, which np.load reads after base64.b64decode."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return base64.encodebytes(buffer.getvalue()).decode().strip()


def write_keras(model: Any, file: Path) -> None:
    """Write a Keras model to a file of any name, of which Keras wants the suffix .keras."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model.keras"
        model.save(saved)
        file.write_bytes(saved.read_bytes())


def write_lite(model: Any, file: Path) -> None:
    """Write a Keras model as one of TensorFlow Lite."""
    import tensorflow as tf

    file.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
