"""The structure of a Keras model: what its compiled call depends on beside the values of its weights."""

from __future__ import annotations

import types
from collections.abc import Hashable
from typing import Any

import keras

from bnnrl.structure import NotShareable, is_fixed, structure

# Where the configuration of a Functional model refers to layers by their names.
_REFERENCES = ("name", "keras_history", "input_layers", "output_layers")


def structure_of_model(model: keras.Model) -> Hashable:
    """Return a key that is equal for models that compute the same function of their weights and inputs.

    The names of layers, which Keras numbers anew for each model, do not matter.

    Raises:
        NotShareable: if the model or a layer is not Keras's own, or keeps a state beside its variables.
    """
    layers = list(model._flatten_layers())
    for layer in layers:
        # A Lambda is code; what `adapt` has found is in no configuration.
        if not _is_keras(type(layer).__module__) or isinstance(layer, keras.layers.Lambda) or hasattr(layer, "adapt"):
            raise NotShareable(f"The layer {layer.name!r} is a {type(layer).__name__}.")
        # Keras describes a function by its name alone.
        if any(_is_foreign(value) for value in vars(layer).values()):
            raise NotShareable(f"The layer {layer.name!r} calls a function of the user's own.")
    names = {layer.name: i for i, layer in enumerate(layers)}
    return type(model), structure(_canonical(model.get_config(), names))


def _canonical(config: Any, names: dict[str, int], is_reference: bool = False) -> Any:
    """Return a configuration with positions in place of layers' names.

    Raises:
        NotShareable: if an object in the configuration is not Keras's own.
    """
    if isinstance(config, dict):
        _check_class(config)
        enters = lambda key: key in _REFERENCES or (is_reference and key != "dtype")
        return {key: _canonical(value, names, enters(key)) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_canonical(value, names, is_reference) for value in config]
    return names.get(config, config) if is_reference and isinstance(config, str) else config


def _check_class(config: dict) -> None:
    """Raise NotShareable if a serialised object is of a class that is not Keras's own."""
    module = config.get("module")
    if module is not None and not _is_keras(module):
        raise NotShareable(f"The model holds a {config.get('class_name')} of {module}.")


def _is_foreign(value: Any) -> bool:
    """Return whether `value` is a function, or another callable, from outside Keras and TensorFlow."""
    functions = types.FunctionType | types.BuiltinFunctionType | type
    return callable(value) and not is_fixed(value if isinstance(value, functions) else type(value))


def _is_keras(module: str) -> bool:
    return module.split(".")[0] == "keras"
