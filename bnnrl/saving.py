"""Loading whatever was saved, and the network and the prior as JSON."""

from __future__ import annotations

import copy
import importlib
import json
import os
import warnings
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from keras.src.saving.serialization_lib import SafeModeScope
from tensorflow_probability import distributions as tfd

from bnnrl import checkpoint, priors

if TYPE_CHECKING:
    from bnnrl.rl.tasks import Task

_KINDS = {"bayesian_model": ("bnnrl.model", "BayesianModel"), "pilco": ("bnnrl.rl.pilco", "PILCO")}
_PRIORS = {cls.__name__: (cls, names) for cls, names in (
    (tfd.Normal, ("loc", "scale")),
    (tfd.Laplace, ("loc", "scale")),
    (tfd.StudentT, ("df", "loc", "scale")),
)}  # fmt: skip


def load(folder: checkpoint.Folder, task: Task | None = None) -> Any:
    """Return what was saved to `folder`, or to the newest readable checkpoint of a run folder.

    No code is stored in the folder and none is run from it.

    Args:
        folder: the folder.
        task: for an agent that was given a bnnrl.Task, that task again: its cost is code.

    Raises:
        CheckpointError: if there is nothing saved, or it is damaged; a ValueError, like the other errors of this call.
        ValueError: if it is of a kind this version does not know, or it needs a `task`, or it takes none.
    """
    path = os.fspath(folder)
    if os.path.isdir(os.path.join(path, "checkpoints")):
        found = checkpoint.read_latest(path, lambda message: warnings.warn(message, stacklevel=4))
        if found is None:
            raise checkpoint.CheckpointError(
                f"Invalid `folder`: expected a run with at least one checkpoint. Received: {path}, which has none yet. "
                "Let the run finish its first trial."
            )
        _, config, arrays = found
    else:
        config, arrays = checkpoint.read(path)
    if config.get("kind") not in _KINDS:
        raise ValueError(
            f"Invalid `folder`: expected a saved {' or '.join(sorted(_KINDS))}. "
            f"Received: {path}, of kind {config.get('kind')!r}. Read it with `bnnrl.checkpoint.read`."
        )
    module, name = _KINDS[config["kind"]]
    if task is not None and config["kind"] != "pilco":
        raise ValueError(f"Invalid `task`: expected None for a saved {config['kind']}. Received: {task!r}.")
    more = {} if task is None else {"task": task}
    return getattr(importlib.import_module(module), name)._from_saved(config, arrays, **more)


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
            model = keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)  # it empties it
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
