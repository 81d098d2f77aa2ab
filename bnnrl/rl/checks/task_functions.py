"""Check of a task's cost and termination functions before an episode is run: they must compile, and be finite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf

from bnnrl.compiled import CompiledFunction
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.memory import memory_of
from bnnrl.rl.tasks.task import SaturatingCost, Task

_ROWS = 64
_SCALES = (0.1, 1.0, 10.0, 1e3)  # bounds of the random observation entries that functions are evaluated at
_UNBOUNDED = 1e6  # a space with wider bounds is treated as unbounded
_SIGNATURE = "(obs [..., O], action [..., A], next_obs [..., O]) -> [...]"


def check_functions(task: Task, env: gymnasium.Env, has_gradient: bool = True) -> None:
    """Raise ValueError, which names the function, if a task's cost, termination or constraint cannot be used.

    The functions are compiled and called with three axes, as in rollouts, at random points of the environment's spaces.

    Args:
        task: the task with the functions.
        env: the environment with the spaces.
        has_gradient: whether cost and constraints need a gradient, as they do for policies but not for planners.
    """
    points, bounded = _points(env, memory_of(env).newest)
    if task.cost is not None:
        _Check("cost", task.cost, task.env_id).check_cost(points, bounded, has_gradient)
    if task.termination is not None:
        _Check("termination", task.termination, task.env_id).check_termination(points, bounded)
    for name, constraint in task.constraints.items():
        check = _Check(f"constraints[{name!r}]", constraint.function, task.env_id)
        check.check_constraint(*_points(env, lambda obs: obs), has_gradient)


def describe(function: Callable) -> str:
    """Return a function's name and where it is defined, for messages."""
    inner = getattr(function, "exponent", function)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", type(inner).__name__)
    where = f" ({code.co_filename}, line {code.co_firstlineno})" if code else ""
    return f"{name} in a {type(function).__name__}{where}" if inner is not function else f"{name}{where}"


class _Check:
    """Checks of one function of a task, whose errors name the function."""

    def __init__(self, name: str, function: Callable, env_id: str):
        self._function = function
        self._subject = f"Invalid `{name}` of the task {env_id!r}, {describe(function)}"

    def check_cost(self, points: tuple[tf.Tensor, ...], bounded: bool, needs_gradient: bool) -> None:
        """Raise ValueError unless the function is a cost: float32, finite, with a gradient if one is needed."""
        value, gradient = self._call(points)
        self._check_type(value, points[0].shape, (tf.float32,))
        value = value.numpy()
        self._check_finite(value, points[2], bounded)
        if needs_gradient:
            self._check_gradient(value, gradient, bounded)

    def check_constraint(self, points: tuple[tf.Tensor, ...], bounded: bool, needs_gradient: bool) -> None:
        """Raise ValueError unless the function is a constraint: float32, finite, with a gradient if one is needed."""
        value, gradient = self._call(points)
        self._check_type(value, points[0].shape, (tf.float32,))
        self._check_finite(value.numpy(), points[2], bounded)
        if needs_gradient and (gradient is None or not np.any(np.nan_to_num(gradient.numpy()))):
            raise self._error(
                "a constraint that a policy can be improved on: with a gradient in obs, action or next_obs",
                "no gradient" if gradient is None else "a gradient of 0 everywhere",
                "Return by how much a limit is exceeded, such as tf.abs(next_obs[..., 0]) - 0.6, instead of a "
                "comparison.",
            )

    def check_termination(self, points: tuple[tf.Tensor, ...], bounded: bool) -> None:
        """Raise ValueError unless the function is a rule of termination: bool, or float32 in [0, 1]."""
        value, _ = self._call(points)
        self._check_type(value, points[0].shape, (tf.float32, tf.bool))
        if value.dtype == tf.bool:
            return
        value = value.numpy()
        self._check_finite(value, points[2], bounded)
        finite = value[np.isfinite(value)]
        if finite.min() < 0 or finite.max() > 1:
            raise self._error(
                "truth values or probabilities in [0, 1]",
                f"values from {finite.min():.3g} to {finite.max():.3g}",
                "Return a comparison such as next_obs[..., 0] > 1, or a probability, as by tf.sigmoid.",
            )

    def _error(self, expected: str, received: str, remedy: str) -> ValueError:
        return ValueError(f"{self._subject}: expected {expected}. Received: {received}. {remedy}")

    def _call(self, points: tuple[tf.Tensor, ...]) -> tuple[Any, Any]:
        call = CompiledFunction(partial(_with_gradient, self._function), jit_compile=True)
        try:
            return call(points)
        except Exception as error:
            raise self._error(
                f"a function {_SIGNATURE} of TensorFlow operations that tf.function(jit_compile=True) compiles",
                f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '').rstrip('.')}",
                "Use TensorFlow operations instead of NumPy, and index entries from the end: next_obs[..., 0].",
            ) from error

    def _check_type(self, value: Any, obs_shape: tf.TensorShape, dtypes: tuple[tf.DType, ...]) -> None:
        shape = obs_shape[:-1]
        if value is not None and value.shape == shape and value.dtype in dtypes:
            return
        has_shape = value is not None and value.shape == shape
        raise self._error(
            f"shape {tuple(shape)} and {' or '.join(dtype.name for dtype in dtypes)} for observations of shape "
            f"{tuple(obs_shape)}",
            "None" if value is None else f"shape {tuple(value.shape)} and {value.dtype.name}",
            "Cast it: tf.cast(value, tf.float32)."
            if has_shape
            else "Index entries from the end, next_obs[..., 0], and reduce over the last axis only.",
        )

    def _check_finite(self, value: np.ndarray, next_obs: tf.Tensor, bounded: bool) -> None:
        is_finite = np.isfinite(value)
        # Points outside of an unbounded space's visited part may be outside of the function's domain, too.
        if is_finite.all() or (is_finite.any() and not bounded):
            return
        example = next_obs.numpy()[~is_finite][0]
        raise self._error(
            "finite values",
            f"{value[~is_finite][0]} at next_obs={np.array2string(example, precision=3)}",
            "Keep arguments of log, sqrt and divisions away from 0, as by tf.maximum.",
        )

    def _check_gradient(self, value: np.ndarray, gradient: tf.Tensor | None, bounded: bool) -> None:
        if gradient is not None:
            # In an unbounded space the points may all be so far from the goal that a saturated cost is constant there.
            saturated = not bounded and np.ptp(value[np.isfinite(value)]) == 0
            if saturated or np.any(np.nan_to_num(gradient.numpy())):
                return
        raise self._error(
            "a cost that a policy can be improved on: with a gradient in obs, action or next_obs",
            "no gradient" if gradient is None else "a gradient of 0 everywhere",
            "Counts, comparisons and casts have no gradient: return a distance from the goal, as "
            "bnnrl.tasks.SaturatingCost does, or use a planner.",
        )


