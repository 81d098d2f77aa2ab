"""Saving and loading of agents: settings as JSON; episodes, policies and posteriors as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, Protocol, TypeVar

import numpy as np

from bnnrl.rl.callbacks import PLAIN_SETTINGS, Agent, Prediction, Trial
from bnnrl.rl.control import ControlStrategy
from bnnrl.rl.episodes import Episode
from bnnrl.rl.simulator.learned_env import LearnedEnv
from bnnrl.rl.tasks import Task
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
    described = _settings(agent) | {
        "episodes": len(agent.episodes),
        "history": [_encode_trial(trial) for trial in agent.history],
        "models": posteriors,
    }
    groups = {f"episodes/{i}": vars(episode) for i, episode in enumerate(agent.episodes)} | {"models": arrays}
    groups[""] = agent.control.to_arrays()
    if agent.prediction is not None:
        groups["prediction"] = vars(agent.prediction)
    return described, flatten(groups)


def _encode_trial(trial: Trial) -> dict[str, Any]:
    # A cost is NaN or infinite if a rollout left the range of float32, and JSON has no such numbers.
    return {name: config.encode(value) for name, value in asdict(trial).items()}


def _settings(agent: SavableAgent) -> dict[str, Any]:
    return {
        "kind": "pilco",
        "env": agent.task.env_id,
        "env_kwargs": dict(agent.task.env_kwargs),
        "registered_task": agent.task_is_registered,
        "has_cost": agent.task.cost is not None,
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
) -> AgentT:
    """Return the agent that `to_saved` described.

    Args:
        make_agent: the agent's class.
        described: the description.
        arrays: the arrays.
        task: the task, for an agent that was made with a Task of its user.

    Raises:
        ValueError: if the task or its cost is missing.
    """
    if task is None and not described["registered_task"]:
        raise ValueError(
            f"Invalid `task`: expected the bnnrl.Task of {described['env']!r}, whose cost is code and was not "
            "saved. Received: None. Pass it: bnnrl.load(folder, task=...)."
        )
    agent = make_agent(
        task or described["env"],
        **{name: config.decode(described[name]) for name in ("dynamics", "policy", "search")},
        **{name: described[name] for name in PLAIN_SETTINGS if name in described},
        reward_model=config.decode(described["heads"]),
        env_kwargs=None if task else described["env_kwargs"],
    )
    if described.get("has_cost", False) and agent.task.cost is None:
        raise ValueError(
            f"Invalid `task`: expected one of {described['env']!r} that has the cost it learned with. Received: "
            "one without. Import the module that calls bnnrl.tasks.register first, or pass bnnrl.load the task."
        )
    agent.episodes = [Episode(**select(arrays, f"episodes/{i}")) for i in range(described["episodes"])]
    agent.history = [_trial(trial) for trial in described["history"]]
    agent.control.from_arrays(arrays)
    if "prediction/obs" in arrays:
        agent.prediction = Prediction(**select(arrays, "prediction"))
    agent.learned_env.from_arrays(described["models"], select(arrays, "models"))
    return agent


def _trial(described: dict[str, Any]) -> Trial:
    if unknown := described.keys() - {field.name for field in fields(Trial)}:
        raise ValueError(
            f"Invalid agent: expected trials with the figures that this version of bnnrl knows. Received: "
            f"{sorted(unknown)}. The agent was saved by a newer bnnrl: upgrade to load it."
        )
    return Trial(**{name: config.decode(value) for name, value in described.items()})
