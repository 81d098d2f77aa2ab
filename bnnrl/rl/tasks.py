"""The registered tasks, and how to find one."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np

import bnnrl
import bnnrl_envs
from bnnrl.checks import nearest
from bnnrl.rl import gym_tasks
from bnnrl.rl.task import Cost, SaturatingCost, Task

__all__ = ["Cost", "SaturatingCost", "Task", "check_exists", "get"]

bnnrl_envs.register_envs()


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


_REGISTERED: dict[str, Callable[..., Task]] = {"bnnrl/CartPoleSwingUp-v0": _cartpole_swingup, **gym_tasks.TASKS}


def check_exists(env_id: str) -> None:
    """Raise ValueError, with the nearest names, unless Gymnasium knows the environment."""
    if env_id not in gymnasium.registry:
        raise ValueError(
            f"Invalid environment: expected the id of a registered Gymnasium environment, such as "
            f"{sorted(_REGISTERED)[0]!r}. Received: {env_id!r}.{nearest(env_id, gymnasium.registry)}"
        )


def get(env_id: str, **env_kwargs) -> Task:
    """Return the registered task of an environment, or one whose cost is learned from rewards if there is none.

    Raises:
        ValueError: if Gymnasium knows no such environment (the nearest names are listed), or it refuses a keyword
            argument.
    """
    if env_id not in _REGISTERED:
        check_exists(env_id)
        threshold = gymnasium.spec(env_id).reward_threshold
        return Task(env_id, env_kwargs=env_kwargs, solved_return=threshold)
    try:
        return _REGISTERED[env_id](**env_kwargs)
    except TypeError as error:
        raise ValueError(f"Invalid `env_kwargs` for {env_id!r}: {error}. Received: {env_kwargs!r}.") from error
