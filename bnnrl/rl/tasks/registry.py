"""Registry of tasks: find the task of an environment by its id, or register a new one."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

import bnnrl_envs
from bnnrl._tensorflow import import_tensorflow
from bnnrl.checks import check_instance, check_mapping, check_text, nearest
from bnnrl.rl.tasks import gymnasium_tasks, plant_tasks
from bnnrl.rl.tasks.env_source import EnvSource, EnvWrapper, check_source, check_wrappers, is_neutral
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


def resolve(
    env: str | EnvSource | Task,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Iterable[EnvWrapper] = (),
    reset_options: Mapping[str, Any] | None = None,
) -> Task:
    """Return the task of an environment, however the environment is given.

    The registered task of an id also holds for a specification of this id and an environment made by it, unless
    wrappers change observations, actions or rewards. Otherwise reward and termination are learned.

    Args:
        env: the id of a Gymnasium environment, an EnvSpec, an environment, a callable that makes one from
            `env_kwargs`, or a Task, beside which the other arguments must be empty.
        env_kwargs: keyword arguments of gymnasium.make or of the callable.
        wrappers: what the environment is wrapped in; see Task.
        reset_options: the argument `options` of each reset.

    Raises:
        ValueError: if an argument is not as above, or the environment does not exist.
    """
    env_kwargs = {} if env_kwargs is None else check_mapping("env_kwargs", env_kwargs)
    wrappers = check_wrappers("wrappers", wrappers)
    if isinstance(env, Task):
        given = {"env_kwargs": env_kwargs, "wrappers": wrappers, "reset_options": reset_options}
        if beside := {name: value for name, value in given.items() if value}:
            name, value = next(iter(beside.items()))
            raise ValueError(
                f"Invalid `{name}`: expected none beside a Task, which holds its own. Received: {value!r}."
            )
        return env
    if isinstance(env, str):
        task = get(env, **env_kwargs)
        if not is_neutral(None, wrappers):
            task = Task(env, env_kwargs=env_kwargs)
    else:
        task = _of_source(check_source("env", env), env_kwargs, wrappers)
    return replace(task, wrappers=wrappers, reset_options=reset_options)


def _of_source(source: EnvSource, env_kwargs: Mapping[str, Any], wrappers: Iterable[EnvWrapper]) -> Task:
    spec = source.spec if isinstance(source, gymnasium.Env) else source
    task = Task(source, env_kwargs=env_kwargs)
    if not isinstance(spec, EnvSpec) or spec.id not in gymnasium.registry or not is_neutral(source, wrappers):
        return task
    given = {name: value for name, value in (spec.kwargs | dict(env_kwargs)).items() if name != "render_mode"}
    found = get(spec.id, **given)
    return replace(found, source=source, env_kwargs={} if isinstance(source, gymnasium.Env) else found.env_kwargs)
