"""Saving and loading of agents: settings as JSON; episodes, policies and posteriors as arrays."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, fields, replace
from typing import Any, Protocol, TypeVar

import gymnasium
import numpy as np

from bnnrl.rl import env_description
from bnnrl.rl.callbacks import PLAIN_SETTINGS, Agent, Prediction, Trial
from bnnrl.rl.control import ControlStrategy
from bnnrl.rl.episodes import Episode
from bnnrl.rl.simulator.learned_env import LearnedEnv
from bnnrl.rl.tasks import Task
from bnnrl.rl.tasks.env_source import EnvSource
from bnnrl.storage import config
from bnnrl.storage.arrays import flatten, select


class SavableAgent(Agent, Protocol):
    """The part of `bnnrl.PILCO` that is saved and restored."""

    task_is_registered: bool
    control: ControlStrategy
    learned_env: LearnedEnv


AgentT = TypeVar("AgentT", bound=SavableAgent)


def to_saved(agent: SavableAgent) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the JSON-able description and the named arrays of an agent."""
    posteriors, arrays = agent.learned_env.to_arrays()
    environment, in_arguments = env_description.describe(agent.task)
    described = (
        {"kind": "pilco", **environment}
        | _settings(agent)
        | {
            "episodes": len(agent.episodes),
            "history": [_encode_trial(trial) for trial in agent.history],
            "models": posteriors,
        }
    )
    groups = {f"episodes/{i}": vars(episode) for i, episode in enumerate(agent.episodes)} | {"models": arrays}
    groups[""] = agent.control.to_arrays()
    if agent.prediction is not None:
        groups["prediction"] = vars(agent.prediction)
    return described, flatten(groups) | in_arguments


def _encode_trial(trial: Trial) -> dict[str, Any]:
    # A cost is NaN or infinite if a rollout left the range of float32, and JSON has no such numbers.
    return {name: config.encode(value) for name, value in asdict(trial).items()}


def _settings(agent: SavableAgent) -> dict[str, Any]:
    return {
        "registered_task": agent.task_is_registered,
        "has_cost": agent.task.cost is not None,
        "constraints": {name: one.probability for name, one in agent.task.constraints.items()},
        "dynamics": config.encode(agent.dynamics),
        "heads": config.encode(agent.reward_model),  # the name of 0.1.0
        "policy": config.encode(agent.policy),
        "search": config.encode(agent.search),
        **{name: getattr(agent, name) for name in PLAIN_SETTINGS},
    }


def from_saved(
    make_agent: Callable[..., AgentT],
    described: dict[str, Any],
    arrays: dict[str, np.ndarray],
    task: Task | None = None,
    env: str | EnvSource | None = None,
) -> AgentT:
    """Return the agent that `to_saved` described.

    Args:
        make_agent: the agent's class.
        described: the description.
        arrays: the arrays.
        task: the task, for an agent that was made with a Task of its user.
        env: the environment, for one that cannot be made from its description.

    Raises:
        ValueError: if the task, its cost or the environment is missing.
    """
    if task is not None and env is not None:
        raise ValueError("Invalid `env`: expected none beside `task`, which holds the environment. Received: both.")
    if task is None and not described["registered_task"]:
        raise ValueError(
            f"Invalid `task`: expected the bnnrl.Task of {described['env']!r}, whose cost is code and was not "
            "saved. Received: None. Pass it: bnnrl.load(folder, task=...)."
        )
    # Agents that were saved without this setting had models without the features that it adds.
    described = {**described, "dynamics": {"linkage": False, **described["dynamics"]}}
    made_from = {"env": task} if task else _environment(described, arrays, env)
    agent = make_agent(
        **made_from,
        **{name: config.decode(described[name]) for name in ("dynamics", "policy", "search")},
        **{name: described[name] for name in PLAIN_SETTINGS if name in described},
        reward_model=config.decode(described["heads"]),
    )
    if described.get("has_cost", False) and agent.task.cost is None:
        raise ValueError(
            f"Invalid `task`: expected one of {described['env']!r} that has the cost it learned with. Received: "
            "one without. Import the module that calls bnnrl.tasks.register first, or pass bnnrl.load the task."
        )
    saved = described.get("constraints", {})
    if saved != {name: one.probability for name, one in agent.task.constraints.items()}:
        raise ValueError(
            f"Invalid `task`: expected one of {described['env']!r} with the constraints it learned with, by name and "
            f"probability {saved}. Received: {agent.task.constraints}. Pass bnnrl.load the task."
        )
    agent.episodes = [Episode(**select(arrays, f"episodes/{i}")) for i in range(described["episodes"])]
    agent.history = [_trial(trial) for trial in described["history"]]
    agent.control.from_arrays(arrays)
    if "prediction/obs" in arrays:
        agent.prediction = Prediction(**select(arrays, "prediction"))
    agent.learned_env.from_arrays(described["models"], select(arrays, "models"))
    return agent


