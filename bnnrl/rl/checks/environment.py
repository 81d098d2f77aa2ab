"""Check of an environment and its task before training: what to check, and in which order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

from bnnrl.checks import check_mapping, check_seed
from bnnrl.rl import tasks
from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.checks import episode_checks
from bnnrl.rl.checks.findings import Finding, Report
from bnnrl.rl.checks.task_functions import check_functions
from bnnrl.rl.episodes import EnvironmentFault, Episode, check_memory, episode_length, make_env, run_episode
from bnnrl.rl.tasks.env_source import EnvSource, EnvWrapper, check_source, check_wrappers, is_neutral
from bnnrl.rl.tasks.task import Task

# Random episodes stop at the first of these limits, so that a check takes some seconds. At least two are run.
_MAX_EPISODES, _MAX_SECONDS = 12, 4.0
_MAX_STEPS = 200  # of one episode
_RESETS = 20

# Gymnasium's advice that these agents make unnecessary: they scale actions and standardise observations themselves.
_IRRELEVANT_WARNINGS = ("WARN: For Box action spaces, we recommend", "WARN: A Box observation space m")


def check(
    env: str | EnvSource | Task,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Iterable[EnvWrapper] = (),
    reset_options: Mapping[str, Any] | None = None,
) -> Report:
    """Check whether an agent can learn in an environment, from some seconds of random episodes.

    Checked are the spaces, the episode length, the task's functions, and, from random episodes: reproducibility,
    initial states, scales, undeclared angles, and whether reward or next observation depend on something hidden.

    Args:
        env: the environment in any form that bnnrl.PILCO takes: an id, an EnvSpec, an environment, a callable that
            makes one, or a bnnrl.Task.
        seed: seed of resets and random actions.
        env_kwargs: keyword arguments of gymnasium.make or of the callable that makes the environment.
        wrappers: what the environment is wrapped in, see bnnrl.Task.
        reset_options: the argument `options` of each reset.

    Returns:
        The findings. A fault of the environment or the task is a finding with level "problem", not an exception.

    Raises:
        ValueError: for an argument of another type, or a negative seed.
    """
    return Report(tuple(iter_findings(env, seed, env_kwargs, wrappers, reset_options)))


def iter_findings(
    env: str | EnvSource | Task,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Iterable[EnvWrapper] = (),
    reset_options: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """Return the findings of `check` one after the other, as soon as each is known; arguments as there."""
    if not isinstance(env, str | Task):
        check_source("env", env)
    env_kwargs = {} if env_kwargs is None else check_mapping("env_kwargs", env_kwargs)
    resolve = partial(tasks.resolve, env, env_kwargs, check_wrappers("wrappers", wrappers), reset_options)
    return _findings(resolve, check_seed("seed", seed), not isinstance(env, Task))


def _findings(resolve: Callable[[], Task], seed: int, by_env: bool) -> Iterator[Finding]:
    """Yield the findings about the environment of a task.

    Args:
        resolve: returns the task, or raises ValueError if its environment does not exist.
        seed: seed of resets and random actions.
        by_env: whether the task was found by its environment.
    """
    try:
        task = resolve()
        made = make_env(task)
    except Exception as error:  # the environment's constructor may raise anything
        yield _not_made(error)
        return
    is_given = isinstance(task.source, gymnasium.Env)  # its user goes on using it
    with nullcontext() if is_given else closing(made):
        yield Finding("ok", "environment", f"{task.env_id} can be made.")
        yield from _conventions(made if is_given else make_env(task), is_given)
        yield from _spaces(made)
        yield from _length(made, task)
        yield from _task(task, by_env)
        function_findings = list(_functions(task, made))
        yield from function_findings
        try:
            episodes = _random_episodes(made, task, seed)
            initial_obs = np.stack([made.reset(seed=seed + i)[0] for i in range(_RESETS)]).astype(np.float64)
        except Exception as error:
            yield _broken_episode(error)
            return
        functions_work = all(finding.level != "problem" for finding in function_findings)
        yield from episode_checks.check_episodes(task, made, episodes, initial_obs, seed, functions_work)


def _not_made(error: Exception) -> Finding:
    if isinstance(error, ValueError):
        return Finding("problem", "environment", str(error))
    words = f"importing or making the environment raised {type(error).__name__}: {error}."
    return Finding("problem", "environment", words, "Fix its module or its constructor.")


def _conventions(env: gymnasium.Env, is_given: bool) -> Iterator[Finding]:
    """Run Gymnasium's own check, and close the environment unless it `is_given`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        failure = ""
        try:
            check_env(env.unwrapped, skip_render_check=True, skip_close_check=True)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}".rstrip(".")
    if not is_given:
        env.close()
    if failure:
        remedy = "Fix the environment: Gymnasium's wrappers rely on this convention."
        yield Finding("note", "conventions", f"Gymnasium's check_env raised {failure}.", remedy)
    # Gymnasium colours its warnings by escape codes.
    messages = (str(w.message).removeprefix("\x1b[33m").removesuffix("\x1b[0m") for w in caught)
    relevant = [m.removeprefix("WARN: ") for m in dict.fromkeys(messages) if not m.startswith(_IRRELEVANT_WARNINGS)]
    for message in relevant:
        yield Finding("note", "conventions", message)
    if not failure and not relevant:
        yield Finding("ok", "conventions", "Gymnasium's check_env passes.")


