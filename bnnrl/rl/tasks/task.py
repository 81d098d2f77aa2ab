"""`Task`: what an agent may know of an environment before it has seen any data; and a saturating cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from bnnrl.checks import (
    check_callable,
    check_choice,
    check_count,
    check_counts,
    check_fields,
    check_mapping,
    check_nonnegative,
    check_positive,
    check_within,
    optional,
)
from bnnrl.rl.tasks.constraint import Constraint, check_constraints
from bnnrl.rl.tasks.env_source import EnvSource, EnvWrapper, check_source, check_wrappers, name_of

if TYPE_CHECKING:  # the command line reports a mistyped environment without waiting for TensorFlow
    import tensorflow as tf

Cost = Callable[["tf.Tensor", "tf.Tensor", "tf.Tensor"], "tf.Tensor"]
STARTS = ("initial", "visited")


@dataclass(frozen=True)
class SaturatingCost:
    """Cost c = 1 − exp(−q / width²) in [0, 1], where q(next_obs) >= 0 grows with the distance from the goal.

    This is the cost of PILCO (Deisenroth & Rasmussen, ICML 2011, eq. 25) for q = d² / (2 σ²), with distance d from the
    goal. Far from the goal the cost is flat, so a policy may find no gradient there: the policy search starts with a
    larger `width`, which widens the cost and keeps its minimiser.

    Example:
        To reach x = 1 m, with a cost of 1 − exp(−1/2) = 0.39 at a distance of 0.25 m::

            SaturatingCost(lambda next_obs: tf.square(next_obs[..., 0] - 1.0) / (2 * 0.25**2))

    Args:
        exponent: TensorFlow function q from next observations [..., O] to values [...] of at least 0.
    """

    exponent: Callable[[tf.Tensor], tf.Tensor]

    def __post_init__(self):
        check_fields(self, exponent=check_callable)

    def __call__(self, obs, action, next_obs: tf.Tensor, width: float = 1.0) -> tf.Tensor:
        """Return the cost [...] of next observations [..., O]; `obs` and `action` do not matter."""
        import tensorflow as tf

        return 1.0 - tf.exp(-self.exponent(next_obs) / width**2)


@dataclass(frozen=True)
class Task:
    """What an agent may know of an environment: its cost, its angles, when it terminates, and when it is solved.

    Only the environment is required. What a task does not give is learned from data (reward, termination) or not used.
    Observations have O entries, actions have A entries; a `Discrete` action is a one-hot vector.

    Example:
        A cart with a pole on a track, observed as (x, x', θ, θ')::

            task = bnnrl.Task(
                "my_module:MyCartPole-v0",
                cost=bnnrl.tasks.SaturatingCost(lambda next_obs: tf.square(next_obs[..., 2] / 0.1)),
                angles=(2,),
                invariant=(0,),
                termination=lambda obs, action, next_obs: tf.abs(next_obs[..., 0]) > 2.4,
                solved_return=475.0,
                dt=0.02,
                labels=("x, m", "x′, m/s", "θ, rad", "θ′, rad/s"),
            )
            agent = bnnrl.PILCO(task)

    Args:
        env_id: id of a Gymnasium environment. "my_module:MyEnv-v0" imports my_module first, which registers it. An
            EnvSpec, an environment that is made and perhaps wrapped, or a callable that makes one from `env_kwargs`
            is kept as `source`, and `env_id` becomes its name.
        cost: differentiable TensorFlow function (obs [..., O], action [..., A], next_obs [..., O]) -> float32 [...],
            the cost of one step, which is minimised. Any number of leading axes must work: index entries from the end,
            as in next_obs[..., 0]. None, the default, learns the reward from data and minimises its negative.
        angles: indices of observation entries that are angles in radians, such as (2,). Model and policy are given
            their sine and cosine. Entries that are already a sine or a cosine do not belong here. Default: none.
        invariant: indices of observation entries that the change of the observation does not depend on, such as the
            position on a uniform track, or a goal. The model is not given them; the policy and the cost are.
            Default: none.
        velocities: index of a position -> index of the velocity that is its rate of change per second, such as
            {0: 1, 2: 3} for (x, x', θ, θ'). Rollouts then integrate these positions, x' = x + dt (v + v') / 2, instead
            of learning their changes: the speed-integration model of Amadio et al. (IEEE Transactions on Robotics,
            2022), with which measurement noise of positions does not accumulate. Needs `dt`. Default: none.
        env_kwargs: keyword arguments of gymnasium.make, or of the callable that makes the environment, such as
            {"friction": 0.2}.
        success: function from the states of one episode, float64 [T + 1, O] with the initial state first, to whether
            the episode succeeded. States are info["state"] if the environment gives one of the observation's shape,
            else observations. The task is solved when 90 % of the evaluation episodes succeed. None, the default:
            `solved_return` decides.
        dt: seconds between two observations of the environment, such as 0.05; with `action_repeat`, still of the
            environment's own step. Labels plots and reports, and is needed by `velocities`. None, the default: plots
            and reports count steps.
        labels: name and unit of each observation entry for plots, O strings such as "θ, rad". None, the default,
            numbers the entries.
        termination: TensorFlow function with the cost's arguments that returns, for each step, whether the environment
            terminates there: bool [...], or a probability as float32 [...] in [0, 1]. None, the default, learns it if
            an episode ever terminates. Reaching the time limit is a truncation, not a termination.
        terminal_cost: cost of each step that an early termination takes away. None, the default, is 1, the highest
            cost, with a `SaturatingCost`, and 0 otherwise, as in a sum of rewards. Give 0 if termination is the goal.
        solved_return: mean return of the evaluation episodes from which on the task counts as solved, if there is no
            `success`. None, the default: the task never counts as solved, and all trials are run.
        horizon: number of steps to plan over, unless the agent is given one. None, the default, is 1.25 times the
            episode's length, or 50 steps for long episodes.
        starts: where planned rollouts start. "initial": at initial states of episodes. "visited": at all observed
            states, which suits long episodes that are planned in pieces, and wide initial distributions. None, the
            default, is "visited" if the horizon is shorter than an episode, else "initial".
        initial_std: standard deviation of each entry of an episode's first observation, O numbers, where it is known,
            as on a plant that is always set up in the same way. The first policies are then fitted to such a spread
            around the first observations seen. None, the default, estimates the distribution from these
            observations, of which there are few in the first trials.
        action_repeat: number of environment steps that each action is held; the model predicts this many steps as one,
            and their rewards are summed. Default: 1.
        delay: number of steps after which an action takes effect. Model and policy are then given as many past actions
            beside the observation, and rollouts carry them along. Default: 0.
        history: number of past observations, with the actions between them, that model and policy are given beside the
            newest one, where this does not tell the state: 1 or 2 for positions without velocities, more for noisy
            ones. Before an episode's first step they repeat its first observation. Default: 0.
        wrappers: what the environment is wrapped in, the innermost first: functions from an environment to an
            environment, or names of subclasses of gymnasium.Wrapper such as "my_module:MyWrapper". Default: none.
        reset_options: the argument `options` of each reset of the environment. Default: none.
        source: where the environment comes from, if not from its id; see `env_id`.
        constraints: name -> `Constraint`, or its function (obs, action, next_obs) -> float32 [...], which has to stay
            below 0 at all steps of an episode with a probability of 0.95, such as {"rail": lambda obs, action,
            next_obs: tf.abs(next_obs[..., 0]) - 0.6}. The policy that acts is the best of those whose simulated
            rollouts keep the constraints, and steps that violate one are counted. Default: none.

    Raises:
        ValueError: if an argument is not as above, `velocities` are given without `dt`, or a position is also a
            velocity.
    """

    env_id: Any  # a string, once the task is made
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
    delay: int = 0
    history: int = 0
    wrappers: tuple[EnvWrapper, ...] = ()
    reset_options: Mapping[str, Any] | None = None
    source: EnvSource | None = None
    initial_std: tuple[float, ...] | None = None
    constraints: Mapping[str, Constraint] = field(default_factory=dict)

    def __post_init__(self):
        self._resolve_source()
        indices, number = partial(check_counts, least=0), partial(check_within, interval="(-inf, inf)")
        check_fields(self, wrappers=check_wrappers, reset_options=optional(check_mapping))
        check_fields(self, env_kwargs=check_mapping, labels=optional(_check_labels))
        check_fields(self, **dict.fromkeys(("cost", "success", "termination"), optional(check_callable)))
        check_fields(self, angles=indices, invariant=indices, velocities=_check_velocities)
        check_fields(self, **dict.fromkeys(("terminal_cost", "solved_return"), optional(number)))
        check_fields(self, constraints=check_constraints)
        check_fields(self, dt=optional(check_positive), horizon=optional(check_count), action_repeat=check_count)
        check_fields(self, starts=optional(partial(check_choice, choices=STARTS)))
        check_fields(self, **dict.fromkeys(("delay", "history"), partial(check_count, least=0)))
        check_fields(self, initial_std=optional(_check_deviations))
        if self.velocities and self.dt is None:
            raise ValueError(
                "Invalid `dt`: expected the seconds of a step, which `velocities` are integrated over. Received: None. "
                "Pass dt, or leave out velocities."
            )
        if both := sorted(set(self.velocities) & set(self.velocities.values())):
            raise ValueError(
                f"Invalid `velocities`: expected no position that is a velocity, too. Received: entries {both} as both."
            )

    def _resolve_source(self) -> None:
        """Keep an environment that is given by something other than an id as the source, and its name as the id."""
        if not isinstance(self.env_id, str):
            source = check_source("env_id", self.env_id)
            object.__setattr__(self, "source", source)
            object.__setattr__(self, "env_id", name_of(source))
        if isinstance(self.source, gymnasium.Env) and self.env_kwargs:
            raise ValueError(
                f"Invalid `env_kwargs`: expected none beside an environment that is made. Received: "
                f"{dict(self.env_kwargs)!r}. Pass them to gymnasium.make."
            )

    @property
    def step_seconds(self) -> float | None:
        """Seconds from one action to the next, `dt` times `action_repeat`, or None without `dt`."""
        return None if self.dt is None else self.dt * self.action_repeat

    @property
    def angular_rates(self) -> tuple[int, ...]:
        """Index of the rate of each angle, if there are two or more angles and `velocities` has them all; else ()."""
        rates = tuple(self.velocities[i] for i in self.angles if i in self.velocities)
        return rates if len(rates) == len(self.angles) > 1 else ()

    @property
    def cost_after_end(self) -> float:
        """Cost of each step after termination: `terminal_cost` or its default."""
        if self.terminal_cost is not None:
            return self.terminal_cost
        return 1.0 if isinstance(self.cost, SaturatingCost) else 0.0


def _check_velocities(name: str, value: Any) -> dict[int, int]:
    """Return `value` as a dict, or raise ValueError unless it is a mapping from indices to indices."""
    if not isinstance(value, Mapping):
        raise ValueError(f"Invalid `{name}`: expected a mapping such as {{0: 1}}. Received: {name}={value!r}.")
    index = partial(check_count, name, least=0)
    return {index(position): index(velocity) for position, velocity in value.items()}


def _check_deviations(name: str, value: Any) -> tuple[float, ...]:
    """Return `value` as a tuple, or raise ValueError unless it is a sequence of numbers of at least 0."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or np.ndim(value) != 1:
        raise ValueError(
            f"Invalid `{name}`: expected one number of at least 0 for each entry of the observation. "
            f"Received: {name}={value!r}."
        )
    return tuple(check_nonnegative(name, deviation) for deviation in value)


def _check_labels(name: str, value: Any) -> tuple[str, ...]:
    """Return `value` as a tuple, or raise ValueError unless it is a tuple or list of strings."""
    if not isinstance(value, tuple | list) or not all(isinstance(label, str) for label in value):
        raise ValueError(f"Invalid `{name}`: expected a tuple of strings. Received: {name}={value!r}.")
    return tuple(value)
