"""A fitted model as a file that needs no bnnrl: its predictive mean, and its prediction intervals.

The file is Python that needs NumPy only, a Keras model, or a TensorFlow Lite model. It holds posterior samples of a
chain of Dense layers; its numbers are those of `BayesianModel.predict` and `interval` up to rounding.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import ndtri

from bnnrl import data
from bnnrl.likelihoods import Categorical, Gaussian, Likelihood
from bnnrl.problem import Problem
from bnnrl.storage import exporting
from bnnrl.storage.atomic import atomic_write

_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "softplus", "elu", "silu")
# Halvings of the interval in which a quantile is searched, from ends of 2 × _FAR scales or more: float32 has 24 bits.
_HALVINGS, _FAR = 24, 8.0
# Abramowitz & Stegun, Handbook of Mathematical Functions (1964), 7.1.26: erf with an error of at most 1.5e-7, since
# TensorFlow Lite has no erf.
_ERF_P = 0.3275911
_ERF_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)

_PYTHON = '''"""Model exported by bnnrl {version}, with {draws} posterior samples. This file needs NumPy only.

    from {module} import {names}
    mean = predict(x)
"""

import base64
import io
import math

import numpy as np

NUM_INPUTS = {num_inputs}
ACTIVATIONS = {activations}  # of the layers
CLASSES = {classes}  # whether the targets are classes
HETEROSCEDASTIC = {heteroscedastic}  # whether the network gives the scale of the noise
FLOOR = {floor}
LEVEL = {level}
_ARRAYS = dict(np.load(io.BytesIO(base64.b64decode("""
{arrays}
"""))))
_FUNCTIONS = {{
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}}


def predict(x):
    """Return the predictive mean [B, K] for inputs [B, F]; for classes, their probabilities."""
    outputs = _outputs(x)
    if CLASSES:
        odds = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return (odds / odds.sum(axis=-1, keepdims=True)).mean(axis=0)
    return _moments(outputs)[0].mean(axis=0)
{interval}

def _outputs(x):
    """Return the outputs of the network under each posterior sample, [S, B, ...]."""
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != NUM_INPUTS or not np.isfinite(x).all():
        raise ValueError(f"Invalid `x`: expected finite numbers of shape (B, {{NUM_INPUTS}}). Received: {{x!r}}.")
    x = ((x - _ARRAYS["x_mean"]) / _ARRAYS["x_std"])[np.newaxis]
    for i, activation in enumerate(ACTIVATIONS):
        x = _FUNCTIONS[activation](x @ _ARRAYS[f"kernel{{i}}"] + _ARRAYS[f"bias{{i}}"][:, np.newaxis])
    return x
'''
_INTERVAL = '''

def interval(x, level=LEVEL):
    """Return the ends [B, K] of the central prediction interval of each target."""
    loc, scale = _moments(_outputs(x))
    return tuple(_quantile(loc, scale, p) for p in ((1 - level) / 2, (1 + level) / 2))


def _moments(outputs):
    """Return the mean and the scale of the targets under each posterior sample, [S, B, K]."""
    if HETEROSCEDASTIC:
        outputs, raw = np.split(outputs, 2, axis=-1)
        scale = FLOOR + np.logaddexp(raw, 0)
    else:
        scale = _ARRAYS["scale"][:, np.newaxis]
    return _ARRAYS["y_mean"] + _ARRAYS["y_std"] * outputs, np.broadcast_to(_ARRAYS["y_std"] * scale, outputs.shape)


def _quantile(loc, scale, p):
    """Return the quantile [B, K] of the equal mixture of normal distributions, by halving an interval."""
    low, high = (loc - 40 * scale).min(axis=0), (loc + 40 * scale).max(axis=0)
    erf = np.vectorize(math.erf)
    for _ in range(60):
        middle = (low + high) / 2
        below = (0.5 * (1 + erf((middle - loc) / (math.sqrt(2) * scale)))).mean(axis=0) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high
'''


@dataclass(frozen=True)
class Exported:
    """What an export holds, in float64: S posterior samples, and the units of inputs and targets."""

    kernels: list[np.ndarray]  # [S, N, M] each
    biases: list[np.ndarray]  # [S, M] each
    activations: list[str]
    likelihood: Gaussian | Categorical
    scale: np.ndarray  # [S, K], the scale of the noise in standard units; unused for a heteroscedastic one and classes
    x_mean: np.ndarray  # [F]
    x_std: np.ndarray  # [F]
    y_mean: np.ndarray  # [K] or []
    y_std: np.ndarray  # [K] or []
    is_wide: bool  # whether inputs need float64
    level: float

    @property
    def has_classes(self) -> bool:
        """Whether the targets are classes."""
        return isinstance(self.likelihood, Categorical)

    @property
    def is_heteroscedastic(self) -> bool:
        """Whether the network gives the scale of the noise."""
        return isinstance(self.likelihood, Gaussian) and self.likelihood._is("heteroscedastic")

    @property
    def floor(self) -> float:
        """The lower bound that is added to a heteroscedastic scale."""
        return float(self.likelihood.floor) if isinstance(self.likelihood, Gaussian) else 0.0


def exported(
    problem: Problem, theta: tf.Tensor, x_scaler: data.Scaler | None, y_scaler: data.Scaler | None, level: float
) -> Exported:
    """Return what an export holds.

    Args:
        problem: the network and the likelihood.
        theta: posterior samples [S, D].
        x_scaler: the standardisation of the inputs.
        y_scaler: the standardisation of the targets.
        level: the level of the intervals.

    Raises:
        ValueError: if the network is no chain of Dense layers with known activations, or the likelihood is another.
    """
    network, likelihood = problem.network, problem.likelihood
    names = [keras.activations.serialize(activation) for activation, _ in network.dense_layers]
    if not names or not set(map(str, names)) <= set(_ACTIVATIONS):
        raise ValueError(
            f"Invalid model: expected a chain of Dense layers with activations {list(_ACTIVATIONS)} to export. "
            f"Received: {names or 'another network'}. Save the model by `save`."
        )
    if not isinstance(likelihood, Gaussian | Categorical):
        raise ValueError(
            "Invalid model: expected a Gaussian or a categorical likelihood to export. "
            f"Received: {type(likelihood).__name__}. Save the model by `save`."
        )
    weights, own = problem.split(theta)
    arrays = iter(network.unflatten(weights))
    kernels, biases = [], []
    for _, use_bias in network.dense_layers:
        kernels.append(np.asarray(next(arrays), np.float64))
        shape = kernels[-1].shape[0], kernels[-1].shape[2]
        biases.append(np.asarray(next(arrays), np.float64) if use_bias else np.zeros(shape))
    x_units, y_units = _units(x_scaler), _units(y_scaler)
    inputs = kernels[0].shape[1]
    scale = _scale(likelihood, np.asarray(own, np.float64), *biases[-1].shape)
    wide = x_scaler is not None and x_scaler.is_wide
    x_mean, x_std = (np.broadcast_to(part, inputs) for part in x_units)
    return Exported(kernels, biases, list(map(str, names)), likelihood, scale, x_mean, x_std, *y_units, wide, level)


def _units(scaler: data.Scaler | None) -> tuple[np.ndarray, np.ndarray]:
    if scaler is None:
        return np.zeros(()), np.ones(())
    return scaler.mean.astype(np.float64), scaler.std.astype(np.float64)


def _scale(likelihood: Likelihood, own: np.ndarray, draws: int, outputs: int) -> np.ndarray:
    """Return the scales of the noise [S, K] that do not depend on the inputs, in standard units."""
    if isinstance(likelihood, Gaussian) and likelihood._is("learned"):
        return likelihood.floor + np.exp(own)
    if isinstance(likelihood, Gaussian) and not isinstance(likelihood.scale, str):
        return np.full((draws, outputs), likelihood.scale)
    return np.ones((draws, outputs))


def write(path: Path, model: Exported) -> None:
    """Write an export to a file, in the format that the file's suffix names.

    Raises:
        ValueError: for a Keras or TensorFlow Lite model of inputs that float32 cannot hold.
    """
    if path.suffix != ".py" and model.is_wide:
        raise ValueError(
            f"Invalid `path`: expected a .py file, since the inputs have more digits than float32. Received: {path}."
        )
    with atomic_write(path) as unfinished:
        if path.suffix == ".py":
            unfinished.write_text(_python(path, model), encoding="utf-8")
        elif path.suffix == ".keras":
            exporting.write_keras(keras_model(model, keras.ops.erf), unfinished)
        else:
            exporting.write_lite(keras_model(model, _erf), unfinished)


def _python(path: Path, model: Exported) -> str:
    arrays = {name: getattr(model, name) for name in ("x_mean", "x_std", "y_mean", "y_std", "scale")}
    for i, (kernel, bias) in enumerate(zip(model.kernels, model.biases, strict=True)):
        arrays |= {f"kernel{i}": kernel.astype(np.float32), f"bias{i}": bias.astype(np.float32)}
    return _PYTHON.format(
        version=importlib.metadata.version("bnnrl"),
        draws=len(model.scale),
        module=path.stem,
        names="predict" if model.has_classes else "interval, predict",
        num_inputs=model.kernels[0].shape[1],
        activations=tuple(model.activations),
        classes=model.has_classes,
        heteroscedastic=model.is_heteroscedastic,
        floor=model.floor,
        level=model.level,
        arrays=exporting.encoded(arrays),
        interval="" if model.has_classes else _INTERVAL,
    )


def keras_model(model: Exported, erf: Callable[[Any], Any]) -> keras.Model:
    """Return a Keras model from inputs [B, F] to class probabilities [B, C], or to mean, low and high, [B, K, 3].

    Args:
        model: what to export.
        erf: the error function of Keras tensors.
    """
    inputs = keras.Input((model.kernels[0].shape[1],), name="x")
    centred = _dense("bf,fg->bg", np.eye(len(model.x_mean)), -model.x_mean)(inputs)
    hidden = _dense("bf,fg->bg", np.diag(1 / model.x_std))(centred)
    for i, (kernel, bias, name) in enumerate(zip(model.kernels, model.biases, model.activations, strict=True)):
        equation = "bn,snm->bsm" if i == 0 else "bsn,snm->bsm"
        hidden = keras.layers.Activation(name)(_dense(equation, kernel, bias)(hidden))
    if model.has_classes:
        return keras.Model(inputs, keras.ops.mean(keras.layers.Softmax()(hidden), axis=1))
    loc, scale = _moments(model, hidden)
    ends = _quantiles(loc, scale, model.level, erf)
    return keras.Model(inputs, keras.ops.stack([keras.ops.mean(loc, axis=1), *ends], axis=-1))


def _moments(model: Exported, outputs: Any) -> tuple[Any, Any]:
    """Return the mean and the scale of the targets under each posterior sample, [B, S, K], in their own units."""
    num_targets = model.biases[-1].shape[1] // (1 + model.is_heteroscedastic)
    loc, zeros = outputs[..., :num_targets], np.zeros((num_targets, num_targets))
    mean, std = (np.broadcast_to(part, num_targets) for part in (model.y_mean, model.y_std))
    if model.is_heteroscedastic:
        raw = keras.ops.softplus(outputs[..., num_targets:]) + model.floor
        scale = _dense("bsk,kj->bsj", np.diag(std))(raw)
    else:  # a constant, which Keras saves as the bias of a layer
        scale = _dense("bsk,kj->bsj", zeros, std * model.scale, "sj")(loc)
    return _dense("bsk,kj->bsj", np.diag(std), mean)(loc), scale


def _quantiles(loc: Any, scale: Any, level: float, erf: Callable[[Any], Any]) -> list[Any]:
    """Return the ends [B, K] of the central interval of the equal mixture of normal distributions."""
    ops, far = keras.ops, _FAR + abs(float(ndtri((1 - level) / 2)))
    both = ops.stack([-loc, loc], axis=2)  # [B, S, 2, K]: the lower end is minus the upper one of the mirror image
    scales = ops.expand_dims(scale, 2)
    low, high = ops.min(both - far * scales, axis=1), ops.max(both + far * scales, axis=1)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        z = (ops.expand_dims(middle, 1) - both) / scales
        below = ops.mean(erf(z * np.sqrt(0.5).item()), axis=1) < level  # erf(z / √2) = 2 Φ(z) − 1
        low, high = ops.where(below, middle, low), ops.where(below, high, middle)
    return [-high[:, 0], high[:, 1]]


def _erf(x: Any) -> Any:
    """Return erf(x) by operations that TensorFlow Lite has."""
    ops = keras.ops
    t = 1.0 / (1.0 + _ERF_P * ops.abs(x))
    series = t * 0.0
    for coefficient in reversed(_ERF_A):
        series = t * (coefficient + series)
    return ops.sign(x) * (1.0 - series * ops.exp(-x * x))


def _dense(
    equation: str, kernel: np.ndarray, bias: np.ndarray | None = None, bias_axes: str | None = None
) -> Callable[[Any], Any]:
    """Return a function that applies a new layer: an einsum with a kernel, and a bias over its last axes."""

    def apply(inputs: Any) -> Any:
        result = equation.partition("->")[2]
        axes = None if bias is None else bias_axes or result[-bias.ndim :]
        shape = tuple(_size(letter, equation, inputs, kernel) for letter in result[1:])
        layer = keras.layers.EinsumDense(equation, shape, bias_axes=axes)
        outputs = layer(inputs)
        layer.set_weights([kernel] if bias is None else [kernel, bias])
        return outputs

    return apply


def _size(letter: str, equation: str, inputs: Any, kernel: np.ndarray) -> int:
    first, second = equation.partition("->")[0].split(",")
    return kernel.shape[second.index(letter)] if letter in second else inputs.shape[first.index(letter)]
