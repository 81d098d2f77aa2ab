"""What an environment can be made from beside an id: a specification, an environment that is made, a callable."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from bnnrl.checks import check_iterable, check_text, nearest

EnvSource = EnvSpec | gymnasium.Env | Callable[..., gymnasium.Env]
EnvWrapper = str | Callable[[gymnasium.Env], gymnasium.Env]

EXPECTED = "the id of an environment, an EnvSpec, an environment, a function that makes one, or a bnnrl.Task"
# Wrappers of Gymnasium that change neither observations nor actions nor rewards, so that a registered task still holds.
_NEUTRAL = {
    *("TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "RecordEpisodeStatistics", "RecordVideo"),
    *("HumanRendering", "RenderCollection", "Autoreset"),
}


def check_source(name: str, value: Any) -> EnvSource:
    """Return `value`, or raise ValueError unless an environment can be made from it."""
    source: Any = value
    is_vectorised = isinstance(value, gymnasium.vector.VectorEnv)
    if is_vectorised or not (isinstance(value, EnvSpec | gymnasium.Env) or callable(value)):
        remedy = " Pass the environment of one episode at a time." if is_vectorised else ""
        raise ValueError(f"Invalid `{name}`: expected {EXPECTED}. Received: {type(value).__name__}.{remedy}")
    return source


def name_of(source: EnvSource) -> str:
    """Return a name of the environment: its id, or the name of its class or of the function that makes it."""
    if isinstance(source, EnvSpec):
        return source.id
    if isinstance(source, gymnasium.Env):
        return source.spec.id if source.spec else type(source.unwrapped).__name__
    function: Any = source.func if isinstance(source, partial) else source
    return getattr(function, "__name__", type(function).__name__).strip("<>")


def check_wrappers(name: str, value: Any) -> tuple[EnvWrapper, ...]:
    """Return wrappers as a tuple, or raise ValueError unless each is a callable or "module:Class" of a wrapper."""
    wrappers = tuple(check_iterable(name, value, "a list of wrappers"))
    for wrapper in wrappers:
        if isinstance(wrapper, str):
            load_wrapper(wrapper)
        elif not callable(wrapper):
            expected = "functions from an environment to an environment, or names such as 'my_module:MyWrapper'"
            raise ValueError(f"Invalid `{name}`: expected {expected}. Received: {wrapper!r} among them.")
    return wrappers


def load_wrapper(wrapper: EnvWrapper) -> Callable[[gymnasium.Env], gymnasium.Env]:
    """Return a wrapper; of the name "module:Class", the class.

    Raises:
        ValueError: if there is no such module, or no such subclass of gymnasium.Wrapper in the module.
    """
    if not isinstance(wrapper, str):
        return wrapper
    module_name, colon, class_name = check_text("wrapper", wrapper).partition(":")
    example = "'module:Class' of a subclass of gymnasium.Wrapper, such as 'gymnasium.wrappers:FlattenObservation'"
    try:
        if not (colon and module_name):
            raise ModuleNotFoundError("a module before a colon is missing")
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"Invalid `wrappers`: expected {example}. Received: {wrapper!r} ({error}).") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, gymnasium.Wrapper)):
        raise ValueError(
            f"Invalid `wrappers`: expected {example}. Received: {wrapper!r}.{nearest(class_name, dir(module))}"
        )
    return found


def is_neutral(source: EnvSource | None, wrappers: Iterable[EnvWrapper]) -> bool:
    """Return whether all wrappers leave observations, actions and rewards as they are.

    Args:
        source: an environment with wrappers, or the specification of one.
        wrappers: further ones.
    """
    around: list[str] = []
    if isinstance(source, EnvSpec):
        around = [spec.entry_point for spec in source.additional_wrappers]
    elif isinstance(source, gymnasium.Env):
        around = [f"{type(env).__module__}:{type(env).__name__}" for env in wrappers_of(source)]
    return all(_is_neutral(wrapper) for wrapper in (*around, *wrappers))


def _is_neutral(wrapper: EnvWrapper) -> bool:
    function: Any = wrapper.func if isinstance(wrapper, partial) else wrapper
    module, name = function.split(":") if isinstance(function, str) else (function.__module__, name_of(function))
    return module.startswith("gymnasium.wrappers") and name in _NEUTRAL


def wrappers_of(env: gymnasium.Env) -> list[gymnasium.Wrapper]:
    """Return the wrappers around an environment, the outermost first."""
    found: list[gymnasium.Wrapper] = []
    while isinstance(env, gymnasium.Wrapper):
        found.append(env)
        env = env.env
    return found
