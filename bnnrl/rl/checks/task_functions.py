"""Whether a task's own functions can be used, told before an episode is run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf

from bnnrl.rl.action_space import Actions
from bnnrl.rl.tasks.task import SaturatingCost, Task

_ROWS = 64
_SCALES = (0.1, 1.0, 10.0, 1e3)  # how far from 0 entries are tried
_WIDE = 1e6  # bounds beyond are as good as none
_SIGNATURE = "(obs [..., O], action [..., A], next_obs [..., O]) -> [...]"


def check_functions(task: Task, env: gymnasium.Env, has_gradient: bool = True) -> None:
    """Raise ValueError, which names the function, if a task's cost or termination cannot be used.

    They are called as rollouts call them, with three axes and compiled, at points of the environment's spaces.

    Args:
        task: whose functions.
        env: whose spaces.
        has_gradient: whether the cost needs a gradient, as policies do and planners do not.
    """
    for name in ("cost", "termination"):
        function = getattr(task, name)
        if function is not None:
            _check_function(name, function, task, env, has_gradient and name == "cost")


def describe(function: Callable) -> str:
    """Return a function's name and where it is written, for messages."""
    inner = getattr(function, "exponent", function)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", type(inner).__name__)
    where = f" ({code.co_filename}, line {code.co_firstlineno})" if code else ""
    return f"{name} in a {type(function).__name__}{where}" if inner is not function else f"{name}{where}"


def _check_function(name: str, function: Callable, task: Task, env: gymnasium.Env, has_gradient: bool) -> None:
    def fault(expected: str, received: str, remedy: str) -> ValueError:
        return ValueError(
            f"Invalid `{name}` of the task {task.env_id!r}, {describe(function)}: expected {expected}. "
            f"Received: {received}. {remedy}"
        )

    points, bounded = _points(env)
    # A partial: TensorFlow takes functions of one place in the code for one function that is traced again and again.
    call = tf.function(partial(_with_gradient, function), autograph=False, jit_compile=True)
    try:
        value, gradient = call(points)
    except Exception as error:
        raise fault(
            f"a function {_SIGNATURE} of TensorFlow operations that tf.function(jit_compile=True) compiles",
            f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '').rstrip('.')}",
            "Write it with tf operations and no NumPy, and index entries from the end: next_obs[..., 0].",
        ) from error
    shape, kinds = points[0].shape[:-1], (tf.float32,) if name == "cost" else (tf.float32, tf.bool)
    if value is None or value.shape != shape or value.dtype not in kinds:
        given = "None" if value is None else f"shape {tuple(value.shape)} and {value.dtype.name}"
        raise fault(
            f"shape {tuple(shape)} and {' or '.join(k.name for k in kinds)} for observations of shape "
            f"{tuple(points[0].shape)}",
            given,
            "Index entries from the end, next_obs[..., 0], and sum over the last axis only."
            if value is None or value.shape != shape
            else "Cast it: tf.cast(value, tf.float32).",
        )
    if value.dtype == tf.bool:
        return
    value = value.numpy()
    is_finite = np.isfinite(value)
    if not is_finite.any() or (bounded and not is_finite.all()):
        example = points[2].numpy()[~is_finite][0]
        raise fault(
            "finite values",
            f"{value[~is_finite][0]} at next_obs={np.array2string(example, precision=3)}",
            "Keep what logarithms, roots and quotients are given off the edge, as by tf.maximum.",
        )
    if name == "termination" and (value[is_finite].min() < 0 or value[is_finite].max() > 1):
        raise fault(
            "truth values or probabilities in [0, 1]",
            f"values from {value[is_finite].min():.3g} to {value[is_finite].max():.3g}",
            "Squash it, or compare it: next_obs[..., 0] > 1.",
        )
    flat = gradient is None or not np.any(np.nan_to_num(gradient.numpy()))
    # A saturated cost is the same all over where the space does not say where the goal may be: that is no step.
    is_step = gradient is None or bounded or np.ptp(value[is_finite]) > 0
    if has_gradient and flat and is_step:
        raise fault(
            "a cost that a policy can be improved on: with a gradient in obs, action or next_obs",
            "no gradient" if gradient is None else "a gradient of 0 everywhere",
            "A count, a comparison or a cast has none: say how far off the goal is, as bnnrl.tasks.SaturatingCost "
            "does, or use a planner.",
        )


def _with_gradient(function: Callable, points: tuple[tf.Tensor, ...]) -> tuple[Any, Any]:
    """Return the values, and the sum over all entries of the gradient's size at each point; None if there is none."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = function(*points)
        # A saturating cost's own gradient is too small for a float where the goal is far.
        inner = function.exponent(points[2]) if isinstance(function, SaturatingCost) else value
    if value is not None:
        value = tf.convert_to_tensor(value)
    if not tf.is_tensor(inner) or not inner.dtype.is_floating:
        return value, None
    found = [g for g in tape.gradient(inner, points) if g is not None]
    return value, sum(tf.reduce_sum(tf.abs(g), axis=-1) for g in found) if found else None


def _points(env: gymnasium.Env) -> tuple[tuple[tf.Tensor, ...], bool]:
    """Return obs, action and next_obs [1 + scales, B, ...] within the spaces, and whether observations are bounded."""
    rng = np.random.default_rng(0)
    space, actions = env.observation_space, Actions.of(env.action_space, "the environment")
    low, high = (getattr(space, name).astype(np.float64) for name in ("low", "high"))
    bounded = bool((np.abs(low) < _WIDE).all() and (np.abs(high) < _WIDE).all())

    def observations() -> tf.Tensor:
        rows = [np.zeros((_ROWS, len(low)))]
        for scale in _SCALES:
            rows.append(rng.uniform(np.clip(low, -scale, scale), np.clip(high, -scale, scale), rows[0].shape))
        return tf.constant(np.clip(np.stack(rows), low, high), tf.float32)

    obs = observations()
    drawn = np.stack([[actions.executed(actions.random(rng)) for _ in range(_ROWS)] for _ in range(obs.shape[0])])
    return (obs, tf.constant(drawn, tf.float32), observations()), bounded
