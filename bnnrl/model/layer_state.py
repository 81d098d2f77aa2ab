"""The state of a network's layers that is not in its variables, such as the vocabulary of an adapted lookup layer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bnnrl.storage.arrays import Arrays, flatten, select


def to_arrays(model: keras.Model) -> Arrays:
    """Return what layers write into a .keras file beside the variables of the model, as named arrays.

    A layer's own variables are named "<layer>/variables/<name>", and the bytes of its files "<layer>/files/<name>".
    """
    groups: dict[str, Any] = {}
    for number, layer in _layers_with_state(model):
        variables: dict[str, Any] = {}
        layer.save_own_variables(variables)
        groups[f"{number}/variables"] = {name: np.asarray(value) for name, value in variables.items()}
        groups[f"{number}/files"] = _files_of(layer)
    return flatten(groups)


def restore(model: keras.Model, arrays: Arrays) -> None:
    """Give the layers of `model` the state that `to_arrays` found; the variables of the model are set already."""
    for number, layer in _layers_with_state(model):
        if variables := select(arrays, f"{number}/variables"):
            layer.load_own_variables(variables)
        elif isinstance(layer, keras.layers.Normalization):  # saved by bnnrl 0.2 or older, as variables of the model
            layer.finalize_state()
        if files := select(arrays, f"{number}/files"):
            _load_files(layer, files)


def _layers_with_state(model: keras.Model) -> Iterator[tuple[int, Any]]:
    """Yield the layers without trainable variables that Keras saves in a form of their own, with their numbers."""
    for number, layer in enumerate(model._flatten_layers()):
        own_form = type(layer).load_own_variables is not keras.layers.Layer.load_own_variables
        if (own_form or hasattr(layer, "save_assets")) and not layer.trainable_variables:
            yield number, layer


def _files_of(layer: Any) -> Arrays:
    if not hasattr(layer, "save_assets"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        layer.save_assets(folder)
        return {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in Path(folder).iterdir()}


def _load_files(layer: Any, files: Arrays) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / Path(name).name).write_bytes(content.tobytes())  # a name with folders could lead elsewhere
        layer.load_assets(folder)
