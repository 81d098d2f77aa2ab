"""Tasks: what an agent may know of an environment before it has seen it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

import bnnrl
import bnnrl_envs
from bnnrl.checks import nearest

if TYPE_CHECKING:  # a mistyped environment should be told at once, without waiting for TensorFlow
    import tensorflow as tf

bnnrl_envs.register_envs()

Cost = Callable[["tf.Tensor", "tf.Tensor", "tf.Tensor"], "tf.Tensor"]


@dataclass(frozen=True)
class SaturatingCost:
    """c = 1 − exp(−q / width²) in [0, 1], where q(next_obs) >= 0 measures how far the goal is.

    The PILCO family's cost (Deisenroth & Rasmussen 2011, eq. 25). It is flat far from the goal, so that a policy
    may find no gradient there; `width` > 1 stretches it, which keeps its minimiser.

    Args:
        exponent: q, from next observations [..., O] to [...].
    """

    exponent: Callable[[tf.Tensor], tf.Tensor]

    def __call__(self, obs, action, next_obs: tf.Tensor, width: float = 1.0) -> tf.Tensor:
        import tensorflow as tf

        return 1.0 - tf.exp(-self.exponent(next_obs) / width**2)


@dataclass(frozen=True)
class Task:
    """What the agent may know of an environment.

    Args:
        env_id: a Gymnasium id.
        cost: a differentiable TensorFlow function (obs [..., O], action [..., A], next_obs [..., O]) -> [...].
        angles: indices of the observation entries that are angles in radians. The model and the policy see them as
            sine and cosine.
        invariant: indices of the entries that changes of the observation do not depend on, such as the position on a
            uniform track. The model is not given them.
        env_kwargs: keyword arguments of gymnasium.make.
        success: from the true states of one episode [T + 1, O] to whether it succeeded, or None where "solved" has
            no meaning. The states come from info["state"] where the environment gives it, else from observations.
        dt: seconds between observations, if time has a meaning.
        labels: a name for each observation entry, with its unit, for pictures.
    """

    env_id: str
    cost: Cost
    angles: tuple[int, ...] = ()
    invariant: tuple[int, ...] = ()
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    success: Callable[[np.ndarray], bool] | None = None
    dt: float | None = None
    labels: tuple[str, ...] | None = None


def _cartpole_swingup(preset: str = "pilco", **env_kwargs) -> Task:
    from bnnrl_envs.cartpole_swingup import find_preset, is_success

    parameters = find_preset(preset)
    bnnrl._import_tensorflow()
    import tensorflow as tf

    length = parameters.length

    def tip_distance(next_obs: tf.Tensor) -> tf.Tensor:
        x, theta = next_obs[..., 0], next_obs[..., 2]
        d2 = tf.square(x + length * tf.sin(theta)) + tf.square(length + length * tf.cos(theta))
        return d2 / (2 * parameters.cost_width**2)

    def angle_and_position(next_obs: tf.Tensor) -> tf.Tensor:
        x, theta = next_obs[..., 0], next_obs[..., 2]
        return tf.square((tf.abs(theta) - np.pi) / 3) + tf.square(x)

    return Task(
        "bnnrl/CartPoleSwingUp-v0",
        SaturatingCost(tip_distance if parameters.cost == "tip" else angle_and_position),
        angles=(2,),
        invariant=(0,),
        env_kwargs={"preset": preset, **env_kwargs},
        success=lambda states: is_success(states, preset),
        dt=parameters.dt,
        labels=("x, m", "x′, m/s", "θ, rad", "θ′, rad/s"),
    )


_REGISTERED: dict[str, Callable[..., Task]] = {"bnnrl/CartPoleSwingUp-v0": _cartpole_swingup}


def check_exists(env_id: str) -> None:
    """Raise ValueError, with the nearest names, unless Gymnasium knows the environment."""
    if env_id not in gymnasium.registry:
        raise ValueError(
            f"Invalid environment: expected the id of a registered Gymnasium environment, such as "
            f"{sorted(_REGISTERED)[0]!r}. Received: {env_id!r}.{nearest(env_id, gymnasium.registry)}"
        )


def get(env_id: str, **env_kwargs) -> Task:
    """Return the registered task of an environment.

    Raises:
        ValueError: if Gymnasium knows no such environment (the nearest names are listed), no task is registered for
            it, or the environment refuses a keyword argument.
    """
    if env_id not in _REGISTERED:
        check_exists(env_id)
        raise ValueError(
            f"Invalid environment: expected one with a registered task, {sorted(_REGISTERED)}. Received: {env_id!r}. "
            "Describe it to the agent with a bnnrl.Task: its id, a differentiable cost, and which entries are angles."
        )
    try:
        return _REGISTERED[env_id](**env_kwargs)
    except TypeError as error:
        raise ValueError(f"Invalid `env_kwargs` for {env_id!r}: {error}. Received: {env_kwargs!r}.") from error
