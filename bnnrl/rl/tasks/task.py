"""The description of a task: what an agent may know of an environment before it has seen it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrl.checks import check_count

if TYPE_CHECKING:  # a mistyped environment should be told at once, without waiting for TensorFlow
    import tensorflow as tf

Cost = Callable[["tf.Tensor", "tf.Tensor", "tf.Tensor"], "tf.Tensor"]
STARTS = ("initial", "visited")


@dataclass(frozen=True)
class SaturatingCost:
    """c = 1 − exp(−q / width²) in [0, 1], where q(next_obs) >= 0 measures how far the goal is.

    The PILCO family's cost (Deisenroth & Rasmussen 2011, eq. 25). It is flat far from the goal, so that a policy
    may find no gradient there; `width` > 1 stretches it, which keeps its minimiser.

    Args:
        exponent: q, from next observations [..., O] to [...].
    """

    exponent: Callable[[tf.Tensor], tf.Tensor]

    def __call__(self, obs, action, next_obs: tf.Tensor, width: float = 1.0) -> tf.Tensor:
        import tensorflow as tf

        return 1.0 - tf.exp(-self.exponent(next_obs) / width**2)


@dataclass(frozen=True)
class Task:
    """What the agent may know of an environment.

    Args:
        env_id: a Gymnasium id.
        cost: a differentiable TensorFlow function (obs [..., O], action [..., A], next_obs [..., O]) -> [...]. Without
            one, it is the negative of the reward, which is learned.
        angles: indices of the observation entries that are angles in radians. The model and the policy see them as
            sine and cosine.
        invariant: indices of the entries that changes of the observation do not depend on, such as the position on a
            uniform track. The model is not given them.
        velocities: of entries that are positions, the index of the entry that is their rate of change per second.
            Rollouts take x' = x + dt (v + v') / 2 for what is learned of them, the speed-integration model of Amadio et
            al. (IEEE T-RO 2022): noise of measuring a position then never adds up. Needs `dt`.
        env_kwargs: keyword arguments of gymnasium.make.
        success: from the true states of one episode [T + 1, O] to whether it succeeded, or None where "solved" has
            no meaning. The states come from info["state"] where the environment gives it, else from observations.
        dt: seconds between observations, if time has a meaning; of the environment, not of repeated actions.
        labels: a name for each observation entry, with its unit, for pictures.
        termination: a TensorFlow function of the cost's arguments to whether the environment terminates there, a truth
            value or a probability [...]. Without one it is learned, if an episode ever terminates.
        terminal_cost: of each step after termination; None is 1, the worst, for a SaturatingCost, and otherwise 0, as
            for a sum of rewards.
        solved_return: mean return of the evaluation episodes from which the task counts as solved, where `success` says
            nothing.
        horizon: steps to plan over, if not the agent's choice.
        starts: where planned rollouts begin: "initial", states that episodes began in, or "visited", any observed one,
            which suits long episodes planned in pieces and wide starting distributions. None is the former where the
            horizon reaches an episode's end.
        action_repeat: steps of the environment for which an action is held; the model sees one step of so many.

    Raises:
        ValueError: for a number or a name out of its range.
    """

    env_id: str
    cost: Cost | None = None
    angles: tuple[int, ...] = ()
    invariant: tuple[int, ...] = ()
    velocities: Mapping[int, int] = field(default_factory=dict)
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    success: Callable[[np.ndarray], bool] | None = None
    dt: float | None = None
    labels: tuple[str, ...] | None = None
    termination: Cost | None = None
    terminal_cost: float | None = None
    solved_return: float | None = None
    horizon: int | None = None
    starts: str | None = None
    action_repeat: int = 1

    def __post_init__(self):
        check_count("action_repeat", self.action_repeat)
        if self.velocities and self.dt is None:
            raise ValueError(
                "Invalid `dt`: expected the seconds of a step, since `velocities` are named. Received: None."
            )
        if chained := sorted(set(self.velocities) & set(self.velocities.values())):
            raise ValueError(
                f"Invalid `velocities`: expected no position that is a velocity, too. Received: {chained}."
            )
        if self.horizon is not None:
            check_count("horizon", self.horizon)
        if self.starts not in (None, *STARTS):
            raise ValueError(f"Invalid `starts`: expected one of {STARTS} or None. Received: {self.starts!r}.")

    @property
    def step_seconds(self) -> float | None:
        """Seconds from one action to the next, for which an action may be held over several steps, or None."""
        return None if self.dt is None else self.dt * self.action_repeat

    @property
    def cost_after_end(self) -> float:
        """Cost of each step after termination."""
        if self.terminal_cost is not None:
            return self.terminal_cost
        return 1.0 if isinstance(self.cost, SaturatingCost) else 0.0