def _with_gradient(function: Callable, points: tuple[tf.Tensor, ...]) -> tuple[Any, Any]:
    """Return a function's values, and the 1-norm of its gradient at each point, or None if there is no gradient."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = function(*points)
        # Far from the goal the gradient of a saturating cost underflows to 0, but that of its exponent does not.
        inner = function.exponent(points[2]) if isinstance(function, SaturatingCost) else value
    if value is not None:
        value = tf.convert_to_tensor(value)
    if not tf.is_tensor(inner) or not inner.dtype.is_floating:
        return value, None
    found = [g for g in tape.gradient(inner, points) if g is not None]
    return value, sum(tf.reduce_sum(tf.abs(g), axis=-1) for g in found) if found else None


def _points(env: gymnasium.Env, part: Callable[[np.ndarray], np.ndarray]) -> tuple[tuple[tf.Tensor, ...], bool]:
    """Return random points of an environment's spaces, and whether the observation space is bounded.

    `part` returns the entries of an observation that a function is given, with or without memory.

    The points are obs [K, B, O], action [K, B, A] and next_obs [K, B, O] for K = 5 scales of the observations, the
    first of which is 0.
    """
    rng = np.random.default_rng(0)
    space, actions = env.observation_space, ActionSpace.of(env.action_space, "the environment")
    low, high = (part(getattr(space, name)).astype(np.float64) for name in ("low", "high"))
    bounded = bool((np.abs(low) < _UNBOUNDED).all() and (np.abs(high) < _UNBOUNDED).all())

    def observations() -> tf.Tensor:
        rows = [np.zeros((_ROWS, len(low)))]
        for scale in _SCALES:
            rows.append(rng.uniform(np.clip(low, -scale, scale), np.clip(high, -scale, scale), rows[0].shape))
        return tf.constant(np.clip(np.stack(rows), low, high), tf.float32)

    obs = observations()
    drawn = np.stack([[actions.executed(actions.sample(rng)) for _ in range(_ROWS)] for _ in range(obs.shape[0])])
    return (obs, tf.constant(drawn, tf.float32), observations()), bounded
