"""A policy as a file that needs no bnnrl: Python that needs NumPy only, a Keras model, or a TensorFlow Lite model.

The numbers are those of `PILCO.predict` up to rounding.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bnnrl.rl.control import ControlStrategy, PolicyControl, no_policy_error
from bnnrl.rl.policies import MLP, RBF, Controller
from bnnrl.storage import exporting
from bnnrl.storage.atomic import atomic_write

_PYTHON = '''"""Policy for {env_id}, exported by bnnrl {version}. This file needs NumPy only.

    from {module} import predict
    action, _ = predict(observation)
"""

import base64
import io

import numpy as np

OBSERVATION_SIZE = {num_obs}
OFFSET = {offset}  # subtracted from observations
ANGLES = {angles}  # entries of the observation that are angles in radians
DISCRETE = {discrete}  # whether the action is one of several values
START = {start}  # lowest value of a discrete action
KIND = "{kind}"
_ARRAYS = dict(np.load(io.BytesIO(base64.b64decode("""
{arrays}
"""))))


def predict(observation, state=None, episode_start=None, deterministic=True):
    """Return the action for an observation [O] or [B, O], and the state as given; the policy has none.

    The other arguments are those of Stable-Baselines3, and have no effect.
    """
    obs = np.asarray(observation, np.float32)
    if obs.ndim not in (1, 2) or obs.shape[-1] != OBSERVATION_SIZE or not np.isfinite(obs).all():
        raise ValueError(
            f"Invalid `observation`: expected finite numbers of shape ({{OBSERVATION_SIZE}},) or "
            f"(B, {{OBSERVATION_SIZE}}). Received: {{observation!r}}."
        )
    obs = np.asarray(np.asarray(observation) - np.asarray(OFFSET), np.float32)
    squashed = np.tanh(_outputs(_features(np.atleast_2d(obs))))
    if DISCRETE:
        actions = START + np.argmax(squashed, axis=-1)
    else:
        low, high = _ARRAYS["low"], _ARRAYS["high"]
        actions = low + np.float32(0.5) * (squashed + 1) * (high - low)
    return (actions[0] if obs.ndim == 1 else actions), state


def _features(obs):
    plain = [i for i in range(OBSERVATION_SIZE) if i not in ANGLES]
    angles = obs[:, list(ANGLES)]
    return np.concatenate([obs[:, plain], np.sin(angles), np.cos(angles)], axis=-1)


def _outputs(features):
    if KIND == "rbf":
        z = features * _ARRAYS["inverse"] - _ARRAYS["far"]
        distances = np.square(z[:, np.newaxis] - _ARRAYS["centers"]).sum(axis=-1)
        return np.exp(np.float32(-0.5) * distances) @ _ARRAYS["weights"]
    layers = sum(name.startswith("kernel") for name in _ARRAYS)
    for i in range(layers):
        features = features @ _ARRAYS[f"kernel{{i}}"] + _ARRAYS[f"bias{{i}}"]
        features = features if i == layers - 1 else np.tanh(features)
    return features
'''


def export(path: Any, control: ControlStrategy, env_id: str, start: int) -> Path:
    """Write a policy to a file, in the format that the file's suffix names, and return the path.

    Args:
        path: a file that ends in .py, .keras or .tflite.
        control: the control strategy of the agent.
        env_id: the environment, for the description in the file.
        start: the lowest value of a discrete action.

    Raises:
        ValueError: for another suffix, a planner, an agent without a policy, one whose observations remember, or a
            policy of the user's own.
    """
    path = exporting.check_suffix(path)
    if not isinstance(control, PolicyControl):
        raise ValueError(
            "Invalid agent: expected one with a policy, which can be exported. Received: a planner, which plans on the "
            "learned models at each step. Save it by `save`, or learn with policy='rbf', 'mlp' or 'linear'."
        )
    if control.population is None:
        raise no_policy_error()
    write = {".py": _write_python, ".keras": _write_keras, ".tflite": _write_lite}[path.suffix]
    policy = _Parts(control.controller, control.population[0], start, control.centre)
    with atomic_write(path) as unfinished:
        write(policy, unfinished, env_id, path)
    return path


class _Parts:
    """A policy as arrays: an RBF network as scaled centres and weights, an MLP as kernels and biases."""

    def __init__(self, controller: Controller, params: np.ndarray, start: int, centre: tuple[float, ...]):
        policy, features = controller.policy, controller.features
        if not features.memory.is_empty:
            raise ValueError(
                "Invalid agent: expected observations without history, which a function of one observation can take. "
                "Received: a task with `history` or `delay`. Save the agent by `save`."
            )
        self.num_obs, self.angles = features.num_obs, tuple(features.angles)
        self.offset = list(centre or (0.0,) * self.num_obs)
        self.discrete, self.start = controller.discrete, start
        self.low, self.high = controller.low.numpy(), controller.high.numpy()
        size, num_actions = features.size, controller.num_actions
        if type(policy) is RBF:
            self.kind, self.arrays = "rbf", _of_rbf(policy, params, size, num_actions)
        elif isinstance(policy, MLP):
            self.kind, self.arrays = "network", _of_network(policy, params, size, num_actions)
        else:
            raise ValueError(
                f"Invalid agent: expected a policy of bnnrl, RBF, MLP or Linear, to be exported. Received: {policy!r}."
            )


def _of_rbf(policy: RBF, params: np.ndarray, size: int, num_actions: int) -> dict[str, np.ndarray]:
    """Return centres c / ℓ − m [K, F] about their mean m, 1 / ℓ [F], m [F] and weights [K, A].

    About their mean, the numbers stay small where features lie far from zero, so that float32 keeps the distances.
    """
    count = policy.num_centers
    centers, log_scales, weights = np.split(params, [count * size, count * size + size])
    inverse = np.exp(-log_scales.astype(np.float64))
    scaled = centers.reshape(count, size) * inverse
    far = scaled.mean(axis=0)
    arrays = {"centers": scaled - far, "inverse": inverse, "far": far, "weights": weights.reshape(count, num_actions)}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _of_network(policy: MLP, params: np.ndarray, size: int, num_actions: int) -> dict[str, np.ndarray]:
    found, widths, first = {}, [size, *policy.hidden, num_actions], 0
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        found[f"kernel{i}"] = params[first : first + inputs * outputs].reshape(inputs, outputs)
        first += inputs * outputs
        found[f"bias{i}"] = params[first : first + outputs]
        first += outputs
    return {name: array.astype(np.float32) for name, array in found.items()}


def _write_python(policy: _Parts, file: Path, env_id: str, path: Path) -> None:
    text = _PYTHON.format(
        env_id=env_id,
        version=importlib.metadata.version("bnnrl"),
        module=path.stem,
        num_obs=policy.num_obs,
        offset=policy.offset,
        angles=policy.angles,
        discrete=policy.discrete,
        start=policy.start,
        kind=policy.kind,
        arrays=exporting.encoded({"low": policy.low, "high": policy.high, **policy.arrays}),
    )
    file.write_text(text, encoding="utf-8")


def _write_keras(policy: _Parts, file: Path, env_id: str, path: Path) -> None:
    exporting.write_keras(keras_model(policy), file)


def _write_lite(policy: _Parts, file: Path, env_id: str, path: Path) -> None:
    exporting.write_lite(keras_model(policy), file)


def keras_model(policy: _Parts) -> keras.Model:
    """Return the policy as a Keras model from observations [B, O] to actions [B, A], or [B] if they are discrete."""
    obs = keras.Input((policy.num_obs,), name="observation")
    squashed = keras.ops.tanh(_keras_outputs(policy, _keras_features(policy, obs)))
    if policy.discrete:
        best: Any = keras.ops.top_k(squashed, k=1)  # TensorFlow Lite cannot convert Keras's argmax
        return keras.Model(obs, best[1][:, 0] + policy.start)
    half = 0.5 * (policy.high - policy.low)
    return keras.Model(obs, _dense(np.diag(half), policy.low + half)(squashed))


def _keras_features(policy: _Parts, obs: Any) -> Any:
    if any(policy.offset):
        obs = _dense(np.eye(policy.num_obs), -np.array(policy.offset))(obs)
    if not policy.angles:
        return obs
    entry = lambda i: obs[:, i : i + 1]
    angles = [entry(i) for i in policy.angles]
    plain = [entry(i) for i in range(policy.num_obs) if i not in policy.angles]
    return keras.ops.concatenate([*plain, *map(keras.ops.sin, angles), *map(keras.ops.cos, angles)], axis=-1)


def _keras_outputs(policy: _Parts, features: Any) -> Any:
    arrays = policy.arrays
    if policy.kind == "rbf":
        centers = arrays["centers"]
        z = _dense(np.diag(arrays["inverse"]), -arrays["far"])(features)
        squares = keras.ops.sum(keras.ops.square(z), axis=-1, keepdims=True)
        distances = squares + _dense(-2 * centers.T, np.square(centers).sum(axis=-1))(z)  # ‖z − c‖²
        return _dense(arrays["weights"], np.zeros(policy.low.shape))(keras.ops.exp(-0.5 * distances))
    layers = len(arrays) // 2
    for i in range(layers):
        features = _dense(arrays[f"kernel{i}"], arrays[f"bias{i}"])(features)
        features = features if i == layers - 1 else keras.ops.tanh(features)
    return features


def _dense(kernel: np.ndarray, bias: np.ndarray) -> Callable[[Any], Any]:
    """Return a function that applies a new dense layer with these weights."""

    def apply(inputs: Any) -> Any:
        layer = keras.layers.Dense(kernel.shape[1])
        outputs = layer(inputs)
        layer.set_weights([kernel, bias])
        return outputs

    return apply
