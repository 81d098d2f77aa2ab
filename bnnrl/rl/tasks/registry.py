"""The registered tasks, and how to find one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace

import gymnasium

import bnnrl_envs
from bnnrl._tensorflow import import_tensorflow
from bnnrl.checks import nearest
from bnnrl.rl.tasks import gymnasium_tasks, plant_tasks
from bnnrl.rl.tasks.task import Task

bnnrl_envs.register_envs()


_REGISTERED: dict[str, Callable[..., Task]] = {**plant_tasks.TASKS, **gymnasium_tasks.TASKS}


def register(task: Task) -> None:
    """Make a task known, so that its environment's id is enough, on the command line too; it replaces an earlier one.

    Keyword arguments of the environment that an agent is given go before the task's own.
    """
    _REGISTERED[_name(task.env_id)] = lambda **env_kwargs: replace(task, env_kwargs={**task.env_kwargs, **env_kwargs})


def is_registered(env_id: str) -> bool:
    """Whether a task is registered for an environment."""
    return _name(env_id) in _REGISTERED


def check_exists(env_id: str) -> None:
    """Raise ValueError, with the nearest names, unless Gymnasium knows the environment.

    The module of "module:Env-v0" is imported first.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        _import(module, env_id)
    if name not in gymnasium.registry:
        raise ValueError(
            f"Invalid environment: expected the id of a registered Gymnasium environment, such as "
            f"{sorted(_REGISTERED)[0]!r}, or module:Name-v0 where a module of yours registers it. Received: "
            f"{env_id!r}.{nearest(name, gymnasium.registry)}"
        )


def _import(module: str, env_id: str) -> None:
    if importlib.util.find_spec(module.partition(".")[0]) is not None:
        import_tensorflow()  # a module with a cost would, with its chatter
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise  # the module is there, and lacks another
        raise ValueError(
            f"Invalid environment: expected a module that can be imported before the colon. Received: {env_id!r}, and "
            f"there is no module {error.name!r}. Run from the folder it is in, or set PYTHONPATH."
        ) from error


def _name(env_id: str) -> str:
    return env_id.rpartition(":")[2]


def get(env_id: str, **env_kwargs) -> Task:
    """Return the registered task of an environment, or one whose cost is learned from rewards if there is none.

    Args:
        env_id: a Gymnasium id, also as "module:Env-v0": then the module is imported, which may register environment
            and task.
        env_kwargs: of the environment.

    Raises:
        ValueError: if Gymnasium knows no such environment (the nearest names are listed), or it refuses a keyword
            argument.
    """
    if env_id not in _REGISTERED:
        check_exists(env_id)
    name = _name(env_id)
    if name not in _REGISTERED:
        return Task(env_id, env_kwargs=env_kwargs, solved_return=gymnasium.spec(name).reward_threshold)
    try:
        # A saved agent names the module, without which a new process would not know the environment.
        return replace(_REGISTERED[name](**env_kwargs), env_id=env_id)
    except TypeError as error:
        raise ValueError(f"Invalid `env_kwargs` for {env_id!r}: {error}. Received: {env_kwargs!r}.") from error