def _spaces(env: gymnasium.Env) -> Iterator[Finding]:
    actions = ActionSpace.of(env.action_space, "the environment")
    entries = env.observation_space.shape[0]  # pyright: ignore[reportOptionalSubscript]
    if actions.discrete:
        action = f"one of {actions.size} values"
    else:
        action = f"a vector from {actions.low} to {actions.high}"
    yield Finding("ok", "spaces", f"an observation has {entries} entries; an action is {action}.")


def _length(env: gymnasium.Env, task: Task) -> Iterator[Finding]:
    length = episode_length(env)
    try:
        check_memory(task, length, task.horizon)
    except ValueError as error:
        yield Finding("problem", "memory", str(error))
        return
    if length is not None:
        held = f", each held for {task.action_repeat} steps of the environment" if task.action_repeat > 1 else ""
        yield Finding("ok", "length", f"an episode is truncated after {length} actions{held}.")
    elif task.horizon is not None:
        words = f"the environment gives no length; episodes stop after the task's horizon, {task.horizon} actions."
        yield Finding("ok", "length", words)
    else:
        words = "neither the environment nor the task gives the length of an episode."
        remedy = "Pass max_episode_steps to gymnasium.register, horizon to bnnrl.Task, or --horizon to bnnrl train."
        yield Finding("problem", "length", words, remedy)


def _task(task: Task, by_env: bool) -> Iterator[Finding]:
    registered = tasks.is_registered(task.env_id)
    if by_env and not (registered and is_neutral(task.source, task.wrappers)):
        found = "the registered task does not hold for the wrapped environment"
        found = found if registered else "no task is registered for the environment"
        words = f"{found}: reward and termination are learned from data."
        remedy = "If you can write down a cost or a termination rule, call bnnrl.tasks.register(bnnrl.Task(...))."
        yield Finding("note", "task", words, remedy)
        return
    given = ["cost"] if task.cost else []
    given += [f"angles {list(task.angles)}"] if task.angles else []
    given += ["termination"] if task.termination else []
    learned = ["dynamics"] if task.cost else ["dynamics", "reward"]
    learned += [] if task.termination else ["termination (if an episode ever terminates)"]
    words = f"given: {', '.join(given) or 'nothing'}; learned from data: {', '.join(learned)}."
    yield Finding("ok", "task", words)


def _functions(task: Task, env: gymnasium.Env) -> Iterator[Finding]:
    try:
        check_functions(task, env)
    except ValueError as error:
        yield Finding("problem", "cost" if "`cost`" in str(error) else "termination", str(error))
        return
    if task.cost is not None:
        yield Finding("ok", "cost", "the function compiles, returns one value per transition, and has a gradient.")


def _random_episodes(env: gymnasium.Env, task: Task, seed: int) -> list[Episode]:
    actions, episodes = ActionSpace.of(env.action_space, task.env_id), []
    until = perf_counter() + _MAX_SECONDS
    while len(episodes) < 2 or (len(episodes) < _MAX_EPISODES and perf_counter() < until):
        rng = np.random.default_rng([seed, len(episodes)])
        episodes.append(run_episode(env, lambda _, r=rng: actions.sample(r), seed + len(episodes), _MAX_STEPS))
    return episodes


def _broken_episode(error: Exception) -> Finding:
    if isinstance(error, EnvironmentFault):
        return Finding("problem", "episodes", str(error))
    words = f"a random episode raised {type(error).__name__}: {error}."
    return Finding("problem", "episodes", words, "Fix the environment's reset(seed=...) or step(action).")
