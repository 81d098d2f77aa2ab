"""Model-free baselines: Stable-Baselines3's SAC and PPO with the environment, resets and evaluations of an agent."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit, TransformAction

from bnnrl.rl.action_space import ActionSpace
from bnnrl.rl.callbacks import Trial
from bnnrl.rl.episodes import make_env

if TYPE_CHECKING:
    from bnnrl.rl.pilco import PILCO

NAMES = ("sac", "ppo")
COLUMNS = tuple(field.name for field in dataclasses.fields(Trial))
# Beyond the steps of an agent, each evaluation comes after 1.5 times the steps of the last one: evenly spread over a
# logarithmic axis, and some twenty evaluations in all.
_GROWTH = 1.5

Row = dict[str, Any]


def import_library():
    """Import Stable-Baselines3 with PyTorch, and return it. Call this before TensorFlow is imported.

    Raises:
        ValueError: if the package is missing.
    """
    check_installed()
    # PyTorch imports its compiler when the first optimizer is made. The compiler's Triton and TensorFlow each bring an
    # LLVM, and the process crashes if that of TensorFlow is loaded first.
    importlib.import_module("torch._dynamo")
    importlib.import_module("torch").set_num_threads(1)  # networks this small are not faster on more
    return importlib.import_module("stable_baselines3")


def check_installed() -> None:
    """Raise ValueError if Stable-Baselines3 is missing."""
    if importlib.util.find_spec("stable_baselines3") is None:
        raise ValueError(
            f"Invalid method: expected the package stable-baselines3 for the baselines {', '.join(NAMES)}. "
            'Received: none. Run `pip install "bnnrl[sb3]"`.'
        )


def check(name: str, agent: PILCO) -> None:
    """Raise ValueError if an algorithm cannot act in an agent's environment."""
    if name == "sac" and agent.action_space.discrete:
        raise ValueError(
            f"Invalid method: expected continuous actions for 'sac'. Received: {agent.task.env_id!r}, whose actions "
            "are discrete. Use 'ppo'."
        )


def learn(
    name: str,
    agent: PILCO,
    num_steps: int,
    num_trials: int,
    evaluation_episodes: int,
    stop_when_solved: bool,
    on_rows: Callable[[Sequence[Row]], None],
):
    """Train an algorithm with its default settings, and return the model of Stable-Baselines3.

    Its episodes begin where those of an agent with the same seed do. Its policy, without noise, is evaluated on the
    episodes on which the agent's is evaluated: first after the steps of each trial, then up to `num_steps`.

    Args:
        name: "sac" or "ppo".
        agent: an agent that has learned nothing; its task, seed and evaluation are used.
        num_steps: the number of real steps to train for; at least those of `num_trials` trials are made.
        num_trials: the agent's number of trials.
        evaluation_episodes: the number of episodes of an evaluation.
        stop_when_solved: whether to stop after the first evaluation that solves the task.
        on_rows: called after each evaluation with the rows of all so far, whose entries are those of `Trial`.

    Raises:
        ValueError: see `check`.
    """
    check(name, agent)
    schedule = evaluation_steps(steps_of_trial(agent), num_trials, num_steps)
    evaluations = _Evaluations(agent, schedule, evaluation_episodes, stop_when_solved, on_rows)
    model = getattr(import_library(), name.upper())("MlpPolicy", _training_env(agent), seed=agent.seed, device="cpu")
    return model.learn(schedule[-1], callback=evaluations)


def steps_of_trial(agent: PILCO) -> int:
    """Return the number of real steps of an agent's trial whose episodes do not end early."""
    return agent.episodes_per_trial * (agent.episode_length or agent.horizon)


def evaluation_steps(steps_of_trial: int, num_trials: int, num_steps: int) -> list[int]:
    """Return the numbers of real steps after which a baseline is evaluated: those of trials, then ever larger ones."""
    schedule = [steps_of_trial * trial for trial in range(1, num_trials + 1)]
    while schedule[-1] < num_steps:
        schedule.append(min(num_steps, math.ceil(_GROWTH * schedule[-1])))
    return schedule


def _training_env(agent: PILCO) -> gymnasium.Env:
    """Return an environment whose episodes begin as those of the agent, with actions that any algorithm takes."""
    env = make_env(agent.task)
    if agent.episode_length is None:
        env = TimeLimit(env, agent.horizon)
    return _ResetsOfTrials(_with_plain_actions(env, agent.action_space), agent.seed, agent.episodes_per_trial)


def _with_plain_actions(env: gymnasium.Env, actions: ActionSpace) -> gymnasium.Env:
    """Return an environment whose Discrete actions begin at 0, and whose Box of integers takes real numbers."""
    if actions.discrete:
        return TransformAction(env, lambda action: actions.start + int(action), gymnasium.spaces.Discrete(actions.size))
    if actions.integer is None:
        return env
    return TransformAction(env, actions.for_env, gymnasium.spaces.Box(actions.low, actions.high))


class _ResetsOfTrials(gymnasium.Wrapper):
    """Resets the environment with the seeds of the real episodes of an agent's trials."""

    def __init__(self, env: gymnasium.Env, seed: int, episodes_per_trial: int):
        super().__init__(env)
        self._seed, self._per_trial, self._count = seed, episodes_per_trial, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Reset the environment with the seed of the next episode in the place of `seed`."""
        from bnnrl.rl.seed_streams import Purpose, integer_seed  # imports TensorFlow

        trial, i = divmod(self._count, self._per_trial)
        self._count += 1
        stream = (trial + 1, i) if i else (trial + 1,)
        return self.env.reset(seed=integer_seed(self._seed, Purpose.RESET, *stream), options=options)


class _Evaluations:
    """Callback of Stable-Baselines3: evaluates the policy on schedule, and stops the training after the last time."""

    def __init__(
        self,
        agent: PILCO,
        schedule: Sequence[int],
        episodes: int,
        stop_when_solved: bool,
        on_rows: Callable[[Sequence[Row]], None],
    ):
        self._agent, self._schedule, self._episodes = agent, schedule, episodes
        self._stop_when_solved, self._on_rows = stop_when_solved, on_rows
        self._rows: list[Row] = []
        self._started = perf_counter()

    def __call__(self, local: Mapping[str, Any], _: Mapping[str, Any]) -> bool:
        """Return whether the training goes on, for the local variables of the function that collects steps."""
        model = local["self"]
        if model.num_timesteps < self._schedule[len(self._rows)]:
            return True
        seconds = perf_counter() - self._started
        row = self._evaluated(model)
        self._rows.append(row | {"fit_seconds": seconds})
        self._on_rows(self._rows)
        self._started = perf_counter()
        return len(self._rows) < len(self._schedule) and not (row["solved"] and self._stop_when_solved)

    def _evaluated(self, model) -> Row:
        agent, steps = self._agent, model.num_timesteps
        trial = math.ceil(steps / steps_of_trial(agent))
        offset = agent.action_space.start

        def actor(obs: np.ndarray) -> np.ndarray:
            action, _ = model.predict(obs, deterministic=True)
            return agent.action_space.from_env(action + offset if agent.action_space.discrete else action)

        figures = agent.evaluator.evaluate([actor] * self._episodes, trial)
        step_seconds = agent.task.step_seconds
        return dict.fromkeys(COLUMNS) | {
            "trial": trial,
            "steps": steps,
            "experience": None if step_seconds is None else steps * step_seconds,
            "evaluation_cost": figures["mean_cost"],
            "success_rate": figures["success_rate"],
            "solved": agent.evaluator.is_solved(figures),
            "evaluation_return": figures["mean_return"],
        }
