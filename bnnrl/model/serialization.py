"""A Keras network and a prior as JSON, and back."""

from __future__ import annotations

import copy
import json
from typing import Any

import keras
import tensorflow as tf
from keras.src.saving.serialization_lib import SafeModeScope
from tensorflow_probability import distributions as tfd

from bnnrl import priors

_PRIORS = {cls.__name__: (cls, names) for cls, names in (
    (tfd.Normal, ("loc", "scale")),
    (tfd.Laplace, ("loc", "scale")),
    (tfd.StudentT, ("df", "loc", "scale")),
)}  # fmt: skip


def network_to_config(model: keras.Model) -> dict[str, Any]:
    """Return the architecture of `model` as JSON-able data.

    Raises:
        ValueError: if it cannot be built again from that, as with a Lambda layer or a class Keras does not know.
    """
    config = json.loads(model.to_json())
    again = network_from_config(config)
    shapes = lambda m: [tuple(v.shape) for v in [*m.trainable_variables, *m.non_trainable_variables]]
    if not again.built or shapes(again) != shapes(model):
        raise ValueError(
            f"Invalid network: expected one whose Keras configuration says all of it. Received: {model.name!r}, which "
            "comes back with other weights. Give it an Input layer, and a subclass `get_config` and `build`."
        )
    return config


def network_from_config(config: dict[str, Any]) -> keras.Model:
    """Return the model that `network_to_config` described, its weights fresh.

    Raises:
        ValueError: if it holds code, or a class that is not registered.
    """
    try:
        # The scope, and not only the argument: a user may have switched safe mode off for files of their own.
        with SafeModeScope(True):
            model = keras.saving.deserialize_keras_object(
                copy.deepcopy(config), safe_mode=True
            )  # a copy: deserialize_keras_object mutates its argument
        if not isinstance(model, keras.Model):
            raise TypeError(f"It describes a {type(model).__name__}, which is not a keras.Model.")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            "Invalid network: expected one of Keras's own layers and of classes registered by "
            "`keras.saving.register_keras_serializable`, without Lambda layers, whose code is never saved nor loaded. "
            f"Received: a {config.get('class_name')!r} that Keras refuses. {error}"
        ) from error
    return model


def prior_to_config(prior: priors.PriorLike | None) -> dict[str, Any] | None:
    """Return a JSON-able description of Normal, Laplace or StudentT with scalar parameters, or of a mapping to such.

    None for any other prior.
    """
    if isinstance(prior, tfd.Distribution):
        cls, names = _PRIORS.get(type(prior).__name__, (None, ()))
        values = [tf.convert_to_tensor(getattr(prior, name)) for name in names]
        if type(prior) is not cls or any(v.shape.rank or v.dtype != tf.float32 for v in values):
            return None
        return {"name": type(prior).__name__, **{name: float(v) for name, v in zip(names, values, strict=True)}}
    if prior is None:
        return None
    patterns = {pattern: prior_to_config(distribution) for pattern, distribution in prior.items()}
    return None if None in patterns.values() else {"patterns": patterns}


def prior_from_config(config: dict[str, Any] | None) -> priors.PriorLike | None:
    """Return the prior that `prior_to_config` described; None if it could not."""
    if config is None:
        return None
    if "patterns" in config:
        return {pattern: _distribution_from_config(entry) for pattern, entry in config["patterns"].items()}
    return _distribution_from_config(config)


def _distribution_from_config(config: dict[str, Any]) -> tfd.Distribution:
    cls, names = _PRIORS[config["name"]]
    return cls(**{name: config[name] for name in names})
