"""The registered tasks, and how to find one."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium

import bnnrl_envs
from bnnrl.checks import nearest
from bnnrl.rl import gym_tasks, plants
from bnnrl.rl.task import Cost, SaturatingCost, Task

__all__ = ["Cost", "SaturatingCost", "Task", "check_exists", "get"]

bnnrl_envs.register_envs()


_REGISTERED: dict[str, Callable[..., Task]] = {**plants.TASKS, **gym_tasks.TASKS}


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
