"""The action space of an environment, as the action vectors that models and policies use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np


@dataclass(frozen=True)
class ActionSpace:
    """The action vectors [A] of a Box with one axis or of a Discrete space with A values.

    A vector of a Box is the environment's action itself. For a Discrete space, models see the executed value as a
    one-hot vector, and a policy gives each value a weight: the value with the largest weight is executed.

    Args:
        low: lower bounds of the vectors, [A].
        high: upper bounds of the vectors, [A].
        discrete: whether the space is Discrete.
        start: the lowest value of a Discrete space.
        integer: the type of the entries of a Box of integers, to which vectors are rounded; None for real numbers.
    """

    low: np.ndarray
    high: np.ndarray
    discrete: bool = False
    start: int = 0
    integer: np.dtype | None = None

    @classmethod
    def of(cls, space: gymnasium.Space, env_id: str) -> ActionSpace:
        """Return the action vectors of a Gymnasium space.

        Args:
            space: the space.
            env_id: name of the environment, for the error message.

        Raises:
            ValueError: if the space is neither a bounded Box with one axis nor Discrete.
        """
        if isinstance(space, gymnasium.spaces.Discrete):
            return cls(np.zeros(space.n, np.float32), np.ones(space.n, np.float32), True, int(space.start))
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"Invalid action space of {env_id!r}: expected a Box with one axis, or Discrete. Received: {space}. "
                "Give the environment an action that is a vector of real numbers or one of up to some hundred values, "
                "as gymnasium.wrappers.TransformAction does."
            )
        if space.shape == (0,):
            raise ValueError(f"Invalid action space of {env_id!r}: expected at least one entry. Received: {space}.")
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ValueError(
                f"Invalid action space of {env_id!r}: expected finite bounds. Received: low={space.low}, "
                f"high={space.high}. Bound it, for example by gymnasium.wrappers.TransformAction(env, lambda a: a, "
                f"gymnasium.spaces.Box(-1.0, 1.0, {space.shape}))."
            )
        if not np.issubdtype(space.dtype, np.integer):
            return cls(space.low, space.high)
        return cls(space.low.astype(np.float32), space.high.astype(np.float32), integer=space.dtype)

    @property
    def size(self) -> int:
        """A, the number of entries of an action vector."""
        return len(self.low)

    def executed(self, action: np.ndarray) -> np.ndarray:
        """Return the vector [A] of the action that an environment executes.

        It is a one-hot vector for a Discrete space, and of whole numbers for a Box of integers.
        """
        if not self.discrete:
            return action if self.integer is None else np.rint(action)
        return np.eye(self.size, dtype=np.float32)[np.argmax(action)]

    def for_env(self, action: np.ndarray) -> Any:
        """Return the argument of the environment's `step` for an action vector [A]."""
        if self.discrete:
            return self.start + int(np.argmax(action))
        return action if self.integer is None else np.rint(action).astype(self.integer)

    def from_env(self, action: Any) -> np.ndarray:
        """Return the vector [A] of an argument of the environment's `step`, the inverse of `for_env`."""
        if self.discrete:
            return np.eye(self.size, dtype=np.float32)[int(action) - self.start]
        return np.asarray(action, np.float32)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Return a uniformly random action vector, [A]."""
        return rng.uniform(self.low, self.high).astype(np.float32)
