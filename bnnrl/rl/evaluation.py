"""Evaluation: real episodes of an agent and their figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from bnnrl.rl.actors import MAX_TOGETHER, Actor, PolicyActor
from bnnrl.rl.env_copies import EnvCopies
from bnnrl.rl.episodes import Episode, run_episode, run_together
from bnnrl.rl.seed_streams import Purpose, integer_seed
from bnnrl.rl.simulator import non_finite
from bnnrl.rl.tasks import Task

_SOLVED_RATE = 0.9  # share of evaluation episodes that succeed when a task counts as solved


class Evaluator:
    """Runs an agent's real episodes and scores them.

    Args:
        env: the agent's environment.
        task: its task.
        step_costs: the function from an episode to the cost of each step, [T].
        violated: the function from an episode to whether each step violates each constraint, bool [T, C].
        episode_length: steps after which the environment truncates an episode; None if it never does.
        horizon: steps after which an episode is stopped if the environment never truncates it.
        seed: seed of the agent.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        task: Task,
        step_costs: Callable[[Episode], np.ndarray],
        violated: Callable[[Episode], np.ndarray],
        episode_length: int | None,
        horizon: int,
        seed: int,
    ):
        self._env, self._task, self._step_costs, self._seed = env, task, step_costs, seed
        self._violated, self._copies = violated, EnvCopies(env, task)
        self._max_steps = None if episode_length else horizon
        self._num_steps = episode_length or horizon

    def run(self, actor: Actor, seed: int) -> Episode:
        """Run one real episode.

        Args:
            actor: chooses the actions.
            seed: seed of the environment's reset.

        Raises:
            EnvironmentFault: see `run_episode`.
        """
        return run_episode(self._env, actor, seed, self._max_steps)

    def mean_cost(self, episode: Episode, num_steps: int | None = None) -> float:
        """Return the mean cost over an episode's steps.

        After a termination, the steps that were left count with the task's `cost_after_end`.

        Args:
            episode: the episode.
            num_steps: how many of the first steps count; None for all.

        Warns:
            NonFiniteWarning: if the cost of a step is not finite.
        """
        costs = self._step_costs(episode)
        if found := non_finite.describe_costs(costs, episode.obs):
            text = f"Invalid cost of a real episode: expected finite numbers. Received: {found}"
            warnings.warn(text, non_finite.NonFiniteWarning, stacklevel=2)
        total = self._num_steps if num_steps is None else min(num_steps, self._num_steps)
        costs = costs[:num_steps]
        left = max(0, total - len(costs)) if episode.terminated[0] else 0
        return float((costs.sum() + left * self._task.cost_after_end) / (len(costs) + left))

    def violations(self, episodes: Sequence[Episode]) -> int | None:
        """Return the number of steps that violate a constraint; None for a task without constraints."""
        if not self._task.constraints:
            return None
        return sum(int(self._violated(episode).any(axis=1).sum()) for episode in episodes)

    def reset_seed(self, stream: int, episode: int) -> int:
        """Return the seed that the environment is reset with for an evaluation episode, counted from 0."""
        return integer_seed(self._seed, Purpose.EVALUATE, stream, episode)

    def evaluate(self, actors: Sequence[Actor], stream: int) -> dict[str, Any]:
        """Return the figures of one evaluation episode for each actor; see `PILCO.evaluate`.

        Args:
            actors: the actor of each episode.
            stream: index of the random stream of the resets.
        """
        episodes = self._run_all(actors, [self.reset_seed(stream, i) for i in range(len(actors))])
        success = self._task.success
        return {
            "episodes": len(episodes),
            "mean_cost": float(np.mean([self.mean_cost(episode) for episode in episodes])),
            "mean_return": float(np.mean([episode.rewards.sum() for episode in episodes])),
            "success_rate": None if success is None else float(np.mean([success(e.states) for e in episodes])),
            "violations": self.violations(episodes),
        }

    def _run_all(self, actors: Sequence[Actor], seeds: Sequence[int]) -> list[Episode]:
        """Run an episode for each actor, together where one policy acts in all and the environment has copies."""
        policy, envs = actors[0], [self._env]
        if isinstance(policy, PolicyActor) and all(actor is policy for actor in actors):
            envs = self._copies.get(min(len(actors), MAX_TOGETHER), seeds[0])
        if not isinstance(policy, PolicyActor) or len(envs) == 1:
            return [self.run(actor, seed) for actor, seed in zip(actors, seeds, strict=True)]
        episodes = []
        for i in range(0, len(seeds), len(envs)):
            batch = seeds[i : i + len(envs)]
            episodes += run_together(envs[: len(batch)], policy.actions, batch, self._max_steps)
        return episodes

    def is_solved(self, figures: dict[str, Any]) -> bool:
        """Return whether figures of `evaluate` make the task count as solved; see `PILCO.solved`."""
        if self._task.success is not None:
            return figures["success_rate"] >= _SOLVED_RATE
        return self._task.solved_return is not None and figures["mean_return"] >= self._task.solved_return
