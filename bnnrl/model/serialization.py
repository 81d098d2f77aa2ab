"""A BayesianModel, its network and its prior as JSON and arrays, and back. No code is saved and none is run."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.saving.serialization_lib import SafeModeScope
from tensorflow_probability import distributions as tfd

from bnnrl import data, layers, likelihoods, posterior, priors  # noqa: F401 (layers registers the package's own)
from bnnrl.inference import Method
from bnnrl.model import layer_state
from bnnrl.model.calibration import Calibration
from bnnrl.model.cross_conformal import CrossConformal
from bnnrl.storage import config as settings
from bnnrl.storage.arrays import Arrays, flatten, select

# The priors that can be saved, and the names of their parameters.
_PRIORS = {cls.__name__: (cls, names) for cls, names in (
    (tfd.Normal, ("loc", "scale")),
    (tfd.Laplace, ("loc", "scale")),
    (tfd.StudentT, ("df", "loc", "scale")),
)}  # fmt: skip


@dataclass(frozen=True)
class ModelParts:
    """What a saved BayesianModel consists of.

    Attributes:
        network: the Keras model; the values of its non-trainable variables are saved with it.
        likelihood: the likelihood.
        prior: the prior; None if it cannot be saved.
        method: the inference method; None if it cannot be saved.
        posterior: the posterior over θ.
        reference: rows of the standardised training inputs, for the statistics of batch normalisation; None without it.
        x_scaler: the standardisation of the inputs, if any.
        y_scaler: the standardisation of the targets, if any.
        method_name: the method's name, if its hyper-parameters follow from each run.
        hyper_parameters: those of a method by name that do not follow from the run.
        calibrations: the "recalibration" and the "conformal" calibration, so far as there are such.
        columns: what the columns of a table were taken for; None for other data.
        cross_conformal: the folds of a calibration by CV+, if there is one.
    """

    network: keras.Model
    likelihood: likelihoods.Likelihood
    prior: priors.PriorLike | None
    method: Method | None
    posterior: posterior.Posterior
    reference: Any = None
    x_scaler: data.Scaler | None = None
    y_scaler: data.Scaler | None = None
    method_name: str | None = None
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    columns: data.Columns | None = None
    cross_conformal: CrossConformal | None = None

    def encode(self) -> tuple[dict[str, Any], Arrays]:
        """Return a JSON-able description and named arrays.

        Raises:
            ValueError: if the network or the likelihood cannot be saved.
        """
        description, draws = self.posterior.to_arrays()
        config = {
            "kind": "bayesian_model",
            "network": network_to_config(self.network),
            "likelihood": likelihoods.to_config(self.likelihood),
            "prior": prior_to_config(self.prior),
            "method": None,
            "method_name": None,
            "hyper_parameters": {},
            "posterior": description,
        }
        calibrated = {kind: found.to_saved() for kind, found in self.calibrations.items()}
        if calibrated:
            config["calibrations"] = {kind: saved[0] for kind, saved in calibrated.items()}
        folds = {}
        if self.cross_conformal is not None:
            config["cross_conformal"], folds = self.cross_conformal.to_saved()
        if self.columns is not None:
            config["columns"] = settings.encode(self.columns)
        with suppress(ValueError):  # a method of the user's own is code
            method = settings.encode(self.method)
            given = {name: settings.encode(value) for name, value in self.hyper_parameters.items()}
            config |= {"method": method, "method_name": self.method_name, "hyper_parameters": given}
        groups = {
            "network": _numbered(self.network.non_trainable_variables),
            "layers": layer_state.to_arrays(self.network),
            "posterior": draws,
            "reference": {} if self.reference is None else _numbered(tf.nest.flatten(self.reference)),
            "x_scaler": vars(self.x_scaler) if self.x_scaler else {},
            "y_scaler": vars(self.y_scaler) if self.y_scaler else {},
            "cross_conformal": folds,
            **{kind: saved[1] for kind, saved in calibrated.items()},
        }
        return config, flatten(groups)

    @classmethod
    def decode(cls, config: dict[str, Any], arrays: Arrays, load_model: Callable[..., Any]) -> ModelParts:
        """Return the parts that `encode` described.

        Args:
            config: the JSON-able description.
            arrays: the named arrays.
            load_model: makes a BayesianModel of such a description and arrays.

        Raises:
            ValueError: if a part is of a class that this version does not know, or holds code.
        """
        network = network_from_config(config["network"])
        for name, value in select(arrays, "network").items():
            network.non_trainable_variables[int(name)].assign(value)
        layer_state.restore(network, select(arrays, "layers"))
        reference = select(arrays, "reference")
        rows = [reference[str(i)] for i in range(len(reference))]
        given = config.get("hyper_parameters", {})
        if not isinstance(given, dict):
            raise ValueError(f"Invalid hyper_parameters: expected values by name. Received: {given!r}.")
        return cls(
            network,
            likelihoods.from_config(config["likelihood"]),
            prior_from_config(config["prior"]),
            settings.decode(config["method"]) if config.get("method") else None,
            posterior.from_arrays(config["posterior"], select(arrays, "posterior")),
            tf.nest.pack_sequence_as(network.input, rows) if len(rows) > 1 else next(iter(rows), None),
            _scaler(select(arrays, "x_scaler")),
            _scaler(select(arrays, "y_scaler")),
            config.get("method_name"),
            {name: settings.decode(value) for name, value in given.items()},
            {
                kind: Calibration.from_saved(entry, select(arrays, kind))
                for kind, entry in config.get("calibrations", {}).items()
            },
            settings.decode(config.get("columns")),
            CrossConformal.from_saved(config["cross_conformal"], select(arrays, "cross_conformal"), load_model)
            if "cross_conformal" in config
            else None,
        )


def network_to_config(model: keras.Model) -> dict[str, Any]:
    """Return the architecture of `model` as JSON-able data.

    Raises:
        ValueError: if the model cannot be built again from its configuration: it has a Lambda layer or a class Keras
            does not know, or its configuration leaves something out.
    """
    config = json.loads(model.to_json())
    again = network_from_config(config)
    shapes = lambda m: [tuple(v.shape) for v in [*m.trainable_variables, *m.non_trainable_variables]]
    if not again.built or shapes(again) != shapes(model):
        raise ValueError(
            "Invalid network: expected one that its Keras configuration describes completely. Received: "
            f"{model.name!r}, which has other weights when it is built again from its configuration. Give it an Input "
            "layer; a subclass of keras.Model needs `get_config` and `build`."
        )
    return config


def network_from_config(config: dict[str, Any]) -> keras.Model:
    """Return the model that `network_to_config` described, its weights fresh.

    Raises:
        ValueError: if the description holds code, or a class that is not registered.
    """
    try:
        # The scope as well as the argument: a user may have switched safe mode off for other files.
        with SafeModeScope(True):
            # Copy first: `deserialize_keras_object` mutates its argument.
            model = keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)
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
    """Return a JSON-able description of a prior, or None for a prior that has none.

    A description exists for a learned prior, for Normal, Laplace and StudentT with scalar parameters, and for a mapping
    to such.
    """
    if isinstance(prior, priors.Learned):
        return settings.encode(prior)
    if isinstance(prior, tfd.Distribution):
        cls, names = _PRIORS.get(type(prior).__name__, (None, ()))
        values = [tf.convert_to_tensor(getattr(prior, name)) for name in names]
        if type(prior) is not cls or any(v.shape.rank or v.dtype != tf.float32 for v in values):
            return None
        return {"name": type(prior).__name__, **{name: float(v) for name, v in zip(names, values, strict=True)}}
    if prior is None or isinstance(prior, str):
        return None
    patterns = {pattern: prior_to_config(distribution) for pattern, distribution in prior.items()}
    return None if None in patterns.values() else {"patterns": patterns}


def prior_from_config(config: dict[str, Any] | None) -> priors.PriorLike | None:
    """Return the prior that `prior_to_config` described; None for None."""
    if config is None:
        return None
    if "class" in config:
        return settings.decode(config)
    if "patterns" in config:
        return {pattern: _distribution_from_config(entry) for pattern, entry in config["patterns"].items()}
    return _distribution_from_config(config)


def _distribution_from_config(config: dict[str, Any]) -> tfd.Distribution:
    cls, names = _PRIORS[config["name"]]
    return cls(**{name: config[name] for name in names})


def _numbered(values) -> Arrays:
    return {str(i): np.asarray(value) for i, value in enumerate(values)}


def _scaler(arrays: Arrays) -> data.Scaler | None:
    return data.Scaler(**arrays) if arrays else None
