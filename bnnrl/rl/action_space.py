"""What an agent's action vectors mean to an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np


@dataclass(frozen=True)
class Actions:
    """Vectors [A] of a model and a policy, for a Box with one axis or a Discrete space.

    A discrete action is a one-hot vector of its A values: the model is fed what was executed, and a policy gives
    each value a weight, of which the largest acts.
    """

    low: np.ndarray  # [A]
    high: np.ndarray  # [A]
    discrete: bool = False
    first: int = 0  # the lowest value of a Discrete space

    @classmethod
    def of(cls, space: gymnasium.Space, env_id: str) -> Actions:
        """Return the actions of a space.

        Raises:
            ValueError: for a space that is neither a bounded Box with one axis nor Discrete.
        """
        if isinstance(space, gymnasium.spaces.Discrete):
            return cls(np.zeros(space.n, np.float32), np.ones(space.n, np.float32), True, int(space.start))
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"Invalid action space of {env_id!r}: expected a Box with one axis, or Discrete. Received: {space}. "
                "Wrap the environment so that it takes a vector of real numbers, or one of some values."
            )
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"Invalid action space of {env_id!r}: expected finite bounds. Received: low={space.low}, "
                f"high={space.high}. Bound it with gymnasium.wrappers.RescaleAction or a narrower Box."
            )
        return cls(space.low, space.high)

    @property
    def size(self) -> int:
        """A."""
        return len(self.low)

    def executed(self, action: np.ndarray) -> np.ndarray:
        """Return the vector [A] of what an environment does when asked for `action`: a one-hot one if discrete."""
        if not self.discrete:
            return action
        return np.eye(self.size, dtype=np.float32)[np.argmax(action)]

    def for_env(self, action: np.ndarray) -> Any:
        """Return `action` [A] as the environment takes it."""
        return self.first + int(np.argmax(action)) if self.discrete else action

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Return a uniformly random action, [A]."""
        return rng.uniform(self.low, self.high).astype(np.float32)
