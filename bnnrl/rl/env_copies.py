"""Copies of an environment, for episodes that run at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, PassiveEnvChecker, RecordVideo

from bnnrl.rl.episodes import make_env
from bnnrl.rl.tasks import Task
from bnnrl.rl.tasks.env_source import wrappers_of

_STATEFUL = NormalizeObservation, NormalizeReward, RecordVideo  # wrappers with a state that outlives episodes
_PLAIN = bool | int | float | str | np.ndarray | np.generic


class EnvCopies:
    """Makes copies of an agent's environment, and keeps them.

    An environment that was passed as made has no copies: there may be only one, as of a real plant. Neither has one
    that cannot be made a second time, or opens a window. Copies are not used either while their episodes may differ
    from those of the environment: if resets with one seed lead to different observations, an attribute of the
    environment was changed, such as a mass, or a wrapper keeps statistics over episodes, such as the mean of
    observations.

    Args:
        env: the agent's environment.
        task: its task, of which copies are made.
    """

    def __init__(self, env: gymnasium.Env, task: Task):
        self._task, self._envs = task, [env]
        self._exist = not isinstance(task.source, gymnasium.Env) and env.render_mode != "human"

    def get(self, number: int, seed: int) -> list[gymnasium.Env]:
        """Return the environment and, if there can be copies, as many as make up the number.

        Args:
            number: number of environments, at least 1.
            seed: seed of resets that tell whether the environment and a copy are alike.
        """
        while self._exist and len(self._envs) < number:
            self._add()
        alike = number > 1 < len(self._envs) and _are_alike(self._envs[0], self._envs[1], seed)
        return self._envs[: number if alike else 1]

    def _add(self) -> None:
        """Make one more copy; without one, there are no copies."""
        made = None
        with suppress(Exception):  # a constructor may raise anything, also because there may be only one at a time
            made = make_env(self._task)
        self._exist = made is not None and all(made.unwrapped is not env.unwrapped for env in self._envs)
        if made is not None and self._exist:
            self._envs.append(made)
        else:
            for env in self._envs[1:]:
                env.close()
            self._envs = self._envs[:1]


def _are_alike(env: gymnasium.Env, copy: gymnasium.Env, seed: int) -> bool:
    """Return whether resets with one seed lead to the same observation and the same attributes of all wrappers."""
    try:
        same = np.array_equal(env.reset(seed=seed)[0], copy.reset(seed=seed)[0])
        pairs = list(zip(_layers(env), _layers(copy), strict=True))
        return same and all(not isinstance(a, _STATEFUL) and _same(vars(a), vars(b)) for a, b in pairs)
    except Exception:  # an environment may raise anything; what a reset raises, an episode will raise again
        return False


def _layers(env: gymnasium.Env) -> list[gymnasium.Env]:
    """Return the environment and its wrappers, without the one that notes which of its checks are done."""
    return [env.unwrapped, *(layer for layer in wrappers_of(env) if not isinstance(layer, PassiveEnvChecker))]


def _same(a: Any, b: Any) -> bool:
    """Return whether two values are equal, where both are numbers, texts, arrays, or containers of these."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(_same(a[key], b[key]) for key in a.keys() & b.keys())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return not (isinstance(a, _PLAIN) and isinstance(b, _PLAIN)) or np.array_equal(a, b)
