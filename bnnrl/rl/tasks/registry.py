"""Registry of tasks: find the task of an environment by its id, or register a new one."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace

import gymnasium

import bnnrl_envs
from bnnrl._tensorflow import import_tensorflow
from bnnrl.checks import check_instance, check_text, nearest
from bnnrl.rl.tasks import gymnasium_tasks, plant_tasks
from bnnrl.rl.tasks.task import Task

bnnrl_envs.register_envs()

# Environment id without a module -> function from keyword arguments of the environment to its task.
_REGISTERED: dict[str, Callable[..., Task]] = {**plant_tasks.TASKS, **gymnasium_tasks.TASKS}


def register(task: Task) -> None:
    """Register a task, so that agents and the command line find it by the environment's id.

    A task registered earlier for the same environment is replaced. Keyword arguments of the environment that are
    given to an agent override the task's own `env_kwargs`.
    """
    check_instance("task", task, Task, "a bnnrl.Task")
    _REGISTERED[_name(task.env_id)] = lambda **env_kwargs: replace(task, env_kwargs={**task.env_kwargs, **env_kwargs})


def is_registered(env_id: str) -> bool:
    """Return whether a task is registered for an environment; a module before a colon in the id does not matter."""
    return _name(env_id) in _REGISTERED


def check_exists(env_id: str) -> None:
    """Raise ValueError, with the nearest ids, unless the environment is registered with Gymnasium.

    For "module:Env-v0" the module is imported first, since it may register the environment.
    """
    module, _, name = check_text("env_id", env_id).rpartition(":")
    if module:
        _import(module, env_id)
    if name not in gymnasium.registry:
        raise ValueError(
            f"Invalid environment: expected the id of a registered Gymnasium environment, such as "
            f"{sorted(_REGISTERED)[0]!r}, or module:Name-v0 if importing your module registers it. Received: "
            f"{env_id!r}.{nearest(name, gymnasium.registry)}"
        )


def _import(module: str, env_id: str) -> None:
    is_name = all(part.isidentifier() for part in module.split("."))
    with contextlib.suppress(ValueError):  # which `find_spec` raises for "__main__" of a script
        if is_name and importlib.util.find_spec(module.partition(".")[0]) is not None:
            import_tensorflow()  # quietly, before a module with a cost imports TensorFlow with all its log messages
    try:
        if not is_name:
            raise ModuleNotFoundError(name=module)
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise  # the module itself was found, and a module that it imports is missing
        raise ValueError(
            f"Invalid environment: expected a module that can be imported before the colon. Received: {env_id!r}, and "
            f"there is no module {error.name!r}. Run from the folder that contains the module, or set PYTHONPATH."
        ) from error


def _name(env_id: str) -> str:
    return check_text("env_id", env_id).rpartition(":")[2]


def get(env_id: str, **env_kwargs) -> Task:
    """Return the registered task of an environment, or one whose reward and termination are learned if there is none.

    Args:
        env_id: id of a Gymnasium environment. For "module:Env-v0" the module is imported first, and may register
            environment and task.
        **env_kwargs: keyword arguments of the environment.

    Raises:
        ValueError: if the environment is not registered with Gymnasium (the nearest ids are listed), or the task
            refuses a keyword argument.
    """
    name = _name(env_id)
    if env_id not in _REGISTERED:
        check_exists(env_id)
    if name not in _REGISTERED:
        return Task(env_id, env_kwargs=env_kwargs, solved_return=gymnasium.spec(name).reward_threshold)
    try:
        # With the module before the colon, which a process that loads a saved agent has to import.
        return replace(_REGISTERED[name](**env_kwargs), env_id=env_id)
    except TypeError as error:
        raise ValueError(f"Invalid `env_kwargs` for {env_id!r}: {error}. Received: {env_kwargs!r}.") from error