def _environment(
    described: dict[str, Any], arrays: dict[str, np.ndarray], env: str | EnvSource | None
) -> dict[str, Any]:
    """Return the arguments of PILCO that make the agent's environment."""
    if env is not None:
        return {"env": env}
    arguments = env_description.arguments(described, arrays)
    if arguments is None:
        raise ValueError(
            f"Invalid `env`: expected the environment {described['env']!r}, which cannot be made from what was saved, "
            "because it is an object or a function, or has some among its arguments or wrappers. Received: None. Pass "
            "it: bnnrl.load(folder, env=...)."
        )
    return arguments


def reduce(agent: SavableAgent) -> tuple[Any, ...]:
    """Return the function and the arguments by which pickle rebuilds an agent.

    Raises:
        TypeError: if the environment or a function of the task cannot be pickled.
    """
    described, arrays = to_saved(agent)
    is_rebuilt = agent.task_is_registered and env_description.arguments(described, arrays) is not None
    task = None if is_rebuilt else agent.task
    try:
        pickle.dumps(task)
    except Exception as error:  # an environment may raise anything
        raise TypeError(
            f"Invalid agent: expected a task and an environment that can be pickled. Received: {agent.task.env_id!r} "
            f"({error}). Define their functions in a module, or use agent.save(folder) and "
            f"bnnrl.load(folder, {'env' if agent.task_is_registered else 'task'}=...)."
        ) from error
    return _rebuild, (type(agent), described, arrays, task)


def _rebuild(
    cls: Callable[..., AgentT], described: dict[str, Any], arrays: dict[str, Any], task: Task | None
) -> AgentT:
    agent = from_saved(cls, described, arrays, task)
    agent.task_is_registered = described["registered_task"]
    return agent


def copy(agent: AgentT, memo: dict[int, Any]) -> AgentT:
    """Return a copy of an agent that shares its task, and has a copy of an environment that was given as made.

    Raises:
        TypeError: if the environment cannot be copied.
    """
    task, described = agent.task, deepcopy(to_saved(agent))
    if isinstance(task.source, gymnasium.Env):
        try:
            task = replace(task, source=deepcopy(task.source, memo))
        except Exception as error:  # an environment may raise anything
            raise TypeError(
                f"Invalid agent: expected an environment that can be copied. Received: {task.env_id!r} ({error}). Make "
                "the agent with a function that makes the environment."
            ) from error
    return _rebuild(type(agent), *described, task)


def _trial(described: dict[str, Any]) -> Trial:
    if unknown := described.keys() - {field.name for field in fields(Trial)}:
        raise ValueError(
            f"Invalid agent: expected trials with the figures that this version of bnnrl knows. Received: "
            f"{sorted(unknown)}. The agent was saved by a newer bnnrl: upgrade to load it."
        )
    return Trial(**{name: config.decode(value) for name, value in described.items()})
